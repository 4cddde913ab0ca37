"""Room on a GPU: given back, asked for once more, and explained where there is none.

What CuPy holds is looked for in its default memory pool. With another allocator (cupy.cuda.set_allocator) nothing can be
given back, and what that holds counts as used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


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
    """Return to the driver what the pools of CuPy and PyTorch, where they are in use, hold of the current GPU unused."""
    cupy, torch = sys.modules.get("cupy"), sys.modules.get("torch")
    if cupy is not None:
        cupy.get_default_memory_pool().free_all_blocks()
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def out_of_memory() -> tuple[type[Exception], ...]:
    """The errors by which CuPy and PyTorch, where they are in use, say that a GPU has no room; for `except`."""
    cupy, torch = sys.modules.get("cupy"), sys.modules.get("torch")
    kinds = [] if cupy is None else [cupy.cuda.memory.OutOfMemoryError]
    return (*kinds, *([] if torch is None else [torch.cuda.OutOfMemoryError]))


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
