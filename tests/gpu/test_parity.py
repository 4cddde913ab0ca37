"""What a GPU computes against the CPU in float64: every pass, storage dtype, solver and penalty."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from gpu.conftest import FOR_CUPY, PAIRS, Library, same_place
from gpulr import LogisticRegression, linear_algebra, margin_descent, transfer
from gpulr.datasets import Dataset
from gpulr.device import Device
from gpulr.estimator import NON_SMOOTH, SMOOTH
from gpulr.links import curvature, softmax
from gpulr.objective import Objective
from gpulr.passes import PASSES, fused, vectorized
from gpulr.rows import MemoryRows
from gpulr.solvers import SGD
from gpulr.training import train

STORED = ("bool", "uint8", "int8", "int16", "float16", "bfloat16", "float32", "float64")
RELATIVE = {"float32": 2e-5, "float64": 1e-11}


def library_of(cupy):
    return Library("cupy", cupy.asarray)


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


# --- the other two kernels


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize(("n", "k"), [(33, None), (100, 3), (4097, None), (40000, None), (37, 12)])
def test_products_along_a_direction(one_gpu, stored, dtype, n, k, rng):
    """X d and the Hessian's product with d, each in one read; 12 outputs and int16 go through products of matrices."""
    X, on_gpu = integers(rng, 129, n), library_of(one_gpu)
    _, d, d_b, s = arguments(rng, X, dtype, k)
    z = np.asarray(rng.normal(size=(129, *d.shape[1:])) * 2, dtype)
    Xd = on_gpu.stored(X, stored)
    t = X @ d.astype("float64")
    tolerance = {"rtol": RELATIVE[dtype], "atol": RELATIVE[dtype] * 30 * max(1.0, float(np.abs(t).max()))}
    np.testing.assert_allclose(fused.matmul(Xd, one_gpu.asarray(d)).get(), t, **tolerance)
    t = t + d_b
    for weights in (s, None):
        square, product, single, along = (
            part.get()
            for part in fused.hessian_product(
                Xd, *(one_gpu.asarray(a) for a in (z, d, d_b)), None if weights is None else one_gpu.asarray(weights)
            )
        )
        C = curvature(z.astype("float64")) * t if k is None else softmax(z.astype("float64"))
        slope = C if k is None else C * (t - (C * t).sum(axis=1, keepdims=True))
        slope = slope if weights is None else (weights * slope.T).T
        np.testing.assert_allclose(along, t, **tolerance)
        np.testing.assert_allclose(square, (slope * t).sum(), rtol=10 * RELATIVE[dtype])
        np.testing.assert_allclose(product, X.T @ slope, **tolerance)
        np.testing.assert_allclose(single, slope.sum(axis=0), **tolerance)


@pytest.mark.gpu
@pytest.mark.parametrize("k", [None, 2])
def test_tiles_of_wide_rows_are_added_in_float64(one_gpu, k):
    """60,000 equal terms, which float32 would lose digits of, in rows that are one: no memory but for the margins."""
    m, n = 60_000, 65_536
    row = one_gpu.linspace(0.1, 1, n, dtype="float32")[None, :]
    w, b = one_gpu.zeros((n, k) if k else n, "float32"), one_gpu.zeros((k,) if k else (), "float32")
    _, dw, _, _ = PASSES["fused"](one_gpu.broadcast_to(row, (m, n)), one_gpu.zeros(m, "float32"), w, b)
    of_class_0 = dw.get() if k is None else -dw.get()[:, 0]
    np.testing.assert_allclose(of_class_0, 0.5 * m * row.get()[0].astype("float64"), rtol=2e-6)


# --- products of matrices


def error_of_the_hessian(cupy):
    """Largest error of Xᵀ diag(d) X in float32, relative to it: below 1e-6 in float32, about 1e-4 in TF32."""
    X = np.random.default_rng(0).uniform(0.5, 1, (256, 256)).astype("float32")
    y = cupy.ones(256, "float32")
    square, _ = MemoryRows(cupy.asarray(X), y).scatter(y)
    exact = X.astype("float64").T @ X.astype("float64")
    return float(np.max(np.abs(square.get() - exact) / exact))


