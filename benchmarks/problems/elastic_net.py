"""Half lasso, half ridge, with true weights of which nine in ten are zero."""

from __future__ import annotations

import numpy as np

from benchmarks.problem import Dtype, Problem
from benchmarks.problems import drawn


def draw(rng: np.random.Generator, size: float, dtype: Dtype) -> Problem:
    """100,000 × 200, standard normal, l1_ratio 0.5."""
    m, n = drawn.shape(100_000, 200, size)
    X = rng.standard_normal((m, n), dtype=dtype)
    w = drawn.weights(rng, n) * np.sqrt(10) * (np.arange(n) % 10 == 0)
    return Problem("elastic_net", X, drawn.labels(rng, X @ w.astype(dtype)), dtype, l1_ratio=0.5)
