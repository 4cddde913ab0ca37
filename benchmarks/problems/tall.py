"""Many samples of few features, 400 MB in float32: how fast X is read decides."""

from __future__ import annotations

import numpy as np

from benchmarks.problem import Dtype, Problem
from benchmarks.problems import drawn


def draw(rng: np.random.Generator, size: float, dtype: Dtype, correlation: float = 0.0) -> Problem:
    """1,000,000 × 100, standard normal."""
    X, y = drawn.normal(rng, *drawn.shape(1_000_000, 100, size), dtype, correlation=correlation)
    return Problem(drawn.named("tall", correlation), X, y, dtype)
