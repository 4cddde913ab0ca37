"""The minimum F* against which gaps are measured, with a proof of how close it is; kept in a cache on disk.

By float64 Newton methods that share nothing with gpulr. The proof is strong convexity: with b minimizing F(w, ·),

    F(w, b) − F* ≤ ‖g‖² / (2 (1 − l1_ratio)),

where g is the gradient over w, or with an l1 part the shortest subgradient, since F less its ridge is convex and stays so
when b is minimized out (Boyd & Vandenberghe, "Convex Optimization" (2004), sections 3.2.5 and 9.1.2). What b is short of
its own minimum is added to the bound, to second order.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from benchmarks.evaluate import objective
from benchmarks.problem import Problem
from benchmarks.reference import elastic_net, ridge

ACCEPTED = 1e-14
"""Largest bound on the relative gap of a reference."""


@dataclass(frozen=True)
class Reference:
    """A solution and its certificate.

    Attributes:
        value: F, of the evaluator.
        bound: (F − F*)/F is proven to be at most this.
        method: how it was found.
        coef, intercept: (1 or k, n) and (1 or k,), float64.
    """

    value: float
    bound: float
    method: str
    coef: np.ndarray
    intercept: np.ndarray


def find(problem: Problem, cache: Path, seconds: float = math.inf) -> Reference:
    """The reference of a problem, from the cache or else computed and stored there.

    Args:
        problem: the key is made of its very numbers, so that a cached value cannot belong to other data.
        cache: folder, made if it is missing.
        seconds: that it may take to compute, but for what is under way then: a pass over X, or a factorization.

    Raises:
        RuntimeError: the bound is larger than `ACCEPTED`.
        TimeoutError: it takes longer.
        ValueError: an l1 part for which there is no method here.
    """
    until = time.monotonic() + seconds
    path = cache / f"{problem.name}-{_digest(problem)}.npz"
    if path.is_file():
        with np.load(path) as stored:
            coef, intercept = stored["coef"], stored["intercept"]
            return Reference(float(stored["value"]), float(stored["bound"]), str(stored["method"]), coef, intercept)
    solve = elastic_net.solve if problem.l1_ratio > 0 else ridge.solve
    coef, intercept, bound, method = solve(problem, until)
    value = objective(problem, coef, intercept)
    found = Reference(value, bound / value, method, coef, intercept)
    if found.bound > ACCEPTED:
        raise RuntimeError(f"{problem.name}: the reference is only certain to {found.bound:.1e}, {ACCEPTED} is needed")
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(path, **vars(found))
    return found


def _digest(problem: Problem) -> str:
    """Of everything that the minimum depends on."""
    parts = (problem.X.shape, problem.X.dtype.str, problem.C, problem.l1_ratio, problem.scale, problem.intercept)
    hasher = blake2b(repr(parts).encode())
    for array in (*problem.arrays, problem.y):
        hasher.update(np.ascontiguousarray(array).data)
    return hasher.hexdigest()[:16]
