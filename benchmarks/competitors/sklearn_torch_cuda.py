"""scikit-learn's lbfgs on PyTorch tensors on a GPU, by its array API: loss and gradient there, L-BFGS itself on the host."""

from __future__ import annotations

from typing import Any

from benchmarks.competitors.base import Solution, dense_only
from benchmarks.competitors.cuda import Placed, why_no_gpu
from benchmarks.competitors.sklearn_lbfgs import SklearnLbfgs
from benchmarks.competitors.torch_lbfgs import TorchLbfgs, features
from benchmarks.problem import Problem


class SklearnTorchCuda(SklearnLbfgs):
    name = "sklearn-lbfgs-torch-cuda"
    device = "cuda"
    variables = {"SCIPY_ARRAY_API": "1"}  # noqa: RUF012  # the base says that it is the class's

    def missing(self) -> str | None:
        return TorchLbfgs().missing() or (why_no_gpu() if self.device == "cuda" else None)

    def unsupported(self, problem: Problem) -> str | None:
        return dense_only(problem) or super().unsupported(problem)

    def put(self, problem: Problem) -> Placed:
        import torch

        placed = Placed(
            problem, torch.from_numpy(problem.X).to(self.device), torch.from_numpy(problem.y).to(self.device)
        )
        if self.device == "cuda":
            torch.cuda.synchronize()
        return placed

    def fit(self, problem: Any, tol: float) -> Solution:
        import sklearn

        with sklearn.config_context(array_api_dispatch=True):
            coef, intercept = self.fitted(problem.problem, features(problem.problem, problem.X), problem.y, tol)
        return coef.cpu().numpy(), intercept.cpu().numpy()
