"""What one writes in PyTorch: L-BFGS with its strong-Wolfe line search on all samples, gradients by autograd."""

from __future__ import annotations

from typing import Any

from benchmarks.competitors.base import ITERATIONS, Competitor, Solution, dense_only, ridge_only
from benchmarks.competitors.cuda import Placed
from benchmarks.problem import Problem


class TorchLbfgs(Competitor):
    name = "torch-lbfgs"
    module = distribution = "torch"

    def unsupported(self, problem: Problem) -> str | None:
        return ridge_only(problem) or dense_only(problem)

    def put(self, problem: Problem) -> Placed:
        import torch

        placed = Placed(
            problem, torch.from_numpy(problem.X).to(self.device), torch.from_numpy(problem.y).to(self.device)
        )
        if self.device != "cpu":
            torch.cuda.synchronize()
        return placed

    def fit(self, problem: Any, tol: float) -> Solution:
        import torch
        from torch.nn import functional

        problem, X, y = problem
        X = features(problem, X)
        binary = problem.outputs == 1
        y = y.to(X.dtype if binary else torch.int64)
        W = torch.zeros(problem.outputs, X.shape[1], dtype=X.dtype, device=self.device, requires_grad=True)
        b = torch.zeros(problem.outputs, dtype=X.dtype, device=self.device, requires_grad=problem.intercept)
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

        def closure() -> Any:
            optimizer.zero_grad()
            Z = functional.linear(X, W, b)
            loss = functional.binary_cross_entropy_with_logits(Z[:, 0], y) if binary else functional.cross_entropy(Z, y)
            objective = loss + ridge * torch.sum(W**2)
            objective.backward()
            return objective

        optimizer.step(closure)
        return W.detach().cpu().numpy(), b.detach().cpu().numpy()


def features(problem: Problem, X: Any) -> Any:
    """scale·X in the problem's dtype, of a tensor X in the type it is stored in; X itself where it is that already."""
    import torch

    converted = X.to(getattr(torch, problem.dtype))
    return converted if problem.scale == 1 else converted * problem.scale
