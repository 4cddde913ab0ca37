"""The method: find each competitor's tolerance for each gap, then time all of them in interleaved rounds."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.competitors import Competitor
from benchmarks.evaluate import objective
from benchmarks.memory import require
from benchmarks.messages import Ready
from benchmarks.problem import Problem, save
from benchmarks.reference import ACCEPTED, Reference
from benchmarks.remote import START_SECONDS, CompetitorError, Remote

BRIEF = 0.5
"""Seconds of a fit that is never left out as hopeless: it costs nothing, and one time may be a disturbance."""


@dataclass(frozen=True)
class Rules:
    """How a race is run.

    Attributes:
        gaps: the relative gaps (F − F*)/F* that are to be reached, falling.
        repeats: rounds, at least 1.
        limit: seconds that a fit may take.
        threads: of every competitor.
        patience: seconds that a competitor may take for all its trials, and for all rounds of a gap; it has fewer then.
        start: seconds that it may take to start.
        total: seconds that the race may take: after them no search for a tolerance begins, and no round but the first.
        together: all competitors start at once, on a machine of many cores; no fit is under way then.
        hopeless: who takes so many times the best's seconds in its trial is not timed again, but for the first competitor,
            whom the others are compared with, and what takes less than `BRIEF`. None: everyone is timed.
    """

    gaps: tuple[float, ...] = (1e-3, 1e-6, 1e-9)
    repeats: int = 5
    limit: float = 60.0
    threads: int = 1
    patience: float = 86_400.0
    start: float = START_SECONDS
    total: float = 86_400.0
    together: bool = False
    hopeless: float | None = None


class Judge:
    """Gaps to the lowest objective ever seen, which is the reference's unless a solution proves it wrong."""

    def __init__(self, problem: Problem, reference: Reference) -> None:
        self.lowest = reference.value
        self._problem, self._reference = problem, reference

    def value(self, coef: np.ndarray, intercept: np.ndarray) -> float:
        """F of a solution.

        Raises:
            CompetitorError: it is none: of another shape, or not finite.
        """
        try:
            value = objective(self._problem, coef, intercept)
        except ValueError as error:
            raise CompetitorError(f"its answer is no solution: {error}") from error
        self.lowest = min(self.lowest, value)
        return value

    def gap(self, value: float) -> float:
        """The relative gap, ≥ 0, of an F from `value`."""
        return (value - self.lowest) / self.lowest

    def complaint(self) -> str | None:
        """What is wrong with the reference, if a solution is below it by more than rounding."""
        beaten = self.gap(self._reference.value)
        return f"a solution is below the reference by {beaten:.1e} of it" if beaten > ACCEPTED else None


@dataclass(frozen=True)
class Trial:
    """A fit in search of the right tolerance: its seconds are not a result, its F is."""

    tol: float
    seconds: float
    value: float
    gap: float
    extra_bytes: int | None
    warnings: tuple[str, ...]


@dataclass
class Result:
    """A competitor and a gap.

    Attributes:
        gap: what was to be reached.
        tol: the coarsest tolerance tried that reached it.
        seconds: of each round, with the data where the competitor computes.
        reached: the gap of each round's solution. Threads make some competitors vary a little.
        extra_bytes: peak memory above the data, of all rounds.
        why_not: why there is no time; None if there is.
    """

    gap: float
    tol: float | None = None
    seconds: list[float] = field(default_factory=list)
    reached: list[float] = field(default_factory=list)
    extra_bytes: int | None = None
    why_not: str | None = None

    def record(self) -> dict[str, Any]:
        """JSON values: the attributes, and of the seconds median, least and greatest; None if there is no time."""
        timed = self.why_not is None
        spread = (min(self.seconds), statistics.median(self.seconds), max(self.seconds)) if timed else (None,) * 3
        return asdict(self) | dict(zip(("least", "median", "greatest"), spread, strict=True))


