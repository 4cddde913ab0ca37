"""Pointwise maths: from margins and labels to cost, derivative and curvature, one sample a row.

Two classes: the labels are y ∈ {0, 1} and the margin is z = wᵀx + b. The textbook's −y·log(a) − (1−y)·log(1−a) loses
every digit when a rounds to 0 or 1 and overflows in exp(−z); here both come from one `exp` of a number ≤ 0:

    u    = (1 − 2y)·z            the margin on the wrong side of the label
    e    = exp(−|u|)             in (0, 1], cannot overflow
    cost = max(u, 0) + log1p(e)  = −y·log σ(z) − (1−y)·log(1 − σ(z))
    dz   = (1 − 2y)·σ(u)         = σ(z) − y, without the cancellation of that difference

Source: Mächler, "Accurately Computing log(1 − exp(−|a|))" (2012), section 3, for log1p; the rest is algebra.

k classes: y ∈ {0, ..., k−1}, Z has k margins a sample, and softmax takes the place of σ. The same care, with the label's
own margin as the zero:

    D    = Z − Z_y, M = max D ≥ 0, E = exp(D − M) without the label's entry, rest = Σ E
    cost = M + log1p(rest + expm1(−M))       = −log softmax(Z)_y
    dZ   = (E, −rest in the label's place) / (rest + exp(−M))   = softmax(Z) − onehot(y)
"""

from __future__ import annotations

from array_api_compat import device

from gpulr.device import Array, array_namespace


def sigmoid(z: Array) -> Array:
    """σ(z) = 1 / (1 + e⁻ᶻ), elementwise, without overflow at any z.

    Args:
        z: floating array of any shape.

    Returns:
        array of z's shape and dtype with values in [0, 1].
    """
    return _sigmoid(z, _decay(z))


def log_sigmoid(z: Array) -> Array:
    """log σ(z) of any shape: finite for every finite z."""
    xp = array_namespace(z)
    return xp.where(z < 0, z, xp.zeros_like(z)) - xp.log1p(_decay(z))


def softmax(Z: Array) -> Array:
    """exp(Z) / Σ exp(Z) along the last axis: (m, k) in Z's dtype."""
    xp = array_namespace(Z)
    E = xp.exp(Z - xp.max(Z, axis=-1, keepdims=True))
    return E / xp.sum(E, axis=-1, keepdims=True)


def log_softmax(Z: Array) -> Array:
    """log softmax(Z): finite for every finite Z."""
    xp = array_namespace(Z)
    D = Z - xp.max(Z, axis=-1, keepdims=True)
    return D - xp.log(xp.sum(xp.exp(D), axis=-1, keepdims=True))


def cross_entropy(Z: Array, y: Array) -> tuple[Array, Array]:
    """Cost of each sample and its derivative with respect to the margins.

    Args:
        Z: (m,) margins of two classes or (m, k) of k classes, floating.
        y: (m,) labels 0, 1, ..., k−1 in Z's dtype.

    Returns:
        cost (m,) = −log P(y) ≥ 0 and dZ = P − onehot(y) of Z's shape (for two classes a − y, a = σ(z)); in Z's dtype.
    """
    return _two_classes(Z, y) if Z.ndim == 1 else _k_classes(Z, y)


def curvature(z: Array) -> Array:
    """σ'(z) = σ(z)·(1 − σ(z)) = e/(1 + e)², e = exp(−|z|): the second derivative of the cost of two classes."""
    e = _decay(z)
    return e / (1 + e) ** 2


def _two_classes(z: Array, y: Array) -> tuple[Array, Array]:
    xp = array_namespace(z, y)
    sign = 1 - 2 * y
    u = sign * z
    e = _decay(u)
    cost = xp.where(u > 0, u, xp.zeros_like(u)) + xp.log1p(e)
    return cost, sign * _sigmoid(u, e)


def _k_classes(Z: Array, y: Array) -> tuple[Array, Array]:
    xp = array_namespace(Z, y)
    is_label = y[:, None] == xp.arange(Z.shape[1], dtype=Z.dtype, device=device(Z))[None, :]
    nothing = xp.zeros_like(Z)
    D = Z - xp.sum(xp.where(is_label, Z, nothing), axis=1, keepdims=True)
    M = xp.max(D, axis=1, keepdims=True)
    E = xp.where(is_label, nothing, xp.exp(D - M))
    rest = xp.sum(E, axis=1, keepdims=True)
    cost = M + xp.log1p(rest + xp.expm1(-M))
    return cost[:, 0], xp.where(is_label, -rest, E) / (rest + xp.exp(-M))


def _decay(u: Array) -> Array:
    xp = array_namespace(u)
    return xp.exp(-xp.abs(u))


def _sigmoid(u: Array, e: Array) -> Array:
    """σ(u) from e = exp(−|u|): both signs of u share the one division."""
    xp = array_namespace(u, e)
    return xp.where(u >= 0, xp.ones_like(e), e) / (1 + e)
