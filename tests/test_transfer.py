"""The way to a GPU: its arithmetic, and the copies themselves with a CuPy that records them and has no GPU."""

from __future__ import annotations

import ctypes
import math
import sys
import weakref
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import cuda_shim
import numpy as np
import pytest
from cuda_shim import use_stand_in
from hypothesis import given
from hypothesis import strategies as st

from gpulr import device, gpu_memory, inputs, training, transfer
from gpulr.datasets import Dataset
from gpulr.passes import PASSES, fused, vectorized
from gpulr.rows import memory


class OutOfMemoryError(MemoryError):
    pass


class Recorder:
    """CuPy as far as `gpulr.transfer` knows it. Copies are done when somebody waits for an event behind them, not before.

    The current stream is number 7, work on it is done at once, and an array is full of 77s until something arrives.

    Attributes:
        log: what was called, in order.
        limit: bytes of the GPU; `hoarded` of them are in the pool, unused.
        pinned: bytes of each pinned buffer.
    """

    def __init__(self, limit=1 << 40, hoarded=0):
        self.log, self.limit, self.hoarded, self.pinned, self.used = [], limit, hoarded, [], 0
        self._under_way = []
        recorder = self

        class Event:
            def __init__(self, *, disable_timing):
                self.last = 0

            def record(self, stream):
                assert stream.ptr == 8
                recorder.log.append("record")
                self.last = recorder.copies

            def synchronize(self):
                recorder.log.append("wait")
                recorder.finish(self.last)

        class Stream:
            """The copies' own, by what CuPy says of it; 7 is the current one."""

            def __init__(self, *, non_blocking=False, ptr=8):
                assert non_blocking or ptr == 7  # any other waits for the default stream
                self.ptr = ptr

            def record(self):
                return SimpleNamespace(last=None)

            def synchronize(self):
                recorder.log.append("settle")
                recorder.finish(recorder.copies)

            def wait_event(self, event):
                assert (event.last is None) == (self.ptr == 8)
                if self.ptr == 7:
                    recorder.log.append("follow")
                    recorder.finish(event.last)

        pool = SimpleNamespace(
            free_all_blocks=self.give_back,
            free_bytes=lambda: self.hoarded,
            used_bytes=lambda: self.used,
            get_limit=lambda: self.limit,
        )
        self.get_default_memory_pool = lambda: pool
        self.ndarray = type("ndarray", (), {})
        self.copies = self.finished = 0
        self.cuda = SimpleNamespace(
            Event=Event,
            Device=type("Device", (nullcontext,), {"id": 0}),
            Stream=Stream,
            get_current_stream=lambda: Stream(ptr=7),
            alloc_pinned_memory=self.alloc_pinned_memory,
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            runtime=SimpleNamespace(
                memcpyAsync=self.memcpy, memcpyHostToDevice=1, memGetInfo=lambda: (self.limit - self.used, self.limit)
            ),
        )

    def alloc_pinned_memory(self, nbytes):
        self.pinned.append(nbytes)
        return bytearray(nbytes)

    def give_back(self):
        self.log.append("give back")
        self.hoarded = 0

    def memcpy(self, to, source, nbytes, kind, stream):
        assert (kind, stream) == (1, 8)
        self.log.append("copy")
        self.copies += 1
        self._under_way.append((to, source, nbytes))

    def finish(self, count):
        """Do the copies up to this one: what is in the buffer now is what arrives, as on a bus that is slow."""
        while self.finished < count:
            to, source, nbytes = self._under_way[self.finished]
            ctypes.memmove(to, source, nbytes)
            self.finished += 1

    def _room(self, nbytes):
        if self.used + self.hoarded + nbytes > self.limit:
            raise OutOfMemoryError(f"Out of memory allocating {nbytes:,} bytes")
        self.used += nbytes

    def empty(self, shape, dtype):
        self._room(math.prod(shape) * np.dtype(dtype).itemsize)
        return np.full(shape, 77, dtype).view(OnDevice)

    def asarray(self, array):
        self.log.append("asarray")
        self._room(array.nbytes)
        return array.copy()


