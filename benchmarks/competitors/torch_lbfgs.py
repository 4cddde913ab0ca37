"""What one writes in PyTorch: L-BFGS with its strong-Wolfe line search on all samples, gradients by autograd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.competitors.base import ITERATIONS, Competitor, Solution, dense_only, ridge_only
from benchmarks.problem import Problem

if TYPE_CHECKING:
    import torch


class TorchLbfgs(Competitor):
    name = "torch-lbfgs"
    module = distribution = "torch"

    def unsupported(self, problem: Problem) -> str | None:
        return ridge_only(problem) or dense_only(problem)

    def fit(self, problem: Problem, tol: float) -> Solution:
        import torch
        from torch.nn import functional

        X, y = self.tensors(problem)
        binary = problem.outputs == 1
        y = y.to(X.dtype if binary else torch.int64)
        W = torch.zeros(problem.outputs, X.shape[1], dtype=X.dtype, device=X.device, requires_grad=True)
        b = torch.zeros(problem.outputs, dtype=X.dtype, device=X.device, requires_grad=problem.intercept)
        optimizer = torch.optim.LBFGS(
            [W, b] if problem.intercept else [W],
            max_iter=ITERATIONS,
            max_eval=ITERATIONS,
            tolerance_grad=tol,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )
        # The mean, as its tolerances expect it.
        ridge = 1 / (2 * problem.C * len(y))

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            Z = functional.linear(X, W, b)
            loss = functional.binary_cross_entropy_with_logits(Z[:, 0], y) if binary else functional.cross_entropy(Z, y)
            objective = loss + ridge * torch.sum(W**2)
            objective.backward()
            return objective

        optimizer.step(closure)
        return W.detach().cpu().numpy(), b.detach().cpu().numpy()

    def tensors(self, problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
        """The features and labels."""
        import torch

        return torch.from_numpy(problem.features()), torch.from_numpy(problem.y)
