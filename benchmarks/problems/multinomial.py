"""Ten classes by softmax: ten times the arithmetic to a read of X."""

from __future__ import annotations

import numpy as np

from benchmarks.problem import Dtype, Problem
from benchmarks.problems import drawn

CLASSES = 10


def draw(rng: np.random.Generator, size: float, dtype: Dtype) -> Problem:
    """100,000 × 200, standard normal, 10 classes."""
    m, n = drawn.shape(100_000, 200, size)
    X = rng.standard_normal((m, n), dtype=dtype)
    y = drawn.labels(rng, X @ drawn.weights(rng, n, CLASSES).astype(dtype))
    return Problem("multinomial", X, y, dtype)
