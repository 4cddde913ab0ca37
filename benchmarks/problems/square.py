"""As large as `tall` but with so many features that a Hessian costs many reads of X."""

from __future__ import annotations

import numpy as np

from benchmarks.problem import Dtype, Problem
from benchmarks.problems import drawn


def draw(rng: np.random.Generator, size: float, dtype: Dtype, correlation: float = 0.0) -> Problem:
    """100,000 × 1,000, standard normal."""
    X, y = drawn.normal(rng, *drawn.shape(100_000, 1_000, size), dtype, correlation=correlation)
    return Problem(drawn.named("square", correlation), X, y, dtype)
