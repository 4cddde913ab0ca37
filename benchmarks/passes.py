"""`python -m benchmarks pass`: one forward and backward pass against one plain read of X, for every kind of pass."""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Column, Table
from threadpoolctl import threadpool_limits

from benchmarks import machine, options
from gpulr.parallel import one_core_a_block
from gpulr.passes import PASSES
from gpulr.rows import MemoryRows

SHAPES = {"1e6x100": (1_000_000, 100), "1e5x1e3": (100_000, 1_000), "1e4x1e4": (10_000, 10_000)}
DTYPES = ("float32", "float64", "uint8", "float16")
LOOP_ENTRIES = 200_000
"""Of X, that the pass in `for` loops is timed on: a tenth of a second."""


@dataclass
class Timing:
    """A kind of pass on one X.

    Attributes:
        rows, columns, dtype: of X.
        one_pass: its name in `gpulr.passes.PASSES`.
        seconds: of each round, for all of X.
        read_seconds: of the plain reads, of which there was one before each pass, whichever it was.
        extra_bytes: peak memory above that before the pass; None if it cannot run.
        extrapolated: timed on a few rows, and as many times slower for all.
        why_not: why there are no seconds; None if there are.
    """

    rows: int
    columns: int
    dtype: str
    one_pass: str
    seconds: list[float] = field(default_factory=list)
    read_seconds: list[float] = field(default_factory=list)
    extra_bytes: int | None = None
    extrapolated: bool = False
    why_not: str | None = None


def race(X: np.ndarray, repeats: int, threads: int) -> list[Timing]:
    """Time every kind of pass on X (m, n), in rounds, with a plain read of X before each.

    The computation is in float64 for float64, otherwise in float32. The threads are those of BLAS, which `gpulr.parallel`
    gives one block of rows each.
    """
    rng = np.random.default_rng(0)
    m, n = X.shape
    dtype = np.float64 if X.dtype == np.float64 else np.float32
    y = rng.integers(0, 2, m).astype(dtype)
    w = (rng.standard_normal(n) / np.sqrt(n) / (255 if X.dtype == np.uint8 else 1)).astype(dtype)
    timings, calls = [], []
    with ThreadPoolExecutor(threads) as pool, _cores(threads):
        for name, one_pass in PASSES.items():
            some = max(1, min(m, LOOP_ENTRIES // n)) if name == "loop" else m
            call = partial(MemoryRows(X[:some], y[:some]).propagate, one_pass, w, dtype(0))
            timing = Timing(m, n, str(X.dtype), name, extrapolated=some < m)
            timings.append(timing)
            try:
                timing.extra_bytes = _extra_bytes(call)  # compiles and warms up, too
            except ImportError as error:
                timing.why_not = str(error)
            else:
                calls.append((timing, call, m / some))
        reads = []
        for _ in range(repeats):
            for timing, call, times in calls:
                reads.append(machine.read_seconds(X, pool))
                timing.seconds.append(_seconds(call) * times)
    for timing in timings:
        timing.read_seconds = reads
    return timings


def draw(shape: tuple[int, int], dtype: str) -> np.ndarray:
    """X of bytes from 0 to 255, or of standard normal numbers."""
    rng = np.random.default_rng(0)
    if dtype == "uint8":
        return rng.integers(0, 256, shape, np.uint8)
    return rng.standard_normal(shape, np.float64 if dtype == "float64" else np.float32).astype(dtype, copy=False)


@click.command("pass")
@click.option(
    "--shape",
    "shapes",
    type=click.Choice(list(SHAPES)),
    multiple=True,
    default=tuple(SHAPES),
    show_default=True,
    help="Repeat for several.",
)
@click.option(
    "--dtype",
    "dtypes",
    type=click.Choice(DTYPES),
    multiple=True,
    default=DTYPES,
    show_default=True,
    help="Of X; repeat for several.",
)
@click.option(
    "--scale", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True, help="Share of the rows."
)
@options.repeats
@options.threads
@options.as_json
def one_pass(
    shapes: tuple[str, ...], dtypes: tuple[str, ...], scale: float, repeats: int, threads: int, json_file: Path | None
) -> None:  # fmt: skip
    """Speed of one forward and backward pass over X, against one plain read of the same bytes."""
    out = options.output()
    record: dict[str, Any] = {"benchmark": "pass", "machine": machine.describe(threads), "timings": []}
    out.print(machine.summary(record["machine"]))
    columns = [Column(head, justify="right") for head in ("ms", "reads of X", "GB/s", "MB more")]
    table = Table("X", "pass", *columns, box=box.SIMPLE)
    with options.progress() as say:
        for shape in shapes:
            for dtype in dtypes:
                rows, n = SHAPES[shape]
                say(f"{shape} {dtype}")
                timings = race(draw((max(1, round(rows * scale)), n), dtype), repeats, threads)
                record["timings"] += [asdict(timing) for timing in timings]
                for timing in timings:
                    table.add_row(*_row(timing))
                options.write(record, json_file)
    out.print(table)
    out.print("Medians. * is extrapolated from a few rows.")


def _row(timing: Timing) -> tuple[str, ...]:
    head = f"{timing.rows:,} × {timing.columns:,} {timing.dtype}", timing.one_pass + "*" * timing.extrapolated
    if timing.why_not is not None:
        return (*head, escape(timing.why_not))
    seconds, read = statistics.median(timing.seconds), statistics.median(timing.read_seconds)
    size = timing.rows * timing.columns * np.dtype(timing.dtype).itemsize
    more = "" if timing.extra_bytes is None else f"{timing.extra_bytes / 1e6:.0f}"
    return (*head, f"{1e3 * seconds:.3g}", f"{seconds / read:.2f}", f"{size / seconds / 1e9:.3g}", more)


@contextmanager
def _cores(threads: int) -> Iterator[None]:
    with threadpool_limits(threads, user_api="blas"), one_core_a_block():
        yield


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


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
