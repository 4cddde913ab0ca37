"""Features that resemble their neighbours, as measured ones do: independent ones are unusually easy to minimize over."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from benchmarks.problem import Dtype, Problem
from benchmarks.problems import drawn

CORRELATION = 0.9
"""Of neighbours: an autoregressive process, whose covariance has the condition ((1 + 0.9)/(1 − 0.9))² = 361."""


def draw(rng: np.random.Generator, size: float, dtype: Dtype) -> Problem:
    """100,000 × 500, each row an AR(1) process of variance 1."""
    m, n = drawn.shape(100_000, 500, size)
    X = rng.standard_normal((m, n), dtype=dtype)
    X[:, 1:] *= np.sqrt(1 - CORRELATION**2)
    # By blocks of rows: the filter makes a copy.
    for start in range(0, m, 10_000):
        X[start : start + 10_000] = lfilter(
            np.ones(1, dtype), np.array([1, -CORRELATION], dtype), X[start : start + 10_000], axis=1
        )
    z = X @ drawn.weights(rng, n).astype(dtype)
    return Problem("correlated", X, drawn.labels(rng, drawn.SIGNAL * z / z.std()), dtype)