class OnDevice(np.ndarray):
    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)


@pytest.fixture
def cupy(monkeypatch):
    def set_up(**facts):
        recorder = Recorder(**facts)
        monkeypatch.setitem(sys.modules, "cupy", recorder)
        monkeypatch.setattr(transfer, "CHUNK_BYTES", 96)
        monkeypatch.setattr(transfer, "LARGE", 200)
        return recorder

    return set_up


@given(lines=st.integers(1, 200), line_bytes=st.integers(1, 50), chunk_bytes=st.integers(1, 300))
def test_chunks_are_all_of_the_array_once_and_in_order(lines, line_bytes, chunk_bytes):
    plan = transfer.chunks(lines, line_bytes, chunk_bytes)
    assert [line for chunk in plan for line in range(lines)[chunk.lines]] == list(range(lines))
    assert [chunk.offset for chunk in plan] == [chunk.lines.start * line_bytes for chunk in plan]
    assert sum(chunk.nbytes for chunk in plan) == lines * line_bytes
    assert all(chunk.nbytes <= max(chunk_bytes, line_bytes) for chunk in plan)
    assert all(one.buffer != other.buffer for one, other in pairwise(plan))


numbers = np.arange(60 * 40, dtype="float32").reshape(60, 40)
ARRAYS = {
    "C": numbers,
    "Fortran": np.asfortranarray(numbers),
    "some columns": numbers[:, 3:21],
    "every other row": numbers[::2],
    "backwards": numbers[::-1, ::-1],
    "some rows of Fortran": np.asfortranarray(numbers)[5:50],
    "one row many times": np.broadcast_to(numbers[0], (60, 40)),
    "one column many times": np.broadcast_to(numbers[:, :1], (60, 40)),
    "three dimensions": numbers.reshape(10, 6, 40)[:, 1:5],
    "turned": numbers.reshape(10, 6, 40).transpose(2, 0, 1),
    "vector": numbers.reshape(-1),
    "every third": numbers.reshape(-1)[::3],
    "bytes": numbers.astype("uint8"),
    "another byte order": numbers.astype(numbers.dtype.newbyteorder()),
    "half": numbers.astype("float16")[:, 1:],
    "float64": numbers.astype("float64"),
    "bool": numbers > 1000,
}


@pytest.mark.parametrize("name", ARRAYS)
def test_every_layout_arrives_as_it_is(name, cupy):
    recorder, array = cupy(), ARRAYS[name]
    sent = device.Device("cuda:0", "asked for").put(array)
    np.testing.assert_array_equal(sent, array)
    assert (sent.dtype, sent.shape) == (array.dtype.newbyteorder("="), array.shape)
    assert len(recorder.pinned) == 2
    assert max(recorder.pinned) <= max(96, transfer.lines_of(array)[0][0].nbytes)


def test_columns_stay_adjacent_without_the_gaps_of_the_host(cupy):
    cupy()
    assert transfer.put(ARRAYS["Fortran"]).flags.f_contiguous
    assert transfer.put(ARRAYS["some rows of Fortran"]).flags.f_contiguous
    assert transfer.put(ARRAYS["some columns"]).flags.c_contiguous


def test_a_buffer_is_filled_again_only_after_its_copy(cupy):
    recorder = cupy()
    transfer.put(np.arange(100.0))  # 800 bytes: 9 chunks of 96
    turn = ["wait", "copy", "record"]
    assert recorder.log == [*(9 * turn), "follow", "settle"]
    assert recorder.finished == recorder.copies == 9


def test_the_buffers_outlive_the_copies_also_when_one_fails(cupy, monkeypatch):
    recorder = cupy()
    filled = []

    def stops(pool, target, source):
        if len(filled) == 3:
            raise KeyboardInterrupt
        filled.append(source)
        target[...] = source

    monkeypatch.setattr(transfer, "_fill", stops)
    with pytest.raises(KeyboardInterrupt):
        transfer.put(np.arange(100.0))
    assert recorder.finished == recorder.copies == 3  # nothing is under way any more


