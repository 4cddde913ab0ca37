"""l1 and elastic net: minimize F(p) + Σⱼ l1ⱼ |uⱼ|, where `objective.l1` holds the weights and the intercept has none.

Proximal Newton takes the Hessian for a model of F and solves "model + l1" exactly, in few reads of X, on a working set of
the features. Where most of many features are in use, accelerated proximal gradient (FISTA) takes many cheap steps instead.
Both give exact zeros.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

from array_api_compat import device

from gpulr.device import Array, array_namespace, floats
from gpulr.linear_algebra import unit_diagonal
from gpulr.objective import Objective, Point, lipschitz_constant
from gpulr.products import column
from gpulr.solvers.minimize import Look, Looks, Solver, gradient_decrement
from gpulr.solvers.newton import require_room_for_hessian

# Features in a working set, unless half as many are in use already: few enough that their Hessian costs no more than a few
# passes, many enough that a few steps find those that will be in use.
WORKING_SET = 512


@dataclass(frozen=True)
class ProximalNewton(Solver):
    """p ← p + t·(q − p), where q minimizes the quadratic model of F at p plus the l1 penalty.

    Source: Lee, Sun & Saunders, "Proximal Newton-type methods for minimizing composite functions" (2014), algorithm 1.
    """

    # Each step squares the error, so one after convergence brings all the digits there are.
    extra_steps: ClassVar[int] = 1
    knows_curvature: ClassVar[bool] = True

    def steps(self, objective: Objective) -> Looks:
        """A look at every iterate, from `objective.start` on; it ends when no step lowers the cost any more.

        Raises:
            ValueError: the Hessian does not fit in memory; found out before any work.
        """
        xp = array_namespace(objective.start)
        outputs = math.prod(objective.start.shape[1:])
        require_room_for_hessian(objective, min(math.prod(objective.start.shape), WORKING_SET * outputs))
        l1 = _weights(objective)
        point: Point | None = objective.visit(objective.start)
        while point is not None:
            p, gradient = point.params, point.gradient
            part = _Part.of(_working_set(objective, gradient, p, l1), p)
            require_room_for_hessian(objective, part.rows * outputs)
            H = objective.hessian(point.margins, part.columns) + objective.flat_directions(part.columns)
            target = part.back(_minimize_model(H, part.take(gradient), part.take(p), part.take(l1)))
            change = xp.sum(gradient * (target - p)) + xp.sum(l1 * (xp.abs(target) - xp.abs(p)))
            cost, subgradient = point.cost + _size(l1, p), _subgradient(gradient, p, l1)
            # What a full working set has no room for is not in the model.
            left_out = gradient_decrement(cost, subgradient - part.back(part.take(subgradient)))
            yield Look(p, cost, subgradient, left_out - 0.5 * change)
            point = _backtrack(objective, point, target, l1, cost, change)


@dataclass(frozen=True)
class FISTA(Solver):
    """Accelerated proximal gradient with adaptive restart.

    Source: Beck & Teboulle, "A fast iterative shrinkage-thresholding algorithm" (2009), section 4; restart by the gradient
    scheme of O'Donoghue & Candès, "Adaptive restart for accelerated gradient schemes" (2015), section 3.2.
    """

    patience: ClassVar[int] = 200  # it does not descend at every step

    def steps(self, objective: Objective) -> Looks:
        """A look at every iterate, the first after one proximal step from `objective.start`."""
        xp = array_namespace(objective.start)
        l1, L = _weights(objective), lipschitz_constant(objective)
        x = objective.start
        Zx = objective.matmul(x)
        y, Zy, momentum = x, Zx, 1.0
        while True:
            _, dZ = objective.at_margins(y, Zy)
            new = _shrink(y - objective.gradient(y, dZ) / L, l1 / L)
            Znew = objective.matmul(new)
            cost, _ = objective.at_margins(new, Znew)
            mapping = L * (y - new)
            yield Look(new, cost + _size(l1, new), mapping, gradient_decrement(cost, mapping))
            (uphill,) = floats([xp.sum((y - new) * (new - x))])
            following = 1.0 if uphill > 0 else 0.5 + (0.25 + momentum**2) ** 0.5
            beta = 0.0 if uphill > 0 else (momentum - 1) / following
            y, Zy = new + beta * (new - x), Znew + beta * (Znew - Zx)
            x, Zx, momentum = new, Znew, following


@dataclass(frozen=True)
class _Part:
    """Some rows of p: those of some features, and of the intercept, if p has one more than `features`.

    Attributes:
        columns: indices (j,) of the features, or None for all.
        chosen: which rows of p these are, (n + 1,) bool, or (n,) without intercept.
        rows: their number.
    """

    columns: Array | None
    chosen: Array
    rows: int

    @classmethod
    def of(cls, features: Array, p: Array) -> _Part:
        """The part of the features (n,) bool that are True."""
        xp = array_namespace(p)
        ones = xp.ones(p.shape[0] - features.shape[0], dtype=xp.bool, device=device(p))
        chosen = xp.concat([features, ones])
        (columns,) = xp.nonzero(features)
        everything = columns.shape[0] == features.shape[0]
        return cls(None if everything else columns, chosen, columns.shape[0] + ones.shape[0])

    def take(self, a: Array) -> Array:
        """These rows of an array of p's shape."""
        if self.columns is None:
            return a
        xp = array_namespace(a)
        return xp.take(a, xp.nonzero(self.chosen)[0], axis=0)

    def back(self, a: Array) -> Array:
        """The array of p's shape with these rows and zeros elsewhere."""
        if self.columns is None:
            return a
        xp = array_namespace(a)
        if self.rows == 0:
            return xp.zeros((self.chosen.shape[0], *a.shape[1:]), dtype=a.dtype, device=device(a))
        place = xp.cumulative_sum(xp.astype(self.chosen, xp.int64)) - 1
        rows = xp.take(a, xp.where(place < 0, 0 * place, place), axis=0)
        return column(xp.astype(self.chosen, a.dtype), a) * rows


