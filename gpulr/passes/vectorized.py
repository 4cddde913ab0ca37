"""The pass in array operations: what the lesson vectorizes, on NumPy, CuPy, PyTorch or any array-API namespace."""

from __future__ import annotations

from gpulr.device import Array, array_namespace
from gpulr.links import cross_entropy
from gpulr.products import rmatmul, weigh


def propagate(
    X: Array, y: Array, w: Array, b: Array, sample_weight: Array | None = None
) -> tuple[Array, Array, Array, Array]:
    """Forward and backward propagation for all samples at once. Arguments and formulas: see `gpulr.passes`.

    X is converted to w's dtype if it has another (`gpulr.rows` hands over small blocks in that case).

    Returns:
        cost and db in float64, dw and z in w's dtype.
    """
    xp = array_namespace(X, y, w)
    X = xp.astype(X, w.dtype, copy=False)
    Z = X @ w + b
    cost, dZ = cross_entropy(Z, y)
    cost, dZ = weigh(sample_weight, cost), weigh(sample_weight, dZ)
    return xp.sum(cost, dtype=xp.float64), rmatmul(X, dZ), xp.sum(dZ, axis=0, dtype=xp.float64), Z
