"""l1 and elastic net: minimize F(p) + Σⱼ l1ⱼ |uⱼ|, where `objective.l1` holds the weights and the intercept has none.

Proximal Newton takes the Hessian for a model of F and solves "model + l1" exactly, in few reads of X. Where the Hessian is
too large, accelerated proximal gradient (FISTA) takes many cheap steps. Both give exact zeros.
"""

from __future__ import annotations

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
        require_room_for_hessian(objective)
        xp = array_namespace(objective.start)
        l1, regular = _weights(objective), objective.flat_directions()
        point: Point | None = objective.visit(objective.start)
        while point is not None:
            p, gradient = point.params, point.gradient
            target = _minimize_model(objective.hessian(point.margins) + regular, gradient, p, l1)
            change = xp.sum(gradient * (target - p)) + xp.sum(l1 * (xp.abs(target) - xp.abs(p)))
            cost = point.cost + _size(l1, p)
            yield Look(p, cost, _subgradient(gradient, p, l1), -0.5 * change)
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
    identity = xp.eye(H.shape[0], dtype=H.dtype, device=device(H))
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
        active = xp.astype((xp.abs(r) > l1) | (l1 == 0), H.dtype)
        system = active[:, None] * H * active + (1 - active)[:, None] * identity
        # A pull towards the best so far keeps the system regular where active columns depend on each other. It does not
        # move the solution, for it vanishes there (the proximal point method). Flat directions want it as strong as what
        # little slope there is, so strengths take turns.
        pull = (1e-9, 1e-7, 1e-5)[round_ % 3] * active
        exact = xp.linalg.solve(system + pull * identity, pull * best - active * (constant + l1 * xp.sign(r)))
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
