"""What the problems on real data have in common. Neither size nor seed changes them."""

from __future__ import annotations

import numpy as np

from benchmarks.problem import Dtype


class UnavailableError(Exception):
    """The data of a problem are not at hand; the message says what to do."""


def standardized(X: np.ndarray, dtype: Dtype) -> np.ndarray:
    """Each column with mean 0 and variance 1, (m, n) in `dtype`: what every competitor's manual asks for."""
    X = X.astype(np.float64)
    return np.ascontiguousarray((X - X.mean(axis=0)) / X.std(axis=0), dtype=dtype)
