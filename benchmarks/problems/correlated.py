"""Features that resemble their neighbours, as measured ones do: of a size between `tall` and `square`."""

from __future__ import annotations

import numpy as np

from benchmarks.problem import Dtype, Problem
from benchmarks.problems import drawn


def draw(rng: np.random.Generator, size: float, dtype: Dtype) -> Problem:
    """100,000 × 500, each row a series of correlation 0.9."""
    X, y = drawn.normal(rng, *drawn.shape(100_000, 500, size), dtype, correlation=drawn.CORRELATED)
    return Problem("correlated", X, y, dtype)
