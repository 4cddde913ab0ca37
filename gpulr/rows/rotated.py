"""Gram space: for n > m, the m samples written in orthonormal coordinates of the space that they span.

The gradient of the cost is a combination Xᵀdz of samples, and so is the best w under a ridge penalty: w never needs to
leave w₀ + span of the rows (representer theorem, Schölkopf & Smola, "Learning with Kernels" (2002), section 4.2). With
the eigendecomposition XXᵀ = U Λ Uᵀ the columns of V = Xᵀ U Λ^{-½} are an orthonormal basis of that span, and

    X w = L v + X w₀   for   w = w₀ + V v,   L = U Λ^½ (m, r), r ≤ m

so training on the rows of L in place of those of X is the same problem: lengths, angles, the ridge penalty and every
gradient step agree, with m in place of n columns. X is read twice, to form XXᵀ and to return from v to w.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpulr.device import Array, array_namespace, available_memory
from gpulr.rows.memory import MemoryRows
from gpulr.rows.sparse import SparseRows


@dataclass(frozen=True)
class Rotation:
    """Rows in Gram space and the way back.

    Attributes:
        rows: the samples L (m, r), with the labels and weights they had.
        original: the rows they were made of.
        basis: U Λ^{-½} (m, r); Xᵀ of it is V.
    """

    rows: MemoryRows
    original: MemoryRows | SparseRows
    basis: Array

    def forward(self, w: Array) -> Array:
        """v = Vᵀ w: (r,) or (r, k), the part of w (n,) or (n, k) in the span of the samples."""
        return self.basis.T @ self.original.matmul(w)

    def back(self, v: Array) -> Array:
        """w = V v: (n,) or (n, k)."""
        return self.original.rmatmul(self.basis @ v)


def gram_fits(m: int, like: Array) -> bool:
    """Whether the Gram matrix of m samples, with its eigenvectors and workspace, fits in the memory where `like` lives."""
    return 4 * 8 * m**2 < available_memory(like)


def rotate(rows: MemoryRows | SparseRows) -> Rotation:
    """The rows in Gram space. K = XXᵀ is formed and decomposed in float64, since it squares the condition of X."""
    xp, dtype = array_namespace(rows.y), rows.y.dtype
    eigenvalues, U = xp.linalg.eigh(rows.gram())
    # Below this an eigenvalue is rounding of the largest one: the samples are dependent in that direction.
    floor = eigenvalues[-1] * eigenvalues.shape[0] * xp.finfo(xp.float64).eps
    rank = max(1, int(xp.count_nonzero(eigenvalues > floor)))  # 1 for an X of zeros, whose L is then a column of zeros
    eigenvalues, U = eigenvalues[-rank:], U[:, -rank:]
    root = xp.sqrt(xp.where(eigenvalues > 0, eigenvalues, xp.ones_like(eigenvalues)))
    L, basis = (xp.astype(matrix, dtype, copy=False) for matrix in (U * (eigenvalues / root), U / root))
    return Rotation(MemoryRows(L, rows.y, rows.sample_weight), rows, basis)
