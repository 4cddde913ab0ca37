"""scikit-learn's handwritten digits: so small that the overhead of a call decides."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from benchmarks.problem import Dtype, Problem


def draw(rng: np.random.Generator, size: float, dtype: Dtype) -> Problem:
    """1,797 pictures of 8 × 8, pixels from 0 to 1, ten classes."""
    X, y = load_digits(return_X_y=True)
    return Problem("digits", np.ascontiguousarray(X / 16, dtype=dtype), y.astype(np.int64), dtype, intercept=True)
