"""What the synthetic problems have in common: their size, the true weights, and labels drawn from the model."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from benchmarks.memory import require
from benchmarks.problem import Dtype

SIGNAL = 2.0
"""Standard deviation of the true margins: at 2, a perfect model is right for 4 of 5 samples."""


CORRELATED = 0.9
"""Correlation of neighbouring columns in the problems that are called correlated."""


def named(name: str, correlation: float) -> str:
    """The name of a problem, which says when its columns are correlated."""
    return f"{name}_correlated" if correlation else name


DRAWING = 16
"""Bytes that a number of X takes while it is drawn, at most: float64 with a copy, or pictures with their spots and noise."""


def shape(rows: int, columns: int, size: float, stored: int | None = None) -> tuple[int, int]:
    """The shape (m, n) with `size` times as many entries and about the same proportions.

    Args:
        stored: numbers of a row that are stored, where not all are.

    Raises:
        TooLargeError: there is no memory to draw it.
    """
    m, n = max(20, round(rows * size**0.5)), max(2, round(columns * size**0.5))
    require(DRAWING * m * (stored or n), f"drawing {m:,} × {n:,}")
    return m, n


def weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """True weights (n,) or (n, k), float64, for which rows of n standard normal numbers have margins N(0, SIGNAL²)."""
    return rng.standard_normal(shape) * SIGNAL / np.sqrt(shape[0])


def labels(rng: np.random.Generator, Z: np.ndarray) -> np.ndarray:
    """Labels (m,) int64 drawn from the model with margins Z, (m,) of two classes or (m, k).

    Classes that are not drawn at all, which happens where there are few rows, are left out and the others renumbered.
    """
    # The greatest of margins with Gumbel noise is each class as often as softmax says (Gumbel, 1954).
    drawn = rng.random(len(Z)) < expit(Z) if Z.ndim == 1 else np.argmax(Z + rng.gumbel(size=Z.shape), axis=1)
    return np.unique(drawn, return_inverse=True)[1].astype(np.int64)


def normal(
    rng: np.random.Generator, m: int, n: int, dtype: Dtype, *, correlation: float = 0.0, outputs: tuple[int, ...] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """X (m, n) of standard normal numbers in `dtype`, and y (m,) of two classes, or of k with outputs=(k,).

    Each column has this correlation c to the one before it and cᵈ to that d before, as the values of a series have (an AR(1)
    process). The covariance then has eigenvalues from (1 − c)/(1 + c) to (1 + c)/(1 − c): at c = 0.9 a condition of 360.
    """
    X = rng.standard_normal((m, n), dtype=dtype)
    own = X.dtype.type(np.sqrt(1 - correlation**2))
    for j in range(1, n) if correlation else ():
        X[:, j] = X.dtype.type(correlation) * X[:, j - 1] + own * X[:, j]
    Z = X @ weights(rng, n, *outputs).astype(dtype)
    if correlation:  # their deviation has no expectation that is as simple
        Z *= X.dtype.type(SIGNAL / np.std(Z))
    return X, labels(rng, Z)
