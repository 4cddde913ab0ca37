"""F(p), what training minimizes: mean cross-entropy of all rows plus ridge penalty, as a function of the parameters p.

    F(p) = Σᵢ sᵢ·cost(zᵢ, yᵢ) / Σᵢ sᵢ + ½ Σⱼ rⱼ uⱼ²,   z = X w + b,   w = scale∘u,   b = c − shiftᵀw

A solver sees p = (u, c) as one array, (n + 1,) for two classes and (n + 1, k) for k, without the last row when there is
no intercept; it never sees X. `scale` and `shift` change the variables: u are the weights of (X − shift)·scale, which is
never formed, for its product with u is X (scale∘u) less a number. So pixels are divided by 255, features standardized,
and ill-scaled problems preconditioned without touching X. A penalty on w is one on u with rⱼ = λ·scaleⱼ².

A solver visits points: one pass over X brings cost, gradient and margins Z. The margins are linear in p, so a solver that
has to try several steps along a line reads X once for the direction, and each trial at Z + t·Z_d costs O(m) (`at_margins`,
`slope`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from array_api_compat import device

from gpulr.device import Array, array_namespace, floats, normal
from gpulr.links import cross_entropy, curvature, softmax
from gpulr.margin_descent import descend
from gpulr.passes import PASSES, Propagate, fused
from gpulr.products import column, weigh
from gpulr.rows import MemoryRows, Rows, rotate


@dataclass(frozen=True)
class Point:
    """What one pass over X tells of a point.

    Attributes:
        params: p.
        cost: F(p), () in float64.
        gradient: ∇F(p), of p's shape and dtype.
        margins: Z, (m,) or (m, k).
    """

    params: Array
    cost: Array
    gradient: Array
    margins: Array


@dataclass
class Objective:
    """F(p); see the module for the formula.

    Attributes:
        rows: the samples (m, n) and their labels.
        start: p where a solver starts, in y's dtype: (n + 1,), (n + 1, k), or with n rows when there is no intercept.
        scale, shift: change of variables; a number or (n,), and (n,) or None for zero, in y's dtype.
        ridge: r, a number or (n,).
        l1: weight(s) of the non-smooth penalty Σⱼ l1ⱼ |uⱼ|, a number or (n,). F is without it; see `gpulr.solvers.prox`.
        fit_intercept: p has c as its last row.
        one_pass: the pass, a value of `gpulr.passes.PASSES`.
        reads: how many times X was gone through so far.
        gram: XXᵀ (m, m) in float64, where it is known and gradient descent is to use it.
        coarseness: how much F differs from what is to be minimized, relative to itself; see `gpulr.coarse_gram`.
    """

    rows: Rows
    start: Array
    scale: Array | float = 1.0
    shift: Array | None = None
    ridge: Array | float = 0.0
    l1: Array | float = 0.0
    fit_intercept: bool = True
    one_pass: Propagate = PASSES["vectorized"]
    reads: float = 0
    gram: Array | None = None
    coarseness: float = 0.0

    def corrected(self, p: Array) -> Point:
        """The point p without the coarseness; from now on F has its cost and gradient there."""
        return self.visit(p)

    def visit(self, p: Array) -> Point:
        """The point p. One pass over X."""
        self.reads += 1
        cost, dw, db, Z = self.rows.propagate(self.one_pass, *self.raw(p))
        total = self.rows.total_weight
        return Point(p, cost / total + self._penalty(p), self._gradient(p, dw / total, db / total), Z)

    def at_margins(self, p: Array, Z: Array) -> tuple[Array, Array]:
        """F(p) () in float64 and dZ = ∂F/∂Z, of Z's shape, from the margins Z of p. No read of X."""
        xp = array_namespace(Z)
        cost, dZ = cross_entropy(Z, self.rows.y)
        s, total = self.rows.sample_weight, self.rows.total_weight
        return xp.sum(weigh(s, cost), dtype=xp.float64) / total + self._penalty(p), weigh(s, dZ) / total

    def slope(self, p: Array, d: Array, dZ: Array, Zd: Array) -> Array:
        """∂F(p + t·d)/∂t at t = 0, () in float64, where dZ belongs to p and Z_d = matmul(d). No read of X."""
        xp = array_namespace(p)
        return xp.sum(dZ * Zd, dtype=xp.float64) + xp.sum(self._ridge_times(p) * self._weights(d), dtype=xp.float64)

    def matmul(self, p: Array) -> Array:
        """The margins Z = X w + b: (m,) or (m, k). One read of X."""
        self.reads += 1
        w, b = self.raw(p)
        return self.rows.matmul(w) + b

    def rmatmul(self, dZ: Array) -> Array:
        """The adjoint of `matmul`, of p's shape. One read of X."""
        xp = array_namespace(dZ)
        self.reads += 1
        return self._transform(self.rows.rmatmul(dZ), xp.sum(dZ, axis=0))

    def gradient(self, p: Array, dZ: Array) -> Array:
        """∇F(p), of p's shape and dtype, from dZ of `at_margins`. One read of X."""
        xp = array_namespace(dZ)
        self.reads += 1
        return self._gradient(p, self.rows.rmatmul(dZ), xp.sum(dZ, axis=0, dtype=xp.float64))

    def hessian(self, Z: Array, columns: Array | None = None) -> Array:
        """∇²F where the margins are Z: (N, N) in float64, N = p.size, p flattened row by row. Reads X 1 or k(k−1)/2 times.

        Where `columns` (j,) are given, of the parameters of these features and of the intercept only. Products are formed in
        Z's dtype.

        Two classes: Σ sᵢ σ'(zᵢ) x̃ᵢx̃ᵢᵀ. k classes: its block of classes (a, b) has sᵢ Pᵢₐ (δₐᵦ − Pᵢᵦ) in place of sᵢ σ'(zᵢ).
        """
        xp, s = array_namespace(Z), self.rows.sample_weight
        s = None if s is None else xp.astype(s, Z.dtype, copy=False)
        if Z.ndim == 1:
            H = self._scatter(weigh(s, curvature(Z)), columns)
            H += self._ridge_matrix(H, columns)
            return H
        P, k = softmax(Z), Z.shape[1]
        blocks: dict[tuple[int, int], Array] = {}
        for a in range(k):
            for b in range(a):
                blocks[a, b] = blocks[b, a] = -self._scatter(weigh(s, P[:, a] * P[:, b]), columns)
        # Pₐ(1 − Pₐ) = Σ of Pₐ Pᵦ over the other classes. Made of the very blocks beside it, the matrix has no negative
        # eigenvalue, whatever the rounding of P.
        for a in range(k):
            diagonal = -sum(blocks[a, b] for b in range(k) if b != a)
            blocks[a, a] = diagonal + self._ridge_matrix(diagonal, columns)
        size = blocks[0, 0].shape[0]
        H = xp.stack([xp.stack([blocks[a, b] for b in range(k)]) for a in range(k)])  # (k, k, N/k, N/k)
        return xp.reshape(xp.permute_dims(H, (2, 0, 3, 1)), (size * k, size * k))

    def shared_hessian(self, Z: Array, columns: Array | None = None) -> Array:
        """A matrix (n + 1, n + 1) in float64 (n without intercept) that stands for ∇²F in every output. Reads X once.
        Columns as in `hessian`.

        Σ sᵢ cᵢ x̃ᵢx̃ᵢᵀ / Σ sᵢ + ridge with c = σ'(z) for two classes, which is ∇²F, and c = Σₐ Pₐ(1 − Pₐ)/(k − 1) for k. At
        equal probabilities its product with the unit matrix of the classes differs from ∇²F along 1 only, where the gradient
        of the cost has no part.
        """
        if Z.ndim == 1:
            return self.hessian(Z, columns)
        xp, P = array_namespace(Z), softmax(Z)
        H = self._scatter(weigh(self.rows.sample_weight, xp.sum(P * (1 - P), axis=1) / (Z.shape[1] - 1)), columns)
        return H + self._ridge_matrix(H, columns)

    def ridge_diagonal(self, block: Array, columns: Array | None = None) -> Array:
        """What the ridge adds to the diagonal of the Hessian `block` (N, N) of an output, 0 for the intercept: (N,)."""
        xp = array_namespace(block)
        weights = xp.ones(block.shape[0] - self.fit_intercept, dtype=block.dtype, device=device(block))
        weights = weights * _of(columns, self.ridge)
        if self.fit_intercept:
            weights = xp.concat([weights, xp.zeros(1, dtype=block.dtype, device=device(block))])
        return weights

    def flat_directions(self, columns: Array | None = None) -> Array:
        """0.0 for two classes. For k, a matrix that has curvature 1 where F has none by design: Σ vvᵀ, (N, N) in float64.

        Adding one number to the intercept of every class, or to a weight without penalty, changes no probability. Columns as
        in `hessian`.
        """
        xp, p = array_namespace(self.start), self.start
        if p.ndim == 1:
            return 0.0
        (size, k), place = p.shape, device(p)
        # A ridge of less than 1e-8 in scaled variables is lost in the rounding of the Hessian beside it.
        free = xp.asarray((self.ridge < 1e-8) & (self.l1 == 0), device=place)
        flat = xp.ones(size - self.fit_intercept, dtype=xp.float64, device=place) * xp.astype(free, xp.float64)
        flat = _of(columns, flat)
        size = flat.shape[0] + self.fit_intercept
        if self.fit_intercept:
            flat = xp.concat([flat, xp.ones(1, dtype=xp.float64, device=place)])
        each = xp.ones((k, k), dtype=xp.float64, device=place) / k
        matrix = (xp.eye(size, dtype=xp.float64, device=place) * flat)[:, None, :, None] * each[None, :, None, :]
        return xp.reshape(matrix, (size * k, size * k))

    def sample(self, indices: Array, dtype: Any = None) -> Objective:
        """F on some of the rows, with the same penalty: its expectation over random `indices` (j,) is F.

        Computed in `dtype`, by default that of all rows.
        """
        rows = self.rows.take(indices, dtype)
        if rows.y.dtype == self.start.dtype:
            return replace(self, rows=rows, gram=None)
        xp, narrow = array_namespace(self.start), rows.y.dtype
        parts = {
            name: xp.astype(value, narrow)
            for name in ("start", "scale", "shift", "ridge", "l1")
            if (value := getattr(self, name)) is not None and not isinstance(value, float)
        }
        return replace(self, rows=rows, gram=None, **parts)

    def descend(self, point: Point, rate: float, steps: int) -> Array:
        """p after so many steps p ← p − rate·∇F(p) from a point on. One pass a step after the first, or with `gram` one
        read for all of them."""
        if self.gram is not None and steps > 1:
            return self._descend_by_margins(self.gram, point, rate, steps)
        p = point.params - rate * point.gradient
        if steps > 1 and self.one_pass is PASSES["fused"]:
            found = self._descend_by_kernels(p, rate, steps - 1)
            if found is not None:
                return found
        for _ in range(steps - 1):
            p = p - rate * self.visit(p).gradient
        return p

    def _descend_by_kernels(self, p: Array, rate: float, steps: int) -> Array | None:
        """See `gpulr.passes.fused.descend`; None unless for one scale of all features, no shift and no penalty.

        An estimator's objective has a scale for each feature, a shift and a penalty, but is looked at after every step: the
        lesson alone takes many at once.
        """
        rows = self.rows
        if not isinstance(rows, MemoryRows) or rows.origin is not None or self.shift is not None:
            return None
        if not isinstance(self.scale, float) or not isinstance(self.ridge, float) or self.ridge != 0:
            return None
        found = fused.descend(
            rows.stored(),
            rows.y,
            p,
            rows.sample_weight,
            rate=rate,
            steps=steps,
            scale=self.scale,
            fit_intercept=self.fit_intercept,
            total_weight=rows.total_weight,
        )
        self.reads += 0 if found is None else steps
        return found

    def _descend_by_margins(self, K: Array, point: Point, rate: float, steps: int) -> Array:
        """See `gpulr.margin_descent`; for two classes, one scale of all features, no shift and no penalty."""
        xp, s, total = array_namespace(K), self.rows.sample_weight, self.rows.total_weight
        y, z = (xp.astype(part, xp.float64, copy=False) for part in (self.rows.y, point.margins))
        side = 2 * y - 1
        weighted = weigh(s, side) * (rate / total)
        M = side[:, None] * (self.scale**2 * K + float(self.fit_intercept)) * weighted
        change = self.rmatmul(xp.astype(weighted * descend(M, side * z, steps), point.params.dtype, copy=False))
        return point.params + change

    def split(self, p: Array) -> tuple[Array, Array]:
        """p as (u, c): weights of the scaled and shifted features, (n,) or (n, k), and their intercept, () or (k,)."""
        if self.fit_intercept:
            return p[:-1, ...], p[-1, ...]
        xp = array_namespace(p)
        return p, xp.zeros(p.shape[1:], dtype=p.dtype, device=device(p))

    def raw(self, p: Array) -> tuple[Array, Array]:
        """(w, b) at p: weights of X as it is stored, (n,) or (n, k), and intercept, () or (k,)."""
        u, c = self.split(p)
        w = column(self.scale, u) * u
        return (w, c) if self.shift is None else (w, c - self.shift @ w)

    def params(self, w: Array, b: Array) -> Array:
        """p, in start's dtype, where `raw` is (w, b); weights that have no scale are lost. Computed in float64."""
        xp, dtype = array_namespace(w), self.start.dtype
        w, c = (xp.astype(part, xp.float64, copy=False) for part in (w, b))
        if isinstance(self.scale, float):
            u = w / self.scale
        else:
            scale = xp.astype(self.scale, xp.float64, copy=False)
            there = scale > 0
            u = column(xp.where(there, 1 / xp.where(there, scale, xp.ones_like(scale)), xp.zeros_like(scale)), w) * w
        if self.shift is not None:
            c = c + xp.astype(self.shift, xp.float64, copy=False) @ w
        p = xp.concat([u, c[None, ...]]) if self.fit_intercept else u
        return xp.astype(p, dtype, copy=False)

    def _weights(self, p: Array) -> Array:
        return p[:-1, ...] if self.fit_intercept else p

    def _ridge_times(self, p: Array) -> Array:
        u = self._weights(p)
        return column(self.ridge, u) * u

    def _penalty(self, p: Array) -> Array:
        xp = array_namespace(p)
        return 0.5 * xp.sum(self._ridge_times(p) * self._weights(p), dtype=xp.float64)

    def _transform(self, dw: Array, db: Array) -> Array:
        """(∂/∂u, ∂/∂c) from (∂/∂w, ∂/∂b), in dw's dtype."""
        xp = array_namespace(dw)
        if self.shift is not None:
            dw = dw - (self.shift * db if dw.ndim == 1 else self.shift[:, None] * db)
        du = column(self.scale, dw) * dw
        return xp.concat([du, xp.astype(db, du.dtype, copy=False)[None, ...]]) if self.fit_intercept else du

    def _gradient(self, p: Array, dw: Array, db: Array) -> Array:
        xp = array_namespace(p)
        gradient = xp.astype(self._transform(dw, db), p.dtype, copy=False)
        of_weights = self._weights(gradient)
        of_weights += self._ridge_times(p)  # in place: `gradient` is nobody else's
        return gradient

    def _scatter(self, d: Array, columns: Array | None = None) -> Array:
        """Σᵢ dᵢ x̃ᵢx̃ᵢᵀ / Σs for x̃ = (scale∘(x − shift), 1): (n + 1, n + 1), or (n, n) without intercept, in float64."""
        xp = array_namespace(d)
        self.reads += 1
        square, single = self.rows.scatter(d, columns)
        total = xp.sum(d, dtype=xp.float64)
        if self.shift is not None:
            mu = _of(columns, xp.astype(self.shift, xp.float64, copy=False))
            square = square - single[:, None] * mu - mu[:, None] * single + total * mu[:, None] * mu
            single = single - total * mu
        scale = _of(columns, self.scale)
        scale = scale if isinstance(scale, float) else xp.astype(scale, xp.float64, copy=False)
        # In place, as below: the system takes longer to find memory for a new matrix than its numbers to be multiplied.
        square *= column(scale, square)
        square *= scale
        single = scale * single
        if self.fit_intercept:
            square = xp.concat([square, single[None, :]])
            square = xp.concat([square, xp.concat([single, xp.reshape(total, (1,))])[:, None]], axis=1)
        square /= self.rows.total_weight
        return square

    def _ridge_matrix(self, block: Array, columns: Array | None = None) -> Array:
        """The ridge on the diagonal, zero for the intercept: of block's shape and dtype."""
        xp = array_namespace(block)
        matrix = xp.eye(block.shape[0], dtype=block.dtype, device=device(block))
        matrix *= self.ridge_diagonal(block, columns)
        return matrix


