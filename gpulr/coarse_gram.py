"""Gram space by a matrix of fewer digits than the computation has, and from there to all digits.

K = XXᵀ in float32 takes half the time that it takes in float64, which is most of a fit of few samples with many features.
With LLᵀ = K + E, where E is what rounding did, the margins Lv are off by parts of 1e-7, and so is F. Its minimum is used
only to get near the true one, and then corrected. For w = Vv, V = XᵀL⁻ᵀ, the true gradient needs no other K,

    ∇F(w) = Xᵀ dz + λ w = V (Lᵀ dz + λ v),   dz from the margins X w,

whatever L is. What is in brackets is the gradient in v, but for VᵀV, which is the unit matrix but for that rounding; it is
zero where ∇F is. Its difference from the gradient of the approximation, added to that as a linear term, makes both equal at
one point, and nearly so about it: the next minimum is closer by the size of E, and costs two reads of X and two of L.

Source: iterative refinement, and for its use in minimization Briggs, Henson & McCormick, "A Multigrid Tutorial" (2000),
chapter 6 (full approximation scheme).
"""

from __future__ import annotations

from dataclasses import dataclass

from gpulr.device import Array, array_namespace
from gpulr.objective import Objective, Point
from gpulr.rows import Rotation


@dataclass(kw_only=True)
class CoarseGram(Objective):
    """F on the rows of L, plus a linear term that makes it F on the rows of X about one point.

    Attributes:
        rotation: to Gram space and back.
        original: F on the rows of X.
        anchor: the point that was corrected last; None before.
        exact: the same point of `original`.
        tilt, offset: what was added to gradient and cost there.
    """

    rotation: Rotation
    original: Objective
    anchor: Array | None = None
    exact: Point | None = None
    tilt: Array | float = 0.0
    offset: Array | float = 0.0

    def corrected(self, p: Array) -> Point:
        """The point p with its cost and gradient on X, which F has there from now on. Reads X and L twice."""
        self.anchor = None
        coarse = self.visit(p)
        v, b = self.raw(p)
        self.exact = self.original.visit(self.original.params(self.rotation.back(v), b))
        self.reads += 2
        _, dZ = self.original.at_margins(self.exact.params, self.exact.margins)
        gradient = self.gradient(p, dZ)
        self.anchor, self.tilt, self.offset = p, gradient - coarse.gradient, self.exact.cost - coarse.cost
        return Point(p, self.exact.cost, gradient, coarse.margins)

    def slope(self, p: Array, d: Array, dZ: Array, Zd: Array) -> Array:
        """As in `Objective`."""
        xp, slope = array_namespace(d), super().slope(p, d, dZ, Zd)
        return slope if self.anchor is None else slope + xp.sum(self.tilt * d, dtype=xp.float64)

    def _penalty(self, p: Array) -> Array:
        xp, penalty = array_namespace(p), super()._penalty(p)
        if self.anchor is None:
            return penalty
        return penalty + self.offset + xp.sum(self.tilt * (p - self.anchor), dtype=xp.float64)

    def _gradient(self, p: Array, dw: Array, db: Array) -> Array:
        gradient = super()._gradient(p, dw, db)
        return gradient if self.anchor is None else gradient + self.tilt
