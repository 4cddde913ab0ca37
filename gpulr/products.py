"""Products of a block of rows that read the same for one output (m,) and for k outputs (m, k)."""

from __future__ import annotations

from gpulr.device import Array


def rmatmul(X: Array, Z: Array) -> Array:
    """Xᵀ Z: (n,) or (n, k) for X (m, n), dense or sparse, and Z (m,) or (m, k)."""
    # Zᵀ X, not Xᵀ Z: the same numbers, and NumPy's BLAS is faster this way round on C-ordered rows.
    return Z @ X if Z.ndim == 1 else (Z.T @ X).T


def weigh(s: Array | None, Z: Array) -> Array:
    """Each row of Z, (m,) or (m, k), times its number in s (m,); Z itself when s is None."""
    if s is None:
        return Z
    return s * Z if Z.ndim == 1 else s[:, None] * Z


def column(c: Array | float, like: Array) -> Array | float:
    """c as a factor of the rows of `like`, (n,) or (n, k): a number stays one, (n,) becomes (n, 1) for k columns."""
    return c if isinstance(c, float) or like.ndim == 1 else c[:, None]
