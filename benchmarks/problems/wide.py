"""More features than samples: the classes can be separated, and only the penalty makes the solution unique."""

from __future__ import annotations

import numpy as np

from benchmarks.problem import Dtype, Problem
from benchmarks.problems import drawn


def draw(rng: np.random.Generator, size: float, dtype: Dtype, correlation: float = 0.0) -> Problem:
    """2,000 × 20,000, standard normal."""
    X, y = drawn.normal(rng, *drawn.shape(2_000, 20_000, size), dtype, correlation=correlation)
    return Problem(drawn.named("wide", correlation), X, y, dtype)
