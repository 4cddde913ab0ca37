"""RAPIDS cuML: L-BFGS on a GPU, OWL-QN where there is an l1 part. Not on PyPI's own index: see its installation page."""

from __future__ import annotations

from typing import Any

from benchmarks.competitors.base import Competitor, Solution, dense_only
from benchmarks.competitors.cuda import Placed, why_no_gpu
from benchmarks.competitors.gpulr_cuda import GpulrCuda
from benchmarks.problem import Problem


class Cuml(Competitor):
    """Its objective is ours: with `penalty_normalized`, its default, C and the penalty are scikit-learn's."""

    name = module = "cuml"
    distribution = "cuml-cu12"
    device = "cuda"

    def missing(self) -> str | None:
        return super().missing() or why_no_gpu()

    def unsupported(self, problem: Problem) -> str | None:
        return dense_only(problem)

    def put(self, problem: Problem) -> Placed:
        return GpulrCuda().put(problem)

    def fit(self, problem: Any, tol: float) -> Solution:
        import cupy
        from cuml.linear_model import LogisticRegression

        problem, X, y = problem
        X = X.astype(problem.dtype, copy=False)
        X = X if problem.scale == 1 else X * X.dtype.type(problem.scale)
        model = LogisticRegression(
            penalty="elasticnet" if problem.l1_ratio > 0 else "l2",
            l1_ratio=problem.l1_ratio if problem.l1_ratio > 0 else None,
            C=problem.C,
            tol=tol,
            fit_intercept=problem.intercept,
            max_iter=10_000,
            output_type="cupy",
        ).fit(X, y.astype(X.dtype))
        intercept = cupy.asnumpy(model.intercept_).reshape(problem.outputs)
        return cupy.asnumpy(model.coef_).reshape(problem.outputs, -1), intercept
