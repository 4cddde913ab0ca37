"""Ten classes by softmax: ten times the arithmetic to a read of X."""

from __future__ import annotations

import numpy as np

from benchmarks.problem import Dtype, Problem
from benchmarks.problems import drawn

CLASSES = 10


def draw(rng: np.random.Generator, size: float, dtype: Dtype, correlation: float = 0.0) -> Problem:
    """100,000 × 200, standard normal, 10 classes."""
    shape = drawn.shape(100_000, 200, size)
    X, y = drawn.normal(rng, *shape, dtype, correlation=correlation, outputs=(CLASSES,))
    return Problem(drawn.named("multinomial", correlation), X, y, dtype)
