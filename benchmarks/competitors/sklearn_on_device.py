"""scikit-learn's lbfgs by its array-API path."""

from __future__ import annotations

from benchmarks.competitors.base import ITERATIONS, Solution
from benchmarks.competitors.on_device import OnDevice, features
from benchmarks.problem import Problem
from gpulr.device import to_host


class SklearnOnDevice(OnDevice):
    module, distribution = "sklearn", "scikit-learn"
    environment = {"SCIPY_ARRAY_API": "1"}  # noqa: RUF012  # read when SciPy is imported

    def fit(self, problem: Problem, tol: float) -> Solution:
        from sklearn import config_context
        from sklearn.linear_model import LogisticRegression

        with config_context(array_api_dispatch=True):
            model = LogisticRegression(C=problem.C, tol=tol, fit_intercept=problem.intercept, max_iter=ITERATIONS)
            model.fit(features(problem), problem.y)
        return to_host(model.coef_), to_host(model.intercept_)
