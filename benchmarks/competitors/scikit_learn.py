"""What scikit-learn's solvers have in common. None of those raced here penalizes the intercept; liblinear would.

Version 1.8 or newer, where l1_ratio alone tells the penalty.
"""

from __future__ import annotations

from typing import Any, ClassVar

from benchmarks.competitors.base import ITERATIONS, Competitor, Solution
from benchmarks.problem import Problem


class ScikitLearn(Competitor):
    """A solver of `sklearn.linear_model.LogisticRegression`.

    Attributes:
        solver: its name there.
    """

    module, distribution = "sklearn", "scikit-learn"
    solver: ClassVar[str]

    def estimator(self, **parameters: Any) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(**parameters)

    def fit(self, problem: Problem, tol: float) -> Solution:
        model = self.estimator(
            C=problem.C,
            l1_ratio=problem.l1_ratio,
            tol=tol,
            fit_intercept=problem.intercept,
            solver=self.solver,
            max_iter=ITERATIONS,
            random_state=0,
        ).fit(problem.features(), problem.y)
        return model.coef_, model.intercept_
