"""Blocks of rows over the cores of the host: one core a block, several blocks at once, results in the order of the blocks.

A BLAS library that splits one product over its threads adds in an order that depends on their number, and loses much time
where another process wants the same cores. Whole blocks on single threads do neither.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from threadpoolctl import ThreadpoolController

T = TypeVar("T")
R = TypeVar("R")

_workers: ContextVar[int | None] = ContextVar("workers", default=None)


@contextmanager
def one_core_a_block() -> Iterator[None]:
    """Within this, BLAS has one thread, and `ordered` works on as many blocks at once as BLAS had threads before.

    The number of BLAS threads belongs to the process, so only its main thread changes it. In another thread, where others
    are likely to work beside it, blocks are done one by one with BLAS as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        with _set(1):
            yield
        return
    controller = ThreadpoolController()
    libraries = controller.select(user_api="blas").lib_controllers
    cores = max((library.num_threads for library in libraries), default=1)
    with _set(cores), controller.limit(limits=1, user_api="blas"):
        yield


@contextmanager
def _set(workers: int) -> Iterator[None]:
    token = _workers.set(workers)
    try:
        yield
    finally:
        _workers.reset(token)


def in_blocks() -> bool:
    """Whether products are to be made block by block: within `one_core_a_block`, whatever the number of cores."""
    return _workers.get() is not None


def ordered(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """function(item) for each item, in order; several at once within `one_core_a_block`.

    A few items a worker are under way at a time, so that not all results have to be in memory at once.
    """
    workers = min(_workers.get() or 1, len(items))
    if workers <= 1:
        yield from map(function, items)
        return
    chunk = 4 * workers
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(items), chunk):
            yield from pool.map(function, items[start : start + chunk])
