"""The vectorized pass for a block of NumPy rows: the same operations in place, since at a hundred features a row the new
arrays of the pointwise part would take as long as reading the rows."""

from __future__ import annotations

import numpy as np

from gpulr.device import Array
from gpulr.products import matmul, rmatmul


def propagate(
    X: Array, y: Array, w: Array, b: Array, sample_weight: Array | None = None
) -> tuple[Array, Array, Array, Array]:
    """Forward and backward propagation for all samples at once. Arguments and formulas: see `gpulr.passes`, `gpulr.links`.

    For NumPy arrays.

    Returns:
        cost and db in float64, summed pairwise in w's dtype; dw and z in w's dtype.
    """
    X = X.astype(w.dtype, copy=False)
    z = matmul(X, w)
    z += b
    if w.ndim == 2:
        z = np.ascontiguousarray(z.T).T  # a class a row: the loops over samples are long
    cost, dz = cross_entropy(z, y)
    if sample_weight is not None:
        cost *= sample_weight
        np.multiply(dz.T, sample_weight, out=dz.T)
    return np.float64(cost.sum()), rmatmul(X, dz), dz.sum(axis=0).astype(np.float64), z


def cross_entropy(z: Array, y: Array) -> tuple[Array, Array]:
    """`gpulr.links.cross_entropy` of NumPy margins z (m,) or (m, k): cost (m,) and dz of z's shape, new arrays."""
    if z.ndim == 1:
        return _two_classes(z, y)
    cost, dz = _k_classes(np.ascontiguousarray(z.T), y)
    return cost, dz.T


def _two_classes(z: Array, y: Array) -> tuple[Array, Array]:
    """Cost and dz, (m,), of margins z (m,): see `gpulr.links`."""
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
    return cost, e


def _k_classes(z: Array, y: Array) -> tuple[Array, Array]:
    """Cost (m,) and dz (k, m) of margins z (k, m): see `gpulr.links`."""
    label = y.astype(np.intp), np.arange(y.size)  # of each sample, the place in an array (k, m)
    e = z - z[label]
    most = e.max(axis=0)
    e -= most
    np.exp(e, out=e)
    e[label] = 0
    rest = e.sum(axis=0)
    least = np.exp(-most)
    share = 1 / (rest + least)
    e *= share
    e[label] = -rest * share
    # expm1(−M) as a difference: it is exact for M = 0, and small beside a rest ≥ 1 otherwise.
    return most + np.log1p(rest + (least - 1)), e
