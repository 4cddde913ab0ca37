"""L-BFGS: a quasi-Newton method that estimates the Hessian from the last few steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from array_api_compat import device, is_numpy_array

from gpulr import cost_model
from gpulr.device import Array, array_namespace, read
from gpulr.objective import Objective, Point
from gpulr.solvers.line_search import Wolfe, line_search, search_on
from gpulr.solvers.minimize import Look, Looks, Numbers, Solver
from gpulr.solvers.newton import positive_inverse, regular_inverse
from gpulr.solvers.pairs import Metric, Pairs, Place, identity

# So many parameters of a GPU are at home on the host, see `_Home`. An iteration with 1,000 takes 1.1 ms there and 1.55 on an
# H100, with 20,000 1.84 and 1.66.
HOST_PARAMETERS = 1 << 13

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
    hessian_size: int = cost_model.CPU.hessian_size
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
    home, t = _Home(point.params, math.prod(point.params.shape) <= HOST_PARAMETERS), 1.0
    (p,) = home.bring(point.params)
    place, (cost, norm, finite), products = _seen(home, pairs, point, p)
    while True:
        direction, decrement = pairs.aim(products)
        numbers = Numbers(cost, norm, decrement, finite)
        yield Look(point.params, point.cost, point.gradient, home.number(decrement), numbers)
        # Where the last step had to be short, on a slope that gets steeper and steeper, so has the next one.
        t = min(1.0, 3 * t)
        trial, p = home.send(place.params + t * direction)
        trial = objective.visit(trial)
        there, (cost, norm, finite, slope), products = _seen(home, pairs, trial, p, place, direction)
        conditions = Wolfe.at(numbers.cost, -2 * decrement, point.params)
        if not (conditions.slope < 0 and conditions.accept(t, cost, slope)):
            found = None
            if conditions.slope < 0:
                d, _ = home.send(direction)
                found = search_on(objective, point, d, conditions, t, trial, cost, slope)
            if found is None and len(pairs):
                # The estimate may have gone bad by rounding: once more along the gradient.
                pairs.clear()
                found = line_search(objective, point, -point.gradient)
            if found is None:
                return
            trial, t = found
            (p,) = home.bring(trial.params)
            there, (cost, norm, finite, _), products = _seen(home, pairs, trial, p, place, direction)
        pairs.keep(products)
        point, place = trial, there


@dataclass(frozen=True)
class _Home:
    """Where the algebra of the parameters is done: on their device, or for few of them on the host.

    A GPU takes some 10 µs to start whatever is computed, and there are dozens of small things beside a pass.

    Attributes:
        like: parameters as the objective takes them.
        host: whether it is the host.
    """

    like: Array
    host: bool

    @property
    def away(self) -> bool:
        """Whether home is not where the parameters are."""
        return self.host and not is_numpy_array(self.like)

    def bring(self, *parts: Array) -> list[Array]:
        """Arrays from the device, each as one vector; in one transfer, by float64, where home is the host."""
        if not self.away:
            return [array_namespace(part).reshape(part, (-1,)) for part in parts]
        xp = array_namespace(self.like)
        return read([xp.reshape(xp.astype(part, xp.float64, copy=False), (-1,)) for part in parts])

    def send(self, vector: Array) -> tuple[Array, Array]:
        """A vector of home as an array like `like` on the device; and what it is at home, for it may lose digits."""
        xp, there = array_namespace(vector), array_namespace(self.like)
        rounded = xp.reshape(xp.astype(vector, _dtype(xp, self.like), copy=False), self.like.shape)
        sent = rounded if xp is there else there.asarray(rounded, device=device(self.like))
        return sent, xp.astype(xp.reshape(rounded, (-1,)), vector.dtype, copy=False)

    def number(self, value: float) -> Array:
        """A number as an array () in float64 on the device."""
        xp = array_namespace(self.like)
        return xp.asarray(value, dtype=xp.float64, device=device(self.like))


def _seen(
    home: _Home, pairs: Pairs, point: Point, p: Array, before: Place | None = None, d: Array | None = None
) -> tuple[Place, list[float], np.ndarray]:
    """A point, of which p (N,) is home already, with numbers of it and what `pairs` has to be told.

    The numbers are the cost, the largest entry of the gradient, whether p is finite, and, after a step along d (N,) from
    `before`, the slope there.
    """
    cost, g, v = home.bring(point.cost, point.gradient, pairs.metric.times(point.gradient))
    place, xp = Place(p, g, v), array_namespace(g)
    numbers = [cost[0], xp.max(xp.abs(g)), xp.all(xp.isfinite(p))]
    if d is not None:
        numbers.append(xp.sum(g * d, dtype=xp.float64))
    stacked = xp.stack([xp.astype(xp.asarray(number), xp.float64) for number in numbers])
    products = pairs.products(place, before)
    if not home.away:
        stacked, products = read([stacked, products])
    return place, stacked.tolist(), products


def _dtype(xp: Any, like: Array) -> Any:
    """The dtype of `like` in another namespace."""
    return xp.float64 if array_namespace(like).finfo(like.dtype).bits == 64 else xp.float32
