"""Blocks of rows over the cores of the host: one core a block, several blocks at once, results in the order of the blocks.

A BLAS library that splits one product over its threads adds in an order that depends on their number, and loses much time
where another process wants the same cores. Whole blocks on single threads do neither.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import joblib
import numpy as np
from threadpoolctl import ThreadpoolController

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class _Workers:
    """`count` threads; without a pool, blocks are done one by one."""

    pool: ThreadPoolExecutor | None = None
    count: int = 1


# None outside of `one_core_a_block`.
_workers: ContextVar[_Workers | None] = ContextVar("workers", default=None)


@contextmanager
def one_core_a_block() -> Iterator[None]:
    """Within this, BLAS has one thread, and `ordered` works on as many blocks at once as BLAS had threads before.

    The number of BLAS threads belongs to the process, so only its main thread changes it. In another thread, where others
    are likely to work beside it, blocks are done one by one with BLAS as it is: the bits may then depend on its threads.
    """
    if threading.current_thread() is not threading.main_thread():
        with _set(_Workers()):
            yield
        return
    controller = _controller()
    cores = max((library.num_threads for library in controller.select(user_api="blas").lib_controllers), default=1)
    with controller.limit(limits=1, user_api="blas"):
        if cores == 1:
            with _set(_Workers()):
                yield
            return
        # Its threads are started by the first block that needs one: small data never do.
        pool = ThreadPoolExecutor(cores, thread_name_prefix="gpulr")
        try:
            with _set(_Workers(pool, cores)):
                yield
        finally:
            # After Ctrl-C nobody waits for what is still under way.
            pool.shutdown(wait=False, cancel_futures=True)


@cache
def cores() -> int:
    """The cores of this machine that the process, or its container, may use."""
    return int(joblib.cpu_count())


@cache
def _controller() -> ThreadpoolController:
    """The BLAS libraries of this process; finding them takes as long as a small fit."""
    import scipy.linalg  # noqa: F401  # SciPy has one of its own, which must be loaded to be found

    return ThreadpoolController()


@contextmanager
def _set(workers: _Workers) -> Iterator[None]:
    token = _workers.set(workers)
    try:
        yield
    finally:
        _workers.reset(token)


def in_blocks() -> bool:
    """Whether products are to be made block by block: within `one_core_a_block`, whatever the number of cores."""
    return _workers.get() is not None


def ordered(function: Callable[[T], R], items: Sequence[T], at_once: int | None = None) -> Iterator[R]:
    """function(item) for each item, in order; several at once within `one_core_a_block`.

    A few items a worker, or `at_once`, are under way at a time, so that not all results have to be in memory at once. After
    one has failed no other is begun.
    """
    workers = _workers.get() or _Workers()
    if workers.pool is None or len(items) <= 1:
        yield from map(function, items)
        return
    under_way: deque[Future[R]] = deque()
    at_once = 4 * workers.count if at_once is None else at_once
    errors = np.geterr()  # a thread has its own settings

    def work(item: T) -> R:
        with np.errstate(**errors):
            return function(item)

    try:
        for item in items:
            under_way.append(workers.pool.submit(work, item))
            if len(under_way) == at_once:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()


def interruptible(function: Callable[[], R]) -> R:
    """function(), one long call of a library, such that Ctrl-C is felt while it lasts.

    Python looks at signals between its own steps only; the main thread makes them while it waits for another thread.
    """
    workers = _workers.get()
    return function() if workers is None or workers.pool is None else workers.pool.submit(function).result()
