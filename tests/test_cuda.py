"""Capture of CUDA graphs without a GPU, on a stand-in for what is used of CuPy."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from gpulr.cuda import REPETITIONS_FOR_A_GRAPH, CupyRuntime, repeat


class CUDARuntimeError(RuntimeError):
    """CuPy's error of the same name."""


class CUDADriverError(RuntimeError):
    """CuPy's, for what it asks of the driver itself, such as the launch of a kernel."""


class Stream:
    """Notes what happens in `events`."""

    events: list[str]

    def __init__(self, non_blocking):
        assert non_blocking  # any other waits for the default stream

    def __enter__(self):
        self.events.append("enter")

    def __exit__(self, *error):
        self.events.append("exit")

    def begin_capture(self):
        self.events.append("begin")

    def end_capture(self):
        self.events.append("end")
        return SimpleNamespace(launch=lambda stream=None: self.events.append("launch"))


@pytest.fixture
def events(monkeypatch):
    noted = []
    monkeypatch.setattr(Stream, "events", noted, raising=False)
    cuda = SimpleNamespace(
        Stream=Stream,
        Device=lambda index: SimpleNamespace(attributes={"SingleToDoublePrecisionPerfRatio": 2}),
        driver=SimpleNamespace(CUDADriverError=CUDADriverError),
        runtime=SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            getDeviceProperties=lambda index: {
                "multiProcessorCount": 132,
                "sharedMemPerBlockOptin": 227 << 10,
                "l2CacheSize": 50 << 20,
            },
        ),
    )
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda, empty=None, __version__="0.1"))
    return noted


def test_what_a_capture_does(events):
    graph = CupyRuntime(0, "a.cu").capture(lambda: events.append("work"))
    assert events == ["enter", "begin", "work", "end", "exit"]
    graph()
    graph()
    assert events[5:] == ["launch", "launch"]


def test_repetitions(events):
    run = CupyRuntime(0, "a.cu")
    repeat(run, lambda: events.append("work"), REPETITIONS_FOR_A_GRAPH)
    assert events == ["work", "enter", "begin", "work", "end", "exit", *["launch"] * (REPETITIONS_FOR_A_GRAPH - 1)]
    for few in (0, 1, REPETITIONS_FOR_A_GRAPH - 1):
        events.clear()
        repeat(run, lambda: events.append("work"), few)
        assert events == ["work"] * few


@pytest.mark.parametrize("error", [CUDARuntimeError, CUDADriverError])
def test_what_cannot_be_captured_is_launched(error, events, monkeypatch, caplog):
    run = CupyRuntime(0, "a.cu")
    caplog.set_level("DEBUG", logger="gpulr.cuda")

    def broken(self):
        events.append("end")
        raise error("capture was invalidated")

    with monkeypatch.context() as patch:
        patch.setattr(Stream, "end_capture", broken)
        repeat(run, lambda: events.append("work"), 20)
    assert events == ["work", "enter", "begin", "work", "end", "exit", *["work"] * 19]
    assert caplog.messages == ["plain launches: CUDA says: capture was invalidated"]
    monkeypatch.delattr(Stream, "begin_capture")
    assert run.capture(lambda: None) == "CuPy 0.1 captures no graphs"


def test_a_kernel_that_a_capture_refuses_is_launched(events):
    run, times = CupyRuntime(0, "a.cu"), []

    def work():
        times.append(len(events))
        if events[-1:] == ["begin"]:
            raise CUDADriverError("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")

    repeat(run, work, 20)
    assert events == ["enter", "begin", "end", "exit"]
    assert len(times) == 1 + 1 + 19


def test_an_error_of_another_kind_ends_the_capture_and_is_raised(events):
    def wrong():
        raise TypeError("an argument of a kernel")

    with pytest.raises(TypeError, match="an argument of a kernel"):
        CupyRuntime(0, "a.cu").capture(wrong)
    assert events == ["enter", "begin", "end", "exit"]


def test_a_block_can_ask_for_all_shared_memory_whatever_was_launched_before(events, monkeypatch):
    class Function:
        shared_size_bytes = 1024  # what the kernel has by itself
        max_dynamic_shared_size_bytes = (48 << 10) - 1024

        def __call__(self, grid, threads, arguments, shared_mem):
            if shared_mem > self.max_dynamic_shared_size_bytes:
                raise CUDARuntimeError("invalid argument")
            events.append((grid, threads, arguments, shared_mem))

    function = Function()  # one for all modules of the same source, as in CuPy
    module = SimpleNamespace(get_function=lambda name: function)
    monkeypatch.setattr(sys.modules["cupy"], "RawModule", lambda **options: module, raising=False)
    monkeypatch.setattr("gpulr.cuda.source", lambda path: "")
    run = CupyRuntime(0, "only-in-this-test.cu")
    for dynamic_bytes in (0, 200 << 10, 48 << 10, 226 << 10):
        run.launch("kernel", (3, 1), 64, dynamic_bytes, (1,))
        assert events[-1] == ((3, 1), (64,), (1,), dynamic_bytes)
    with pytest.raises(CUDARuntimeError):
        run.launch("kernel", (3, 1), 64, (226 << 10) + 1, (1,))
