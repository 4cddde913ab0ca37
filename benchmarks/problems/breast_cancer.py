"""scikit-learn's Wisconsin breast cancer data: tiny, and features that nearly repeat each other."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_breast_cancer

from benchmarks.problem import Dtype, Problem
from benchmarks.problems.real import standardized


def draw(rng: np.random.Generator, size: float, dtype: Dtype) -> Problem:
    """569 × 30, standardized, two classes."""
    X, y = load_breast_cancer(return_X_y=True)
    return Problem("breast_cancer", standardized(X, dtype), y.astype(np.int64), dtype, intercept=True)
