"""What a GPU computes against the CPU in float64: every pass, storage dtype, solver and penalty."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from gpu.conftest import FOR_CUPY, PAIRS, same_place
from gpulr import LogisticRegression, margin_descent
from gpulr.estimator import NON_SMOOTH, SMOOTH
from gpulr.objective import Objective
from gpulr.passes import PASSES, vectorized
from gpulr.rows import MemoryRows
from gpulr.solvers import SGD

STORED = ("bool", "uint8", "int8", "int16", "float16", "bfloat16", "float32", "float64")
# What the passes made for CuPy take; others are converted before them.
AS_STORED = ("uint8", "int8", "float16", "bfloat16", "float32", "float64")

RELATIVE = {"float32": 2e-5, "float64": 1e-11}


def integers(rng, m, n):
    """Numbers that every storage dtype holds exactly, bool included."""
    return rng.integers(0, 2, (m, n)).astype("float64")


def arguments(rng, X, dtype, k=None):
    """y, w, b and weights for a pass, NumPy; margins of order 1."""
    m, n = X.shape
    shape = (n,) if k is None else (n, k)
    w = rng.normal(size=shape) / np.sqrt(n)
    return [
        np.asarray(a, dtype) for a in (rng.integers(0, k or 2, m), w, rng.normal(size=shape[1:]), rng.uniform(0, 3, m))
    ]


def check(library, found, X, y, w, b, s, dtype, sums=None):
    """cost, dw, db, z against NumPy's in float64; sums that cancel may be wrong by a part of their terms.

    dtype: of the computation; of dw, too, unless it was added in `sums`.
    """
    y, w, b, s = (None if a is None else np.asarray(a, "float64") for a in (y, w, b, s))
    expected = vectorized.propagate(X, y, w, b, s)
    scale = RELATIVE[dtype] * (np.sqrt(len(y)) * 3 + 1) * max(1.0, float(np.abs(X).max()))
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(library.get(one), other, rtol=RELATIVE[dtype], atol=scale)
    assert str(found[1].dtype).endswith(sums or dtype)
    assert str(found[0].dtype).endswith("float64")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize(("library", "one_pass"), PAIRS, indirect=["library"])
def test_every_pass_and_storage_dtype(library, one_pass, stored, dtype, rng):
    if one_pass in FOR_CUPY and (stored not in AS_STORED or (stored == "float64") != (dtype == "float64")):
        pytest.skip(f"{one_pass} computes in float32, and in float64 for float64; others are converted")
    if one_pass == "loop" and stored == "bfloat16":
        pytest.skip("no list of Python's numbers is made of bfloat16 by every library")
    X = integers(rng, 257, 33)
    y, w, b, s = arguments(rng, X, dtype)
    on = [library.put(a) for a in (y, w, b, s)]
    Xd = library.stored(X, stored)
    for weights, s_or_none in ((on[3], s), (None, None)):
        found = PASSES[one_pass](Xd, *on[:3], weights)
        assert all(same_place(part, on[1]) for part in found)
        check(library, found, X, y, w, b, s_or_none, dtype)


@pytest.mark.parametrize("n", [1, 2, 3, 31, 32, 33, 100, 1000, 4097, 12288, 65536])
@pytest.mark.parametrize(("library", "one_pass"), PAIRS, indirect=["library"])
def test_every_width(library, one_pass, n, rng):
    if one_pass == "loop" and n > 1000:
        pytest.skip("its time grows with n, and nothing else does")
    for m in (1, 2, 7, 65):
        X = rng.normal(size=(m, n)).astype("float32")
        y, w, b, s = arguments(rng, X, "float32")
        found = PASSES[one_pass](*(library.put(a) for a in (X, y, w, b, s)))
        check(library, found, X.astype("float64"), y, w, b, s, "float32")


@pytest.mark.parametrize("k", [3, 8, 12])
@pytest.mark.parametrize(("library", "one_pass"), [p for p in PAIRS if p.values[1] != "loop"], indirect=["library"])
def test_many_outputs(library, one_pass, k, rng):
    X = rng.normal(size=(90, 37)).astype("float32")
    y, w, b, s = arguments(rng, X, "float32", k)
    found = PASSES[one_pass](*(library.put(a) for a in (X, y, w, b, s)))
    check(library, found, X.astype("float64"), y, w, b, s, "float32")


@pytest.mark.parametrize("layout", ["Fortran", "some columns", "every other row", "one row many times"])
@pytest.mark.parametrize(("library", "one_pass"), PAIRS, indirect=["library"])
def test_every_layout(library, one_pass, layout, rng):
    whole = rng.normal(size=(130, 50)).astype("float32")
    if layout == "Fortran":
        X, Xd = whole, library.put(np.ascontiguousarray(whole.T)).T
    else:
        Xd, X = library.put(whole), whole
        if layout == "some columns":
            X, Xd = X[:, 3:40], Xd[:, 3:40]
        elif layout == "every other row":
            X, Xd = X[::2], Xd[::2, :]
        else:
            from gpulr.device import array_namespace

            X, Xd = np.broadcast_to(X[:1], (130, 50)), array_namespace(Xd).broadcast_to(Xd[:1, :], (130, 50))
    y, w, b, s = arguments(rng, X, "float32")
    found = PASSES[one_pass](Xd, *(library.put(a) for a in (y, w, b, s)))
    check(library, found, X.astype("float64"), y, w, b, s, "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("library", "one_pass"), PAIRS, indirect=["library"])
def test_margins_of_1000(library, one_pass, dtype):
    X, y = np.array([[1000.0], [-1000.0], [1000.0]], dtype), np.array([1, 0, 0], dtype)
    on = [library.put(a) for a in (X, y, np.ones(1, dtype), np.zeros((), dtype))]
    cost, dw, db, z = (library.get(part) for part in PASSES[one_pass](*on))
    assert (float(cost), dw.tolist(), float(db)) == (1000.0, [1000.0], 1.0)
    assert z.tolist() == X[:, 0].tolist()


@pytest.mark.parametrize("stored", STORED)
def test_rows_in_blocks(library, stored, rng, monkeypatch):
    """X in blocks that are converted one by one, as large data are."""
    from gpulr.rows import memory

    monkeypatch.setattr(memory, "block_bytes", lambda X: 4096)
    X = integers(rng, 500, 21)
    y, w, b, s = arguments(rng, X, "float32")
    on = [library.put(a) for a in (y, w, b, s)]
    rows = MemoryRows(library.stored(X, stored), on[0], on[3])
    cost, dw, db, z = rows.propagate(PASSES["vectorized"], on[1], on[2])
    assert all(str(part.dtype).endswith("float64") for part in (cost, dw, db))  # in which blocks are added
    check(library, (cost, dw, db, z), X, y, w, b, s, "float32", sums="float64")
    np.testing.assert_allclose(library.get(rows.gram()), X @ X.T, rtol=1e-12)
    np.testing.assert_allclose(library.get(rows.matmul(on[1])), X @ w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(library.get(rows.rmatmul(on[3])), X.T @ s, rtol=1e-4)
    square, single = rows.scatter(on[3])
    np.testing.assert_allclose(library.get(square), X.T @ (s[:, None] * X), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(library.get(single), X.T @ s, rtol=1e-4)


# --- steps between two looks


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("stored", "n", "k"), [("float32", 100, None), ("uint8", 784, None), ("float32", 33, 3)])
def test_steps_in_a_graph_have_the_bits_of_single_steps(one_gpu, dtype, stored, n, k, rng):
    """Two kernels a step, captured and repeated, against a pass a step and the update in CuPy."""
    X = rng.integers(0, 5, (500, n)).astype(stored)
    y, w, b, s = (one_gpu.asarray(a) for a in arguments(rng, X, dtype, k))
    F = Objective(
        MemoryRows(one_gpu.asarray(X), y, s), one_gpu.concatenate([w, b[None]]), 0.2, one_pass=PASSES["fused"]
    )
    point = F.visit(F.start)
    expected = point.params - 0.01 * point.gradient
    for _ in range(99):
        expected = expected - 0.01 * F.visit(expected).gradient
    found = F.descend(point, 0.01, 100)
    assert found.dtype == dtype
    assert found.get().tobytes() == expected.get().tobytes()
    assert F.descend(point, 0.01, 100).get().tobytes() == found.get().tobytes()


@pytest.mark.gpu
@pytest.mark.parametrize("m", [1, 2, 31, 32, 33, 209, 320, 600, 700])
@pytest.mark.parametrize("spread", [1.0, 1000.0])
def test_gram_space_in_one_launch(one_gpu, m, spread, rng):
    X, side = rng.normal(size=(m, 20)), rng.choice([-1.0, 1.0], m)
    M, v = side[:, None] * (X @ X.T + 1) * side * (0.02 / m), spread * rng.normal(size=m)
    with np.errstate(over="ignore"):
        expected = margin_descent.descend(M, v, 300)
    on = one_gpu.asarray(M), one_gpu.asarray(v)
    found = margin_descent.descend(*on, 300)
    np.testing.assert_allclose(found.get(), expected, rtol=1e-10)
    assert margin_descent.descend(*on, 300).get().tobytes() == found.get().tobytes()
    np.testing.assert_array_equal(on[1].get(), v)


# --- solvers


def samples(kind, k, rng):
    m, n = (40, 120) if kind == "wide" else (400, 9)
    X = rng.normal(size=(m, n)) + (np.arange(n) % 3)
    Z = X @ rng.normal(size=(n, k)) / np.sqrt(n)
    return X, np.argmax(Z + rng.gumbel(size=Z.shape), axis=1), rng.uniform(0.5, 2, m)


def fit(solver, X, y, s, **options):
    if solver == "sgd":
        solver = SGD(batch_size=37, seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # sgd and gd are compared long before
        return LogisticRegression(solver=solver, random_state=3, **options).fit(X, y, s)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("kind", ["tall", "wide"])
@pytest.mark.parametrize(
    ("solver", "options"),
    [(solver, {}) for solver in (*SMOOTH, "auto")]
    + [(solver, {"C": np.inf}) for solver in ("lbfgs", "newton")]
    + [(solver, {"l1_ratio": 1.0}) for solver in (*NON_SMOOTH, "auto")]
    + [(solver, {"l1_ratio": 0.4, "C": 0.1, "standardize": True}) for solver in NON_SMOOTH],
    ids=lambda value: value if isinstance(value, str) else "-".join(value) or "ridge",
)
def test_every_solver_and_penalty(library, solver, options, kind, k, rng):
    if kind == "wide" and "C" in options and options["C"] == np.inf:
        pytest.skip("without a penalty there is no minimum where n > m")
    X, y, s = samples(kind, k, rng)
    # The gradient of the lasso on few samples is all rounding at 1e-9.
    options = {"tol": 1e-9, "max_iter": 10 if solver == "sgd" else 2000, **options}
    expected = fit(solver, X, y, s, **options)
    found = fit(solver, library.put(X), library.put(y), library.put(s), **options)
    assert found.solver_ == expected.solver_
    assert found.objective_ == pytest.approx(expected.objective_, rel=1e-9)
    np.testing.assert_allclose(library.get(found.coef_), expected.coef_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(library.get(found.predict_proba(library.put(X))), expected.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("one_pass", ["auto", "vectorized", *FOR_CUPY])
@pytest.mark.parametrize("stored", STORED)
def test_a_fit_of_every_storage_dtype(library, stored, one_pass, rng):
    if one_pass in FOR_CUPY and (library.name != "cupy" or stored not in AS_STORED):
        pytest.skip(f"{one_pass} is for some dtypes of CuPy")
    if stored == "bfloat16" and library.name == "numpy":
        pytest.skip("scikit-learn's validation knows no bfloat16")
    X = integers(rng, 300, 11)
    y = (X @ rng.normal(size=11) + rng.logistic(size=300) > 0).astype("int64")
    expected = LogisticRegression(tol=1e-10).fit(X, y)
    model = LogisticRegression(one_pass=one_pass, dtype="float64" if stored == "float64" else "float32")
    model.fit(library.stored(X, stored), library.put(y))
    assert model.objective_ == pytest.approx(expected.objective_, rel=2e-6)
    np.testing.assert_allclose(library.get(model.coef_), expected.coef_, rtol=0.01, atol=0.01)


@pytest.mark.gpu
@pytest.mark.parametrize("stored", [name for name in STORED if name != "bfloat16"])
@pytest.mark.parametrize("order", "CF")
def test_host_arrays_on_a_gpu(one_gpu, stored, order, rng):
    """Through the pinned buffers where they are large: 80 MB."""
    m, n = 80_000_000 // (250 * np.dtype(stored).itemsize), 250
    X = np.asarray(rng.integers(0, 2, (m, n), np.uint8).astype(stored), order=order)
    y = (X[:, :3].sum(axis=1) + rng.logistic(size=m) > 1.5).astype("int64")
    cpu, cuda = (LogisticRegression(device=name, tol=1e-6).fit(X, y) for name in ("cpu", "cuda"))
    assert type(cuda.coef_) is np.ndarray
    assert cuda.objective_ == pytest.approx(cpu.objective_, rel=1e-5)
    np.testing.assert_allclose(cuda.coef_, cpu.coef_, rtol=0.02, atol=2e-3)
