"""L-BFGS: a quasi-Newton method that estimates the Hessian from the last few steps."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from gpulr.device import Array, array_namespace, floats
from gpulr.objective import Objective, Point
from gpulr.solvers.line_search import Wolfe, line_search, search_on
from gpulr.solvers.minimize import Look, Numbers, Solver
from gpulr.solvers.newton import positive_inverse

# Steps, changes of the gradient, and one over their product (0 for a pair that is not to be used).
Pairs = deque[tuple[Array, Array, Array]]

Metric = Callable[[Array], Array]


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
        point = objective.visit(objective.start)
        metric = None
        if math.prod(objective.start.shape) <= self.hessian_size:
            inverse = positive_inverse(objective.hessian(point.margins) + objective.flat_directions())
            metric = partial(_times, inverse)
        yield from quasi_newton(objective, point, metric, self.memory)


def quasi_newton(objective: Objective, point: Point, metric: Metric | None, memory: int) -> Iterator[Look]:
    """A look at every iterate, from `point` on; it ends when no step lowers the cost any more.

    The device is waited for once a step: along with the trial of a step goes all that follows if it is taken, down to the
    next direction, so that what is read then serves the line search, the history and the test for the end.

    Args:
        objective: F.
        point: where to start.
        metric: multiplies a gradient by a first estimate of H⁻¹; None for a multiple of the identity.
        memory: number of pairs.
    """
    pairs: Pairs = deque(maxlen=memory)
    direction, look = _aim(pairs, metric, point)
    numbers = Numbers(*floats(look.scalars()))
    while True:
        yield replace(look, numbers=numbers)
        trial = objective.visit(point.params + direction)
        next_pairs = _with_pair(pairs, point, trial)
        next_direction, look = _aim(next_pairs, metric, trial)
        slope = array_namespace(direction).sum(trial.gradient * direction, dtype=look.cost.dtype)
        slope_t, *read = floats([slope, *look.scalars()])
        numbers, before = Numbers(*read), numbers
        conditions = Wolfe.at(before.cost, -2 * before.decrement, direction)
        if not (conditions.slope < 0 and conditions.accept(1.0, numbers.cost, slope_t)):
            found = None
            if conditions.slope < 0:
                found = search_on(objective, point, direction, conditions, 1.0, numbers.cost, slope_t)
            if found is None and pairs:
                # The estimate may have gone bad by rounding: once more along the gradient.
                pairs.clear()
                found = line_search(objective, point, -point.gradient)
            if found is None:
                return
            trial, _ = found
            next_pairs = _with_pair(pairs, point, trial)
            next_direction, look = _aim(next_pairs, metric, trial)
            numbers = Numbers(*floats(look.scalars()))
        point, pairs, direction = trial, next_pairs, next_direction


def _aim(pairs: Pairs, metric: Metric | None, point: Point) -> tuple[Array, Look]:
    """The direction −H⁻¹g from a point, and the look at it."""
    direction = -_times_inverse_hessian(pairs, metric, point.gradient)
    decrement = -0.5 * array_namespace(direction).sum(point.gradient * direction)
    return direction, Look(point.params, point.cost, point.gradient, decrement)


def _with_pair(pairs: Pairs, before: Point, after: Point) -> Pairs:
    """The pairs with that of the step from `before` to `after`."""
    xp = array_namespace(after.params)
    s, y = after.params - before.params, after.gradient - before.gradient
    curvature = xp.sum(s * y)
    # Convexity makes sᵀy > 0 but for rounding; a pair of weight 0 has no effect below.
    rho = xp.where(curvature > 0, 1 / curvature, xp.zeros_like(curvature))
    return deque((*pairs, (s, y, rho)), maxlen=pairs.maxlen)


def _times_inverse_hessian(pairs: Pairs, metric: Metric | None, g: Array) -> Array:
    """H⁻¹ g by the two-loop recursion, without a look at a number on the host."""
    xp = array_namespace(g)
    alphas = []
    for s, y, rho in reversed(pairs):
        alpha = rho * xp.sum(s * g)
        g = g - alpha * y
        alphas.append(alpha)
    if metric is not None:
        g = metric(g)
    elif pairs:
        s, y, rho = pairs[-1]
        length = xp.sum(y * y)
        # The usual first estimate of H⁻¹, sᵀy / yᵀy; 1 where the newest pair has weight 0.
        g = g * xp.where(rho > 0, 1 / (rho * length), xp.ones_like(rho))
    for (s, y, rho), alpha in zip(pairs, reversed(alphas), strict=True):
        g = g + (alpha - rho * xp.sum(y * g)) * s
    return g


def _times(matrix: Array, g: Array) -> Array:
    """The matrix (N, N) times g of N entries, in g's shape and dtype."""
    xp = array_namespace(g)
    flat = xp.astype(xp.reshape(g, (-1,)), matrix.dtype, copy=False)
    return xp.astype(xp.reshape(matrix @ flat, g.shape), g.dtype, copy=False)
