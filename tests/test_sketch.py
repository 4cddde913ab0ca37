"""The sketched solver: near the optimum of all rows in few passes, whatever the rows are like."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from gpulr import LogisticRegression
from gpulr.cost_model import FEWEST_ROWS, rows_of_a_sample, rows_of_samples
from gpulr.solvers import Sketch


def rows(kind, m, n, k, rng):
    """Samples (m, n) in float32 and labels (m,) of a kind that a sample of them may misjudge."""
    X = rng.standard_normal((m, n))
    if kind == "correlated":
        X = X @ (np.linalg.qr(rng.normal(size=(n, n)))[0] * np.linspace(0.05, 1, n) ** 3 @ rng.normal(size=(n, n)))
    if kind == "heavy":
        X *= rng.pareto(2, size=(m, 1)) + 0.1
    if kind == "rare":
        X = (X > 2).astype(float)
        X[:, 0] = 0
        X[:5, 0] = 1
    W = rng.normal(size=(n, k))
    Z = X @ W
    Z *= 2 / Z.std()
    Z[:, 0] += {"imbalanced": 8.0}.get(kind, 0.0)
    y = np.argmax(Z + rng.gumbel(size=(m, k)), axis=1)
    if kind == "sorted":
        order = np.lexsort((Z[:, 0], y))
        X, y = X[order], y[order]
    return X.astype("float32"), y


@pytest.mark.parametrize("n", [10, 60])
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("kind", ["plain", "correlated", "heavy", "rare", "sorted", "imbalanced"])
def test_the_optimum_of_all_rows_is_reached(kind, k, n, rng):
    X, y = rows(kind, 6000, n, k, rng)
    exact = LogisticRegression(dtype="float64", solver="newton", tol=1e-8).fit(X, y)
    for dtype, gap in (("float32", 1e-6), ("float64", 1e-10)):
        found = LogisticRegression(dtype=dtype, solver="sketch", max_iter=200).fit(X, y)
        assert found.objective_ == pytest.approx(exact.objective_, rel=gap)


def test_few_passes_where_a_sample_tells_nearly_all(rng):
    X, y = rows("correlated", 100_000, 20, 2, rng)
    model = LogisticRegression(solver="sketch").fit(X, y)
    assert model.history_[-1]["passes"] < 8
    assert model.history_[-1]["passes"] % 1 != 0  # samples count as their share
    assert LogisticRegression(solver="lbfgs").fit(X, y).objective_ == pytest.approx(model.objective_, rel=1e-6)


def test_a_metric_that_rows_like_no_others_spoil_is_found_out(rng):
    # One row in 200 is a thousand times longer: the curvature of a sample is theirs alone, and they say nothing at the end.
    X, y = rows("plain", 40_000, 30, 2, rng)
    X[::200] *= 1000
    exact = LogisticRegression(dtype="float64", solver="newton").fit(X, y)
    model = LogisticRegression(solver="sketch", max_iter=500).fit(X, y)
    assert model.objective_ == pytest.approx(exact.objective_, rel=1e-5)


@pytest.mark.parametrize("k", [2, 3])
def test_samples_beyond_the_range_of_float32_are_learnt_from_in_float64(k, rng):
    X, y = rows("correlated", 8000, 15, k, rng)
    X = X.astype(float) * 10.0 ** np.linspace(-60, 60, 15)
    model, exact = (LogisticRegression(C=np.inf, solver=solver).fit(X, y) for solver in ("sketch", "newton"))
    assert model.objective_ == pytest.approx(exact.objective_, rel=1e-10)
    assert model.history_[-1]["passes"] < 30


def test_the_seed_is_the_random_state(rng):
    X, y = rows("plain", 5000, 10, 2, rng)
    first, again, other = (LogisticRegression(solver="sketch", random_state=seed).fit(X, y) for seed in (1, 1, 2))
    assert first.coef_.tobytes() == again.coef_.tobytes()
    assert first.coef_.tobytes() != other.coef_.tobytes()


def test_sparse_rows_and_weights(rng):
    X, y = rows("plain", 4000, 12, 3, rng)
    X *= rng.uniform(size=X.shape) < 0.2
    s = rng.integers(0, 3, len(y))
    exact = LogisticRegression(solver="newton").fit(X, y, s)
    for samples in (X, sparse.csr_array(X)):
        found = LogisticRegression(solver="sketch").fit(samples, y, s)
        assert found.objective_ == pytest.approx(exact.objective_, rel=1e-6)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("k", [2, 3])
def test_of_many_features_some_tell_whether_they_are_correlated(form, k, rng):
    m, n = 6200, 300
    plain, _ = rows("plain", m, n, k, rng)
    for X, learns in ((plain, False), (plain + plain[:, :1], True)):
        y = np.argmax(X[:, :k] + rng.gumbel(size=(m, k)), axis=1)
        model = LogisticRegression(solver="sketch").fit(form(X), y)
        exact = LogisticRegression(solver="lbfgs", dtype="float64", tol=1e-6, max_iter=1000).fit(X, y)
        assert model.objective_ == pytest.approx(exact.objective_, rel=1e-6)
        # The pass at the start, and before it n rows; with H₀ many more.
        assert (model.history_[0]["passes"] - 1 > 0.1) is learns


@pytest.mark.parametrize("n", [1, 7, 300, 5000])
def test_samples_have_no_more_rows_than_there_are(n):
    for m in (FEWEST_ROWS * n, 25 * n + 1, 40 * n, 10_000_000):
        for d in (1.0, n / 2, n):
            assert sum(map(round, rows_of_samples(m, n, d, outputs=10))) <= m
            assert max(round(rows_of_a_sample(m, n, d, double=double)) for double in (False, True)) <= m


def test_without_enough_rows_it_is_lbfgs(rng):
    X, y = rows("plain", 100, 10, 2, rng)
    model = LogisticRegression(solver="sketch").fit(X, y)
    assert all(record["passes"] % 1 == 0 for record in model.history_)


def test_a_warm_start_is_kept(rng):
    X, y = rows("plain", 5000, 10, 2, rng)
    model = LogisticRegression(solver="sketch", warm_start=True, tol=1e-3).fit(X, y)
    before = model.objective_
    assert model.fit(X, y).objective_ <= before * (1 + 1e-6)


def test_memory_is_checked():
    with pytest.raises(ValueError, match="memory=0"):
        Sketch(memory=0)
