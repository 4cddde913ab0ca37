"""A CSR matrix such as texts give: few entries a row, some columns far more frequent than others."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from benchmarks.problem import Dtype, Problem
from benchmarks.problems import drawn

A_ROW = 20


def draw(rng: np.random.Generator, size: float, dtype: Dtype) -> Problem:
    """200,000 × 50,000 with 20 standard normal numbers a row; column j comes as often as 1/√j."""
    m, n = drawn.shape(200_000, 50_000, size, stored=A_ROW)
    columns = np.minimum(n * rng.random((m, A_ROW)) ** 2, n - 1).astype(np.int32)
    values = rng.standard_normal((m, A_ROW), dtype=dtype)
    indptr = np.arange(0, m * A_ROW + 1, A_ROW, dtype=np.int32)
    X = sparse.csr_array((values.ravel(), columns.ravel(), indptr), shape=(m, n))
    X.sum_duplicates()  # a column that was drawn twice in a row: their sum, and one entry less
    w = drawn.weights(rng, n) * np.sqrt(n / A_ROW)  # the variance of a margin is that of A_ROW weights, not of n
    return Problem("sparse", X, drawn.labels(rng, X @ w), dtype)
