"""scikit-learn's lbfgs on CuPy arrays, by its array API: loss and gradient on the GPU, L-BFGS itself on the host."""

from __future__ import annotations

from typing import Any

from benchmarks.competitors.base import Solution, dense_only
from benchmarks.competitors.cuda import Placed
from benchmarks.competitors.gpulr_cuda import GpulrCuda
from benchmarks.competitors.sklearn_lbfgs import SklearnLbfgs
from benchmarks.problem import Problem


class SklearnCupy(SklearnLbfgs):
    name = "sklearn-lbfgs-cupy"
    device = "cuda"
    variables = {"SCIPY_ARRAY_API": "1"}  # noqa: RUF012  # the base says that it is the class's

    def missing(self) -> str | None:
        return GpulrCuda().missing()

    def unsupported(self, problem: Problem) -> str | None:
        return dense_only(problem) or super().unsupported(problem)

    def put(self, problem: Problem) -> Placed:
        return GpulrCuda().put(problem)

    def fit(self, problem: Any, tol: float) -> Solution:
        import sklearn

        problem, X, y = problem
        X = X.astype(problem.dtype, copy=False)
        X = X if problem.scale == 1 else X * X.dtype.type(problem.scale)
        with sklearn.config_context(array_api_dispatch=True):
            coef, intercept = self.fitted(problem, X, y, tol)
        return coef.get(), intercept.get()
