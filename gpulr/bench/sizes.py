"""The speed-up race over sizes: from which number of entries on vectorization, and then a GPU, is the faster way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpulr import device as devices
from gpulr.bench import clock
from gpulr.bench.contestants import Setting
from gpulr.bench.effort import Effort
from gpulr.bench.race import measured
from gpulr.datasets import Dataset

SMALLEST = 100
"""Entries of X in the smallest data set; each one after it has ten times as many."""

COLUMNS = 100
"""Features of all but the smallest data sets, which are square."""

LOOP_ENTRIES = 1_000_000
"""Of X, that the loop is timed on: a tenth of a second an iteration."""

MEMORY_SHARE = 8
"""Of an X this many times its size in float64 must be free: the data, the lesson's copy, and what it computes with."""


def sweep(
    effort: Effort,
    *,
    iterations: int = 2000,
    progress: clock.Progress = clock.silent,
) -> dict[str, Any]:
    """Race all contestants on synthetic data of 10², 10³, ... entries, for each dtype.

    The computation is in float64 for float64, otherwise in float32, for all but the loop.

    Returns:
        JSON values: points, a list with entries, and else as of `gpulr.bench.speedup`, or why_not where a size was left
        out; crossovers, see there.
    """
    points = []
    for dtype in effort.dtypes:
        entries = SMALLEST
        while entries <= effort.largest:
            progress(f"{entries:.0e} entries, {dtype}")
            points.append({"entries": entries} | _point(entries, dtype, effort, iterations))
            entries *= 10
    return {"points": points, "crossovers": crossovers(points)}


def crossovers(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """From which size on gpulr on a GPU is faster than on the CPU, for each stored dtype, an iteration and a training.

    Returns:
        for each, dtype, what ("iteration" or "training", which includes the transfer), entries: the smallest of the sizes
        that were raced from which on it wins at all of them, None if it never does; and measured, False without a GPU.
    """
    found = []
    for dtype in dict.fromkeys(point["stored_as"] for point in points):
        of_dtype = [point for point in points if point["stored_as"] == dtype and "results" in point]
        for what in ("iteration", "training"):
            pairs = [(point["entries"], *_cpu_and_gpu(point, f"{what}_seconds")) for point in of_dtype]
            times = [(entries, cpu, gpu) for entries, cpu, gpu in pairs if gpu is not None]
            wins: int | None = None
            for entries, cpu, gpu in reversed(times):
                if gpu >= cpu:
                    break
                wins = entries
            found.append({"dtype": dtype, "what": what, "entries": wins, "measured": bool(times)})
    return found


def _cpu_and_gpu(point: dict[str, Any], what: str) -> tuple[Any, Any]:
    times = {each["device"] == "cpu": each[what] for each in point["results"] if each["name"] == "gpulr"}
    return times.get(True), times.get(False)


def _point(entries: int, dtype: str, effort: Effort, iterations: int) -> dict[str, Any]:
    need, (free, _) = MEMORY_SHARE * 8 * entries, devices.host_memory()
    if need > free:
        why_not = f"it takes {need / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
        return {"stored_as": dtype, "why_not": why_not}
    computation = "float64" if dtype == "float64" else "float32"
    setting = Setting(iterations, 0.005, computation, LOOP_ENTRIES)
    try:
        return measured(synthetic(entries, dtype), setting, effort.repeats, effort.budget, clock.silent)
    except MemoryError as error:  # somebody else has taken what was free
        return {"stored_as": dtype, "why_not": str(error)}


def synthetic(entries: int, dtype: str, seed: int = 0) -> Dataset:
    """A training part of so many entries, about, and labels that a linear model half explains.

    Standard normal numbers, or bytes from 0 to 255 with the scale 1/255.
    """
    rng = np.random.default_rng(seed)
    n = min(COLUMNS, round(entries**0.5))
    X = random_matrix(rng, (round(entries / n), n), dtype)
    scale = 1 / 255 if dtype == "uint8" else 1.0
    z = X[:, 0].astype(np.float32) * scale
    y = (z + z.std() * rng.standard_normal(len(X)) > z.mean()).astype(np.int64)
    y[:2] = 0, 1  # both classes, however small
    return Dataset(f"{entries:.0e} entries", X, y, X[:0], y[:0], ("0", "1"), None, scale)


def random_matrix(rng: np.random.Generator, shape: tuple[int, int], dtype: str) -> np.ndarray:
    """Standard normal numbers, or for uint8 bytes from 0 to 255."""
    if dtype == "uint8":
        return rng.integers(0, 256, shape, np.uint8)
    return rng.standard_normal(shape, np.float64 if dtype == "float64" else np.float32).astype(dtype, copy=False)