def _of(columns: Array | None, values: Array) -> Array:
    """The values (n,) of some columns; a number stands for all of them."""
    if columns is None or isinstance(values, float):
        return values
    return array_namespace(values).take(values, columns, axis=0)


def descent_from(
    w: Array, b: Array, rows: Rows, *, scale: float = 1.0, gram: bool, one_pass: Propagate = PASSES["vectorized"]
) -> tuple[Objective, Callable[[Array], tuple[Array, Array]]]:
    """F without a penalty, to be descended from (w, b) on, and the way back from its parameters to weights and intercept.

    Args:
        w, b: weights (n,) of the scaled features, and intercept (): where to start.
        rows: the samples (m, n).
        scale: factor of the features.
        gram: in Gram space (`gpulr.rows.rotated`), where every gradient step is the same, with m columns instead of n.
        one_pass: the pass, when not in Gram space.
    """
    xp = array_namespace(w)
    if not gram:
        objective = Objective(rows, xp.concat([w, b[None]]), scale, one_pass=one_pass)
        return objective, objective.split
    rotation = rotate(rows)
    v = rotation.forward(w)
    objective = Objective(rotation.rows, xp.concat([v, b[None]]), scale, gram=rotation.gram)
    # What of w is outside the span of the samples stays as it is.
    return objective, lambda p: (w + rotation.back(p[:-1] - v), p[-1])


