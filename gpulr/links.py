"""Pointwise maths: from margins and labels to cost and derivative, one sample an element.

The labels are y ∈ {0, 1} and the margin is z = wᵀx + b. The textbook's −y·log(a) − (1−y)·log(1−a) loses every
digit when a rounds to 0 or 1 and overflows in exp(−z); here both come from one `exp` of a number ≤ 0:

    u    = (1 − 2y)·z            the margin on the wrong side of the label
    e    = exp(−|u|)             in (0, 1], cannot overflow
    cost = max(u, 0) + log1p(e)  = −y·log σ(z) − (1−y)·log(1 − σ(z))
    dz   = (1 − 2y)·σ(u)         = σ(z) − y, without the cancellation of that difference

Source: Mächler, "Accurately Computing log(1 − exp(−|a|))" (2012), section 3, for log1p; the rest is algebra.
"""

from __future__ import annotations

from array_api_compat import array_namespace

from gpulr.device import Array


def sigmoid(z: Array) -> Array:
    """σ(z) = 1 / (1 + e⁻ᶻ), elementwise, without overflow at any z.

    Args:
        z: floating array of any shape.

    Returns:
        array of z's shape and dtype with values in [0, 1].
    """
    return _sigmoid(z, _decay(z))


def cross_entropy(z: Array, y: Array) -> tuple[Array, Array]:
    """Cost of each sample and its derivative with respect to the margin.

    Args:
        z: (m,) margins wᵀx + b, floating.
        y: (m,) labels 0 or 1 in z's dtype.

    Returns:
        cost (m,) = −y·log(a) − (1−y)·log(1−a) ≥ 0 and dz (m,) = a − y, where a = σ(z); both in z's dtype.
    """
    xp = array_namespace(z, y)
    sign = 1 - 2 * y
    u = sign * z
    e = _decay(u)
    cost = xp.where(u > 0, u, xp.zeros_like(u)) + xp.log1p(e)
    return cost, sign * _sigmoid(u, e)


def _decay(u: Array) -> Array:
    xp = array_namespace(u)
    return xp.exp(-xp.abs(u))


def _sigmoid(u: Array, e: Array) -> Array:
    """σ(u) from e = exp(−|u|): both signs of u share the one division."""
    xp = array_namespace(u, e)
    return xp.where(u >= 0, xp.ones_like(e), e) / (1 + e)
