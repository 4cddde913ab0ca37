"""Line search along d from p: the margins are Z + t·Z_d, so that a trial costs O(m) and X is read once, for Z_d."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from gpulr.device import Array, array_namespace, floats
from gpulr.objective import Objective


@dataclass(frozen=True)
class Point:
    """An iterate with all that is known of it short of the gradient.

    Attributes:
        params: p.
        margins: Z at p.
        cost: F(p), ().
        dZ: ∂F/∂Z.
    """

    params: Array
    margins: Array
    cost: Array
    dZ: Array

    @classmethod
    def at(cls, objective: Objective, p: Array, margins: Array | None = None) -> Point:
        """The point p; its margins are computed (one read of X) unless they are given."""
        Z = objective.matmul(p) if margins is None else margins
        return cls(p, Z, *objective.at_margins(p, Z))


def line_search(
    objective: Objective, point: Point, d: Array, *, first_step: float = 1.0, max_trials: int = 40
) -> tuple[Point, float] | None:
    """A step t with F lower and flatter: strong Wolfe conditions with c₁ = 1e-4, c₂ = 0.9.

    F(p + t·d) is convex in t, so the zero of its slope is bracketed and found by the secant rule. Where F is too flat for
    its own digits, the slope alone decides (the approximate Wolfe conditions of Hager & Zhang, "A new conjugate gradient
    method with guaranteed descent" (2005), section 4), so that the search works down to the rounding of the gradient.

    Args:
        objective: F.
        point: p, where the search starts.
        d: direction, of p's shape.
        first_step: the t tried first.
        max_trials: number of trials.

    Returns:
        the new point and t, or None when d does not descend, or no trial will do: F cannot be told to fall.
    """
    Zd = objective.matmul(d)
    rounding = 10 * float(array_namespace(d).finfo(d.dtype).eps)
    cost, slope = floats([point.cost, objective.slope(point.params, d, point.dZ, Zd)])
    if not slope < 0:
        return None
    # The zero of the slope lies in (low, high); the slope at low is negative.
    low, slope_low, high = 0.0, slope, inf
    t = first_step
    for _ in range(max_trials):
        trial = Point.at(objective, point.params + t * d, point.margins + t * Zd)
        cost_t, slope_t = floats([trial.cost, objective.slope(trial.params, d, trial.dZ, Zd)])
        falls = cost_t <= cost + 1e-4 * t * slope or cost_t <= cost + rounding * abs(cost)
        if falls and abs(slope_t) <= 0.9 * abs(slope):
            return trial, t
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
    return None
