"""The pass in `for` loops over samples and features: the lesson's pseudo-code and the yardstick of the benchmarks.

Only Python numbers are touched inside the loops. Indexing one element of a NumPy array makes a new object each time
and is ten times slower than indexing a list, so each row becomes a list first: the loop at its best.
"""

from __future__ import annotations

from math import exp, log1p

from array_api_compat import device

from gpulr.device import Array, array_namespace


def propagate(
    X: Array, y: Array, w: Array, b: Array, sample_weight: Array | None = None
) -> tuple[Array, Array, Array, Array]:
    """Forward and backward propagation, one sample and one feature at a time, in double precision.

    Arguments, results and formulas: see `gpulr.passes`. The arrays must be in host memory and have `tolist`
    (NumPy, PyTorch on the CPU).

    Returns:
        cost () and db () in float64, dw (n,) and z (m,) in w's dtype.
    """
    xp = array_namespace(X, y, w)
    m, n = X.shape
    labels, weights, intercept = y.tolist(), w.tolist(), float(b)
    importance = [1.0] * m if sample_weight is None else sample_weight.tolist()

    cost = 0.0
    dw = [0.0] * n
    db = 0.0
    margins = []
    for i in range(m):
        x = X[i, :].tolist()
        # forward: z = wᵀx + b, a = σ(z), cost; formed from one exp(−|z|) so that nothing overflows (gpulr.links)
        z = intercept
        for j in range(n):
            z += weights[j] * x[j]
        margins.append(z)
        sign = 1 - 2 * labels[i]
        u = sign * z
        e = exp(-abs(u))
        cost += importance[i] * (max(u, 0.0) + log1p(e))
        # backward: dz = a − y, dw += x·dz, db += dz
        dz = importance[i] * sign * (1.0 if u >= 0 else e) / (1 + e)
        for j in range(n):
            dw[j] += x[j] * dz
        db += dz

    place = device(w)
    return (
        xp.asarray(cost, dtype=xp.float64, device=place),
        xp.asarray(dw, dtype=w.dtype, device=place),
        xp.asarray(db, dtype=xp.float64, device=place),
        xp.asarray(margins, dtype=w.dtype, device=place),
    )
