"""The vectorized pass for a block of NumPy rows: the same operations in place, since at a hundred features a row the new
arrays of the pointwise part would take as long as reading the rows."""

from __future__ import annotations

import numpy as np

from gpulr.device import Array
from gpulr.passes import vectorized
from gpulr.products import rmatmul


def propagate(
    X: Array, y: Array, w: Array, b: Array, sample_weight: Array | None = None
) -> tuple[Array, Array, Array, Array]:
    """Forward and backward propagation for all samples at once. Arguments and formulas: see `gpulr.passes`, `gpulr.links`.

    For NumPy arrays; of several outputs, whose products take much longer than the pointwise part, it is `vectorized`.

    Returns:
        cost and db in float64, summed pairwise in w's dtype; dw and z in w's dtype.
    """
    if w.ndim == 2:
        return vectorized.propagate(X, y, w, b, sample_weight)
    X = X.astype(w.dtype, copy=False)
    z = X @ w
    z += b
    sign = 1 - 2 * y
    u = sign * z
    e = np.abs(u)
    np.negative(e, out=e)
    np.exp(e, out=e)
    cost = np.log1p(e)
    one_plus_e = e + 1
    # dz = sign·σ(u), σ(u) = (1 or e)/(1 + e), and e ≤ 1. NumPy takes much longer to assign where a condition holds.
    np.maximum(e, u >= 0, out=e)
    e /= one_plus_e
    e *= sign
    cost += np.maximum(u, np.zeros_like(u), out=u)  # with the number 0 it would not be done in vector registers
    if sample_weight is not None:
        cost *= sample_weight
        e *= sample_weight
    return np.float64(cost.sum()), rmatmul(X, e), np.float64(e.sum()), z
