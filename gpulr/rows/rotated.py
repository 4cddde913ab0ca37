"""Gram space: for n > m, the m samples written in orthonormal coordinates of the space that they span.

The gradient of the cost is a combination Xᵀdz of samples, and so is the best w under a ridge penalty: w never needs to
leave w₀ + span of the rows (representer theorem, Schölkopf & Smola, "Learning with Kernels" (2002), section 4.2). With
a factor of the Gram matrix, K = XXᵀ = LLᵀ, the columns of V = Xᵀ L⁻ᵀ are an orthonormal basis of that span, and

    X w = L v + X w₀   for   w = w₀ + V v,   L (m, r), r ≤ m

so training on the rows of L in place of those of X is the same problem: lengths, angles, the ridge penalty and every
gradient step agree, with m in place of n columns. X is read twice, to form XXᵀ and to return from v to w. L is the Cholesky
factor, or where K is singular U Λ^½ of its eigendecomposition, with U Λ^{-½} for L⁻ᵀ and the directions without a sample
left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from array_api_compat import device

from gpulr import cost_model
from gpulr.device import Array, array_namespace, available_memory
from gpulr.linear_algebra import cholesky, eigh, solve_lower, unit_diagonal
from gpulr.rows.memory import MemoryRows, is_floating
from gpulr.rows.sparse import SparseRows


@dataclass(frozen=True)
class Rotation:
    """Rows in Gram space and the way back.

    Attributes:
        rows: the samples L (m, r), with the labels and weights they had.
        original: the rows they were made of.
        gram: K (m, m) in float64.
        coarse: K was formed of float32 products, which are not those of the computation.
        times_inverse: L⁻¹ z (r,) of z (m,), or (r, k) of (m, k), in float64.
        times_transposed_inverse: L⁻ᵀ v (m,) of v (r,), or (m, k) of (r, k), in float64.
    """

    rows: MemoryRows
    original: MemoryRows | SparseRows
    gram: Array
    coarse: bool
    times_inverse: Callable[[Array], Array]
    times_transposed_inverse: Callable[[Array], Array]

    def forward(self, w: Array) -> Array:
        """v = Vᵀ w: (r,) or (r, k), the part of w (n,) or (n, k) in the span of the samples. Zeros need no read of X."""
        xp = array_namespace(w)
        if not bool(xp.any(w != 0)):
            return xp.zeros((self.rows.X.shape[1], *w.shape[1:]), dtype=w.dtype, device=device(w))
        return _in_float64(self.times_inverse, self.original.matmul(w))

    def back(self, v: Array) -> Array:
        """w = V v: (n,) or (n, k)."""
        return self.original.rmatmul(_in_float64(self.times_transposed_inverse, v))


def gram_fits(m: int, like: Array) -> bool:
    """Whether the Gram matrix of m samples, with a factor and workspace, fits in the memory where `like` lives."""
    return 4 * 8 * m**2 < available_memory(like)


def gram_pays(m: int, n: int, iterations: int, like: Array) -> bool:
    """Whether so many iterations for one output are faster in Gram space, and its matrix fits in memory."""
    return cost_model.gram_pays(m, n, iterations) and gram_fits(m, like)


def rotate(rows: MemoryRows | SparseRows, *, coarse: bool = False) -> Rotation:
    """The rows in Gram space. K = XXᵀ is added up and factorized in float64, since it squares the condition of X.

    With `coarse`, dense floating rows for a computation in float64 have a K of float32 products; unless samples depend on
    each other so much that a pivot of K is less than a million times its rounding.
    """
    xp, dtype = array_namespace(rows.y), rows.y.dtype
    coarse = coarse and isinstance(rows, MemoryRows) and dtype == xp.float64 and is_floating(rows.X)
    K = rows.gram(xp.float32) if coarse and isinstance(rows, MemoryRows) else rows.gram()
    R, root = unit_diagonal(K)
    # A sample of zeros has no direction; `unit_diagonal` would give it one.
    L = cholesky(R) if bool(xp.min(xp.linalg.diagonal(K)) > 0) else None
    if coarse and (L is None or not bool(xp.min(xp.linalg.diagonal(L)) ** 2 > 1e6 * xp.finfo(xp.float32).eps)):
        del K, R, root, L  # there is room for one of each
        return rotate(rows)
    if L is not None:
        L *= root[:, None]
        functions = partial(solve_lower, L), partial(solve_lower, L, transposed=True)
    else:
        values, U = eigh(K)
        # Below this an eigenvalue is rounding of the largest one: the samples are dependent in that direction.
        rank = max(1, int(xp.count_nonzero(values > values[-1] * values.shape[0] * xp.finfo(xp.float64).eps)))
        values, U = values[-rank:], U[:, -rank:]  # rank 1 for an X of zeros, whose L is then a column of zeros
        size = xp.sqrt(xp.where(values > 0, values, xp.ones_like(values)))
        L, basis = U * (values / size), U / size
        functions = partial(xp.matmul, basis.T), partial(xp.matmul, basis)
    return Rotation(
        MemoryRows(xp.astype(L, dtype, copy=False), rows.y, rows.sample_weight), rows, K, coarse, *functions
    )


def _in_float64(function: Callable[[Array], Array], z: Array) -> Array:
    """function(z) in z's dtype."""
    xp = array_namespace(z)
    return xp.astype(function(xp.astype(z, xp.float64, copy=False)), z.dtype, copy=False)
