"""Capture of CUDA graphs without a GPU, on a stand-in for what is used of CuPy."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from gpulr.cuda import REPETITIONS_FOR_A_GRAPH, CupyRuntime, repeat


class CUDARuntimeError(RuntimeError):
    """CuPy's error of the same name."""


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


def test_what_cannot_be_captured_is_launched(events, monkeypatch, caplog):
    run = CupyRuntime(0, "a.cu")
    caplog.set_level("DEBUG", logger="gpulr.cuda")

    def broken(self):
        events.append("end")
        raise CUDARuntimeError("capture was invalidated")

    with monkeypatch.context() as patch:
        patch.setattr(Stream, "end_capture", broken)
        repeat(run, lambda: events.append("work"), 20)
    assert events == ["work", "enter", "begin", "work", "end", "exit", *["work"] * 19]
    assert caplog.messages == ["plain launches: CUDA says: capture was invalidated"]
    monkeypatch.delattr(Stream, "begin_capture")
    assert run.capture(lambda: None) == "CuPy 0.1 captures no graphs"


def test_an_error_of_another_kind_ends_the_capture_and_is_raised(events):
    def wrong():
        raise TypeError("an argument of a kernel")

    with pytest.raises(TypeError, match="an argument of a kernel"):
        CupyRuntime(0, "a.cu").capture(wrong)
    assert events == ["enter", "begin", "end", "exit"]
