"""scikit-learn's advice for many samples of few features."""

from __future__ import annotations

from benchmarks.competitors.base import ridge_only, small_hessian
from benchmarks.competitors.scikit_learn import ScikitLearn
from benchmarks.problem import Problem


class SklearnNewtonCholesky(ScikitLearn):
    name = "sklearn-newton-cholesky"
    solver = "newton-cholesky"

    def unsupported(self, problem: Problem) -> str | None:
        return ridge_only(problem) or small_hessian(problem)
