"""gpulr against the lesson's NumPy and against scikit-learn, on small problems, in rounds that take turns."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression
from threadpoolctl import threadpool_limits

from benchmarks import problems
from benchmarks.evaluate import objective
from gpulr import LogisticRegression, device
from gpulr.bench.contestants import Setting, on_device
from gpulr.bench.sizes import synthetic

ROUNDS = 9


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for one another are the most of what disturbs a time, and no code of ours."""
    with threadpool_limits(1):
        yield


def ratio(benchmark: Any, ours: Callable[[], object], other: Callable[[], object], calls: int) -> None:
    """Time `ours` with `other` before it in each round; `extra_info["ratios"]` is our time in units of the other's.

    A round is the given number of calls, so many that it is long against the clock.
    """
    seconds: list[float] = []

    def repeated(function: Callable[[], object]) -> None:
        for _ in range(calls):
            function()

    def before_each_round() -> None:
        begin = time.perf_counter()
        repeated(other)
        seconds.append(time.perf_counter() - begin)

    benchmark.pedantic(lambda: repeated(ours), setup=before_each_round, rounds=ROUNDS, warmup_rounds=1)
    if benchmark.stats is not None:  # None where --benchmark-disable wants no times
        own = benchmark.stats.stats.data
        theirs = seconds[-len(own) :]  # those before are of the warm-up
        benchmark.extra_info["ratios"] = [mine / other for mine, other in zip(own, theirs, strict=True)]


def calls_of(entries: int) -> int:
    return max(1, 2_000_000 // entries)


@pytest.mark.parametrize("entries", [1_000, 100_000, 1_000_000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_iteration_in_units_of_the_lessons(benchmark: Any, entries: int, dtype: str) -> None:
    _, lesson, gpulr, *_ = on_device(synthetic(entries, dtype), device.choose("cpu"), Setting(1, 0.005, dtype, 1_000))
    assert (lesson.name, gpulr.name) == ("lesson, NumPy", "gpulr")
    with gpulr.scope():
        ratio(benchmark, gpulr.iteration, lesson.iteration, calls_of(entries))


@pytest.mark.parametrize(
    "name", ["tall", "square", "wide", "square_correlated", "images", "multinomial", "breast_cancer"]
)
def test_a_fit_in_units_of_scikit_learns(benchmark: Any, name: str) -> None:
    problem = problems.make(name, size=0.01)
    X = problem.features()
    ours = LogisticRegression(C=problem.C, fit_intercept=problem.intercept)
    other = SklearnLogisticRegression(C=problem.C, fit_intercept=problem.intercept, max_iter=10_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ratio(benchmark, lambda: ours.fit(X, problem.y), lambda: other.fit(X, problem.y), 1)
    # The times are of the same work: neither is far from the minimum, and ours is not behind.
    found, reached = (objective(problem, model.coef_, model.intercept_) for model in (ours, other))
    assert found <= reached * (1 + 1e-4)
