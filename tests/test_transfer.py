"""The way to a GPU: its arithmetic, and the copies themselves with a CuPy that records them and has no GPU."""

from __future__ import annotations

import ctypes
import sys
from contextlib import nullcontext
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpulr import device, transfer
from gpulr.rows import memory


class OutOfMemoryError(MemoryError):
    pass


class Recorder:
    """CuPy as far as `gpulr.transfer` knows it. Copies are done when somebody waits for an event behind them, not before.

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
                recorder.log.append("record")
                self.last = recorder.copies

            def synchronize(self):
                recorder.log.append("wait")
                recorder.finish(self.last)

        pool = SimpleNamespace(
            free_all_blocks=self.give_back,
            free_bytes=lambda: self.hoarded,
            used_bytes=lambda: self.used,
            get_limit=lambda: self.limit,
        )
        self.get_default_memory_pool = lambda: pool
        self.copies = self.finished = 0
        self.cuda = SimpleNamespace(
            Event=Event,
            Device=type("Device", (nullcontext,), {"id": 0}),
            get_current_stream=lambda: SimpleNamespace(ptr=7),
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
        assert (kind, stream) == (1, 7)
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
        array = np.zeros(shape, dtype).view(OnDevice)
        self._room(array.nbytes)
        return array

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
    "half": numbers.astype("float16")[:, 1:],
    "float64": numbers.astype("float64"),
    "bool": numbers > 1000,
}


@pytest.mark.parametrize("name", ARRAYS)
def test_every_layout_arrives_as_it_is(name, cupy):
    recorder, array = cupy(), ARRAYS[name]
    sent = device.Device("cuda:0", "asked for").put(array)
    np.testing.assert_array_equal(sent, array)
    assert (sent.dtype, sent.shape) == (array.dtype, array.shape)
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
    assert recorder.log == [*(9 * turn), "wait", "wait"]
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
    assert transfer.room() == (700, 1000)
    recorder.cuda.runtime.memGetInfo = lambda: (100, 5000)  # others use the GPU
    assert transfer.room() == (300, 1000)
    recorder.limit = 0  # none
    assert transfer.room() == (300, 5000)


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
