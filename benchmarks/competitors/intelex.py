"""Intel's scikit-learn-intelex: scikit-learn's lbfgs on oneDAL's loss and gradient."""

from __future__ import annotations

from typing import Any

from benchmarks.competitors.base import decades, dense_only, ridge_only
from benchmarks.competitors.scikit_learn import ScikitLearn
from benchmarks.problem import Problem


class Intelex(ScikitLearn):
    name = "intelex-lbfgs"
    module, distribution = "sklearnex", "scikit-learn-intelex"
    solver = "lbfgs"
    tolerances = decades(6, -12)  # for the gradient of the sum of the losses, where scikit-learn's is for their mean

    def unsupported(self, problem: Problem) -> str | None:
        # Elsewhere it would silently fall back to scikit-learn, which races anyway.
        return ridge_only(problem) or dense_only(problem)

    def estimator(self, **parameters: Any) -> Any:
        from sklearnex.linear_model import LogisticRegression

        return LogisticRegression(**parameters)
