"""Both choices of variables are the same function, and the Lipschitz constant bounds its curvature."""

from __future__ import annotations

import numpy as np
import pytest

from gpulr.objective import GramObjective, Objective, lipschitz_constant
from gpulr.rows import MemoryRows, memory


def make(kind, backend, rng, m=12, n=30, weighted=True, dtype="float64", scale=0.5):
    arrays = (rng.normal(size=(m, n)), rng.integers(0, 2, m), rng.uniform(0.5, 2, m), rng.normal(size=n), np.array(0.2))
    X, y, s, w, b = (backend.put(array.astype(dtype)) for array in arrays)
    return kind(MemoryRows(X, y, s if weighted else None), w, b, scale=scale)


@pytest.mark.parametrize("kind", [Objective, GramObjective])
@pytest.mark.parametrize("weighted", [False, True])
def test_value_and_step_are_those_of_the_formula(backend, kind, weighted, rng):
    objective = make(kind, backend, rng, weighted=weighted)
    rows = objective.rows
    X, y = 0.5 * backend.get(rows.X), backend.get(rows.y)
    s = backend.get(rows.sample_weight) if weighted else np.ones(12)
    w, b = (backend.get(part) for part in objective.coefficients(objective.start))
    a = 1 / (1 + np.exp(-(X @ w + b)))
    cost, gradient = objective.value_and_grad(objective.start)
    assert float(cost) == pytest.approx(-np.average(np.log(np.where(y == 1, a, 1 - a)), weights=s), rel=1e-12)

    stepped_w, stepped_b = (backend.get(p) for p in objective.coefficients(objective.start - 0.1 * gradient))
    dz = s * (a - y) / s.sum()
    np.testing.assert_allclose(stepped_w, w - 0.1 * X.T @ dz, rtol=1e-12)
    np.testing.assert_allclose(stepped_b, b - 0.1 * dz.sum(), rtol=1e-12)


@pytest.mark.parametrize("kind", [Objective, GramObjective])
def test_lipschitz_constant_is_just_above_the_norm(backend, kind, rng):
    objective = make(kind, backend, rng)
    s = backend.get(objective.rows.sample_weight)
    with_ones = np.sqrt(s)[:, None] * np.column_stack([0.5 * backend.get(objective.rows.X), np.ones(12)])
    exact = np.linalg.norm(with_ones, 2) ** 2 / (4 * s.sum())
    assert exact <= lipschitz_constant(objective) <= 1.002 * exact


def test_lipschitz_constant_is_safe_where_power_iteration_has_not_converged(rng):
    # All singular values of an orthogonal matrix but one are equal, and that one is close.
    Q = np.linalg.qr(rng.normal(size=(300, 300)))[0] * np.append(np.full(299, 1.0), 1.001)
    objective = Objective(MemoryRows(Q, np.zeros(300)), np.zeros(300), np.zeros(()))
    exact = np.linalg.norm(np.column_stack([Q, np.ones(300)]), 2) ** 2 / 1200
    assert exact <= lipschitz_constant(objective) * (1 + 1e-12)


def test_the_same_bits_twice_and_any_blocks_the_same_value(rng, monkeypatch):
    X, y = rng.integers(0, 255, (500, 20)).astype("uint8"), rng.integers(0, 2, 500).astype("float32")
    w, b = rng.normal(size=20).astype("float32"), np.zeros((), "float32")
    objective = Objective(MemoryRows(X, y), w, b, scale=1 / 255)
    first, again = objective.value_and_grad(objective.start), objective.value_and_grad(objective.start)
    assert [part.tobytes() for part in first] == [part.tobytes() for part in again]
    monkeypatch.setattr(memory, "BLOCK_BYTES", 1000)
    for one, other in zip(objective.value_and_grad(objective.start), first, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", [Objective, GramObjective])
def test_no_number_is_read_from_the_device(kind):
    torch = pytest.importorskip("torch")
    X, y, w, b = (torch.empty(shape, device="meta", dtype=torch.float64) for shape in ((4, 9), (4,), (9,), ()))
    objective = kind(MemoryRows(X, y), w, b, scale=0.5)
    p = objective.start
    for _ in range(3):
        cost, gradient = objective.value_and_grad(p)
        p = p - 0.1 * gradient
    assert cost.shape == ()
    assert gradient.shape == objective.start.shape
