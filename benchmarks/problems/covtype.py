"""Forest cover types: real, tall, and three quarters of the columns are indicators."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import fetch_covtype

from benchmarks.problem import Dtype, Problem
from benchmarks.problems.real import fetched, standardized


def draw(rng: np.random.Generator, size: float, dtype: Dtype) -> Problem:
    """581,012 × 54, standardized; the most frequent type against the six others.

    Raises:
        UnavailableError: it is neither in scikit-learn's cache nor to be fetched.
    """
    X, y = fetched(fetch_covtype)
    return Problem("covtype", standardized(X, dtype), (y == 2).astype(np.int64), dtype, intercept=True)
