"""Forest cover types: real, tall, and three quarters of the columns are indicators."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import fetch_covtype

from benchmarks.problem import Dtype, Problem
from benchmarks.problems.real import UnavailableError, standardized


def draw(rng: np.random.Generator, size: float, dtype: Dtype) -> Problem:
    """581,012 × 54, standardized; the most frequent type against the six others.

    Raises:
        UnavailableError: it is not in scikit-learn's cache; nothing is fetched for a benchmark.
    """
    try:
        X, y = fetch_covtype(return_X_y=True, download_if_missing=False)
    except OSError as error:
        raise UnavailableError("fetch it once with sklearn.datasets.fetch_covtype()") from error
    return Problem("covtype", standardized(X, dtype), (y == 2).astype(np.int64), dtype, intercept=True)
