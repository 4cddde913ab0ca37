"""What every competitor tells of itself and can do."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from importlib.metadata import version
from importlib.util import find_spec
from typing import ClassVar

import numpy as np

from benchmarks.problem import Problem

Solution = tuple[np.ndarray, np.ndarray]
"""coef (1, n) for two classes or (k, n) for more, of the features, and intercept (1,) or (k,)."""

ITERATIONS = 100_000
"""Enough that the tolerance or the time limit ends a fit, and never the number of iterations."""


def decades(first: int, last: int) -> tuple[float, ...]:
    """10**first, ..., 10**last, falling."""
    return tuple(10.0**exponent for exponent in range(first, last - 1, -1))


class Competitor(ABC):
    """One way to fit, of one library. It is sent to its worker by pickle, so it has no state but its class's.

    Attributes:
        name: in tables and on the command line.
        module: what has to be importable.
        distribution: what `pip install` calls it; its version is recorded.
        tolerances: from coarse to fine; the coarsest that leads to a gap is timed.
        environment: variables that its process has to be started with.
        device: "cpu" or "cuda", where it computes.
        clock: by which its fits are timed, for the record; see `timed`.
    """

    name: ClassVar[str]
    module: ClassVar[str]
    distribution: ClassVar[str]
    tolerances: ClassVar[tuple[float, ...]] = decades(0, -12)
    environment: ClassVar[dict[str, str]] = {}
    device: str = "cpu"

    @property
    def clock(self) -> str:
        return "host"

    def missing(self) -> str | None:
        """Why it cannot run here; None if it can."""
        return None if find_spec(self.module) else f"not installed: pip install {self.distribution}"

    def unsupported(self, problem: Problem) -> str | None:
        """Why it cannot minimize exactly this objective; None if it can."""
        return None

    def by_default(self, problem: Problem) -> bool:
        """Whether it races without being asked for by name or by --all."""
        return True

    def version(self) -> str:
        return version(self.distribution)

    def put(self, problem: Problem) -> Problem:
        """The problem with its arrays where they are to be when the clock starts: as they are, or on a device.

        How long that takes is reported apart, so it must be done when this returns.
        """
        return problem

    def prepare(self, problem: Problem) -> None:  # noqa: B027  # most need nothing
        """What else only the first fit of the problem, as `put` returned it, would need. Not timed."""

    @abstractmethod
    def fit(self, problem: Problem, tol: float) -> Solution:
        """Minimize the problem's objective; everything in here is timed."""

    def timed(self, problem: Problem, tol: float) -> tuple[Solution, float]:
        """`fit` and its seconds."""
        begin = time.perf_counter()
        solution = self.fit(problem, tol)
        return solution, time.perf_counter() - begin


def threads() -> int:
    """How many threads a fit may have, for a library that has to be told. Workers are started with this variable."""
    return int(os.environ["OMP_NUM_THREADS"])


def two_classes_only(problem: Problem) -> str | None:
    return None if problem.outputs == 1 else "two classes only"


def dense_only(problem: Problem) -> str | None:
    return "dense X only" if problem.is_sparse else None


def ridge_only(problem: Problem) -> str | None:
    return "no l1 part" if problem.l1_ratio > 0 else None


def small_hessian(problem: Problem, most: int = 2 << 30) -> str | None:
    """Not where a Hessian in float64 takes more than `most` bytes: it could take the machine down."""
    size = 8 * (problem.outputs * problem.X.shape[1]) ** 2
    return f"its Hessian would take {size / 2**30:.0f} GiB" if size > most else None
