"""Gradient descent and the loop around it."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from gpulr import device, load_dataset
from gpulr.objective import Objective, descent_from
from gpulr.rows import MemoryRows
from gpulr.solvers import LBFGS, GradientDescent, minimize


def objective(rng, m=60, n=4, put=np.asarray):
    X = rng.normal(size=(m, n))
    y = (X[:, 0] + rng.normal(size=m) > 0).astype(float)
    return descent_from(put(np.zeros(n)), put(np.zeros(())), MemoryRows(put(X), put(y)), gram=False)[0]


def test_auto_descends_to_scikit_learns_optimum(backend, rng):
    F = objective(rng, put=backend.put)
    result = minimize(F, GradientDescent("auto"), max_iter=3000, record_every=100)
    w, b = F.split(result.params)
    oracle = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000)
    oracle.fit(backend.get(F.rows.X), backend.get(F.rows.y))
    np.testing.assert_allclose(backend.get(w), oracle.coef_[0], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(float(b), oracle.intercept_[0], rtol=1e-6, atol=1e-8)
    costs = [record.cost for record in result.history]
    assert costs == sorted(costs, reverse=True)


def test_history_is_every_kth_cost_before_the_step(rng):
    F = objective(rng)
    result = minimize(F, GradientDescent(0.1), max_iter=10, record_every=3)
    p, costs = F.start, []
    for _ in range(10):
        point = F.visit(p)
        costs.append(point.cost)
        p = p - 0.1 * point.gradient
    assert [record.iteration for record in result.history] == [0, 3, 6, 9]
    assert [record.cost for record in result.history] == costs[::3]
    assert result.cost == F.visit(p).cost
    assert result.n_iter == 10
    np.testing.assert_array_equal(result.params, p)
    assert 0 <= result.history[0].seconds <= result.last.seconds


def test_the_callback_sees_every_iterate(rng):
    F, seen = objective(rng), []
    minimize(F, GradientDescent(0.1), max_iter=5, callback=lambda i, look: seen.append((i, float(look.cost))))
    assert [i for i, _ in seen] == [0, 1, 2, 3, 4, 5]
    assert all(after < before for (_, before), (_, after) in pairwise(seen))


def test_what_nobody_looks_at_is_not_looked_at(rng):
    """Descent makes as many steps at once as there are between two records, and the same ones."""
    F, seen, strides = objective(rng), [], []
    one_by_one = minimize(F, GradientDescent(0.1), max_iter=8)

    def descend(point, rate, steps):
        strides.append(steps)
        return Objective.descend(F, point, rate, steps)

    F.descend = descend
    result = minimize(F, GradientDescent(0.1), max_iter=8, record_every=3, callback=lambda i, look: seen.append(i))
    assert strides == [3, 3, 2]
    assert seen == [0, 3, 6, 8]
    np.testing.assert_array_equal(result.params, one_by_one.params)


def test_a_solver_that_ends_between_two_records_is_recorded_where_it_ends(rng):
    F = objective(rng)
    result = minimize(F, LBFGS(), max_iter=1000, record_every=7)
    assert result.status == "precision"
    assert result.n_iter == result.last.iteration > result.history[-1].iteration
    assert result.cost == F.visit(result.params).cost


def test_zero_iterations_return_the_start(rng):
    F = objective(rng)
    result = minimize(F, GradientDescent(0.1), max_iter=0)
    np.testing.assert_array_equal(result.params, F.start)
    assert result.history == ()
    assert result.cost == pytest.approx(np.log(2))


@pytest.mark.parametrize("arguments", [{"max_iter": -1}, {"max_iter": 1, "record_every": 0}])
def test_counts_out_of_range_are_refused(arguments, rng):
    with pytest.raises(ValueError, match="at least 0 and 1"):
        minimize(objective(rng), GradientDescent(), **arguments)


@pytest.mark.parametrize(
    "arguments", [{"max_iter": 2.5}, {"max_iter": float("nan")}, {"max_iter": 1, "record_every": 1.5}]
)
def test_counts_that_are_no_integers_are_refused(arguments, rng):
    with pytest.raises(TypeError, match="integer"):
        minimize(objective(rng), GradientDescent(), **arguments)


@pytest.mark.parametrize("k", [1, 3])
def test_lbfgs_reads_from_the_device_once_an_iteration(backend, k, rng, monkeypatch):
    X, shape = rng.normal(size=(300, 8)), (9,) if k == 1 else (9, 3)
    y = np.digitize(X[:, 0] + rng.normal(size=300), [0.0] if k == 1 else [-1.0, 1.0]).astype(float)
    F = Objective(MemoryRows(backend.put(X), backend.put(y)), backend.put(np.zeros(shape)), ridge=0.1)
    transfers, to_host = [], device.to_host
    monkeypatch.setattr(device, "to_host", lambda array: transfers.append(array) or to_host(array))
    result = minimize(F, LBFGS(hessian_size=0), max_iter=100, tol=1e-3)
    assert result.status == "converged"
    assert result.n_iter > 5
    assert len(transfers) <= result.n_iter + 1 + 3  # the first step, of unknown length, may need a search


def test_a_numpy_rate_does_not_widen_the_weights(rng):
    X, y = rng.normal(size=(20, 3)).astype("float32"), (np.arange(20) % 2).astype("float32")
    F, _ = descent_from(np.zeros(3, "float32"), np.zeros((), "float32"), MemoryRows(X, y), gram=False)
    for rate in (np.float64(0.1), np.float32(0.1), np.int64(1)):
        assert minimize(F, GradientDescent(rate), max_iter=2).params.dtype == "float32"


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), "fast", None, True])
def test_another_learning_rate_is_refused(rate):
    with pytest.raises(ValueError, match="positive number, 'auto'"):
        GradientDescent(rate)


def test_a_rise_is_warned_of_once_with_the_iteration_and_a_rate_that_does_not_rise(rng):
    F = objective(rng)
    with pytest.warns(ConvergenceWarning, match=r"rose from .* at iteration \d+ to .*: learning_rate=50") as caught:
        result = minimize(F, GradientDescent(50), max_iter=30, record_every=1)
    assert len(caught) == 1
    assert len(result.history) == 30  # and it went on
    safe = float(str(caught[0].message).split(" at ")[-1].split()[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        minimize(F, GradientDescent(safe), max_iter=30, record_every=1)


def test_weights_that_leave_the_finite_numbers_are_an_error(backend, rng):
    F = objective(rng, put=backend.put)
    with pytest.raises(FloatingPointError, match=r"by iteration 1: learning_rate=1e\+308 is too large; at \d+\.\d+ "):
        minimize(F, GradientDescent(1e308), max_iter=30, record_every=1)


@pytest.mark.parametrize("shape", [(20, 50), (3, 200)])
@pytest.mark.parametrize("weighted", [False, True])
def test_gram_space_makes_the_same_iterates(backend, shape, weighted, rng):
    m, n = shape
    X, y, s = rng.normal(size=shape), np.arange(m) % 2.0, rng.uniform(0.5, 2, m)
    start = [backend.put(rng.normal(size=n)), backend.put(np.array(0.5))]
    rows = MemoryRows(backend.put(X), backend.put(y), backend.put(s) if weighted else None)
    results, weights = [], []
    for gram in (False, True):
        F, back = descent_from(*start, rows, scale=0.3, gram=gram)
        results.append(minimize(F, GradientDescent(0.05), max_iter=50, record_every=10))
        weights.append([backend.get(part) for part in back(results[-1].params)])
    np.testing.assert_allclose([r.cost for r in results[1].history], [r.cost for r in results[0].history], rtol=1e-12)
    for found, expected in zip(*weights, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_gram_space_on_the_cats(cats_folder):
    data = load_dataset(cats_folder)
    rows = MemoryRows(data.X_train, data.y_train.astype(float))
    results, weights = [], []
    for gram in (False, True):
        F, back = descent_from(np.zeros(12288), np.zeros(()), rows, scale=data.scale, gram=gram)
        results.append(minimize(F, GradientDescent(0.005), max_iter=2000, record_every=100))
        weights.append(back(results[-1].params)[0])
    np.testing.assert_allclose([r.cost for r in results[1].history], [r.cost for r in results[0].history], rtol=1e-9)
    expected, w = weights
    assert np.linalg.norm(w - expected) <= 1e-9 * np.linalg.norm(expected)
    np.testing.assert_allclose(w, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
