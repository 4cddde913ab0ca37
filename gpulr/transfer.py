"""From host memory to a GPU: large arrays in their own dtype through two pinned buffers, and what to say where no room is.

The driver copies from ordinary memory no faster than it can stage it itself, and `cupy.asarray` makes a pinned copy of the
whole array, which takes the host's memory once more and longer to lock than the bus takes to carry it. Here two small
buffers take turns: threads fill one while the bus empties the other. An event behind each copy tells when its buffer may
be filled again, and nothing is let go before the last one.

What goes where is plain arithmetic (`chunks`, `lines_of`); CuPy is imported where bytes are moved.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

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
    import cupy

    if array.nbytes < LARGE:
        return with_room(partial(cupy.asarray, array), array.nbytes)
    lines, back = lines_of(array)
    sent = with_room(partial(cupy.empty, lines.shape, lines.dtype), lines.nbytes)
    _send(lines, sent.data.ptr)
    return back(sent)


def with_room(allocate: Callable[[], T], nbytes: int) -> T:
    """allocate(), once more after all unused memory is given back where there was no room.

    CuPy's pool gives its own blocks back when the GPU is full, but not when a limit of the pool is reached; and PyTorch's
    cache is not its to empty.

    Args:
        allocate: takes memory on the current GPU.
        nbytes: how much, for the message.

    Raises:
        MemoryError: there is still no room.
    """
    import cupy

    try:
        return allocate()
    except cupy.cuda.memory.OutOfMemoryError:
        give_back()
    with explained(nbytes):
        return allocate()


def give_back() -> None:
    """Return to the driver what CuPy's pool, and PyTorch's where it is in use, hold of the current GPU and do not use."""
    import sys

    import cupy

    cupy.get_default_memory_pool().free_all_blocks()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


@contextmanager
def explained(nbytes: int | None = None) -> Iterator[None]:
    """Within this, CuPy's OutOfMemoryError is a MemoryError that says what is free on the current GPU and what to do.

    Args:
        nbytes: how much was asked for; None where CuPy's own message is the only one to tell.
    """
    import cupy

    try:
        yield
    except cupy.cuda.memory.OutOfMemoryError as error:
        free, total = room()
        asked = f"{nbytes / 2**30:.2f} GiB were asked for" if nbytes is not None else str(error)
        raise MemoryError(
            f"the GPU has no room: {asked}, {free / 2**30:.2f} of {total / 2**30:.2f} GiB are free on "
            f"cuda:{cupy.cuda.Device().id}. Store X in a smaller dtype (uint8, int8 and float16 are not widened), see by "
            "nvidia-smi what else is on this GPU, choose another (device='cuda:1') or device='cpu'"
        ) from error


def room() -> tuple[int, int]:
    """Bytes that can still be had on the current GPU, and of how many: within the limit of CuPy's pool where it has one."""
    import cupy

    pool = cupy.get_default_memory_pool()
    free, total = cupy.cuda.runtime.memGetInfo()
    free, limit = free + pool.free_bytes(), pool.get_limit()
    if limit:
        return max(0, min(free, limit - pool.used_bytes())), min(total, limit)
    return int(free), int(total)


def _send(lines: np.ndarray, to: int) -> None:
    """Copy all lines to the address `to` on the device, and wait until the last of them has left its buffer."""
    import cupy

    line_bytes = lines.itemsize * math.prod(lines.shape[1:])
    plan = chunks(len(lines), line_bytes, CHUNK_BYTES)
    stream = cupy.cuda.get_current_stream()
    buffers = [_pinned(max(chunk.nbytes for chunk in plan)) for _ in range(BUFFERS)]
    copied = [cupy.cuda.Event(disable_timing=True) for _ in range(BUFFERS)]
    try:
        with ThreadPoolExecutor(min(FILLERS, os.cpu_count() or 1), thread_name_prefix="gpulr-fill") as pool:
            for chunk in plan:
                copied[chunk.buffer].synchronize()  # what was never recorded is no reason to wait
                staged = buffers[chunk.buffer][: chunk.nbytes]
                _fill(pool, staged.view(lines.dtype).reshape(-1, *lines.shape[1:]), lines[chunk.lines])
                _copy(to + chunk.offset, staged, stream)
                copied[chunk.buffer].record(stream)
    finally:
        # Also after Ctrl-C: a buffer that is given up while the bus reads from it could be another's by then.
        for event in copied:
            event.synchronize()


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
