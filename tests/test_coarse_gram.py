"""Gram space by a float32 matrix: its minimum is corrected until it is that of the samples themselves, to all digits."""

from __future__ import annotations

import numpy as np
import pytest

from gpulr import LogisticRegression
from gpulr.coarse_gram import CoarseGram
from gpulr.objective import Objective
from gpulr.rows import MemoryRows, rotate
from gpulr.solvers import LBFGS, Newton, minimize


def objectives(backend, k, rng, m=40, n=120):
    """F on rows of X and on those of a coarse Gram space, with weights and an intercept."""
    X, y, s = rng.normal(size=(m, n)), rng.integers(0, max(k, 2), m).astype(float), rng.uniform(0.5, 2, m)
    rows = MemoryRows(*(backend.put(a) for a in (X, y, s)))
    rotation = rotate(rows, coarse=True)
    assert rotation.coarse
    start, of_gram = (backend.put(np.zeros((size + 1, *(() if k == 1 else (k,))))) for size in (n, m))
    original = Objective(rows, start, ridge=0.01)
    coarse = CoarseGram(rotation.rows, of_gram, ridge=0.01, coarseness=1e-7, rotation=rotation, original=original)
    return original, coarse


@pytest.mark.parametrize("k", [1, 3])
def test_the_minimum_is_that_of_the_samples(backend, k, rng):
    original, coarse = objectives(backend, k, rng)
    expected = minimize(original, Newton(), max_iter=30, tol=1e-10)
    found = minimize(coarse, LBFGS(hessian_size=1000), max_iter=200, tol=1e-7)
    assert found.status != "max_iter"
    assert found.cost == pytest.approx(expected.cost, rel=1e-14)
    w, b = coarse.raw(found.params)
    of_w, of_b = original.raw(expected.params)
    np.testing.assert_allclose(backend.get(coarse.rotation.back(w)), backend.get(of_w), atol=1e-8)
    np.testing.assert_allclose(
        backend.get(b) - backend.get(b).mean(), backend.get(of_b) - backend.get(of_b).mean(), atol=1e-8
    )
    np.testing.assert_allclose(backend.get(coarse.exact.gradient), 0, atol=1e-8)


@pytest.mark.parametrize("k", [1, 3])
def test_what_is_corrected_at_a_point_is_the_same_function_about_it(backend, k, rng):
    _, coarse = objectives(backend, k, rng)
    p, d = (backend.put(rng.normal(size=coarse.start.shape)) for _ in range(2))
    coarse.visit(p)
    point = coarse.corrected(p)
    assert float(point.cost) == pytest.approx(float(coarse.exact.cost), rel=1e-15)
    again = coarse.visit(p)
    assert float(again.cost) == pytest.approx(float(point.cost), rel=1e-15)
    np.testing.assert_allclose(backend.get(again.gradient), backend.get(point.gradient), rtol=1e-13, atol=1e-15)
    # The derivative along d, by differences and as a line search finds it.
    at, Zd = p + 0.1 * d, coarse.matmul(d)
    h = 1e-5
    ahead, behind = (float(coarse.visit(at + t * d).cost) for t in (h, -h))
    there = coarse.visit(at)
    cost, dZ = coarse.at_margins(at, there.margins)
    assert float(cost) == pytest.approx(float(there.cost), rel=1e-14)
    assert float(coarse.slope(at, d, dZ, Zd)) == pytest.approx((ahead - behind) / (2 * h), rel=1e-7)
    assert float(coarse.slope(at, d, dZ, Zd)) == pytest.approx(
        float(np.sum(backend.get(there.gradient * d))), rel=1e-12
    )


@pytest.mark.parametrize("case", ["plain", "far", "dependent", "huge", "uint8", "no intercept"])
@pytest.mark.parametrize("k", [2, 3])
def test_fits_in_float64_have_all_digits(case, k, rng):
    X = rng.normal(size=(60, 4000))
    X = {"far": X + 1e4, "dependent": np.concatenate([X[:30], X[:30] + 1e-7 * X[30:]]), "huge": 1e30 * X}.get(case, X)
    X = np.abs(50 * X).astype("uint8") if case == "uint8" else X
    y = np.arange(60) % k
    options = {
        "dtype": "float64",
        "fit_intercept": case != "no intercept",
        "C": {"huge": 1e-60, "uint8": 1e-4}.get(case, 1.0),
    }
    exact = LogisticRegression(solver="newton", tol=1e-8, **options).fit(X, y)
    found = LogisticRegression(solver="lbfgs", tol=1e-5, max_iter=300, **options).fit(X, y)
    assert found.solver_ == "gram-lbfgs"
    assert found.objective_ == pytest.approx(exact.objective_, rel=1e-13)
    np.testing.assert_allclose(found.predict_proba(X), exact.predict_proba(X), atol=1e-8)


def test_samples_that_float32_cannot_tell_apart_get_a_matrix_in_float64(rng):
    X = rng.normal(size=(20, 50))
    X[1] = X[0] + 1e-4 * X[2]
    rows = MemoryRows(X, np.zeros(20))
    rotation = rotate(rows, coarse=True)
    assert not rotation.coarse
    np.testing.assert_allclose(rotation.gram, X @ X.T, rtol=1e-12)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize(("mean", "C"), [(1, 1), (3, 100), (20, 100), (25, 1)])
def test_columns_off_zero_are_fitted_as_well_as_others(mean, C, fit_intercept, rng):
    # A cost that is off by the coarseness must not look like one that does not fall any more.
    X, y = mean + rng.normal(size=(200, 450)), np.arange(200) % 2
    options = {"C": C, "fit_intercept": fit_intercept}
    exact = LogisticRegression(solver="newton", tol=1e-8, **options).fit(X, y)
    found = LogisticRegression(solver="lbfgs", max_iter=1000, **options).fit(X, y)
    assert found.solver_ == "gram-lbfgs"
    assert found.objective_ == pytest.approx(exact.objective_, rel=1e-12)


def test_wide_integers_far_from_zero_keep_their_digits(rng):
    X, y = 10**9 + rng.integers(0, 100, (60, 4000)), np.arange(60) % 2
    exact = LogisticRegression(solver="newton", tol=1e-8).fit(X, y)
    found = LogisticRegression(solver="lbfgs", max_iter=1000).fit(X, y)
    assert found.objective_ == pytest.approx(exact.objective_, rel=1e-12)
