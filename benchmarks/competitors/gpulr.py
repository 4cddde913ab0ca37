"""gpulr on the CPU as it comes without numba: it chooses the solver; the pass is the one that it takes of NumPy arrays."""

from __future__ import annotations

from typing import Any, ClassVar

from scipy.sparse import issparse

from benchmarks.competitors.base import ITERATIONS, Competitor, Solution, decades
from benchmarks.problem import Problem


class Gpulr(Competitor):
    """Its objective is ours.

    Attributes:
        options: further arguments of the constructor.
    """

    name = "gpulr"
    module = distribution = "gpulr"
    tolerances = decades(5, -12)
    options: ClassVar[dict[str, Any]] = {"one_pass": "blocked", "device": "cpu"}  # where there is a GPU, too

    def unsupported(self, problem: Problem) -> str | None:
        # A factor of the features changes the two parts of the penalty differently, see `fit`.
        return "no l1 part with scaled features" if problem.l1_ratio > 0 and problem.scale != 1 else None

    def fit(self, problem: Problem, tol: float) -> Solution:
        model = self.model(problem, tol)
        return model.coef_ / problem.scale, model.intercept_

    def model(self, problem: Problem, tol: float) -> Any:
        """The fitted estimator."""
        from gpulr import LogisticRegression

        options = self.options
        if issparse(problem.X):  # which has a pass of its own
            options = {name: value for name, value in options.items() if name != "one_pass"}
        # Bytes are taken as they are: with v = scale·w for stored values, ‖w‖² is ‖v‖²/scale².
        return LogisticRegression(
            C=problem.C * problem.scale**2,
            l1_ratio=problem.l1_ratio,
            tol=tol,
            fit_intercept=problem.intercept,
            max_iter=ITERATIONS,
            dtype=problem.dtype,
            **options,
        ).fit(problem.X, problem.y)
