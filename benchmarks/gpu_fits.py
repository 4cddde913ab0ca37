"""Time to a relative gap of 1e-6 on a GPU, data on the device: gpulr, its peers there, gpulr on the CPU, and the loops."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import problems, reference
from benchmarks.competitors import COMPETITORS, ON_DEVICE, Competitor
from benchmarks.competitors.gpulr import Gpulr
from benchmarks.gpu_passes import LOOP_ENTRIES
from benchmarks.gpu_place import Host, interleaved, reason
from benchmarks.problem import Problem
from benchmarks.problems import drawn
from benchmarks.race import Rules, race, require_memory
from gpulr.passes import PASSES
from gpulr.rows import MemoryRows

GAP = 1e-6
NAMES = ("tall", "square", "wide", "images", "tallest")


def problem(name: str, size: float) -> Problem:
    """One of `NAMES`: those of the race on the CPU, and 10,000,000 × 100, for which its machines have no room."""
    if name != "tallest":
        return problems.make(name, size=size)
    X, y = drawn.normal(np.random.default_rng(0), *drawn.shape(10_000_000, 100, size), "float32")
    return Problem("tallest", X, y, "float32")


def competitors(device: Any) -> list[Competitor]:
    """Those on the device, gpulr the first, and gpulr on the CPU."""
    return [*(kind(device) for kind in ON_DEVICE), COMPETITORS["gpulr"], COMPETITORS["gpulr-compiled"]]


def races(
    device: Any,
    names: tuple[str, ...],
    size: float,
    cache: Path,
    threads: int,
    until: float,
    say: Callable[[str], object],
) -> Iterator[dict[str, Any]]:
    """A record of `benchmarks.race.race` for each problem, with `loop`, see below; or its name and why there is none.

    Args:
        device: "cuda", or "cpu" to rehearse.
        size: share of the entries of the data.
        cache: of the reference solutions.
        until: of `time.monotonic`; each problem has its share of what is left, and none is begun after it.
    """
    for number, name in enumerate(names):
        if time.monotonic() > until:
            yield {"problem": {"name": name}, "why_not": "no time left"}
            continue
        try:
            say(f"{name}: making the data")
            made, racing = problem(name, size), competitors(device)
            require_memory(made, racing)
            say(f"{name}: finding the minimum")
            # Half of the problem's share, for the race has to have some.
            found = reference.find(made, cache, (until - time.monotonic()) / (len(names) - number) / 2)
            share = max(1.0, (until - time.monotonic()) / (len(names) - number))
            # One that is slow must not take the time of the others: a third of the share for its trials and its rounds.
            rules = Rules(
                (GAP,), 5, limit=min(10.0, share / 6), threads=threads, patience=share / 6, start=max(30.0, share / 2),
                total=share, together=True,
            )  # fmt: skip
            record = race(made, found, racing, rules, say)
            say(f"{name}: for loops")
            yield record | {"loop": loop(made, record["entries"])}
        except (MemoryError, OSError, RuntimeError) as error:  # a disk that is full, a minimum that is not certain
            yield {"problem": {"name": name}, "why_not": reason(error)}


def loop(problem: Problem, entries: list[dict[str, Any]]) -> dict[str, Any] | None:
    """How long gpulr's fit would take if each of its passes were one of the `for` loops.

    Args:
        problem: a few of its rows are gone through.
        entries: of the race; the tolerance of gpulr's result, which is the first, is that of the fit whose passes count.

    Returns:
        JSON values: pass_seconds, of all rows, extrapolated; passes, of the fit on the CPU; seconds, their product. None
        where gpulr did not reach the gap.
    """
    tol = entries[0]["results"][0]["tol"]
    if tol is None:
        return None
    passes = Gpulr().model(problem, tol).history_[-1]["passes"]
    m, n = problem.X.shape
    some = max(1, min(m, LOOP_ENTRIES // n))
    rows = MemoryRows(problem.X[:some], problem.y[:some].astype(problem.dtype))
    w = np.zeros(n, problem.dtype)
    call = partial(rows.propagate, PASSES["loop"], w, w[0])
    (timing,) = interleaved(Host(), {"loop": call}, 1, 0.0).values()
    seconds = timing.seconds[0] * m / some
    return {"pass_seconds": seconds, "passes": passes, "seconds": seconds * passes, "extrapolated": True}
