"""Standard errors against statsmodels, published tables and a QR decomposition; and what has none is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from oracles import load_cases
from scipy import sparse
from scipy.special import xlogy
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression as Sklearn

import gpulr
from gpulr import LogisticRegression, inference, summary
from gpulr.rows import memory

CASES = {case.name: case for case in load_cases()}
SIX_DIGITS = {"rtol": 1e-6, "atol": 0}


def fitted(X, y, sample_weight=None, **parameters):
    return LogisticRegression(C=np.inf, **parameters).fit(X, y, sample_weight)


def of_case(name, **parameters):
    case = CASES[name]
    model = fitted(case.X, case.y, case.sample_weight, **parameters)
    return summary(model, case.X, case.y, case.sample_weight)


def standard_errors(case):
    """From A = √(s σ')·[(X − μ)/d, 1] = QR the covariance (AᵀA)⁻¹ = R⁻¹R⁻ᵀ: no Hessian, whose condition is A's squared."""
    s = np.ones(len(case.y)) if case.sample_weight is None else case.sample_weight
    mean, spread = np.average(case.X, axis=0, weights=s), np.ptp(case.X, axis=0)
    X = np.column_stack([(case.X - mean) / spread, np.ones(len(s))])
    a = 1 / (1 + np.exp(-(X @ [*(case.coef * spread), case.intercept + case.coef @ mean])))
    R = np.linalg.qr(np.sqrt(s * a * (1 - a))[:, None] * X, mode="r")
    back = np.diag([*(1 / spread), 1.0])
    back[-1, :-1] = -mean / spread
    return np.linalg.norm(back @ np.linalg.inv(R), axis=1)


# Estimates and standard errors as printed, intercept first, and the log-likelihood.
PUBLISHED = {
    # Greene, "Econometric Analysis", 5th edition (2003), table 21.1.
    "spector": (("-13.021", "2.826", "0.095", "2.379"), ("4.931", "1.263", "0.142", "1.065"), "-12.890"),
    # Venables & Ripley, "Modern Applied Statistics with S", 4th edition (2002), section 7.2; columns male, log2 dose.
    "budworm": (("-3.4732", "1.1007", "1.0642"), ("0.4685", "0.3558", "0.1311"), None),
    # R's summary(glm(am ~ hp + wt, binomial, mtcars)); residual deviance 10.059.
    "cars": (("18.86630", "0.03626", "-8.08348"), ("7.44356", "0.01773", "3.06868"), "-5.0295"),
}


def rounded(values, printed):
    return tuple(f"{value:.{len(text.partition('.')[2])}f}" for value, text in zip(values, printed, strict=True))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_tables(name):
    coef, std_err, log_likelihood = PUBLISHED[name]
    found = of_case(name)
    assert rounded(np.roll(found.coef, 1), coef) == coef
    assert rounded(np.roll(found.std_err, 1), std_err) == std_err
    if log_likelihood is not None:
        assert found.log_likelihood == pytest.approx(float(log_likelihood), abs=6e-4)


def test_quality_of_the_fit_as_published():
    found = of_case("spector")
    assert rounded(found.z, ("2.238", "0.672", "2.234", "-2.641")) == ("2.238", "0.672", "2.234", "-2.641")
    # The documentation of statsmodels prints this table of Logit for these data.
    assert rounded([found.log_likelihood_null, found.mcfadden_r2], ("-20.592", "0.3740")) == ("-20.592", "0.3740")
    assert rounded([found.lr_p_value], ("0.001502",)) == ("0.001502",)
    assert found.lr_df == 3
    assert found.n_samples == 32
    cars = of_case("cars")
    assert rounded([cars.aic, -2 * cars.log_likelihood_null], ("16.059", "43.230")) == ("16.059", "43.230")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_every_oracle_however_shifted_and_scaled(case, kind):
    X = kind(case.X)
    found = summary(fitted(X, case.y, case.sample_weight), X, case.y, case.sample_weight)
    np.testing.assert_allclose(found.std_err, standard_errors(case), **SIX_DIGITS)
    np.testing.assert_allclose(found.coef, [*case.coef, case.intercept], **SIX_DIGITS)
    assert found.log_likelihood == pytest.approx(-case.cost, rel=1e-10)


@pytest.mark.parametrize("case", [c for c in CASES.values() if "-" not in c.name], ids=lambda case: case.name)
def test_statsmodels(case):
    sm = pytest.importorskip("statsmodels.api")
    found = summary(fitted(case.X, case.y, case.sample_weight), case.X, case.y, case.sample_weight)
    # With a column of 1e6 statsmodels itself has no six digits, so it gets columns of about one; z, p and the rest are free
    # of units.
    size = np.max(np.abs(case.X), axis=0)
    X = np.column_stack([case.X / size, np.ones(len(case.y))])
    model = sm.GLM(case.y, X, family=sm.families.Binomial(), freq_weights=case.sample_weight)
    theirs = model.fit(tol=1e-14, maxiter=200)
    units = np.array([*size, 1.0])
    np.testing.assert_allclose(found.std_err * units, theirs.bse, **SIX_DIGITS)
    np.testing.assert_allclose(found.z, theirs.tvalues, **SIX_DIGITS)
    np.testing.assert_allclose(found.p_value, theirs.pvalues, rtol=1e-5)  # of z = 20 the digits are 400 times worse
    np.testing.assert_allclose(found.conf_int * units[:, None], theirs.conf_int(), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.covariance * units * units[:, None], theirs.cov_params(), rtol=1e-6, atol=1e-12)
    assert found.log_likelihood == pytest.approx(theirs.llf, rel=1e-9)
    assert found.log_likelihood_null == pytest.approx(theirs.llnull, rel=1e-9)
    assert found.aic == pytest.approx(theirs.aic, rel=1e-9)


def test_statsmodels_logit():
    sm = pytest.importorskip("statsmodels.api")
    case = CASES["spector"]
    theirs = sm.Logit(case.y, sm.add_constant(case.X, prepend=False)).fit(disp=0, tol=1e-14)
    found = of_case("spector")
    np.testing.assert_allclose(found.std_err, theirs.bse, **SIX_DIGITS)
    assert found.mcfadden_r2 == pytest.approx(theirs.prsquared)
    assert found.lr_statistic == pytest.approx(theirs.llr)
    assert found.lr_p_value == pytest.approx(theirs.llr_pvalue)
    assert found.bic == pytest.approx(theirs.bic)


def test_every_library(backend):
    case = CASES["fair"]
    X, y = backend.put(case.X), backend.put(case.y)
    found = summary(fitted(X, y), X, y)
    assert type(found.std_err) is np.ndarray
    np.testing.assert_allclose(found.std_err, of_case("fair").std_err, rtol=1e-10)


def test_rows_in_many_blocks(monkeypatch):
    whole = of_case("fair-shifted")
    monkeypatch.setattr(memory, "BLOCK_BYTES", 8 * 8 * 17)  # 17 of 579 rows
    np.testing.assert_allclose(of_case("fair-shifted").std_err, whole.std_err, rtol=1e-10)


@pytest.mark.parametrize("parameters", [{"dtype": "float32"}, {"solver": "lbfgs"}, {"solver": "lbfgs", "tol": 1e-3}])
def test_a_rough_fit_is_refined(parameters):
    found, best = of_case("anes96", **parameters), of_case("anes96")
    np.testing.assert_allclose(found.std_err, best.std_err, **SIX_DIGITS)
    np.testing.assert_allclose(found.coef, best.coef, rtol=1e-6, atol=1e-9)


def test_storage_in_few_bits(rng):
    X = rng.integers(0, 256, (300, 4), dtype=np.uint8)
    y = (X[:, 0] + 200 * rng.normal(size=300) > 128).astype(int)
    wide = X.astype(np.float64)
    expected = summary(fitted(wide, y), wide, y).std_err
    np.testing.assert_allclose(summary(fitted(X, y), X, y).std_err, expected, **SIX_DIGITS)


def test_weights_count_samples(rng):
    case = CASES["spector"]
    s = rng.integers(0, 4, len(case.y))
    X, y = np.repeat(case.X, s, axis=0), np.repeat(case.y, s)
    weighted = summary(fitted(case.X, case.y, s), case.X, case.y, s)
    copied = summary(fitted(X, y), X, y)
    for name in ("coef", "std_err", "p_value", "conf_int", "covariance", "n_samples", "bic", "lr_p_value"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(copied, name), rtol=1e-8, err_msg=name)
    assert weighted.n_samples == s.sum()


def test_without_intercept():
    case = CASES["spector"]
    found = summary(fitted(case.X, case.y, fit_intercept=False), case.X, case.y)
    a = 1 / (1 + np.exp(-case.X @ found.coef))
    expected = np.sqrt(np.diag(np.linalg.inv((case.X.T * (a * (1 - a))) @ case.X)))
    np.testing.assert_allclose(found.std_err, expected, rtol=1e-9)
    assert found.names == ("x0", "x1", "x2")
    assert found.log_likelihood_null == pytest.approx(32 * math.log(0.5))
    assert found.log_likelihood == pytest.approx(np.sum(xlogy(case.y, a) + xlogy(1 - case.y, 1 - a)))


def test_p_values_of_the_far_tail(rng):
    X = rng.normal(size=(5_000, 1))
    y = rng.random(5_000) < 1 / (1 + np.exp(-X[:, 0]))
    found = summary(fitted(X, y), X, y)
    z = found.z[0]
    assert z > 20
    # Abramowitz & Stegun 26.2.12: P(|Z| > z) = 2 φ(z)/z·(1 − 1/z² + 3/z⁴ − …)
    tail = math.log(2) - z**2 / 2 - math.log(z * math.sqrt(2 * math.pi)) - 1 / z**2
    assert math.log(found.p_value[0]) == pytest.approx(tail, rel=1e-6)


def test_level_of_the_intervals():
    case = CASES["spector"]
    found = summary(fitted(case.X, case.y), case.X, case.y, alpha=0.1)
    half = 1.6448536269514722 * found.std_err
    np.testing.assert_allclose(found.conf_int, np.stack([found.coef - half, found.coef + half], axis=1))
    assert "90 % from" in str(found)


TABLE = """\
Logistic regression, maximum likelihood: log-odds of passed against failed
──────────────────────────────────────────────────────────────────────────
samples                     32    log-likelihood            -12.8896
parameters                   4    without features          -20.5917
AIC                    33.7793    likelihood ratio, 3 df     15.4042
BIC                    39.6422    its P(>χ²)                  0.0015
McFadden's R²            0.374
"""


def test_table_with_names():
    pd = pytest.importorskip("pandas")
    case = CASES["spector"]
    X, y = pd.DataFrame(case.X, columns=["GPA", "TUCE", "PSI"]), np.where(case.y == 1, "passed", "failed")
    found = summary(fitted(X, y), X, y)
    assert found.names == ("GPA", "TUCE", "PSI", "intercept")
    assert found.classes == ("failed", "passed")
    lines = str(found).splitlines()
    assert lines[0] == TABLE.splitlines()[0]
    assert lines[2:7] == TABLE.splitlines()[2:7]
    assert lines[8].split() == ["coef", "std", "err", "z", "P(>|z|)", "95", "%", "from", "to"]
    assert lines[10].split() == ["GPA", "2.8261", "1.263", "2.238", "0.0252", "0.35079", "5.3014"]
    assert len({len(lines[row]) for row in (1, 7, 8, 9, 10, 11, 12, 13, 14)}) == 1
    assert repr(found) == str(found)


def test_columns_stay_apart_whatever_the_numbers():
    large = str(of_case("spector-mixed")).splitlines()
    assert all(len(line.split()) == 7 for line in large[10:14])


def test_it_is_exported():
    assert gpulr.summary is inference.summary


# What is refused.


@pytest.fixture
def data(rng):
    X = rng.normal(size=(200, 3))
    return X, (X[:, 0] + rng.logistic(size=200) > 0).astype(int)


@pytest.mark.parametrize("penalty", [{"C": 1.0}, {"C": 1e6}, {"l1_ratio": 1.0}])
def test_refuses_penalized_fits(data, penalty):
    with pytest.raises(ValueError, match=r"penalized .*bias.*C=np\.inf"):
        summary(LogisticRegression(**penalty).fit(*data), *data)


def test_refuses_what_is_no_fit_of_ours(data):
    with pytest.raises(NotFittedError):
        summary(LogisticRegression(C=np.inf), *data)
    with pytest.raises(TypeError, match=r"needs a gpulr\.LogisticRegression; given"):
        summary(Sklearn().fit(*data), *data)


def test_refuses_more_classes(data, rng):
    X, y = data[0], rng.integers(0, 3, 200)
    with pytest.raises(ValueError, match="3 classes; summary is for two"):
        summary(fitted(X, y), X, y)


def test_refuses_class_weights(data):
    with pytest.raises(ValueError, match=r"class_weight='balanced'.*class_weight=None"):
        summary(fitted(*data, class_weight="balanced"), *data)


@pytest.mark.parametrize("alpha", [0, 1, -0.1, math.nan, "0.05", True])
def test_refuses_other_levels(data, alpha):
    with pytest.raises(ValueError, match="number between 0 and 1"):
        summary(fitted(*data), *data, alpha=alpha)


def test_refuses_other_data(data, rng):
    X, y = data
    model = fitted(X, y)
    with pytest.raises(ValueError, match=r"standard errors from the maximum.*was fitted to"):
        summary(model, X, 1 - y)
    with pytest.raises(ValueError, match="standard errors from the maximum"):
        summary(model, X, y, np.exp(rng.normal(size=200)))
    with pytest.raises(ValueError, match="has 2 features"):
        summary(model, X[:, :2], y)
    with pytest.raises(ValueError, match="not among the classes"):
        summary(model, X, y + 1)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        summary(model, X, y[1:])


def test_refuses_what_did_not_converge(data):
    with pytest.warns(ConvergenceWarning):
        model = fitted(*data, max_iter=1, solver="lbfgs")
    with pytest.raises(ValueError, match="did not converge: raise max_iter"):
        summary(model, *data)


@pytest.mark.filterwarnings("ignore")  # the fit warns as well
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("far", [0.0, 1e3])
def test_refuses_dependent_columns_by_name(data, kind, far):
    X, y = data
    X = np.column_stack([X, X[:, 0] + X[:, 2]]) + far
    with pytest.raises(ValueError, match="the columns x0, x2, x3 are linearly dependent"):
        summary(fitted(kind(X), y), kind(X), y)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("value", [0.0, 0.1, 5.0, 1e3 / 3, -1e9])
def test_refuses_a_constant_column_by_name(data, kind, value):
    X, y = data
    X = np.column_stack([X, np.full(200, value)])
    with pytest.raises(ValueError, match=r"constant: x3\.|columns x3, intercept are linearly dependent"):
        summary(fitted(kind(X), y), kind(X), y)


@pytest.mark.filterwarnings("ignore")
def test_refuses_more_columns_than_samples(rng):
    X, y = rng.normal(size=(10, 30)), np.arange(10) % 2
    with pytest.raises(ValueError, match=r"linearly dependent.*one of them"):
        summary(fitted(X, y), X, y)


@pytest.mark.filterwarnings("ignore")
def test_refuses_a_column_of_zeros_without_intercept(data):
    X, y = data
    X = np.column_stack([np.zeros(200), X])
    with pytest.raises(ValueError, match=r"always zero: x0\."):
        summary(fitted(X, y, fit_intercept=False), X, y)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("max_iter", [5, 20, 50, 1000])
def test_refuses_separable_classes(rng, max_iter):
    X = rng.normal(size=(50, 2))
    y = (X[:, 0] > 0.1).astype(int)
    with pytest.raises(ValueError, match="separates the classes"):
        summary(fitted(X, y, tol=0, max_iter=max_iter), X, y)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("max_iter", [5, 10, 20, 30, 40, 1000])
def test_refuses_a_column_that_separates_some(data, max_iter):
    X, y = data
    X = np.column_stack([X, (np.arange(200) % 20 == 0) & (y == 1)])  # always of the second class, where it is 1
    with pytest.raises(ValueError, match="separates the classes"):
        summary(fitted(X, y, tol=0, max_iter=max_iter), X, y)


def test_refuses_a_matrix_that_does_not_fit(data, monkeypatch):
    model = fitted(*data)
    monkeypatch.setattr(inference, "available_memory", lambda like: 100)
    with pytest.raises(ValueError, match="of 4 parameters needs"):
        summary(model, *data)
