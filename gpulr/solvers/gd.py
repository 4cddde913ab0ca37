"""Full-batch gradient descent, the lesson's solver: p ← p − α·∇F(p)."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from numbers import Real
from typing import Any, ClassVar, Literal

from gpulr.objective import Objective, Point, lipschitz_constant
from gpulr.solvers.line_search import line_search
from gpulr.solvers.minimize import Look, Looks, Solver, gradient_decrement


@dataclass(frozen=True)
class GradientDescent(Solver):
    """p ← p − learning_rate·∇F(p).

    Attributes:
        learning_rate: a positive number; "auto" for 1/L, L = ‖[X 1]‖₂²/(4m) from the data, which cannot raise the cost
            and has the best guaranteed decrease (Nesterov, "Lectures on Convex Optimization" (2018), section 2.1.5);
            or "line-search" to find a good rate at every step.

    Raises:
        ValueError: another learning_rate.
    """

    rises_by_mistake: ClassVar[bool] = True
    patience: ClassVar[int] = 200  # its convergence is linear and may be slow

    learning_rate: float | Literal["auto", "line-search"] = "auto"

    def __post_init__(self) -> None:
        rate: Any = self.learning_rate  # whatever the caller gave
        if rate in ("auto", "line-search"):
            return
        if isinstance(rate, bool) or not isinstance(rate, Real) or not (isfinite(rate) and float(rate) > 0):
            raise ValueError(
                f"learning_rate={rate!r}: use a positive number, 'auto' for 1/L from the data, or 'line-search'"
            )
        # A Python float: NumPy's own would widen float32 weights to float64.
        object.__setattr__(self, "learning_rate", float(rate))

    @property
    def strides(self) -> bool:
        """Only a search for the rate has to look at every iterate."""
        return self.learning_rate != "line-search"

    def steps(self, objective: Objective) -> Looks:
        """A look at every iterate that is asked for, from `objective.start` on."""
        if self.learning_rate == "line-search":
            yield from self._searching_steps(objective)
            return
        rate = 1 / lipschitz_constant(objective) if self.learning_rate == "auto" else self.learning_rate
        p = objective.start
        while True:
            point = objective.visit(p)
            steps = yield _look(point)
            p = objective.descend(point, rate, steps or 1)

    def _searching_steps(self, objective: Objective) -> Looks:
        point: Point | None = objective.visit(objective.start)
        rate = 1.0
        while point is not None:
            yield _look(point)
            found = line_search(objective, point, -point.gradient, first_step=rate)
            point, rate = found if found is not None else (None, rate)

    def remedy(self, objective: Objective) -> str:
        """What to do about a cost that rises: the rate that cannot raise it."""
        if isinstance(self.learning_rate, str):
            return "the features are too large for the dtype; scale them, or use float64"
        safe = 1 / lipschitz_constant(objective)
        return (
            f"learning_rate={self.learning_rate} is too large; "
            f"at {safe:.3g} (learning_rate='auto') the cost cannot rise"
        )


def _look(point: Point) -> Look:
    return Look(point.params, point.cost, point.gradient, gradient_decrement(point.cost, point.gradient))
