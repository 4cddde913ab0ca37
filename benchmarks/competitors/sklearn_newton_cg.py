"""scikit-learn's Newton without a Hessian: rarely the fastest, so only on demand."""

from __future__ import annotations

from benchmarks.competitors.base import ridge_only
from benchmarks.competitors.scikit_learn import ScikitLearn
from benchmarks.problem import Problem


class SklearnNewtonCG(ScikitLearn):
    name = "sklearn-newton-cg"
    solver = "newton-cg"

    def unsupported(self, problem: Problem) -> str | None:
        return ridge_only(problem)

    def by_default(self, problem: Problem) -> bool:
        return False
