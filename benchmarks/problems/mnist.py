"""Handwritten digits, the real ones: bytes, many columns all zero, ten classes."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import fetch_openml

from benchmarks.problem import Dtype, Problem
from benchmarks.problems.real import fetched


def draw(rng: np.random.Generator, size: float, dtype: Dtype) -> Problem:
    """70,000 pictures of 28 × 28 uint8, ten classes.

    Raises:
        UnavailableError: it is neither in scikit-learn's cache nor to be fetched.
    """
    X, y = fetched(fetch_openml, "mnist_784", version=1, as_frame=False)
    pixels = np.ascontiguousarray(X, dtype=np.uint8)
    return Problem("mnist", pixels, y.astype(np.int64), dtype, scale=1 / 255, intercept=True)
