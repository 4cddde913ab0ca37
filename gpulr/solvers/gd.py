"""Full-batch gradient descent, the lesson's solver: p ← p − α·∇F(p) with a fixed learning rate α."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from gpulr.objective import AnyObjective, lipschitz_constant
from gpulr.solvers.minimize import Look


@dataclass(frozen=True)
class GradientDescent:
    """p ← p − learning_rate·∇F(p).

    Attributes:
        learning_rate: a positive number, or "auto" for 1/L, L = ‖[X 1]‖₂²/(4m) from the data: no larger rate is
            sure never to raise the cost (Nesterov, "Lectures on Convex Optimization" (2018), theorem 2.1.14).

    Raises:
        ValueError: another learning_rate.
    """

    learning_rate: float | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        rate = self.learning_rate
        if rate != "auto" and not (isinstance(rate, int | float) and isfinite(rate) and rate > 0):
            raise ValueError(f"learning_rate={rate!r}: use a positive number, or 'auto' for 1/L from the data")

    def steps(self, objective: AnyObjective) -> Iterator[Look]:
        """A look at every iterate, from `objective.start` on."""
        rate = 1 / lipschitz_constant(objective) if self.learning_rate == "auto" else self.learning_rate
        p = objective.start
        while True:
            cost, gradient = objective.value_and_grad(p)
            yield Look(p, cost, gradient)
            p = p - rate * gradient

    def remedy(self, objective: AnyObjective) -> str:
        """What to do about a cost that rises: the rate that cannot raise it."""
        safe = 1 / lipschitz_constant(objective)
        return (
            f"learning_rate={self.learning_rate} is too large; "
            f"at {safe:.3g} (learning_rate='auto') the cost cannot rise"
        )
