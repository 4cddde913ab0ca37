"""Products of a block of rows that read the same for one output (m,) and for k outputs (m, k)."""

from __future__ import annotations

import numpy as np
from array_api_compat import is_numpy_array

from gpulr.device import Array, array_namespace


def matmul(X: Array, W: Array) -> Array:
    """X W: (m,) or (m, k) for X (m, n), dense or sparse, and W (n,) or (n, k)."""
    # NumPy's @ keeps Python's lock while it makes up to 500 numbers, however long they take: other threads would wait.
    return np.dot(X, W) if is_numpy_array(X) else X @ W


def rmatmul(X: Array, Z: Array) -> Array:
    """Xᵀ Z: (n,) or (n, k) for X (m, n), dense or sparse, and Z (m,) or (m, k)."""
    # Zᵀ X, not Xᵀ Z: the same numbers, and NumPy's BLAS is faster this way round on C-ordered rows.
    return matmul(Z, X) if Z.ndim == 1 else matmul(Z.T, X).T


def inner(A: Array, B: Array) -> Array:
    """Σ A∘B, (), of arrays of one shape."""
    # NumPy's BLAS makes no array of products, which takes three times as long.
    return np.vdot(A, B) if is_numpy_array(A) else array_namespace(A, B).sum(A * B)


def weigh(s: Array | None, Z: Array) -> Array:
    """Each row of Z, (m,) or (m, k), times its number in s (m,); Z itself when s is None."""
    if s is None:
        return Z
    return s * Z if Z.ndim == 1 else s[:, None] * Z


def column(c: Array | float, like: Array) -> Array | float:
    """c as a factor of the rows of `like`, (n,) or (n, k): a number stays one, (n,) becomes (n, 1) for k columns."""
    return c if isinstance(c, float) or like.ndim == 1 else c[:, None]
