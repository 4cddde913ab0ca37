"""Every pass against every other, and against an oracle of its own."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn.metrics import log_loss

from gpulr.passes import PASSES, named

# The compiled and the fused pass have tests of their own.
PASSES = {name: one_pass for name, one_pass in PASSES.items() if name not in ("compiled", "fused")}


def problem(rng, m=40, n=7, dtype="float64"):
    X = rng.normal(size=(m, n)).astype(dtype)
    y = rng.integers(0, 2, m).astype(dtype)
    return X, y, rng.normal(size=n).astype(dtype), np.array(0.3, dtype), rng.uniform(0, 3, m).astype(dtype)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", PASSES)
def test_cost_is_scikit_learns_and_gradient_the_finite_difference(name, weighted, rng):
    X, y, w, b, s = problem(rng)
    s = s if weighted else None
    cost, dw, db, z = PASSES[name](X, y, w, b, s)
    np.testing.assert_allclose(z, X @ w + b, rtol=1e-12)
    a = 1 / (1 + np.exp(-(X @ w + b)))
    assert cost == pytest.approx(log_loss(y, a, sample_weight=s, normalize=False), rel=1e-12)

    def value(p):
        return float(PASSES[name](X, y, p[:-1], p[-1], s)[0])

    def gradient(p):
        _, dw, db, _ = PASSES[name](X, y, p[:-1], p[-1], s)
        return np.append(dw, db)

    assert check_grad(value, gradient, np.append(w, b)) < 1e-5
    np.testing.assert_allclose(np.append(dw, db), gradient(np.append(w, b)))


@pytest.mark.parametrize("weighted", [False, True])
def test_vectorized_equals_loop(backend, weighted, rng):
    X, y, w, b, s = problem(rng)
    expected = PASSES["loop"](X, y, w, b, s if weighted else None)
    on_device = [backend.put(array) for array in (X, y, w, b)]
    found = PASSES["vectorized"](*on_device, backend.put(s) if weighted else None)
    for one, other in zip(found, expected, strict=True):
        assert type(one) is type(on_device[0]) or backend.name == "numpy"
        np.testing.assert_allclose(backend.get(one), other, rtol=1e-10)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "bool", "float16", "float32"])
def test_x_may_have_another_dtype_than_the_computation(backend, dtype, rng):
    if backend.name == "array-api-strict" and dtype == "float16":
        pytest.skip("the array API standard has no float16")
    X = rng.integers(0, 2 if dtype == "bool" else 200, (30, 5)).astype(dtype)
    y, w, b = rng.integers(0, 2, 30).astype(float), rng.normal(size=5) / 200, np.array(0.1)
    expected = PASSES["loop"](X, y, w, b)
    found = PASSES["vectorized"](*(backend.put(array) for array in (X, y, w, b)))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(backend.get(one), other, rtol=1e-10)


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_margins_of_1000(name, dtype):
    X, y = np.array([[1000.0], [-1000.0], [1000.0]], dtype), np.array([1, 0, 0], dtype)
    cost, dw, db, z = PASSES[name](X, y, np.ones(1, dtype), np.zeros((), dtype))
    assert (float(cost), dw.tolist(), float(db)) == (1000.0, [1000.0], 1.0)
    assert z.tolist() == X[:, 0].tolist()
    assert dw.dtype == dtype
    assert cost.dtype == "float64"


def test_the_loop_agrees_on_the_cats(cats_folder):
    from gpulr import load_dataset

    data = load_dataset(cats_folder)
    X, y = data.X_train[:20], data.y_train[:20].astype(float)
    w, b = np.full(X.shape[1], 1e-5), np.array(0.1)
    for one, other in zip(PASSES["loop"](X, y, w, b), PASSES["vectorized"](X, y, w, b), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)


def test_torch_meta_arrays_pass_through_without_a_read_of_a_number():
    torch = pytest.importorskip("torch")
    X, y, w, b = (torch.empty(shape, device="meta", dtype=torch.float64) for shape in ((8, 3), (8,), (3,), ()))
    cost, dw, db, z = PASSES["vectorized"](X, y, w, b, y)
    assert (cost.shape, dw.shape, db.shape, z.shape) == ((), (3,), (), (8,))


def test_passes_are_named_and_refused_with_what_to_do(monkeypatch):
    X = np.zeros((3, 2))
    assert named("auto", X) == ("blocked", PASSES["blocked"])  # too small to repay anything else
    with pytest.raises(ValueError, match="pass='fast': use auto or loop or vectorized or blocked or compiled"):
        named("fast", X)
    monkeypatch.setattr("gpulr.passes.find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"needs numba: pip install 'gpulr\[fast\]'"):
        named("compiled", X)
    monkeypatch.setattr("gpulr.passes.REPAYS_CALLING", 0)
    monkeypatch.setattr("gpulr.passes.REPAYS_LOADING", 0)
    assert named("auto", X)[0] == "blocked"  # for want of numba


def test_the_compiled_pass_is_taken_where_it_repays_loading(monkeypatch):
    X = np.zeros((3, 2))
    monkeypatch.setattr("gpulr.passes.find_spec", lambda name: name)
    monkeypatch.setattr("gpulr.passes.REPAYS_LOADING", X.nbytes)
    monkeypatch.setattr("gpulr.passes.REPAYS_CALLING", 1)
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    assert named("auto", X)[0] == "compiled"
    assert named("auto", X.astype(X.dtype.newbyteorder()))[0] == "blocked"  # which the compiled pass refuses
    assert named("auto", X[:2])[0] == "blocked"
    monkeypatch.setitem(sys.modules, "numba", object())
    assert named("auto", X[:2])[0] == "compiled"
    tensor = pytest.importorskip("torch").zeros(3, 2)
    assert named("auto", tensor)[0] == "vectorized"
    for name in ("blocked", "compiled"):
        with pytest.raises(ValueError, match="works on NumPy arrays"):
            named(name, tensor)
