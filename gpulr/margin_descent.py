"""Gradient descent without the weights: many steps for two classes, each one product with an (m, m) matrix.

A step w ← w − α·X̃ᵀdz/m moves the margins by −α·K dz/m, K = X̃X̃ᵀ, and dz needs the margins only. So the weights can wait:
they get the sum of all dz at the end. With v = (2y − 1)·z, the margin on the label's side, and dz = −(2y − 1)·σ(−v):

    v ← v + M σ(−v),   M = (α/m)·diag(2y − 1) K diag(2y − 1)

One product in place of the two of a pass, and no cost, which nobody asks for between two looks. On a GPU one launch makes
all steps of a small problem: see `gpulr.margin_descent_kernel`.
"""

from __future__ import annotations

import numpy as np
from array_api_compat import is_cupy_array, is_numpy_array

from gpulr.device import Array
from gpulr.links import sigmoid


def descend(M: Array, v: Array, steps: int) -> Array:
    """Σ σ(−v) (m,) over the first `steps` ≥ 1 iterates of v ← v + M σ(−v).

    Args:
        M: (m, m).
        v: (m,) where to start, of M's dtype; it is not changed.
        steps: how many σ(−v) to add, σ of the v given included.
    """
    if is_numpy_array(v):
        return _in_place(M, v.copy(), steps)
    if is_cupy_array(v):
        from gpulr import margin_descent_kernel  # for those who have a GPU

        total = margin_descent_kernel.descend(M, v, steps)
        if total is not None:
            return total
    total = s = sigmoid(-v)
    for _ in range(steps - 1):
        v = v + M @ s
        s = sigmoid(-v)
        total = total + s
    return total


def _in_place(M: Array, v: Array, steps: int) -> Array:
    """`descend` with three vectors and six calls a step: small data spend their time on those. Overwrites v."""
    total, s, change = np.zeros_like(v), np.empty_like(v), np.empty_like(v)
    one = np.ones_like(v)  # NumPy takes longer to make an array of the number than to read one
    for step in range(steps):
        if step:
            np.add(v, np.matmul(M, s, change), v)
        # 1/(1 + eᵛ): overflow gives 0, which it is.
        np.reciprocal(np.add(np.exp(v, s), one, s), s)
        np.add(total, s, total)
    return total
