"""cuML's quasi-Newton method, which comes with RAPIDS."""

from __future__ import annotations

from importlib import import_module

import numpy as np

from benchmarks.competitors.base import ITERATIONS, Solution
from benchmarks.competitors.on_device import OnDevice, features
from benchmarks.problem import Problem
from gpulr.device import to_host


class Cuml(OnDevice):
    name = "cuml"
    module, distribution = "cuml", "cuml-cu12"
    library = "cupy"

    def fit(self, problem: Problem, tol: float) -> Solution:
        X = features(problem)
        model = (
            import_module("cuml.linear_model")
            .LogisticRegression(
                C=problem.C, tol=tol, fit_intercept=problem.intercept, max_iter=ITERATIONS, output_type="cupy"
            )
            .fit(X, problem.y.astype(X.dtype))
        )
        intercept = to_host(model.intercept_) if problem.intercept else np.zeros(problem.outputs)
        return to_host(model.coef_), np.reshape(intercept, -1)
