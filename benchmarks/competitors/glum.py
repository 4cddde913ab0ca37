"""glum, generalized linear models by iteratively reweighted least squares; with an l1 part by coordinate descent."""

from __future__ import annotations

from benchmarks.competitors.base import Competitor, Solution, small_hessian, two_classes_only
from benchmarks.problem import Problem


class Glum(Competitor):
    """Its objective is ours divided by C·m: half the mean deviance of the binomial family is the mean loss."""

    name = "glum"
    module = distribution = "glum"

    def unsupported(self, problem: Problem) -> str | None:
        return two_classes_only(problem) or small_hessian(problem)

    def fit(self, problem: Problem, tol: float) -> Solution:
        from glum import GeneralizedLinearRegressor

        model = GeneralizedLinearRegressor(
            family="binomial",
            alpha=1 / (problem.C * len(problem.y)),
            l1_ratio=problem.l1_ratio,
            gradient_tol=tol,
            fit_intercept=problem.intercept,
            max_iter=1_000,  # Newton steps: what needs more is kept from its tolerance by rounding, and would never end
        ).fit(problem.features(), problem.y.astype(problem.dtype))
        return model.coef_[None, :], model.intercept_.reshape(1)
