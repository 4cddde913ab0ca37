"""Line search along d from p. The first trial is a whole visit, for most often it is taken; what it brings is then there.

Where it is not, X is read once for Z_d, and every further trial costs O(m): the margins at p + t·d are Z + t·Z_d.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from gpulr.device import Array, array_namespace, floats
from gpulr.objective import Objective, Point

MAX_TRIALS = 40


@dataclass(frozen=True)
class Wolfe:
    """When a step is long enough and not too long: the strong Wolfe conditions with c₁ = 1e-4, c₂ = 0.9.

    Where F changes too little for its own digits, the slope alone decides (the approximate Wolfe conditions of Hager &
    Zhang, "A new conjugate gradient method with guaranteed descent" (2005), section 4), so that a search works down to the
    rounding of the gradient. That close to the minimum F is a parabola, which is lower where its slope is smaller.
    Source: Nocedal & Wright, "Numerical Optimization" (2006), section 3.1.

    Attributes:
        cost: F(p).
        slope: ∂F(p + t·d)/∂t at t = 0, < 0.
        rounding: of F, relative; much more than the dtype's where large terms of a margin cancel.
    """

    cost: float
    slope: float
    rounding: float

    @classmethod
    def at(cls, cost: float, slope: float, like: Array) -> Wolfe:
        """The conditions for numbers computed in the dtype of `like`."""
        return cls(cost, slope, float(array_namespace(like).finfo(like.dtype).eps) ** (2 / 3))

    def accept(self, t: float, cost: float, slope: float) -> bool:
        """Whether the step t will do, with F and its slope there; not if either is NaN."""
        falls = cost <= self.cost + 1e-4 * t * self.slope or cost <= self.cost + self.rounding * abs(self.cost)
        return falls and abs(slope) <= 0.9 * abs(self.slope)


def line_search(objective: Objective, point: Point, d: Array, *, first_step: float = 1.0) -> tuple[Point, float] | None:
    """A step t with F lower and flatter, see `Wolfe`.

    Args:
        objective: F.
        point: p, where the search starts.
        d: direction, of p's shape.
        first_step: the t tried first.

    Returns:
        the new point and t, or None when d does not descend, or no trial will do: F cannot be told to fall.
    """
    xp = array_namespace(d)
    trial = objective.visit(point.params + first_step * d)
    slopes = (xp.sum(gradient * d, dtype=xp.float64) for gradient in (point.gradient, trial.gradient))
    cost, cost_t, slope, slope_t = floats([point.cost, trial.cost, *slopes])
    if not slope < 0:
        return None
    conditions = Wolfe.at(cost, slope, d)
    if conditions.accept(first_step, cost_t, slope_t):
        return trial, first_step
    return search_on(objective, point, d, conditions, first_step, trial, cost_t, slope_t)


def search_on(
    objective: Objective,
    point: Point,
    d: Array,
    conditions: Wolfe,
    t: float,
    trial: Point,
    cost_t: float,
    slope_t: float,
) -> tuple[Point, float] | None:
    """As `line_search`, after a first trial at the step t that was not accepted.

    F(p + t·d) is convex in t, so the zero of its slope is bracketed and found by the secant rule.
    """
    Zd = _along(objective, point, d, t, trial)
    # The zero of the slope lies in (low, high); the slope at low is negative.
    low, slope_low, high = 0.0, conditions.slope, inf
    for _ in range(MAX_TRIALS):
        # A cost that is not finite is treated like one that rose: too far.
        if slope_t < 0 and cost_t < inf:
            secant = t - slope_t * (t - low) / (slope_t - slope_low) if slope_t > slope_low else inf
            low, slope_low = t, slope_t
        else:
            secant = (slope_t * low - slope_low * t) / (slope_t - slope_low) if slope_t < inf else 0.0
            high = t
        if high == inf:
            t = min(max(secant, 2 * t), 10 * t)
        else:
            width = high - low
            # Not closer to an end than a tenth of the bracket, so that it shrinks from both sides.
            t = min(max(secant, low + 0.1 * width), high - 0.1 * width)
        p = point.params + t * d
        cost, dZ = objective.at_margins(p, point.margins + t * Zd)
        cost_t, slope_t = floats([cost, objective.slope(p, d, dZ, Zd)])
        if conditions.accept(t, cost_t, slope_t):
            return objective.visit(p), t
    return None


def _along(objective: Objective, point: Point, d: Array, t: float, trial: Point) -> Array:
    """Z_d from the margins at both ends of a trial, or by a read of X where too many of their digits are the same."""
    xp = array_namespace(point.margins)
    difference = trial.margins - point.margins
    change, size = floats([xp.max(xp.abs(difference)), xp.max(xp.abs(point.margins))])
    return difference / t if 0.01 * size < change < inf else objective.matmul(d)
