"""The pass: forward and backward propagation over a block of rows, in several speeds of one signature.

    propagate(X, y, w, b, sample_weight=None) -> (cost, dw, db, z)

    X: (m, n) samples as rows, any real dtype; y: (m,) labels 0 or 1; w: (n,) weights; b: () intercept;
    sample_weight: (m,) or None (all ones). y, sample_weight, w and b share one floating dtype.
    cost () = Σᵢ sᵢ·cross-entropy(zᵢ, yᵢ), dw (n,) = Σᵢ sᵢ·(aᵢ − yᵢ)·xᵢ, db () = Σᵢ sᵢ·(aᵢ − yᵢ),
    where zᵢ = wᵀxᵢ + b and aᵢ = σ(zᵢ); z (m,) are these margins, which a pass has anyway and a solver can use.

For k classes y is 0, ..., k−1, w and dw are (n, k), b and db (k,), z (m, k), and softmax takes the place of σ; the loop,
the lesson's own, knows two classes only.

The first three are sums, not means, so that the results of two blocks add up to the result of both: whatever is larger
than one block (a file, a cluster) is a sum of passes. The lesson writes X as (n, m), samples as columns: that is `X.T`.
"""

from __future__ import annotations

from collections.abc import Callable

from gpulr.device import Array
from gpulr.passes import loop, vectorized

Propagate = Callable[..., tuple[Array, Array, Array, Array]]

PASSES: dict[str, Propagate] = {
    "loop": loop.propagate,
    "vectorized": vectorized.propagate,
}
