"""Damped Newton in float64 for a ridge penalty: with the Hessian where it is small, with conjugate gradients elsewhere.

Parameters are P (n + 1, k): a column of weights for each output, the intercepts in the last row, where a problem without
intercept keeps zeros.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from scipy import linalg
from scipy.special import expit, softmax

from benchmarks.evaluate import losses
from benchmarks.problem import Matrix, Problem
from benchmarks.reference.newton import GOAL, LARGEST_HESSIAN, require_time, step_length


def solve(
    problem: Problem, until: float = math.inf, iterations: int = 100
) -> tuple[np.ndarray, np.ndarray, float, str]:
    """The minimum of a problem with l1_ratio 0, by a time of `time.monotonic`.

    Returns:
        coef (k, n), intercept (k,) (k is 1 for two classes), the proven bound on F − F* (see `benchmarks.reference`), and
        the name of the method.

    Raises:
        TimeoutError: it takes longer.
    """
    # Once: the passes over X are many. The race itself needs more memory, a copy of X for every competitor.
    X = problem.features("float64")
    m, n = X.shape
    # For more features than samples, a Hessian costs more than conjugate gradients, which need at most m + 1 steps.
    exact = problem.outputs == 1 and n <= min(m, LARGEST_HESSIAN) and not problem.is_sparse
    P = np.zeros((n + 1, problem.outputs))
    Z = _margins(X, P)
    first = None
    for _ in range(iterations):
        require_time(until)
        value = _value(problem, P, Z)
        probabilities = expit(Z) if Z.shape[1] == 1 else softmax(Z, axis=1)
        G = _gradient(problem, X, P, probabilities)
        bound = _bound(problem, G, probabilities)
        if bound <= GOAL * value:
            break
        size = float(np.linalg.norm(G))
        first = first or size
        if exact:
            D = -linalg.solve(_hessian(problem, X, probabilities, until), G, assume_a="pos")
        else:
            # The residual shrinks with the gradient: convergence is faster than linear (Nocedal & Wright, "Numerical
            # Optimization" (2006), theorem 7.2).
            D = -_conjugate_gradients(problem, X, probabilities, G, min(1e-2, size / first), until)
        U = _margins(X, D)
        step = step_length(partial(_along, problem, P, Z, D, U), value, np.sum(G * D))
        P = P + step * D
        Z = _margins(X, P)
    return P[:-1].T.copy(), P[-1].copy(), bound, "Newton" if exact else "Newton, conjugate gradients"


def _margins(X: Matrix, P: np.ndarray) -> np.ndarray:
    return X @ P[:-1] + P[-1]


def _value(problem: Problem, P: np.ndarray, Z: np.ndarray) -> float:
    return problem.C * float(np.sum(losses(Z, problem.y))) + float(np.sum(P[:-1] ** 2)) / 2


def _along(problem: Problem, P: np.ndarray, Z: np.ndarray, D: np.ndarray, U: np.ndarray, step: float) -> float:
    return _value(problem, P + step * D, Z + step * U)


def _gradient(problem: Problem, X: Matrix, P: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """∇F of P's shape; probabilities (m, k), for two classes (m, 1) of class 1."""
    y = problem.y[:, None]
    R = problem.C * (probabilities - (y if problem.outputs == 1 else y == np.arange(problem.outputs)))
    return np.vstack([X.T @ R + P[:-1], problem.intercept * np.sum(R, axis=0)])


def _curved(probabilities: np.ndarray, U: np.ndarray) -> np.ndarray:
    """The second derivative of the losses times U, both (m, k): a(1 − a)U, or p∘(U − ⟨p, U⟩) row by row."""
    if U.shape[1] == 1:
        return probabilities * (1 - probabilities) * U
    return probabilities * (U - np.sum(probabilities * U, axis=1, keepdims=True))


def _bound(problem: Problem, G: np.ndarray, probabilities: np.ndarray) -> float:
    """F − F* is at most this: ‖g_w‖²/2, and with H the Hessian over the intercepts g_bᵀ H⁺ g_b/2."""
    of_weights = float(np.sum(G[:-1] ** 2)) / 2
    if not problem.intercept:
        return of_weights
    k = probabilities.shape[1]
    H = problem.C * np.stack(
        [_curved(probabilities, np.tile(e, (len(probabilities), 1))).sum(axis=0) for e in np.eye(k)]
    )
    return of_weights + float(G[-1] @ np.linalg.pinv(H, hermitian=True) @ G[-1]) / 2


def _hessian(problem: Problem, X: np.ndarray, probabilities: np.ndarray, until: float) -> np.ndarray:
    """∇²F (n + 1, n + 1) of two classes; 1 for the intercept where there is none."""
    n = X.shape[1]
    H = np.diag(np.append(np.ones(n), 0.0 if problem.intercept else 1.0))
    curvature = problem.C * (probabilities * (1 - probabilities))
    step = max(1, (1 << 22) // n)
    for start in range(0, len(X), step):
        require_time(until)
        block, d = X[start : start + step], curvature[start : start + step]
        weighted = d * block
        H[:n, :n] += block.T @ weighted
        if problem.intercept:
            sums = np.sum(weighted, axis=0)
            H[:n, n] += sums
            H[n, :n] += sums
            H[n, n] += np.sum(d)
    return H


def _conjugate_gradients(
    problem: Problem,
    X: Matrix,
    probabilities: np.ndarray,
    G: np.ndarray,
    tol: float,
    until: float,
    iterations: int = 5_000,
) -> np.ndarray:
    """D with ‖∇²F D − G‖ ≤ tol ‖G‖ in the norm of the preconditioner, the diagonal of ∇²F; of G's shape."""
    d = problem.C * probabilities * (1 - probabilities)
    diagonal = np.vstack([(X * X).T @ d + 1, np.maximum(np.sum(d, axis=0), 1e-300)])
    D, R = np.zeros_like(G), G.copy()
    S = R / diagonal
    V, rho = S.copy(), np.sum(R * S)
    goal = tol**2 * rho
    for _ in range(iterations):
        if rho <= goal:
            break
        require_time(until)
        curved = problem.C * _curved(probabilities, _margins(X, V))
        HV = np.vstack([X.T @ curved + V[:-1], problem.intercept * np.sum(curved, axis=0)])
        step = rho / np.sum(V * HV)
        D += step * V
        R -= step * HV
        S = R / diagonal
        rho, before = np.sum(R * S), rho
        V = S + rho / before * V
    return D
