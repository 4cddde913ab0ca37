"""skglm, made for l1: working sets and proximal Newton, compiled by numba; for ridge it has L-BFGS."""

from __future__ import annotations

import numpy as np

from benchmarks.competitors.base import ITERATIONS, Competitor, Solution, two_classes_only
from benchmarks.problem import Problem


class Skglm(Competitor):
    """Its objective is ours divided by C·m. It computes in float64 whatever it is given."""

    name = "skglm"
    module = distribution = "skglm"

    def unsupported(self, problem: Problem) -> str | None:
        no_intercept = "its L-BFGS has no intercept: use --no-intercept"
        return two_classes_only(problem) or (no_intercept if problem.intercept and problem.l1_ratio == 0 else None)

    def fit(self, problem: Problem, tol: float) -> Solution:
        from skglm import GeneralizedLinearEstimator
        from skglm.datafits import Logistic
        from skglm.penalties import L2, L1_plus_L2
        from skglm.solvers import LBFGS, ProxNewton

        alpha = 1 / (problem.C * len(problem.y))
        if problem.l1_ratio > 0:
            solver = ProxNewton(tol=tol, fit_intercept=problem.intercept, max_iter=ITERATIONS)
            penalty = L1_plus_L2(alpha, problem.l1_ratio)
        else:
            solver, penalty = LBFGS(tol=tol, max_iter=ITERATIONS), L2(alpha)
            solver.fit_intercept, solver.warm_start = False, False  # asked for by the estimator, not set by this solver
        model = GeneralizedLinearEstimator(Logistic(), penalty, solver).fit(problem.features(), problem.y)
        return model.coef_.reshape(1, -1), np.reshape(model.intercept_, 1)
