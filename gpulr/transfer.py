"""From host memory to a GPU: large arrays in their own dtype through two pinned buffers, row by row as they are needed.

The driver copies from ordinary memory no faster than it can stage it itself, and `cupy.asarray` makes a pinned copy of the
whole array, which takes the host's memory once more and longer to lock than the bus takes to carry it. Here two small
buffers take turns: threads fill one while the bus empties the other. An event behind each copy tells when its buffer may
be filled again, and nothing is let go before the last one.

The copies have a stream of their own. Who goes through an array that is on its way (`Arrival`) asks for some rows, launches
the work on them, and asks for the next: these are copied while the GPU works.

What goes where is plain arithmetic (`chunks`, `lines_of`); CuPy is imported where bytes are moved.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_left
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any
from weakref import finalize

import numpy as np

from gpulr.gpu_memory import with_room

# Bytes of a pinned buffer: large beside what it costs to start a copy, small enough to be locked at once.
CHUNK_BYTES = 32 << 20
BUFFERS = 2

# What is smaller goes as CuPy sends it; two chunks would not overlap.
LARGE = 2 * CHUNK_BYTES

# One core copies slower than the bus carries.
FILLERS = 4


@dataclass(frozen=True)
class Chunk:
    """A part of an array on its way.

    Attributes:
        lines: which of its lines.
        offset, nbytes: where they go in the array on the device.
        buffer: through which of the buffers.
    """

    lines: slice
    offset: int
    nbytes: int
    buffer: int


def chunks(lines: int, line_bytes: int, chunk_bytes: int) -> list[Chunk]:
    """All of an array of so many lines in chunks of at most `chunk_bytes`, or of one line where that is longer."""
    step = max(1, chunk_bytes // line_bytes)
    starts = range(0, lines, step)
    return [
        Chunk(slice(start, stop), start * line_bytes, (stop - start) * line_bytes, number % BUFFERS)
        for number, start in enumerate(starts)
        if (stop := min(start + step, lines))
    ]


def lines_of(array: np.ndarray) -> tuple[np.ndarray, Callable[[Any], Any]]:
    """A view of the array that is to be sent line by line, and the way from what arrives to the array's shape.

    The device gets the memory order of the host without its gaps: columns stay adjacent where they are. What has no gaps is
    one long line of numbers, in which a chunk may end anywhere.
    """
    if array.flags.c_contiguous:
        return array.reshape(-1), lambda sent: sent.reshape(array.shape)
    if array.ndim > 1 and 0 < abs(array.strides[0]) < abs(array.strides[-1]):
        lines, back = lines_of(array.T)
        return lines, lambda sent: back(sent).T
    return array, lambda sent: sent


def put(array: np.ndarray) -> Any:
    """A copy of the array on the current GPU, in the same dtype and memory order.

    It is complete for whatever is launched next on CuPy's current stream. The host's array may be changed or freed at once.

    Raises:
        MemoryError: it does not fit; says how much was asked for, how much is free, and what to do.
    """
    sent, arrival = send(array)
    if arrival is not None:
        arrival.wait()
    return sent


def send(array: np.ndarray) -> tuple[Any, Arrival | None]:
    """`put` without a wait: a large array comes with its `Arrival`, which has to be asked for every part that is read."""
    import cupy

    if not array.dtype.isnative:  # GPUs have one byte order only
        array = array.astype(array.dtype.newbyteorder("="))
    if array.nbytes < LARGE:
        return with_room(partial(cupy.asarray, array), array.nbytes), None
    arrival = Arrival(array)
    return arrival.array, arrival


class Arrival:
    """A large host array on its way to the current GPU. What nobody has asked for is not sent.

    Attributes:
        array: the one on the GPU, in the same dtype and memory order, with whatever is in its memory until it is there.
    """

    def __init__(self, array: np.ndarray) -> None:
        import cupy

        lines, back = lines_of(array)
        sent = with_room(partial(cupy.empty, lines.shape, lines.dtype), lines.nbytes)
        self.array, self._to = back(sent), sent.data.ptr
        # All rows have a piece of every line where columns are adjacent.
        self._lines_a_row = len(lines) / len(array) if array.ndim == 1 or self.array.flags.c_contiguous else math.inf
        line_bytes = lines.itemsize * math.prod(lines.shape[1:])
        self._chunks, self._sent = chunks(len(lines), line_bytes, CHUNK_BYTES), 0
        self._buffers = [_pinned(max(chunk.nbytes for chunk in self._chunks)) for _ in range(BUFFERS)]
        self._copied = [cupy.cuda.Event(disable_timing=True) for _ in range(BUFFERS)]
        # Held to the last event, as the buffers are.
        self._lines: np.ndarray | None = lines
        self._stream = cupy.cuda.Stream(non_blocking=True)
        # The pool's memory may still be in use by what was launched before it was given back to it.
        self._stream.wait_event(cupy.cuda.get_current_stream().record())
        # Also after Ctrl-C: memory that is given up while the bus reads or writes it could be another's by then.
        self._settle = finalize(self, self._stream.synchronize)
        self._settle.atexit = False

    @property
    def pending(self) -> bool:
        """Whether something is not there yet."""
        return self._lines is not None

    def parts(self, rows: slice) -> list[slice]:
        """Some rows in parts that are worth a chunk; all at once where none is there before the last chunk."""
        if not self.pending or self._lines_a_row == math.inf:
            return [rows]
        step = max(1, CHUNK_BYTES * self.array.shape[0] // self.array.nbytes)
        return [slice(start, min(start + step, rows.stop)) for start in range(rows.start, rows.stop, step)]

    def wait(self, rows: slice | None = None) -> None:
        """Whatever is launched next on CuPy's current stream finds these rows, by default all, on the GPU.

        Of the host this takes the time to fill the buffers, and for the last rows that of the copies.
        """
        if self._lines is None:
            return
        import cupy

        stop = self.array.shape[0] if rows is None or rows.stop is None else rows.stop
        needed = bisect_left(self._chunks, stop * self._lines_a_row, key=lambda chunk: chunk.lines.start)
        if self._sent < needed:
            with ThreadPoolExecutor(min(FILLERS, os.cpu_count() or 1), thread_name_prefix="gpulr-fill") as pool:
                for chunk in self._chunks[self._sent : needed]:
                    self._send(pool, self._lines, chunk)
                    self._sent += 1
        if self._sent:
            cupy.cuda.get_current_stream().wait_event(self._copied[self._chunks[self._sent - 1].buffer])
        if self._sent == len(self._chunks):
            self._settle()
            self._lines, self._buffers = None, []

    def _send(self, pool: ThreadPoolExecutor, lines: np.ndarray, chunk: Chunk) -> None:
        self._copied[chunk.buffer].synchronize()  # what was never recorded is no reason to wait
        staged = self._buffers[chunk.buffer][: chunk.nbytes]
        _fill(pool, staged.view(lines.dtype).reshape(-1, *lines.shape[1:]), lines[chunk.lines])
        _copy(self._to + chunk.offset, staged, self._stream)
        self._copied[chunk.buffer].record(self._stream)


def _pinned(nbytes: int) -> np.ndarray:
    import cupy

    return np.frombuffer(cupy.cuda.alloc_pinned_memory(nbytes), np.uint8, nbytes)


def _fill(pool: ThreadPoolExecutor, target: np.ndarray, source: np.ndarray) -> None:
    """Copy source to target, of the same shape, in as many parts as there are threads."""
    edges = np.linspace(0, len(source), FILLERS + 1).astype(int)
    parts = [slice(start, stop) for start, stop in pairwise(edges) if stop > start]
    for _ in pool.map(lambda part: np.copyto(target[part], source[part]), parts):
        pass


def _copy(to: int, staged: np.ndarray, stream: Any) -> None:
    import cupy

    runtime = cupy.cuda.runtime
    runtime.memcpyAsync(to, staged.ctypes.data, staged.nbytes, runtime.memcpyHostToDevice, stream.ptr)
