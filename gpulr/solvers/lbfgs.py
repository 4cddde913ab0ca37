"""L-BFGS: a quasi-Newton method that estimates the Hessian from the last few steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from array_api_compat import device

from gpulr import cost_model
from gpulr.device import Array, array_namespace, read
from gpulr.objective import Objective, Point
from gpulr.solvers.line_search import Wolfe, line_search, search_on
from gpulr.solvers.minimize import Look, Looks, Numbers, Solver
from gpulr.solvers.newton import positive_inverse, regular_inverse
from gpulr.solvers.pairs import Metric, Pairs, Place, identity

# A coarse objective is minimized to this share of what is not known of it, for its minimum is much closer to the true one
# than its cost.
WELL_BELOW = 1e-4


@dataclass(frozen=True)
class LBFGS(Solver):
    """p ← p − t·H⁻¹∇F(p), H⁻¹ from the last `memory` pairs of steps and gradient changes.

    Source: Nocedal & Wright, "Numerical Optimization" (2006), section 7.2; see `gpulr.solvers.pairs` for the form.

    It needs a first estimate of H⁻¹. For few parameters that is the inverse of the true Hessian at the start,
    which costs about as much as an iteration and makes dependent columns harmless; for many, a multiple of the identity.

    Attributes:
        memory: number of pairs ≥ 1.
        hessian_size: largest number of parameters for which the Hessian at the start is used.
        hessian_trust: by how much, as a whole, it may be wrong at the end; see `Metric`.

    Raises:
        ValueError: memory < 1.
    """

    memory: int = 10
    hessian_size: int = cost_model.HESSIAN_SIZE
    hessian_trust: float = math.inf

    # Convergence is linear, so the last iterate is no better than the test says, and the test is made sharper.
    sharpness: ClassVar[float] = 1e5
    knows_curvature: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.memory < 1:
            raise ValueError(f"memory={self.memory}: at least one pair is needed")

    def steps(self, objective: Objective) -> Looks:
        """A look at every iterate, from `objective.start` on; it ends when no step lowers the cost any more."""
        point = objective.visit(objective.start)
        metric = identity(objective)
        if math.prod(objective.start.shape) <= self.hessian_size:
            metric = Metric(_inverse_hessian(objective, point.margins), self.hessian_trust)
        minimize = _with_corrections if objective.coarseness > 0 else quasi_newton
        yield from minimize(objective, point, Pairs(metric, self.memory))


def _inverse_hessian(objective: Objective, Z: Array) -> Callable[[Array], Array]:
    """Multiplies by about (∇²F)⁻¹ where the margins are Z."""
    xp, flat, times = array_namespace(Z), objective.flat_directions(), None
    if objective.coarseness > 0:
        # float32 products, as those of F itself, take half the time, and are as good where they tell all directions apart.
        times = regular_inverse(objective.hessian(xp.astype(Z, xp.float32)) + flat)
    return times or positive_inverse(objective.hessian(Z) + flat)


def _with_corrections(objective: Objective, point: Point, pairs: Pairs) -> Looks:
    """A look at every iterate of `quasi_newton` on a coarse objective, which is corrected at each minimum that is found."""
    rounding = 4 * float(array_namespace(point.params).finfo(point.params.dtype).eps)
    looks = quasi_newton(objective, point, pairs)
    before: Numbers | None = None  # of the last correction
    while True:
        for look in looks:
            numbers = numbers_of(look)
            unknown = objective.coarseness * abs(numbers.cost) if before is None else before.decrement
            if numbers.decrement <= WELL_BELOW * unknown:
                break
            # Before a correction it is not known how far the true cost has to fall.
            yield look if before is not None else replace(look, numbers=numbers._replace(decrement=math.inf))
        looks = quasi_newton(objective, objective.corrected(look.params), pairs)
        look = next(looks)
        yield look
        numbers = numbers_of(look)
        if before is not None:
            fell = numbers.cost < before.cost - rounding * abs(before.cost)
            if not fell and numbers.decrement > 0.5 * before.decrement:
                return
        before = numbers


def numbers_of(look: Look) -> Numbers:
    """Those of a look of `quasi_newton`, which reads them."""
    assert look.numbers is not None
    return look.numbers


def quasi_newton(objective: Objective, point: Point, pairs: Pairs) -> Looks:
    """A look at every iterate, from `point` on; it ends when no step lowers the cost any more.

    The device is waited for once a step: along with the trial of a step goes all that the next direction takes if it is
    taken, so that what is read then serves the line search, the pairs and the test for the end.

    Args:
        objective: F.
        point: where to start.
        pairs: the first estimate of H⁻¹, and what is known of H already; new pairs are added.
    """
    place = pairs.visit(point)
    (cost, norm, finite), products = _numbers(point, place)
    t = 1.0
    while True:
        direction, decrement = pairs.aim(products, point.params)
        numbers = Numbers(cost, norm, decrement, finite)
        yield Look(point.params, point.cost, point.gradient, _like(decrement, point.cost), numbers)
        # Where the last step had to be short, on a slope that gets steeper and steeper, so has the next one.
        t = min(1.0, 3 * t)
        trial = objective.visit(point.params + t * direction)
        there = pairs.visit(trial, place)
        slope = array_namespace(direction).sum(trial.gradient * direction, dtype=trial.cost.dtype)
        (cost, norm, finite, slope_t), products = _numbers(trial, there, slope)
        conditions = Wolfe.at(numbers.cost, -2 * decrement, direction)
        if not (conditions.slope < 0 and conditions.accept(t, cost, slope_t)):
            found = None
            if conditions.slope < 0:
                found = search_on(objective, point, direction, conditions, t, trial, cost, slope_t)
            if found is None and len(pairs):
                # The estimate may have gone bad by rounding: once more along the gradient.
                pairs.clear()
                found = line_search(objective, point, -point.gradient)
            if found is None:
                return
            trial, t = found
            there = pairs.visit(trial, place)
            (cost, norm, finite), products = _numbers(trial, there)
        pairs.keep(products)
        point, place = trial, there


def _numbers(point: Point, place: Place, *more: Array) -> tuple[list[float], np.ndarray]:
    """Of a point: cost, largest entry of the gradient, whether it is finite, and `more` (); and its place's products."""
    xp = array_namespace(point.params)
    norm, finite = xp.max(xp.abs(point.gradient)), xp.all(xp.isfinite(point.params))
    numbers = xp.stack([xp.astype(x, xp.float64) for x in (point.cost, norm, finite, *more)])
    numbers, products = read([numbers, place.products])
    return numbers.tolist(), products


def _like(number: float, like: Array) -> Array:
    """A number as an array ()."""
    return array_namespace(like).asarray(number, dtype=like.dtype, device=device(like))