@dataclass
class Entry:
    """A competitor in a race, with a result for each gap; `device` and `clock` are the competitor's."""

    competitor: str
    results: list[Result]
    device: str = "cpu"
    clock: str = "host"
    ready: Ready | None = None
    trials: list[Trial] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"results": [result.record() for result in self.results]}


def require_memory(problem: Problem, competitors: Sequence[Competitor]) -> None:
    """See that there is room for a race: for the data in the process of each competitor and in the file that they are read
    from, which may be in memory, too, and for one of them to compute in, with three times X in float64.

    Raises:
        TooLargeError: there is none.
    """
    racing = sum(not (each.missing() or each.unsupported(problem)) for each in competitors)
    stored = sum(array.nbytes for array in problem.arrays)
    shape = " × ".join(f"{length:,}" for length in problem.X.shape)
    require((racing + 1) * stored + 3 * 8 * problem.arrays[0].size, f"a race of {racing} on {shape}")


def race(
    problem: Problem,
    reference: Reference,
    competitors: Sequence[Competitor],
    rules: Rules,
    progress: Callable[[str], object] = lambda _: None,
) -> dict[str, Any]:
    """Race on one problem.

    Returns:
        JSON values: problem; threads, limit and repeats, of the rules; reference (value, bound, method, lowest_seen,
        complaint); and entries, one for each competitor in their order, those that cannot take part included.
    """
    judge, until = Judge(problem, reference), time.monotonic() + rules.total
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmarks-")))
        save(problem, folder)
        entries, racing = [], []
        for competitor in competitors:
            why_not = competitor.missing() or competitor.unsupported(problem)
            results = [Result(gap, why_not=why_not) for gap in rules.gaps]
            entry = Entry(competitor.name, results, competitor.device, competitor.clock)
            entries.append(entry)
            if why_not is None:
                remote = stack.enter_context(Remote(competitor, folder, rules.threads, rules.start))
                racing.append((entry, remote, competitor.tolerances))
        if rules.together:
            progress(f"{problem.name}: starting everyone")
            _start([(entry, remote) for entry, remote, _ in racing])
        for entry, remote, tolerances in racing:
            progress(f"{problem.name}: looking for the tolerances of {entry.competitor}")
            if time.monotonic() > until:
                _leave_out(entry, "no time left")
            if all(result.why_not is None for result in entry.results):
                _calibrate(entry, remote, tolerances, judge, rules, _trial_limit(entries, rules))
        _leave_out_hopeless(entries, rules)
        running = [(entry, remote) for entry, remote, _ in racing]
        _rounds(problem.name, running, judge, rules, until, progress)
    found = {"value": reference.value, "bound": reference.bound, "method": reference.method}
    return {
        "problem": problem.describe(),
        "threads": rules.threads,
        "limit": rules.limit,
        "repeats": rules.repeats,
        "reference": {**found, "lowest_seen": judge.lowest, "complaint": judge.complaint()},
        "entries": [entry.record() for entry in entries],
    }


def _start(running: Sequence[tuple[Entry, Remote]]) -> None:
    """Start all of them at once; the entry of who does not start says why."""

    def failure(remote: Remote) -> str | None:
        try:
            remote.start()
        except CompetitorError as error:
            return str(error)
        return None

    pool = ThreadPoolExecutor(max(1, len(running)))
    try:
        failures = pool.map(failure, [remote for _, remote in running])
        for (entry, _), why_not in zip(running, failures, strict=True):
            if why_not is not None:
                _leave_out(entry, why_not)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # an alarm ends the race: nobody waits for who has yet to start


def _leave_out(entry: Entry, why_not: str) -> None:
    for result in entry.results:
        result.why_not = why_not


def _trial_limit(entries: Sequence[Entry], rules: Rules) -> float:
    """Seconds that the next trial may take: those of a fit, or fewer once somebody has reached the last gap."""
    best = min((seconds for entry in entries if (seconds := _trial_seconds(entry, -1))), default=math.inf)
    return rules.limit if rules.hopeless is None else min(rules.limit, max(BRIEF, rules.hopeless * best))