def lipschitz_constant(objective: Objective) -> float:
    """L with ‖∇F(p) − ∇F(q)‖ ≤ L·‖p − q‖: gradient descent with a learning rate ≤ 1/L never raises the cost.

    L = ‖S^½ [X̃ 1]‖₂² / (4 Σs) + max r for two classes, since σ' ≤ 1/4, and twice the first term for k classes (Böhning,
    "Multinomial logistic regression algorithm" (1992)); [X̃ 1] are the scaled features with the intercept's column of ones,
    S is the diagonal of the sample weights s (all 1, so that Σs = m, without any). The norm is the largest eigenvalue of a
    matrix with m rows that is never formed: power iteration finds it to about 1e-3, from below, and the norm of the
    residual is added, which puts it on the safe side (Parlett, "The Symmetric Eigenvalue Problem" (1998), 4.5.1).
    """
    y, s = objective.rows.y, objective.rows.sample_weight
    xp = array_namespace(y)
    root = 1 if s is None else xp.sqrt(s)
    one_output = Objective(objective.rows, y[:0], objective.scale, objective.shift, 0.0, 0.0, objective.fit_intercept)
    v = normal(y.shape, seed=0, like=y)
    largest = error = 0.0
    for _ in range(200):
        v = v / xp.sqrt(v @ v)
        Av = root * one_output.matmul(one_output.rmatmul(root * v))
        eigenvalue = v @ Av
        residual = Av - eigenvalue * v
        largest, error = floats([eigenvalue, xp.sqrt(residual @ residual)])
        if error <= 1e-3 * largest:
            break
        v = Av
    if not isfinite(largest + error):
        raise FloatingPointError(
            f"the features are too large for {y.dtype}, their squares overflow: scale them, or use float64"
        )
    bound = (largest + error) / (4 if objective.start.ndim == 1 else 2) / objective.rows.total_weight
    ridge = objective.ridge
    return bound + (ridge if isinstance(ridge, float) else floats([xp.max(ridge)])[0])
