"""scikit-learn's default."""

from __future__ import annotations

from benchmarks.competitors.base import ridge_only
from benchmarks.competitors.scikit_learn import ScikitLearn
from benchmarks.problem import Problem


class SklearnLbfgs(ScikitLearn):
    name = "sklearn-lbfgs"
    solver = "lbfgs"

    def unsupported(self, problem: Problem) -> str | None:
        return ridge_only(problem)