# --- beside the first pass


def rows_on_their_way(host, rng, one_pass, log):
    """The rows of a host array that has been sent for, and a pass over them that is noted in the log."""
    X, arrival = device.Device("cuda:0", "asked for").send(host)
    m, n = host.shape
    y, w = rng.integers(0, 2, m).astype("float32"), rng.normal(size=n).astype("float32")

    def noted(X, *others):
        log.append(f"{len(X)} rows")
        return one_pass(X, *others)

    return memory.MemoryRows(X, y, arrival=arrival), noted, w


def test_the_first_pass_goes_on_beside_the_copies(cupy, rng):
    recorder, host = cupy(), numbers[:, :4].copy() / 1000  # 16 bytes a row, six to a chunk: ten chunks
    rows, one_pass, w = rows_on_their_way(host, rng, vectorized.propagate, recorder.log)
    assert (recorder.log, rows.arrival.pending) == ([], True)
    b = np.zeros((), "float32")
    found = rows.propagate(one_pass, w, b)
    turn = ["wait", "copy", "record", "follow", "6 rows"]
    assert recorder.log == [*(9 * turn), *turn[:-1], "settle", "6 rows"]
    for one, other in zip(found, vectorized.propagate(host, rows.y, w, b), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    recorder.log.clear()
    rows.propagate(one_pass, w, b)
    assert recorder.log == ["60 rows"]
    assert not rows.arrival.pending


def test_the_kernel_is_launched_for_the_rows_that_are_there_and_then_for_all(cupy, rng, monkeypatch):
    cupy()
    launches = use_stand_in(monkeypatch, fused, cuda_shim.Recorder()).launches
    rows, _, w = rows_on_their_way(numbers[:, :4].copy(), rng, None, [])
    for _ in range(2):
        rows.propagate(PASSES["fused"], w, np.zeros((), "float32"))
    read = [launch for launch in launches if launch[0].startswith("one_read")]
    assert len({launch[0] for launch in read}) == 1  # one kernel, which is compiled once
    assert [int(launch[4][2]) for launch in read] == [6] * 10 + [60]


def test_columns_that_are_adjacent_arrive_before_the_first_pass(cupy, rng):
    recorder, host = cupy(), np.asfortranarray(numbers[:, :4] / 1000)
    rows, one_pass, w = rows_on_their_way(host, rng, vectorized.propagate, recorder.log)
    rows.propagate(one_pass, w, np.zeros((), "float32"))
    assert recorder.log[-1] == "60 rows"
    assert recorder.log.count("copy") == 10
    np.testing.assert_array_equal(rows.X, host)


READERS = {
    "matmul": lambda rows, w: rows.matmul(w),
    "rmatmul": lambda rows, w: rows.rmatmul(rows.y),
    "gram": lambda rows, w: rows.gram(),
    "scatter": lambda rows, w: rows.scatter(rows.y)[0],
    "scatter of some": lambda rows, w: rows.scatter(rows.y, np.array([0, 2]))[0],
    "moments": lambda rows, w: rows.moments()[1],
    "about_moments": lambda rows, w: rows.about_moments()[0],
    "take": lambda rows, w: rows.take(np.array([1, 59])).X,
    "stored": lambda rows, w: rows.stored(slice(3, 50)),
}


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("name", READERS)
def test_nothing_reads_what_is_not_there_yet(name, order, cupy, rng):
    recorder, m = cupy(), 17000 if name == "about_moments" else 60  # which are enough for a sample
    transfer.CHUNK_BYTES *= m // 60
    host = np.asarray(rng.normal(size=(m, 4)).astype("float32"), order=order)
    rows, _, w = rows_on_their_way(host, rng, vectorized.propagate, recorder.log)
    expected = READERS[name](memory.MemoryRows(host, rows.y), w)
    np.testing.assert_allclose(READERS[name](rows, w), expected, rtol=1e-4, atol=1e-6)
    assert "asarray" not in recorder.log


def test_moments_are_formed_beside_the_copies(cupy, rng):
    recorder = cupy()
    rows, _, _ = rows_on_their_way(numbers[:, :4].copy(), rng, vectorized.propagate, recorder.log)
    rows.moments()
    assert recorder.log.count("follow") >= 10


def test_the_host_array_is_kept_until_the_last_copy_is_made(cupy):
    recorder, host = cupy(), numbers[:, :4].copy()
    alive = weakref.ref(host)
    _, arrival = transfer.send(host)
    del host
    arrival.wait(slice(0, 30))
    assert alive() is not None
    assert recorder.finished == 5 < len(arrival._chunks)
    arrival.wait()
    assert recorder.finished == recorder.copies == 10
    assert alive() is None
    assert arrival._buffers == []


def test_what_is_given_up_on_its_way_is_let_go_after_its_copies(cupy):
    recorder = cupy()
    _, arrival = transfer.send(np.arange(100.0))
    recorder.cuda.get_current_stream = lambda: SimpleNamespace(wait_event=lambda event: None)  # it never comes to that
    arrival.wait(slice(0, 30))
    assert recorder.finished < recorder.copies == 3
    del arrival
    assert recorder.finished == 3


def test_a_training_on_a_gpu_sends_the_samples_for_its_first_pass(cupy, rng, monkeypatch):
    """`gpulr.training` and the estimator, up to the rows that they make."""
    cupy()
    X, y = rng.normal(size=(60, 4)), rng.integers(0, 2, 60)
    data = Dataset("some", X, y, X[:0], y[:0], ("no", "yes"), None, 1.0)
    rows, _, _ = training._put(data, device.Device("cuda:0", "asked for"), np.dtype("float64"), "zeros", 0)
    assert rows.arrival.pending
    np.testing.assert_array_equal(rows.stored(), X)
    labels = inputs.check_labels(y, X)
    monkeypatch.setattr(inputs, "device_of", lambda array: None)
    rows = inputs.put_rows(X, labels, None, device.Device("cuda:0", "asked for"), None)
    assert rows.arrival.pending
    np.testing.assert_array_equal(rows.stored(), X)


# --- little room


def rows_with_little_room(cupy, monkeypatch, most):
    """Rows whose block may have so many numbers after conversion, else there is no room; and sizes that were tried."""
    recorder, tried = cupy(), []
    monkeypatch.setattr(memory, "GPU_BLOCK_BYTES", 1 << 12)
    monkeypatch.setattr(memory, "BLOCK_BYTES", 1 << 8)
    monkeypatch.setattr(memory, "block_bytes", lambda X: memory.GPU_BLOCK_BYTES)
    converted = memory._converted

    def in_little_room(X, dtype, origin):
        tried.append(X.size)
        if X.size > most:
            raise OutOfMemoryError(f"Out of memory allocating {X.size} numbers")
        return converted(X, dtype, origin)

    monkeypatch.setattr(memory, "_converted", in_little_room)
    X = np.random.default_rng(0).normal(size=(500, 4))
    return recorder, tried, memory.MemoryRows(X, np.ones(500, "float32"))


@pytest.mark.parametrize("name", ["matmul", "rmatmul", "scatter", "moments"])
def test_where_a_block_has_no_room_it_shrinks_and_is_tried_again(name, cupy, monkeypatch):
    recorder, tried, rows = rows_with_little_room(cupy, monkeypatch, most=300)
    w = np.ones(4, "float32")
    found = READERS[name](rows, w)
    assert tried[:4] == [1024, 1024, 512, 256]  # what the pool had may have been enough
    assert recorder.log == 3 * ["give back"]
    assert max(tried[4:]) == 256
    tried.clear()
    READERS[name](rows, w)  # from now on
    assert max(tried) == 256
    monkeypatch.undo()
    np.testing.assert_allclose(found, READERS[name](memory.MemoryRows(rows.X, rows.y), w), rtol=1e-5, atol=1e-6)


def test_a_pass_shrinks_its_blocks_too(cupy, monkeypatch):
    recorder, tried, rows = rows_with_little_room(cupy, monkeypatch, most=300)
    rows = replace(rows, origin=np.ones(4))
    w, b = np.ones(4, "float32"), np.zeros((), "float32")
    found = rows.propagate(vectorized.propagate, w, b)
    assert tried[:4] == [1024, 1024, 512, 256]
    assert recorder.log == 3 * ["give back"]
    for one, other in zip(found, vectorized.propagate((rows.X - 1).astype("float32"), rows.y, w, b), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_where_the_smallest_block_has_no_room_either_that_is_the_end(cupy, monkeypatch):
    _, tried, rows = rows_with_little_room(cupy, monkeypatch, most=10)
    with pytest.raises(OutOfMemoryError):
        rows.rmatmul(rows.y)
    assert tried == [1024, 1024, 512, 256, 128, 64]
    tried.clear()
    with pytest.raises(OutOfMemoryError):
        rows.rmatmul(rows.y)
    assert tried == [64, 64]


def test_nothing_else_is_tried_again(cupy):
    recorder = cupy()
    rows = memory.MemoryRows(np.ones((5, 2)), np.ones(5))
    with pytest.raises(ValueError, match="aligned"):
        rows.rmatmul(np.ones(3))
    assert recorder.log == []


def test_what_is_small_goes_as_cupy_sends_it(cupy):
    recorder = cupy()
    transfer.put(np.arange(10.0))
    assert recorder.log == ["asarray"]


@pytest.mark.parametrize("size", [10, 100])
def test_the_pool_is_given_back_and_asked_once_more(cupy, size):
    recorder = cupy(limit=1000, hoarded=950)
    np.testing.assert_array_equal(transfer.put(np.arange(float(size))), np.arange(size))
    assert recorder.log[0] in ("asarray", "give back")
    assert recorder.log.count("give back") == 1


def test_no_room_is_told_with_what_is_free_and_what_to_do(cupy):
    cupy(limit=3 << 28)
    array = np.broadcast_to(np.zeros(1, "uint8"), (1 << 30,))  # no memory of the host
    with pytest.raises(
        MemoryError, match=r"1\.00 GiB were asked for, 0\.75 of 0\.75 GiB are free on cuda:0.*device='cpu'"
    ):
        transfer.put(array)


def test_what_the_work_on_a_gpu_lacks_is_told_too(cupy):
    cupy(limit=1 << 30)
    place = device.Device("cuda:0", "asked for")
    message = r"Out of memory allocating 5 bytes, 1\.00 of 1\.00 GiB are free"
    with pytest.raises(MemoryError, match=message) as error, place.current():
        raise OutOfMemoryError("Out of memory allocating 5 bytes")
    assert not isinstance(error.value, OutOfMemoryError)
    with pytest.raises(ValueError, match="other"), place.current():
        raise ValueError("other")


def test_room_is_within_the_limit_of_the_pool(cupy):
    recorder = cupy(limit=1000, hoarded=200)
    recorder.used = 300
    assert gpu_memory.room() == (700, 1000)
    recorder.cuda.runtime.memGetInfo = lambda: (100, 5000)  # others use the GPU
    assert gpu_memory.room() == (300, 1000)
    recorder.limit = 0  # none
    assert gpu_memory.room() == (300, 5000)


def test_blocks_shrink_where_there_is_little_room():
    usual = memory.GPU_BLOCK_BYTES
    assert memory._fitting(usual, 100 * usual) == usual
    assert memory._fitting(usual, 4 * usual) == usual
    assert memory._fitting(usual, 4 * usual - 1) == usual // 2
    assert memory._fitting(usual, 0) == memory.BLOCK_BYTES


def test_large_host_arrays_are_sent_whole(monkeypatch):
    """Of real size, through real buffers of the real sizes: more than two chunks, the last a short one."""
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, "cupy", recorder)
    array = np.arange((70 << 20) // 2, dtype="uint16").reshape(-1, 1024)[:, :1000]
    np.testing.assert_array_equal(transfer.put(array), array)
    assert recorder.copies == 3
