"""L-BFGS: a quasi-Newton method that estimates the Hessian from the last few steps."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from gpulr.device import Array, array_namespace
from gpulr.objective import Objective
from gpulr.solvers.line_search import Point, line_search
from gpulr.solvers.minimize import Look, Solver
from gpulr.solvers.newton import positive_inverse

# The margins are carried from step to step, Z + t·Z_d, and computed afresh after so many, before rounding adds up.
REFRESH = 20


@dataclass(frozen=True)
class LBFGS(Solver):
    """p ← p − t·H⁻¹∇F(p), H⁻¹ from the last `memory` pairs of steps and gradient changes.

    Source: Nocedal & Wright, "Numerical Optimization" (2006), algorithms 7.4 and 7.5.

    The recursion needs a first estimate of H⁻¹. For few parameters that is the inverse of the true Hessian at the start,
    which costs about as much as an iteration and makes dependent columns harmless; for many, a multiple of the identity.

    Attributes:
        memory: number of pairs ≥ 1.
        hessian_size: largest number of parameters for which the Hessian at the start is used.

    Raises:
        ValueError: memory < 1.
    """

    memory: int = 10
    hessian_size: int = 200

    # Convergence is linear, so the last iterate is no better than the test says, and the test is made sharper.
    sharpness: ClassVar[float] = 1e5
    knows_curvature: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.memory < 1:
            raise ValueError(f"memory={self.memory}: at least one pair is needed")

    def steps(self, objective: Objective) -> Iterator[Look]:
        """A look at every iterate, from `objective.start` on; it ends when no step lowers the cost any more."""
        pairs: deque[tuple[Array, Array, Array]] = deque(maxlen=self.memory)
        point = Point.at(objective, objective.start)
        gradient = objective.gradient(point.params, point.dZ)
        metric = self._metric(objective, point)
        iteration = 0
        while True:
            xp = array_namespace(gradient)
            direction = -_times_inverse_hessian(pairs, metric, gradient)
            yield Look(point.params, point.cost, gradient, -0.5 * xp.sum(gradient * direction))
            found = line_search(objective, point, direction)
            if found is None and pairs:
                # The estimate may have gone bad by rounding: once more along the gradient.
                pairs.clear()
                found = line_search(objective, point, -gradient)
            if found is None:
                return
            new, _ = found
            iteration += 1
            if iteration % REFRESH == 0:
                new = Point.at(objective, new.params)
            new_gradient = objective.gradient(new.params, new.dZ)
            s, y = new.params - point.params, new_gradient - gradient
            curvature = xp.sum(s * y)
            # Convexity makes sᵀy > 0 but for rounding; a pair of weight 0 has no effect below.
            pairs.append((s, y, xp.where(curvature > 0, 1 / curvature, xp.zeros_like(curvature))))
            point, gradient = new, new_gradient

    def _metric(self, objective: Objective, point: Point) -> Array | None:
        """The inverse of the Hessian at a point, (N, N); None when there are too many parameters."""
        if math.prod(objective.start.shape) > self.hessian_size:
            return None
        return positive_inverse(objective.hessian(point.margins) + objective.flat_directions())


def _times_inverse_hessian(pairs: deque[tuple[Array, Array, Array]], metric: Array | None, g: Array) -> Array:
    """H⁻¹ g by the two-loop recursion, without a look at a number on the host."""
    xp = array_namespace(g)
    alphas = []
    for s, y, rho in reversed(pairs):
        alpha = rho * xp.sum(s * g)
        g = g - alpha * y
        alphas.append(alpha)
    if metric is not None:
        flat = xp.astype(xp.reshape(g, (-1,)), metric.dtype, copy=False)
        g = xp.astype(xp.reshape(metric @ flat, g.shape), g.dtype, copy=False)
    elif pairs:
        s, y, rho = pairs[-1]
        length = xp.sum(y * y)
        # The usual first estimate of H⁻¹, sᵀy / yᵀy; 1 where the newest pair has weight 0.
        g = g * xp.where(rho > 0, 1 / (rho * length), xp.ones_like(rho))
    for (s, y, rho), alpha in zip(pairs, reversed(alphas), strict=True):
        g = g + (alpha - rho * xp.sum(y * g)) * s
    return g
