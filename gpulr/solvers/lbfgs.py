"""L-BFGS: a quasi-Newton method that estimates the Hessian from the last few steps."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from gpulr import cost_model
from gpulr.device import Array, array_namespace, floats
from gpulr.objective import Objective, Point
from gpulr.products import inner
from gpulr.solvers.line_search import Wolfe, line_search, search_on
from gpulr.solvers.minimize import Look, Looks, Numbers, Solver
from gpulr.solvers.newton import positive_inverse, regular_inverse

# Steps, changes of the gradient, and one over their product (0 for a pair that is not to be used).
Pair = tuple[Array, Array, Array]
Pairs = deque[Pair]

# A coarse objective is minimized to this share of what is not known of it, for its minimum is much closer to the true one
# than its cost.
WELL_BELOW = 1e-4


@dataclass(frozen=True)
class Metric:
    """A first estimate of H⁻¹.

    Attributes:
        times: multiplies a gradient by it.
        trust: ≥ 1; as a whole it may be too large or small by this factor before the newest pair corrects it.
    """

    times: Callable[[Array], Array]
    trust: float


def identity(objective: Objective) -> Metric:
    """A multiple of the identity, for a start; the first pair tells better.

    One over the largest curvature that standardized features have when they depend on each other by chance only,
    (1 + √(n/m))²/4 (Marchenko & Pastur, "Distribution of eigenvalues for some sets of random matrices" (1967)).
    """
    m, n = objective.rows.y.shape[0], objective.start.shape[0]
    size = 4 / (1 + math.sqrt(n / m)) ** 2
    return Metric(lambda g: size * g, 1.0)


@dataclass(frozen=True)
class LBFGS(Solver):
    """p ← p − t·H⁻¹∇F(p), H⁻¹ from the last `memory` pairs of steps and gradient changes.

    Source: Nocedal & Wright, "Numerical Optimization" (2006), algorithms 7.4 and 7.5.

    The recursion needs a first estimate of H⁻¹. For few parameters that is the inverse of the true Hessian at the start,
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
        pairs: Pairs = deque(maxlen=self.memory)
        minimize = _with_corrections if objective.coarseness > 0 else quasi_newton
        yield from minimize(objective, point, metric, pairs)


def _inverse_hessian(objective: Objective, Z: Array) -> Callable[[Array], Array]:
    """Multiplies by about (∇²F)⁻¹ where the margins are Z."""
    xp, flat, times = array_namespace(Z), objective.flat_directions(), None
    if objective.coarseness > 0:
        # float32 products, as those of F itself, take half the time, and are as good where they tell all directions apart.
        times = regular_inverse(objective.hessian(xp.astype(Z, xp.float32)) + flat)
    return times or positive_inverse(objective.hessian(Z) + flat)


def _with_corrections(objective: Objective, point: Point, metric: Metric, pairs: Pairs) -> Looks:
    """A look at every iterate of `quasi_newton` on a coarse objective, which is corrected at each minimum that is found."""
    rounding = 4 * float(array_namespace(point.params).finfo(point.params.dtype).eps)
    looks = quasi_newton(objective, point, metric, pairs)
    before: Numbers | None = None  # of the last correction
    while True:
        for look in looks:
            numbers = numbers_of(look)
            unknown = objective.coarseness * abs(numbers.cost) if before is None else before.decrement
            if numbers.decrement <= WELL_BELOW * unknown:
                break
            # Before a correction it is not known how far the true cost has to fall.
            yield look if before is not None else replace(look, numbers=numbers._replace(decrement=math.inf))
        looks = quasi_newton(objective, objective.corrected(look.params), metric, pairs)
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


def quasi_newton(objective: Objective, point: Point, metric: Metric, pairs: Pairs) -> Looks:
    """A look at every iterate, from `point` on; it ends when no step lowers the cost any more.

    The device is waited for once a step: along with the trial of a step goes all that follows if it is taken, down to the
    next direction, so that what is read then serves the line search, the history and the test for the end.

    Args:
        objective: F.
        point: where to start.
        metric: the first estimate of H⁻¹.
        pairs: what is known of H already, the newest last; new pairs are added.
    """
    direction, look = _aim(pairs, metric, point)
    numbers = Numbers(*floats(look.scalars()))
    t = 1.0
    while True:
        yield replace(look, numbers=numbers)
        # Where the last step had to be short, on a slope that gets steeper and steeper, so has the next one.
        t = min(1.0, 3 * t)
        trial = objective.visit(point.params + t * direction)
        pair = _pair(point, trial)
        next_direction, look = _aim(_added(pairs, pair), metric, trial)
        slope = array_namespace(direction).sum(trial.gradient * direction, dtype=look.cost.dtype)
        slope_t, *read = floats([slope, *look.scalars()])
        numbers, before = Numbers(*read), numbers
        conditions = Wolfe.at(before.cost, -2 * before.decrement, direction)
        if not (conditions.slope < 0 and conditions.accept(t, numbers.cost, slope_t)):
            found = None
            if conditions.slope < 0:
                found = search_on(objective, point, direction, conditions, t, trial, numbers.cost, slope_t)
            if found is None and pairs:
                # The estimate may have gone bad by rounding: once more along the gradient.
                pairs.clear()
                found = line_search(objective, point, -point.gradient)
            if found is None:
                return
            trial, t = found
            pair = _pair(point, trial)
            next_direction, look = _aim(_added(pairs, pair), metric, trial)
            numbers = Numbers(*floats(look.scalars()))
        pairs.append(pair)
        point, direction = trial, next_direction


def _aim(pairs: Pairs, metric: Metric, point: Point) -> tuple[Array, Look]:
    """The direction −H⁻¹g from a point, and the look at it."""
    direction = -_times_inverse_hessian(pairs, metric, point.gradient)
    decrement = -0.5 * inner(point.gradient, direction)
    return direction, Look(point.params, point.cost, point.gradient, decrement)


def _pair(before: Point, after: Point) -> Pair:
    """What the step from `before` to `after` tells of the Hessian."""
    xp = array_namespace(after.params)
    s, y = after.params - before.params, after.gradient - before.gradient
    curvature = inner(s, y)
    # Convexity makes sᵀy > 0 but for rounding; a pair of weight 0 has no effect below.
    return s, y, xp.where(curvature > 0, 1 / curvature, xp.zeros_like(curvature))


def _added(pairs: Pairs, pair: Pair) -> Pairs:
    return deque((*pairs, pair), maxlen=pairs.maxlen)


def _times_inverse_hessian(pairs: Pairs, metric: Metric, g: Array) -> Array:
    """H⁻¹ g by the two-loop recursion, without a look at a number on the host."""
    alphas = []
    for s, y, rho in reversed(pairs):
        alpha = rho * inner(s, g)
        g = g - alpha * y
        alphas.append(alpha)
    g = metric.times(g)
    if pairs and metric.trust < math.inf:
        g = g * _factor(pairs[-1], metric)
    for (s, y, rho), alpha in zip(pairs, reversed(alphas), strict=True):
        g = g + (alpha - rho * inner(y, g)) * s
    return g


def _factor(pair: Pair, metric: Metric) -> Array:
    """How much larger the metric M should be by what a step has shown, sᵀy / yᵀMy: (); 1 for a pair of weight 0."""
    _, y, rho = pair
    xp = array_namespace(y)
    ones = xp.ones_like(rho)
    ratio = xp.where(rho > 0, 1 / (rho * inner(y, metric.times(y))), ones)
    return xp.where((ratio > metric.trust) | (ratio < 1 / metric.trust), ratio, ones)