@pytest.mark.gpu
@pytest.mark.parametrize("asked", [False, True])
def test_products_are_in_tf32_only_when_asked(one_gpu, asked):
    code = "import cupy; from gpu.test_parity import error_of_the_hessian; print(error_of_the_hessian(cupy))"
    environment = {name: value for name, value in os.environ.items() if "TF32" not in name}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), **({"CUPY_TF32": "1"} if asked else {})}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    if not asked:
        assert float(done.stdout) < 5e-6
    elif int(one_gpu.cuda.Device().compute_capability) >= 80:
        assert 5e-6 < float(done.stdout) < 1e-2


@pytest.mark.gpu
@pytest.mark.parametrize("n", [2, 40, 700])
def test_a_matrix_that_is_not_positive_has_no_factor(one_gpu, n, rng):
    A = rng.normal(size=(n, n))
    R = A @ A.T + n * np.eye(n)
    R /= np.sqrt(np.diagonal(R))[:, None] * np.sqrt(np.diagonal(R))
    np.testing.assert_allclose(linear_algebra.cholesky(one_gpu.asarray(R)).get(), np.linalg.cholesky(R), atol=1e-12)
    for place in (1, n - 1):
        other = R.copy()
        other[place, 0] = other[0, place] = 1.5
        assert linear_algebra.cholesky(one_gpu.asarray(other)) is None
    assert linear_algebra.cholesky(one_gpu.full((n, n), np.nan)) is None


# --- steps between two looks


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("stored", "n", "k"), [("float32", 100, None), ("uint8", 784, None), ("float32", 33, 3)])
def test_steps_in_a_graph_have_the_bits_of_single_steps(one_gpu, dtype, stored, n, k, rng, caplog):
    """Two kernels a step, captured and repeated, against a pass a step and the update in CuPy."""
    caplog.set_level("DEBUG", logger="gpulr.cuda")
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
    assert "plain launches" not in caplog.text


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
    # Where one way overflows to 0, another has the last numbers there are.
    np.testing.assert_allclose(found.get(), expected, rtol=1e-10, atol=1e-300)
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
    if one_pass in FOR_CUPY and library.name != "cupy":
        pytest.skip(f"{one_pass} is for CuPy")
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
@pytest.mark.parametrize("one_pass", ["fused", "vectorized"])
@pytest.mark.parametrize("stored", ["uint8", "float16", "float32"])
def test_the_first_pass_over_rows_that_are_on_their_way(one_gpu, stored, one_pass, rng, monkeypatch):
    """In some hundred chunks, again and again: what was read before it was there would be somebody else's numbers."""
    monkeypatch.setattr(transfer, "CHUNK_BYTES", 1 << 18)
    monkeypatch.setattr(transfer, "LARGE", 1 << 20)
    X = integers(rng, 200_000, 100).astype(stored)
    y, w, b, s = (one_gpu.asarray(a) for a in arguments(rng, X, "float32"))
    expected = MemoryRows(one_gpu.asarray(X), y, s).propagate(PASSES[one_pass], w, b)
    for _ in range(5):
        one_gpu.full(X.shape, 77, stored)  # what the pool has next
        Xd, arrival = Device("cuda:0", "asked for").send(X)
        rows = MemoryRows(Xd, y, s, arrival=arrival)
        assert arrival.pending
        for one, other in zip(rows.propagate(PASSES[one_pass], w, b), expected, strict=True):
            np.testing.assert_allclose(one.get(), other.get(), rtol=1e-5, atol=0.05)
        again = rows.propagate(PASSES[one_pass], w, b)
        assert [part.get().tobytes() for part in again] == [part.get().tobytes() for part in expected]


@pytest.mark.gpu
def test_a_training_on_samples_that_are_on_their_way(one_gpu, rng):
    X = rng.integers(0, 256, (1_000_000, 100), np.uint8)
    y = (X[:, 0] > X[:, 1]).astype("int64")
    data = Dataset("some", X, y, X[:100], y[:100], ("no", "yes"), None, 1 / 255)
    cpu, cuda = (
        train(data, iterations=20, learning_rate=0.1, device=name, dtype="float32") for name in ("cpu", "cuda")
    )
    np.testing.assert_allclose(cuda.model.w, cpu.model.w, rtol=1e-4, atol=1e-5)
    assert cuda.summary["final_cost"] == pytest.approx(cpu.summary["final_cost"], rel=1e-5)


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