def _trial_seconds(entry: Entry, number: int) -> float | None:
    """Of the trial that reached a gap; None if none did."""
    tol = entry.results[number].tol
    return next((trial.seconds for trial in entry.trials if trial.tol == tol), None)


def _leave_out_hopeless(entries: Sequence[Entry], rules: Rules) -> None:
    if rules.hopeless is None:
        return
    for number in range(len(rules.gaps)):
        known = [(entry.results[number], seconds) for entry in entries if (seconds := _trial_seconds(entry, number))]
        best = min((seconds for _, seconds in known), default=math.inf)
        for result, seconds in known:
            if seconds > max(BRIEF, rules.hopeless * best) and result is not entries[0].results[number]:
                result.why_not = f"took {seconds:.2g} s in its trial, the best {best:.2g} s"


def _calibrate(
    entry: Entry, remote: Remote, tolerances: Sequence[float], judge: Judge, rules: Rules, limit: float
) -> None:
    """Fill in the trials, of at most `limit` seconds each, and the tolerance of each result or why there is none."""

    def failure(tol: float) -> str | None:
        """Try a tolerance; why there is no trial of it."""
        try:
            fit = remote.fit(tol, limit)
            value = judge.value(fit.coef, fit.intercept)
        except CompetitorError as error:
            return f"{error}, at tolerance {tol:.0e}"
        entry.trials.append(Trial(tol, fit.seconds, value, judge.gap(value), fit.extra_bytes, fit.warnings))
        return None

    why_not = None
    begin = time.monotonic()
    for tol in tolerances:
        if time.monotonic() - begin > rules.patience:
            why_not = f"no trial reached the gap in {rules.patience:g} s"
            break
        why_not = failure(tol)
        if why_not or entry.trials[-1].gap <= rules.gaps[-1]:
            break
    for gap in rules.gaps:
        found = _coarsest(entry.trials, gap)
        if found is None:
            continue
        missed = [tol for tol in tolerances if tol > found]
        if missed:  # A decade is a coarse step for methods that converge slowly: try half of the last one, too.
            failure(math.sqrt(found * missed[-1]))
    entry.ready = remote.ready
    best = min((trial.gap for trial in entry.trials), default=math.inf)
    for result in entry.results:
        result.tol = _coarsest(entry.trials, result.gap)
        if result.tol is None:
            result.why_not = why_not or f"comes to {best:.1e} at its tightest tolerance"


def _coarsest(trials: Sequence[Trial], gap: float) -> float | None:
    return max((trial.tol for trial in trials if trial.gap <= gap), default=None)


def _rounds(
    name: str,
    running: list[tuple[Entry, Remote]],
    judge: Judge,
    rules: Rules,
    until: float,
    progress: Callable[[str], object],
) -> None:
    """Fill in the seconds of the results that have a tolerance; `until` is of `time.monotonic`.

    No competitor fits twice in a row, which would find its data in the cache, and each round begins with another.
    """
    jobs = [
        (entry.results[i], tol, remote)
        for i in range(len(rules.gaps))
        for entry, remote in running
        if (tol := entry.results[i].tol) is not None
    ]
    solutions = []
    for number in range(rules.repeats):
        if number > 0 and time.monotonic() > until:
            break
        progress(f"{name}: round {number + 1} of {rules.repeats}")
        start = number % max(1, len(jobs))
        for result, tol, remote in jobs[start:] + jobs[:start]:
            if result.why_not is not None or sum(result.seconds) > rules.patience:
                continue
            try:
                fit = remote.fit(tol, rules.limit)
            except CompetitorError as error:
                result.why_not = f"round {number + 1}: {error}"
                continue
            result.seconds.append(fit.seconds)
            solutions.append((result, fit))
    for result, fit in solutions:  # only now: the judge's work would disturb the fits
        try:
            result.reached.append(judge.gap(judge.value(fit.coef, fit.intercept)))
        except CompetitorError as error:
            result.why_not = str(error)
        result.extra_bytes = max(
            (size for size in (result.extra_bytes, fit.extra_bytes) if size is not None), default=None
        )
