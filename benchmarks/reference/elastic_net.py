"""Proximal Newton in float64 for an l1 part beside a ridge, two classes: coordinate descent on the exact Hessian."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from scipy.special import expit

from benchmarks.evaluate import losses, penalty
from benchmarks.problem import Problem
from benchmarks.reference.newton import GOAL, LARGEST_HESSIAN, require_time, step_length


def solve(
    problem: Problem, until: float = math.inf, iterations: int = 100
) -> tuple[np.ndarray, np.ndarray, float, str]:
    """The minimum of a problem with 0 < l1_ratio < 1: see `benchmarks.reference.ridge.solve`.

    Raises:
        ValueError: more classes, CSR, too many columns, or no ridge, without which there is no bound.
    """
    m, n = problem.X.shape
    if problem.outputs > 1 or problem.is_sparse or n > LARGEST_HESSIAN or problem.l1_ratio == 1:
        raise ValueError(
            f"{problem.name}: with an l1 part, there is a reference for two classes, dense X of up to {LARGEST_HESSIAN} "
            f"columns and l1_ratio < 1; given: {problem.classes} classes, {n} columns, l1_ratio {problem.l1_ratio}"
        )
    # The column of ones is the intercept's; where there is none it is zero and so, with a ridge of 1, is its weight.
    X = np.hstack([problem.features("float64"), np.full((m, 1), float(problem.intercept))])
    ridge = np.append(np.full(n, 1 - problem.l1_ratio), 0.0 if problem.intercept else 1.0)
    l1 = np.append(np.full(n, problem.l1_ratio), 0.0)
    p = np.zeros(n + 1)
    for _ in range(iterations):
        require_time(until)
        z = X @ p
        a = expit(z)
        value = _value(problem, p, z)
        gradient = problem.C * (X.T @ (a - problem.y)) + ridge * p
        curvature = problem.C * a * (1 - a)
        bound = _bound(problem, gradient, l1, p, np.sum(curvature))
        if bound <= GOAL * value:
            break
        H = X.T @ (curvature[:, None] * X) + np.diag(ridge)
        d = _coordinate_descent(H, gradient, l1, p, until) - p
        u = X @ d
        slope = gradient @ d + l1 @ (np.abs(p + d) - np.abs(p))
        step = step_length(partial(_along, problem, p, z, d, u), value, slope)
        p = p + step * d
    return p[None, :-1].copy(), p[-1:].copy(), bound, "proximal Newton"


def _value(problem: Problem, p: np.ndarray, z: np.ndarray) -> float:
    return problem.C * float(np.sum(losses(z[:, None], problem.y))) + penalty(problem, p[:-1])


def _along(problem: Problem, p: np.ndarray, z: np.ndarray, d: np.ndarray, u: np.ndarray, step: float) -> float:
    return _value(problem, p + step * d, z + step * u)


def _bound(problem: Problem, gradient: np.ndarray, l1: np.ndarray, p: np.ndarray, of_intercept: float) -> float:
    """F − F* is at most this; `of_intercept` is ∂²F/∂b²."""
    shortest = np.where(p != 0, gradient + l1 * np.sign(p), np.maximum(np.abs(gradient) - l1, 0))
    bound = float(np.sum(shortest[:-1] ** 2)) / (2 * (1 - problem.l1_ratio))
    return bound + (float(gradient[-1]) ** 2 / (2 * of_intercept) if problem.intercept else 0.0)


def _coordinate_descent(H: np.ndarray, gradient: np.ndarray, l1: np.ndarray, p: np.ndarray, until: float) -> np.ndarray:
    """The minimum over q of gradientᵀ(q − p) + (q − p)ᵀH(q − p)/2 + Σ l1ⱼ|qⱼ|; all (n + 1,)."""
    q, slope = p.copy(), gradient.copy()  # slope: the derivative of the smooth part at q
    for _ in range(1_000):
        require_time(until)
        moved = 0.0
        for j in range(len(q)):
            target = q[j] - slope[j] / H[j, j]
            new = np.sign(target) * max(abs(target) - l1[j] / H[j, j], 0.0)
            if new != q[j]:
                slope += (new - q[j]) * H[:, j]
                moved = max(moved, abs(new - q[j]) * np.sqrt(H[j, j]))
                q[j] = new
        if moved <= 1e-14 * np.sqrt(abs(gradient @ q) + 1e-300):
            break
    return q
