"""One forward and backward pass against one plain read of X, for every kind of pass, on the CPU and on a GPU.

A pass cannot be faster than memory gives X to it: reads of X is the figure that tells how much there is to gain.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from gpulr import device as devices
from gpulr.bench import clock, machine
from gpulr.bench.clock import HOST
from gpulr.bench.effort import Effort
from gpulr.bench.notebook import lesson_propagate
from gpulr.bench.sizes import random_matrix
from gpulr.device import Array, Device
from gpulr.parallel import one_core_a_block
from gpulr.passes import CUPY_ONLY, HOST_ONLY, PASSES, named
from gpulr.rows import MemoryRows

SHAPES = {
    "1e6x100": (1_000_000, 100),
    "1e5x1e3": (100_000, 1_000),
    "1e4x1e4": (10_000, 10_000),
    "3e6x32": (3_000_000, 32),
    "2.5e4x4e3": (25_000, 4_000),
}
DTYPES = ("float32", "float64", "uint8", "float16")
LOOP_ENTRIES = 200_000
"""Of X, that the pass in `for` loops is timed on: a tenth of a second."""

FEWEST = 0.01
"""Share of the rows below which an X that has been cut to the free memory is not worth timing."""


@dataclass
class Timing:
    """A kind of pass on one X and device.

    Attributes:
        rows, columns, dtype: of X.
        device: "cpu" or "cuda:N"; "cuda" where there is none.
        one_pass: its name in `gpulr.passes.PASSES`, or "lesson".
        seconds: of each round, for all of X; on a GPU X is there already.
        clock: "host", or on a GPU "GPU events"; see `gpulr.bench.clock`.
        read_seconds: of the plain reads, of which there was one before each pass, whichever it was.
        copy_seconds: of copies of X from the GPU's memory to itself, one a round; empty on the CPU.
        transfer_seconds: of moves of X to the GPU; empty on the CPU.
        extra_bytes: peak memory above that before the pass; None on a GPU or if it cannot run.
        extrapolated: timed on a few rows, and as many times slower for all.
        why_not: why there are no seconds; None if there are.
    """

    rows: int
    columns: int
    dtype: str
    device: str
    one_pass: str
    seconds: list[float] = field(default_factory=list)
    read_seconds: list[float] = field(default_factory=list)
    copy_seconds: list[float] = field(default_factory=list)
    transfer_seconds: list[float] = field(default_factory=list)
    extra_bytes: int | None = None
    extrapolated: bool = False
    why_not: str | None = None
    clock: str = HOST


def passes(
    effort: Effort,
    *,
    shapes: Sequence[str] | None = None,
    dtypes: Sequence[str] = DTYPES,
    threads: int | None = None,
    progress: clock.Progress = clock.silent,
) -> dict[str, Any]:
    """Race the passes over several shapes and dtypes of X.

    Args:
        effort: how large and how often.
        shapes: keys of `SHAPES`, with as many rows as the effort's entries make. None: as the effort has it.
        dtypes: of X.
        threads: on the CPU; None for all cores.
        progress: called with what is done next.

    Returns:
        JSON values: timings, a list of `Timing`; threads; cache_bytes, see `gpulr.bench.machine`; notes, a line on each X
        that has fewer rows because memory is short.
    """
    threads = threads or machine.cores()
    gpu = devices.choose("auto")
    timings: list[Timing] = []
    notes: list[str] = []
    for shape in shapes or list(SHAPES)[: effort.pass_shapes]:
        for dtype in dtypes:
            wanted, n = _shape(shape, dtype, effort)
            rows, why = _fitting(wanted, n, dtype)
            progress(f"pass over {rows:,} × {n:,} {dtype}")
            if rows < max(2, FEWEST * wanted):
                timings.append(Timing(wanted, n, dtype, "cpu", "all", why_not=why))
                continue
            notes += [f"{why}: {rows:,} rows in their place"] if why else []
            timings += _everywhere((rows, n), dtype, effort.repeats, threads, gpu)
    return {
        "timings": [asdict(timing) for timing in timings],
        "threads": threads,
        "cache_bytes": machine.cache_bytes(),
        "notes": notes,
    }


def _everywhere(shape: tuple[int, int], dtype: str, repeats: int, threads: int, gpu: Device) -> list[Timing]:
    """On the CPU and on the GPU. X is given back at the end, before the next one is made."""
    X = random_matrix(np.random.default_rng(0), shape, dtype)
    return on_cpu(X, repeats, threads) + on_gpu(X, repeats, gpu)


def _shape(shape: str, dtype: str, effort: Effort) -> tuple[int, int]:
    """Rows and columns of one of `SHAPES`, as the effort has it."""
    rows, n = SHAPES[shape]
    return max(2, round(rows * effort.pass_entries / 10**8), -(-effort.pass_bytes // (n * np.dtype(dtype).itemsize))), n


def _fitting(rows: int, n: int, dtype: str) -> tuple[int, str | None]:
    """So many of the rows as there is memory for, and why there are fewer; None where there are all.

    Memory for X and for a copy of it in float32, or float64 of that: what it is drawn in, and what the lesson converts to.
    """
    need = 2 * rows * n * max(4, np.dtype(dtype).itemsize)
    free, _ = devices.host_memory()
    if need <= free:
        return rows, None
    why = f"{rows:,} × {n:,} {dtype} would take {need / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
    return int(rows * (free / need)), why


def on_cpu(X: np.ndarray, repeats: int, threads: int) -> list[Timing]:
    """Time every kind of pass on X (m, n), in rounds, with a plain read of X before each.

    The computation is in float64 for float64, otherwise in float32. The threads are those of BLAS, which `gpulr.parallel`
    gives one block of rows each.
    """
    cpu = devices.choose("cpu")
    m, n = X.shape
    y, w = _labels_and_weights(X)
    timings, calls = [], []
    reads: list[float] = []
    with ThreadPoolExecutor(threads) as pool, threadpool_limits(threads, user_api="blas"), one_core_a_block():
        for name in ("lesson", *(name for name in PASSES if name not in CUPY_ONLY)):
            some = max(1, min(m, LOOP_ENTRIES // n)) if name == "loop" else m
            timing = Timing(m, n, str(X.dtype), "cpu", name, read_seconds=reads, extrapolated=some < m)
            timings.append(timing)
            try:
                call = _pass(name, X[:some], y[:some], w)
            except (RuntimeError, ValueError) as error:  # not installed
                timing.why_not = str(error)
                continue
            with _scope(name, threads):
                timing.extra_bytes = _extra_bytes(call)  # compiles and warms up, too
            calls.append((timing, call, m / some))
        for _ in range(repeats):
            for timing, call, times in calls:
                with _scope(timing.one_pass, threads):
                    reads.append(machine.read_seconds(X, pool))
                    timing.seconds.append(clock.seconds(call, cpu) * times)
    return timings


def on_gpu(X: np.ndarray, repeats: int, gpu: Device) -> list[Timing]:
    """The same on a GPU: kernel time by events, and apart from it the move of X (m, n) there, a read and a copy of it."""
    m, n = X.shape
    names = [name for name in ("lesson", *PASSES) if name not in ("loop", *HOST_ONLY)]
    if gpu.index is None:
        return [Timing(m, n, str(X.dtype), "cuda", name, why_not=gpu.reason) for name in names]
    try:
        return _on_gpu(X, repeats, gpu, names)
    except MemoryError as error:  # what is free there does not hold X, or not two of it
        return [Timing(m, n, str(X.dtype), gpu.name, name, why_not=str(error)) for name in names]


def _on_gpu(X: np.ndarray, repeats: int, gpu: Device, names: Sequence[str]) -> list[Timing]:
    m, n = X.shape
    with gpu.current():
        moves = [clock.seconds(partial(gpu.put, X), gpu) for _ in range(repeats + 1)][1:]  # the first one allocates
        placed = gpu.put(X)
        y, w = (gpu.put(array) for array in _labels_and_weights(X))
        flat = placed.reshape(-1).view("uint8")
        words = flat[: flat.size // 8 * 8].view("int64")
        reads: list[float] = []
        copies: list[float] = []
        timings, calls = [], []
        for name in names:
            timing = Timing(m, n, str(X.dtype), gpu.name, name, [], reads, copies, moves, clock=clock.name_of(gpu))
            timings.append(timing)
            try:
                call = _pass(name, placed, y, w)
                clock.gpu_seconds(call, gpu, name, 1)  # compiles
            except (MemoryError, RuntimeError, ValueError) as error:
                timing.why_not = str(error)
            else:
                calls.append((timing, call))
        for _ in range(repeats):
            copies += clock.gpu_seconds(placed.copy, gpu, "copy", 1)
            for timing, call in calls:
                reads += clock.gpu_seconds(words.sum, gpu, "read", 1)
                timing.seconds += clock.gpu_seconds(call, gpu, timing.one_pass, 1)
    return timings


def _labels_and_weights(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    m, n = X.shape
    dtype = np.dtype(np.float64 if X.dtype == np.float64 else np.float32)
    w = rng.standard_normal(n) / np.sqrt(n) / (255 if X.dtype == np.uint8 else 1)
    return rng.integers(0, 2, m).astype(dtype), w.astype(dtype)


def _pass(name: str, X: Array, y: Array, w: Array) -> Callable[[], object]:
    """A call of one pass. The lesson converts X as a whole at each, for it has no other way to take what is not its type."""
    if name == "lesson":
        column, row = w[:, None], y[None, :]
        return lambda: lesson_propagate(column, 0.0, X.astype(w.dtype, copy=False).T, row)
    _, one_pass = named(name, X)
    return partial(MemoryRows(X, y).propagate, one_pass, w, w[0] * 0)


def _scope(name: str, threads: int) -> AbstractContextManager[object]:
    """gpulr gives each core a block of rows, with BLAS at one thread; the lesson knows no blocks: its threads are BLAS's."""
    return threadpool_limits(threads, user_api="blas") if name == "lesson" else nullcontext()


def _extra_bytes(call: Callable[[], object]) -> int:
    """Peak memory of a call above that before it, of arrays and Python objects.

    Not that of the process, which keeps what earlier passes have freed. The first call warms up: what it loads stays.
    """
    call()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
