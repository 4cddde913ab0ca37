"""The pass in array operations: what the lesson vectorizes, on NumPy, CuPy, PyTorch or any array-API namespace."""

from __future__ import annotations

from array_api_compat import array_namespace

from gpulr.device import Array
from gpulr.links import cross_entropy


def propagate(X: Array, y: Array, w: Array, b: Array, sample_weight: Array | None = None) -> tuple[Array, Array, Array]:
    """Forward and backward propagation for all samples at once. Arguments and formulas: see `gpulr.passes`.

    X is converted to w's dtype if it has another (`gpulr.rows` hands over small blocks in that case).

    Returns:
        cost () and db () in float64, dw (n,) in w's dtype.
    """
    xp = array_namespace(X, y, w)
    X = xp.astype(X, w.dtype, copy=False)
    Z = X @ w + b
    cost, dZ = cross_entropy(Z, y)
    if sample_weight is not None:
        cost, dZ = sample_weight * cost, sample_weight * dZ
    # dZ @ X, not X.T @ dZ: the same numbers, and NumPy's BLAS is faster this way round on C-ordered rows.
    return xp.sum(cost, dtype=xp.float64), dZ @ X, xp.sum(dZ, dtype=xp.float64)
