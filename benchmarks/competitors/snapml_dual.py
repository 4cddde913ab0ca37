"""IBM's Snap ML, coordinate ascent on the dual: its own advice where there are more samples than features."""

from __future__ import annotations

from benchmarks.competitors.snapml_primal import SnapMLPrimal


class SnapMLDual(SnapMLPrimal):
    name = "snapml-dual"
    dual = True
