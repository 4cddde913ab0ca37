"""F(p) against formulas, finite differences and its own other ways to be computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from sklearn.metrics import log_loss

from gpulr.objective import Objective, descent_from, lipschitz_constant
from gpulr.rows import MemoryRows, gram_pays, memory


def make(backend, rng, *, k=1, weighted=True, intercept=True, transformed=True, m=30, n=4):
    """An objective in float64 with everything that it can have, or as little as asked for."""
    y = rng.integers(0, max(k, 2), m).astype(float)
    X, s = 3 + rng.normal(size=(m, n)), rng.uniform(0.5, 2, m)
    scale, shift, ridge = rng.uniform(0.5, 2, n), rng.normal(size=n), rng.uniform(0.1, 1, n)
    shape = (n + intercept,) if k == 1 else (n + intercept, k)
    put = backend.put
    return Objective(
        MemoryRows(put(X), put(y), put(s) if weighted else None),
        put(rng.normal(size=shape)),
        scale=put(scale) if transformed else 1.0,
        shift=put(shift) if transformed and intercept else None,
        ridge=put(ridge) if transformed else 0.0,
        fit_intercept=intercept,
    )


def formula(backend, objective, p):
    """F(p) from its definition, by scikit-learn."""
    get = backend.get
    X, y = get(objective.rows.X), get(objective.rows.y)
    s = None if objective.rows.sample_weight is None else get(objective.rows.sample_weight)
    scale, ridge = (
        np.asarray(part) if isinstance(part, float) else get(part) for part in (objective.scale, objective.ridge)
    )
    shift = 0.0 if objective.shift is None else get(objective.shift)
    u, c = (p[:-1], p[-1]) if objective.fit_intercept else (p, 0.0)
    Z = ((X - shift) * scale) @ u + c
    if Z.ndim == 1:
        P = 1 / (1 + np.exp(-Z))
        penalty = ridge * u**2
    else:
        P = np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)
        penalty = np.reshape(ridge, (-1, 1)) * u**2
    return log_loss(y, P, sample_weight=s) + 0.5 * penalty.sum()


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("transformed", [False, True])
def test_value_gradient_and_margins(backend, rng, k, weighted, intercept, transformed):
    F = make(backend, rng, k=k, weighted=weighted, intercept=intercept, transformed=transformed)
    p = backend.get(F.start)
    point = F.visit(F.start)
    cost, gradient = point.cost, point.gradient
    assert float(cost) == pytest.approx(formula(backend, F, p), rel=1e-12)
    difference = approx_fprime(p.ravel(), lambda q: formula(backend, F, q.reshape(p.shape)), 1e-7)
    np.testing.assert_allclose(backend.get(gradient).ravel(), difference, atol=1e-5)

    Z = F.matmul(F.start)
    np.testing.assert_allclose(backend.get(point.margins), backend.get(Z), atol=1e-13)
    at_margins, dZ = F.at_margins(F.start, Z)
    assert float(at_margins) == pytest.approx(float(cost), rel=1e-13)
    np.testing.assert_allclose(backend.get(F.gradient(F.start, dZ)), backend.get(gradient), atol=1e-13)
    d = backend.put(rng.normal(size=p.shape))
    slope = F.slope(F.start, d, dZ, F.matmul(d))
    assert float(slope) == pytest.approx(np.sum(backend.get(gradient) * backend.get(d)), rel=1e-10)
    assert np.sum(backend.get(F.rmatmul(dZ)) * backend.get(d)) == pytest.approx(
        np.sum(backend.get(dZ) * backend.get(F.matmul(d))), rel=1e-10
    )
    w, b = (backend.get(part) for part in F.raw(F.start))
    np.testing.assert_allclose(backend.get(F.rows.X) @ w + b, backend.get(Z), rtol=1e-10)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("intercept", [False, True])
def test_hessian_is_the_derivative_of_the_gradient(backend, rng, k, intercept):
    F = make(backend, rng, k=k, intercept=intercept)
    H = backend.get(F.hessian(F.matmul(F.start)))
    p, h = backend.get(F.start), 1e-6
    columns = []
    for i in range(p.size):
        step = np.zeros(p.size)
        step[i] = h
        above, below = (
            backend.get(F.visit(backend.put(p + sign * step.reshape(p.shape))).gradient).ravel() for sign in (1, -1)
        )
        columns.append((above - below) / (2 * h))
    np.testing.assert_allclose(H, np.array(columns), atol=1e-8)


def test_flat_directions_are_those_the_hessian_does_not_see(backend, rng):
    F = make(backend, rng, k=3, transformed=False)  # no ridge: every weight and the intercept
    flat, H = backend.get(F.flat_directions()), backend.get(F.hessian(F.matmul(F.start)))
    np.testing.assert_allclose(H @ flat, 0, atol=1e-12)
    assert np.linalg.matrix_rank(flat) == H.shape[0] - np.linalg.matrix_rank(H, tol=1e-10) == 5
    penalized = make(backend, rng, k=3)  # only the intercept
    assert np.linalg.matrix_rank(backend.get(penalized.flat_directions())) == 1
    assert make(backend, rng).flat_directions() == 0.0


@pytest.mark.parametrize("weighted", [False, True])
def test_lipschitz_constant_is_just_above_the_norm(backend, rng, weighted):
    F = make(backend, rng, weighted=weighted)
    s = backend.get(F.rows.sample_weight) if weighted else np.ones(30)
    features = (backend.get(F.rows.X) - backend.get(F.shift)) * backend.get(F.scale)
    with_ones = np.sqrt(s)[:, None] * np.column_stack([features, np.ones(30)])
    exact = np.linalg.norm(with_ones, 2) ** 2 / (4 * s.sum())
    ridge = backend.get(F.ridge).max()
    assert exact + ridge <= lipschitz_constant(F) <= 1.002 * exact + ridge


def test_lipschitz_constant_bounds_the_curvature_of_k_classes(backend, rng):
    F = make(backend, rng, k=3)
    for size in (0, 1):
        H = backend.get(F.hessian(size * F.matmul(F.start)))
        assert np.linalg.eigvalsh(H)[-1] <= lipschitz_constant(F)


def test_lipschitz_constant_is_safe_where_power_iteration_has_not_converged(rng):
    # All singular values of this matrix but one are equal, and that one is close.
    Q = np.linalg.qr(rng.normal(size=(300, 300)))[0] * np.append(np.full(299, 1.0), 1.001)
    exact = np.linalg.norm(np.column_stack([Q, np.ones(300)]), 2) ** 2 / 1200
    F = Objective(MemoryRows(Q, np.zeros(300)), np.zeros(301))
    assert exact <= lipschitz_constant(F) * (1 + 1e-12)


def test_features_whose_squares_overflow_are_an_error():
    F = Objective(MemoryRows(np.full((3, 2), 1e30, "float32"), np.zeros(3, "float32")), np.zeros(3, "float32"))
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(FloatingPointError, match="too large for float32"):
        lipschitz_constant(F)


def test_the_same_bits_twice_and_any_blocks_the_same_value(rng, monkeypatch):
    X, y = rng.integers(0, 255, (500, 20)).astype("uint8"), rng.integers(0, 2, 500).astype("float32")
    F = Objective(MemoryRows(X, y), rng.normal(size=21).astype("float32"), scale=1 / 255)
    first, again = F.visit(F.start), F.visit(F.start)
    assert first.cost == again.cost
    assert first.gradient.tobytes() == again.gradient.tobytes()
    assert first.margins.tobytes() == again.margins.tobytes()
    assert first.gradient.dtype == "float32"
    monkeypatch.setattr(memory, "BLOCK_BYTES", 1000)
    for name in ("cost", "gradient", "margins"):
        np.testing.assert_allclose(getattr(F.visit(F.start), name), getattr(first, name), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("k", [1, 3])
def test_no_number_is_read_from_the_device(k):
    torch = pytest.importorskip("torch")

    def empty(*shape):
        return torch.empty(shape, device="meta", dtype=torch.float64)

    rows = MemoryRows(empty(4, 9), empty(4))
    shape = (10,) if k == 1 else (10, 3)
    F = Objective(rows, empty(*shape), scale=empty(9), shift=empty(9), ridge=empty(9))
    p = F.start
    for _ in range(3):
        gradient = F.visit(p).gradient
        p = p - 0.1 * gradient
    cost, dZ = F.at_margins(p, F.matmul(p))
    assert cost.shape == F.slope(p, p, dZ, F.matmul(p)).shape == ()
    assert gradient.shape == F.gradient(p, dZ).shape == shape


def test_reads_of_x_are_counted(backend, rng):
    F = make(backend, rng)
    F.visit(F.start)
    assert F.reads == 1
    Z = F.matmul(F.start)
    F.gradient(F.start, F.at_margins(F.start, Z)[1])
    assert F.reads == 3


def test_gram_space_starts_where_it_was_told_and_returns_there(backend, rng):
    X, w, b = rng.normal(size=(5, 12)), rng.normal(size=12), np.array(0.5)
    rows = MemoryRows(backend.put(X), backend.put(np.arange(5) % 2.0))
    F, weights = descent_from(backend.put(w), backend.put(b), rows, scale=0.3, gram=True)
    np.testing.assert_allclose(backend.get(F.matmul(F.start)), 0.3 * X @ w + b, rtol=1e-12)
    for found, expected in zip(weights(F.start), (w, b), strict=True):
        np.testing.assert_allclose(backend.get(found), expected, rtol=1e-12)


def test_gram_space_pays_for_the_cats_and_not_for_a_step_or_many_samples():
    like = np.zeros(1)
    assert gram_pays(209, 12288, 2000, like)
    assert not gram_pays(209, 12288, 1, like)
    assert not gram_pays(209, 208, 2000, like)
    assert not gram_pays(10**6, 10**6 + 1, 10**9, like)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("spread", [1.0, 1000.0])
def test_descent_through_the_margins_is_descent(backend, rng, weighted, intercept, spread):
    """Ten steps at once against ten passes; a start so far out that exp of its margins overflows is one of the cases."""
    F = make(backend, rng, weighted=weighted, intercept=intercept, transformed=False, n=40)
    F = replace(F, scale=0.5, start=spread * F.start)
    at_once = replace(F, gram=F.rows.gram())
    expected = backend.get(F.descend(F.visit(F.start), 0.3, 10))
    with np.errstate(over="ignore"):  # which `minimize` says of all steps
        given = backend.get(at_once.descend(at_once.visit(F.start), 0.3, 10))
    np.testing.assert_allclose(given, expected, rtol=1e-12, atol=1e-13 * spread)
    assert at_once.reads == 2  # the point, and the way back from the margins
