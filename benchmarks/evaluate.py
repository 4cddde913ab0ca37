"""The judge: the objective of a solution, in float64 and by code that shares nothing with gpulr."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.special import logsumexp

from benchmarks.problem import Matrix, Problem

BLOCK = 1 << 22
"""Entries of a dense block of rows, 32 MB in float64: X is never widened as a whole."""


def blocks(problem: Problem) -> list[slice]:
    """The rows in order."""
    m, n = problem.X.shape
    step = m if problem.is_sparse else max(1, BLOCK // n)
    return [slice(start, min(start + step, m)) for start in range(0, m, step)]


def features(problem: Problem, rows: slice) -> Matrix:
    """The features of some rows, in float64."""
    X: Matrix = problem.X[rows].astype(np.float64)
    X *= problem.scale
    return X


def losses(Z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """−log P(y) of each sample: (m,) float64 from margins Z, (m, 1) of two classes or (m, k), and labels y (m,).

    Finite for all finite margins: log(1 + eᵘ) and log Σ eᶻ are formed with their largest exponent taken out.
    """
    if Z.shape[1] == 1:
        return np.logaddexp(0, (1 - 2 * y) * Z[:, 0])
    return logsumexp(Z, axis=1) - Z[np.arange(len(y)), y]


def penalty(problem: Problem, coef: np.ndarray) -> float:
    """(1 − l1_ratio)/2 ‖w‖² + l1_ratio ‖w‖₁."""
    return (1 - problem.l1_ratio) / 2 * float(np.sum(coef**2)) + problem.l1_ratio * float(np.sum(np.abs(coef)))


def objective(problem: Problem, coef: np.ndarray, intercept: np.ndarray) -> float:
    """F(w, b), correct to about 1e-15 of it.

    Args:
        problem: its X and y are the data.
        coef: (1, n) for two classes, (k, n) for more, of the features (not of stored values); any float type.
        intercept: (1,) or (k,).

    Raises:
        ValueError: other shapes than these, or numbers that are not finite, F among them.
    """
    k, n = problem.outputs, problem.X.shape[1]
    if coef.shape != (k, n) or intercept.shape != (k,):
        raise ValueError(f"a solution is ({k}, {n}) and ({k},); given: {coef.shape} and {intercept.shape}")
    if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
        raise ValueError("the solution has numbers that are not finite")
    if not problem.intercept and intercept.any():
        raise ValueError(f"the problem has no intercept, the solution has {intercept}")
    coef, intercept = coef.astype(np.float64), intercept.astype(np.float64)

    def of_block(rows: slice) -> float:
        return float(np.sum(losses(features(problem, rows) @ coef.T + intercept, problem.y[rows])))

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # most of the time NumPy does not hold Python's lock
        sums = list(pool.map(of_block, blocks(problem)))
    value = problem.C * math.fsum(sums) + penalty(problem, coef)
    if not math.isfinite(value):
        raise ValueError(f"the objective of the solution is {value}")
    return value