def few_in_use(objective: Objective) -> bool:
    """Whether so few features are pulled from zero at the start that few are likely to be in use at the end: about one in
    six, as measured on correlated features with true weights of which few are not zero. One pass."""
    xp = array_namespace(objective.start)
    pulled = xp.abs(objective.visit(objective.start).gradient) > _weights(objective)
    return int(xp.count_nonzero(pulled)) <= 6 * WORKING_SET


def _working_set(objective: Objective, gradient: Array, p: Array, l1: Array) -> Array:
    """The features (n,) bool that the next step may move: those in use, and those that the gradient pulls from zero.

    The others satisfy the optimality conditions as they are. Of those that do not there may be far more than will ever be in
    use, as at p = 0, so no more than WORKING_SET, or twice as many as are in use, the most pulled first: a working set as in
    Massias, Gramfort & Salmon, "Celer: a fast solver for the lasso with dual extrapolation" (2018), section 4.
    """
    xp, n = array_namespace(p), p.shape[0] - objective.fit_intercept
    p, pull = p[:n, ...], (xp.abs(gradient) - l1)[:n, ...]
    if p.ndim > 1:
        p, pull = xp.max(xp.abs(p), axis=1), xp.max(pull, axis=1)
    used = p != 0
    room = max(WORKING_SET, 2 * int(xp.count_nonzero(used)))
    if n <= room:
        return used | (pull > 0)
    pull = xp.where(used, xp.max(xp.abs(pull)) + 1, pull)
    return (pull > 0) & (pull >= xp.sort(pull)[n - room])


def _weights(objective: Objective) -> Array:
    """The l1 weight of each entry of p, zero for the intercept: of p's shape."""
    p = objective.start
    xp = array_namespace(p)
    u = p[:-1, ...] if objective.fit_intercept else p
    weights = xp.ones_like(u) * column(objective.l1, u)
    return xp.concat([weights, xp.zeros_like(p[-1:, ...])]) if objective.fit_intercept else weights


def _size(l1: Array, p: Array) -> Array:
    """Σ l1·|p| in float64."""
    xp = array_namespace(p)
    return xp.sum(l1 * xp.abs(p), dtype=xp.float64)


def _shrink(q: Array, threshold: Array) -> Array:
    """The proximal operator of threshold·|q|: towards zero by the threshold, and exactly zero within it."""
    xp = array_namespace(q)
    size = xp.abs(q) - threshold
    return xp.sign(q) * xp.where(size > 0, size, xp.zeros_like(size))


