"""scikit-learn's only solver with an l1 part; for ridge it is slow, so there only on demand."""

from __future__ import annotations

from benchmarks.competitors.scikit_learn import ScikitLearn
from benchmarks.problem import Problem


class SklearnSaga(ScikitLearn):
    name = "sklearn-saga"
    solver = "saga"

    def by_default(self, problem: Problem) -> bool:
        return problem.l1_ratio > 0
