"""The matrix form of L-BFGS against the two-loop recursion, and both homes of its algebra."""

from __future__ import annotations

import numpy as np
import pytest

from gpulr.objective import Objective
from gpulr.rows import MemoryRows
from gpulr.solvers import LBFGS, lbfgs, minimize
from gpulr.solvers.pairs import Metric, Pairs, Place


def two_loops(pairs, M, g):
    """H⁻¹g by Nocedal & Wright, "Numerical Optimization" (2006), algorithm 7.4."""
    alphas = []
    for s, y in reversed(pairs):
        alphas.append(s @ g / (s @ y))
        g = g - alphas[-1] * y
    g = M @ g
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        g = g + (alpha - y @ g / (s @ y)) * s
    return g


def definite(n, rng):
    A = rng.normal(size=(n, n))
    return A @ A.T + np.eye(n)


@pytest.mark.parametrize("trust", [1.0, 1.5, np.inf])
@pytest.mark.parametrize("memory", [1, 3, 20])
def test_matrix_form_is_the_two_loop_recursion(memory, trust, rng):
    n, H, M = 30, definite(30, rng), np.linalg.inv(definite(30, rng))
    pairs, kept, before = Pairs(Metric(lambda g: M @ g, trust), memory), [], None
    p = rng.normal(size=n)
    for step in range(12):
        place = Place(p, H @ p, M @ H @ p)
        products = pairs.products(place, before)
        if before is not None:
            if step == 5:  # told of no curvature: the pair is not kept, and in a full memory the oldest is lost
                products[:, 1] = -1.0
                kept = kept[1:] if len(kept) == memory else kept
            else:
                kept = [*kept, (p - before.params, place.gradient - before.gradient)][-memory:]
            pairs.keep(products)
        assert len(pairs) == len(kept)
        ratio = 1.0 if not kept else kept[-1][0] @ kept[-1][1] / (kept[-1][1] @ M @ kept[-1][1])
        scaled = M if 1 / trust <= ratio <= trust else ratio * M
        expected = two_loops(kept, scaled, place.gradient)
        direction, decrement = pairs.aim(products)
        np.testing.assert_allclose(direction, -expected, rtol=1e-8, atol=1e-10 * np.abs(expected).max())
        assert decrement == pytest.approx(0.5 * place.gradient @ expected, rel=1e-8)
        before, p = place, p + rng.normal(size=n)
    pairs.clear()
    direction, _ = pairs.aim(pairs.products(before))
    np.testing.assert_allclose(direction, -M @ before.gradient)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hessian_size", [0, 200])
def test_the_minimum_is_the_same_from_both_homes(backend, k, dtype, hessian_size, rng, monkeypatch):
    X, shape = rng.normal(size=(400, 8)).astype(dtype), (9,) if k == 1 else (9, 3)
    y = np.digitize(X[:, 0] + rng.normal(size=400), [0.0] if k == 1 else [-1.0, 1.0]).astype(dtype)

    def found():
        F = Objective(MemoryRows(backend.put(X), backend.put(y)), backend.put(np.zeros(shape, dtype)), ridge=0.01)
        result = minimize(F, LBFGS(hessian_size=hessian_size), max_iter=100, tol=1e-3)
        assert result.status in ("converged", "precision")
        assert result.params.dtype == F.start.dtype
        return backend.get(result.params)

    on_the_host = found()
    monkeypatch.setattr(lbfgs, "HOST_PARAMETERS", 0)
    np.testing.assert_allclose(found(), on_the_host, atol=1e-3 if dtype == "float32" else 1e-6)