def _subgradient(g: Array, p: Array, l1: Array) -> Array:
    """The smallest element of g + ∂(l1·|p|); zero at the minimum."""
    xp = array_namespace(p)
    return xp.where(p == 0, _shrink(g, l1), g + l1 * xp.sign(p))


def _minimize_model(H: Array, g: Array, p: Array, l1: Array, max_rounds: int = 100) -> Array:
    """argmin over q of gᵀ(q − p) + ½ (q − p)ᵀH(q − p) + Σ l1|q|, of p's shape and dtype, to the rounding of float64.

    FISTA finds out which entries are zero; given these and the signs of the others, q solves a linear system. So rounds of
    25 FISTA steps alternate with such a solution (a semismooth Newton step), until that one satisfies the optimality
    conditions. Variables are scaled to a unit diagonal of H first.
    """
    xp = array_namespace(H)
    shape, dtype = p.shape, p.dtype
    g, p, l1 = (xp.reshape(xp.astype(a, H.dtype, copy=False), (-1,)) for a in (g, p, l1))
    H, root = unit_diagonal(H)
    g, p, l1 = g / root, p * root, l1 / root
    bound = xp.max(xp.sum(xp.abs(H), axis=1))  # ‖H‖∞ ≥ ‖H‖₂
    constant = g - H @ p  # the model's gradient at q is H q + constant
    scale = xp.max(xp.abs(g)) + xp.max(l1)

    def residual(q: Array) -> Array:
        return xp.max(xp.abs(q - _shrink(q - (H @ q + constant), l1)))

    def value(q: Array) -> Array:
        d = q - p
        return xp.sum(g * d) + 0.5 * xp.sum(d * (H @ d)) + xp.sum(l1 * (xp.abs(q) - xp.abs(p)))

    best, y, momentum = p, p, 1.0
    for round_ in range(max_rounds):
        q = best
        for _ in range(25):
            new = _shrink(y - (H @ y + constant) / bound, l1 / bound)
            following = 0.5 + (0.25 + momentum**2) ** 0.5
            y = new + (momentum - 1) / following * (new - q)
            q, momentum = new, following
        r = q - (H @ q + constant)
        active = _Part.of((xp.abs(r) > l1) | (l1 == 0), q)
        system = active.take(active.take(H).T)
        # A pull towards the best so far keeps the system regular where active columns depend on each other. It does not
        # move the solution, for it vanishes there (the proximal point method). Flat directions want it as strong as what
        # little slope there is, so strengths take turns.
        pull = (1e-9, 1e-7, 1e-5)[round_ % 3]
        identity = xp.eye(active.rows, dtype=H.dtype, device=device(H))
        sides = active.take(pull * best - constant - l1 * xp.sign(r))
        exact = active.back(xp.linalg.solve(system + pull * identity, sides))
        below, at_exact, at_q, size = floats([value(q) - value(exact), residual(exact), residual(q), scale])
        # Where the two are equally good to rounding, the one that satisfies the conditions better.
        chosen = isfinite(at_exact) and (below > 0 or (below > -1e-15 * size and at_exact < at_q))
        best = exact if chosen else q
        if (at_exact if chosen else at_q) <= 1e-13 * size:
            break
        y, momentum = best, 1.0
    return xp.astype(xp.reshape(best / root, shape), dtype, copy=False)


def _backtrack(
    objective: Objective, point: Point, target: Array, l1: Array, cost: Array, change: Array
) -> Point | None:
    """The first of t = 1, ½, ¼, ... with sufficient decrease, or None: the cost cannot be told to fall."""
    before, slope = floats([cost, change])
    if not slope < 0:
        return None
    rounding = 10 * float(array_namespace(target).finfo(target.dtype).eps) * abs(before)
    # At t = 1 the target itself: p + (q − p) would lose its exact zeros to rounding.
    trial = objective.visit(target)
    (after,) = floats([trial.cost + _size(l1, target)])
    if after <= before + 1e-4 * slope + rounding:
        return trial
    d = target - point.params
    Zd = objective.matmul(d)
    t = 0.5
    for _ in range(40):
        p = point.params + t * d
        cost, _ = objective.at_margins(p, point.margins + t * Zd)
        (after,) = floats([cost + _size(l1, p)])
        if after <= before + 1e-4 * t * slope + rounding:
            return objective.visit(p)
        t /= 2
    return None
