"""The fused pass without a GPU: its kernels run on the CPU (`cuda_shim`) against the loop and the vectorized pass, its host
side with a recording stand-in for the launch, and its source compiled by NVRTC for the GPUs of five years."""

from __future__ import annotations

import mmap
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
from cuda_shim import SMALL_GPU, Recorder, ShimRuntime, folder_of_kernels, use_stand_in
from sklearn.exceptions import ConvergenceWarning

from benchmarks import registers
from gpulr import LogisticRegression, device, load_dataset, train
from gpulr.cuda import REPETITIONS_FOR_A_GRAPH, Gpu
from gpulr.links import curvature, softmax
from gpulr.objective import Objective, Point
from gpulr.passes import PASSES, fused, fused_plan, loop, named, vectorized
from gpulr.passes.fused_plan import Plan, WidePlan, plan
from gpulr.rows import MemoryRows
from gpulr.solvers import LBFGS, GradientDescent, Sketch, lbfgs, minimize

# Storage and computation.
PAIRS = [(stored, "float32") for stored in ("bool", "uint8", "int8", "float16", "bfloat16", "float32")]
PAIRS += [("uint8", "float64"), ("float64", "float64"), ("float64", "float32")]
COLUMNS = (1, 3, 31, 32, 33, 100, 1000, 4097, 12288)
ROWS = (1, 2, 7, 1000)
MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Python has it from 3.13 on
RELATIVE = {"float32": 3e-6, "float64": 1e-12}

H200, T4 = registers.GPUS[90], registers.GPUS[75]


def matrix(rng, m, n, stored="float32"):
    """Numbers of order 1 that every dtype has room for."""
    if stored == "bool":
        return rng.integers(0, 2, (m, n)).astype(bool)
    if stored == "bfloat16":
        return rng.normal(size=(m, n)).astype(pytest.importorskip("ml_dtypes").bfloat16)
    if np.dtype(stored).kind in "iu":
        return rng.integers(0 if stored[0] == "u" else -128, 256 if stored[0] == "u" else 128, (m, n)).astype(stored)
    return rng.standard_normal((m, n), "float32").astype(stored)


def problem(rng, X, dtype, k=None):
    """y, w, b and weights; margins of order 1."""
    m, n = X.shape
    shape = (n,) if k is None else (n, k)
    size = max(1.0, float(np.abs(X[:7].astype(float)).max(initial=1)))
    w, b = rng.normal(size=shape) / np.sqrt(n) / size, rng.normal(size=shape[1:])
    return [np.asarray(array, dtype) for array in (rng.integers(0, k or 2, m), w, b, rng.uniform(0, 3, m))]


def check(found, X, y, w, b, s=None):
    """`found` against the vectorized pass in float64; sums that cancel may be wrong by a part of their terms."""
    dtype = w.dtype
    X, y, w, b = (np.asarray(array, float) for array in (X, y, w, b))
    s = None if s is None else s.astype(float)
    expected = vectorized.propagate(X, y, w, b, s)
    relative, size = RELATIVE[dtype.name], np.abs(X).max(initial=1)
    scale = (np.sqrt(len(y)) + 1) * (1 if s is None else 3)
    for one, other, terms in zip(found, expected, (0, scale * size, scale, 3 * size), strict=True):
        np.testing.assert_allclose(one, other, rtol=relative, atol=relative * terms)
        assert one.shape == other.shape
    assert [part.dtype for part in found] == ["float64", dtype, "float64", dtype]


# --- kernels on the CPU ----------------------------------------------------------------------------------------------


@pytest.fixture
def use(monkeypatch):
    return partial(use_stand_in, monkeypatch, fused)


@pytest.fixture(scope="session")
def shim(request):
    return ShimRuntime(folder=folder_of_kernels(request))


@pytest.fixture
def run(shim, use):
    """The shim, afresh, with `prepare`: compile all kernels of several calls at once."""
    shim.gpu, shim.order = SMALL_GPU, 0
    shim.launches.clear()

    def prepare(*calls):
        recorder = use(Recorder(gpu=shim.gpu))
        for call in calls:
            call()
        use(shim)
        shim.compile(launch[0] for launch in recorder.launches)

    shim.prepare = prepare
    return use(shim)


def repeated(run, call):
    """The result, which has the same bits whatever the order of blocks, warps and lanes."""
    results = []
    for run.order in (0, 1):
        with np.errstate(over="ignore"):
            found = call()
        results.append(found if isinstance(found, tuple) else (found,))
    run.order = 0
    for one, other in zip(*results, strict=True):
        assert one.tobytes() == other.tobytes()
    return found


@pytest.mark.parametrize(("stored", "dtype"), PAIRS)
def test_every_shape(stored, dtype, run, rng):
    calls = []
    for n in COLUMNS:
        for m in ROWS:
            X = matrix(rng, m, n, stored)
            y, w, b, s = problem(rng, X, dtype)
            each = [(X, y, w, b, weights) for weights in ((None, s) if n < 4000 else (s,))]
            calls += [(arguments, partial(fused.propagate, *arguments)) for arguments in each]
    run.prepare(*(call for _, call in calls))
    for arguments, call in calls:
        check(repeated(run, call), *arguments)


@pytest.mark.parametrize("n", COLUMNS)
def test_equals_the_loop(n, run, rng):
    X = matrix(rng, 7, n, "float64")
    y, w, b, s = problem(rng, X, "float64")
    for one, other in zip(fused.propagate(X, y, w, b, s), loop.propagate(X, y, w, b, s), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(("stored", "dtype"), [("float32", "float32"), ("uint8", "float32"), ("float64", "float64")])
def test_several_outputs(stored, dtype, run, rng):
    calls = []
    for k, n in ((1, 100), (2, 1), (2, 33), (3, 100), (3, 784), (3, 4096), (8, 32), (8, 784), (8, 3000)):
        for m in (3, 300):
            X = matrix(rng, m, n, stored)
            y, w, b, s = problem(rng, X, dtype, k)
            if k > 1:
                calls.append(((X, y, w, b, s), partial(fused.propagate, X, y, w, b, s)))
    run.prepare(*(call for _, call in calls))
    for arguments, call in calls:
        check(repeated(run, call), *arguments)


LAYOUTS = {
    "some columns": lambda X: np.concatenate([X, X], axis=1)[:, 4 : 4 + X.shape[1]],
    "some columns, not aligned": lambda X: np.concatenate([X, X], axis=1)[:, 1 : 1 + X.shape[1]],
    "every second row": lambda X: np.repeat(X, 2, axis=0)[::2],
    "rows from the last to the first": lambda X: X[::-1],
    "rows that are one": lambda X: np.broadcast_to(X[:1], X.shape),
    "windows": lambda X: np.lib.stride_tricks.sliding_window_view(X.ravel()[: sum(X.shape) - 1], X.shape[1]),
    "one column of many": lambda X: X[:, 3:4],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_distance_from_row_to_row(layout, run, rng):
    calls = []
    for stored in ("uint8", "float16", "float32"):
        X = LAYOUTS[layout](matrix(rng, 130, 36, stored))
        y, w, b, s = problem(rng, X, "float32")
        calls.append(((X, y, w, b, s), partial(fused.propagate, X, y, w, b, s)))
    run.prepare(*(call for _, call in calls))
    for arguments, call in calls:
        assert fused.why_not(arguments[0]) is None
        check(repeated(run, call), *arguments)
        assert any(launch[0].startswith("one_read") for launch in run.launches)


@pytest.mark.parametrize(("stored", "dtype"), [("float16", "float32"), ("uint8", "float32"), ("uint8", "float64")])
def test_rows_too_long_for_a_block(stored, dtype, run, rng):
    calls = []
    for n, k in ((40000, None), (65535, None), (20000, 2)):
        X = matrix(rng, 41, n, stored)
        y, w, b, s = problem(rng, X, dtype, k)
        calls.append(((X, y, w, b, s), partial(fused.propagate, X, y, w, b, s)))
    run.prepare(*(call for _, call in calls))
    for arguments, call in calls:
        check(repeated(run, call), *arguments)
    tiles = [launch for launch in run.launches if launch[0].startswith("wide_backward")]
    assert len(tiles) >= 2 * 3 * 2  # each call twice, in several tiles


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_too_long_for_a_block_go_through_products(dtype, run, rng):
    X = matrix(rng, 41, 40000, dtype)
    y, w, b, s = problem(rng, X, dtype)
    check(fused.propagate(X, y, w, b, s), X, y, w, b, s)
    np.testing.assert_allclose(fused.matmul(X, w), X @ w, rtol=1e-4, atol=1e-4)
    assert run.launches == []


@pytest.mark.parametrize("k", [None, 2])
def test_tiles_are_added_in_float64(k, run):
    """In float32, 1500 numbers of one size are off by some 1e-5 of their sum."""
    run.gpu = Gpu(multiprocessors=1, shared_bytes=8 << 10, cache_bytes=1 << 14)  # a tile is a row
    m, n = 1500, 4100
    X = np.broadcast_to((np.arange(n) % 199 + 1).astype("uint8"), (m, n))
    y, w, b = np.zeros(m, "float32"), np.zeros((n, k) if k else n, "float32"), np.zeros((k,) if k else (), "float32")
    _, dw, _, _ = fused.propagate(X, y, w, b)
    assert len(run.launches) == 2 * m + 1
    of_class_0 = dw if k is None else -dw[:, 0]
    np.testing.assert_allclose(of_class_0, 0.5 * m * X[0].astype(float), rtol=1e-7)


def check_products(run, X, dtype, k, rng):
    m = X.shape[0]
    _, d, d_b, s = problem(rng, X, dtype, k)
    z = np.asarray(rng.normal(size=(m, *d.shape[1:])) * 3, dtype)
    run.prepare(partial(fused.matmul, X, d), partial(fused.hessian_product, X, z, d, d_b, s))
    relative = RELATIVE[dtype]
    size = np.abs(X.astype(float)).max()
    exact = X.astype(float) @ d.astype(float)
    found = repeated(run, partial(fused.matmul, X, d))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, exact, rtol=relative, atol=relative * 3)

    t = exact + d_b
    for weights in (None, s):
        w = np.ones(m) if weights is None else weights.astype(float)
        if k is None:
            slope = w * curvature(z.astype(float)) * t
        else:
            P = softmax(z.astype(float))
            slope = w[:, None] * P * (t - (P * t).sum(axis=1, keepdims=True))
        found = repeated(run, partial(fused.hessian_product, X, z, d, d_b, weights))
        expected = (slope * t).sum(), X.astype(float).T @ slope, slope.sum(axis=0), t
        terms = np.sqrt(m) * 3 * (1 + np.abs(t).max())
        for one, other, scale in zip(found, expected, (0, terms * size, terms, 3), strict=True):
            np.testing.assert_allclose(one, other, rtol=relative, atol=relative * scale)
            assert one.shape == np.shape(other)
        assert [part.dtype for part in found] == ["float64", dtype, "float64", dtype]


@pytest.mark.parametrize("k", [None, 3])
@pytest.mark.parametrize("n", [1, 33, 100, 4096, 40000])
def test_products(n, k, run, rng):
    check_products(run, matrix(rng, 60, n), "float32", k, rng)


@pytest.mark.parametrize(("stored", "dtype"), [("uint8", "float32"), ("float16", "float32"), ("float64", "float64")])
def test_products_of_other_dtypes(stored, dtype, run, rng):
    check_products(run, matrix(rng, 60, 100, stored), dtype, None, rng)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_margins_of_1000(dtype, run):
    X, y = np.array([[1000.0], [-1000.0], [1000.0]], dtype), np.array([1, 0, 0], dtype)
    cost, dw, db, z = fused.propagate(X, y, np.ones(1, dtype), np.zeros((), dtype))
    assert (float(cost), dw.tolist(), float(db), z.tolist()) == (1000.0, [1000.0], 1.0, X[:, 0].tolist())
    cost, dw, db, _ = fused.propagate(X, y, np.array([[-1, 1, 0]], dtype), np.zeros(3, dtype))
    assert (float(cost), db.tolist()) == (2000.0, [-1.0, 1.0, 0.0])


def test_what_is_no_number_stays_where_it_is(run):
    """An infinite margin costs infinity where it is wrong and nothing where it is right; NaN goes through."""
    X, y = np.array([[np.inf], [np.inf]], "float32"), np.array([1, 0], "float32")
    for right, cost in ((y[:1], 0.0), (y[1:], np.inf)):
        found = fused.propagate(X[:1], right, np.ones(1, "float32"), np.zeros((), "float32"))
        assert float(found[0]) == cost
        assert found[3].tolist() == [np.inf]
    X = np.ones((9, 5), "float32")
    X[4, 2] = np.nan
    cost, dw, _, z = fused.propagate(X, np.ones(9, "float32"), np.ones(5, "float32"), np.zeros((), "float32"))
    assert np.isnan(cost)
    assert np.isnan(dw).all()
    assert np.flatnonzero(np.isnan(z)).tolist() == [4]


@pytest.mark.parametrize("k", [None, 3])
@pytest.mark.parametrize(("dtype", "margin", "relative"), [("float32", 18.4, 1e-5), ("float64", 23.0, 1e-13)])
def test_a_small_cost_keeps_its_digits(dtype, margin, relative, k, run):
    X = np.linspace(margin, margin + 1, 100).astype(dtype)[:, None]
    y, w, b = np.ones(100, dtype), np.ones(1, dtype), np.zeros((), dtype)
    if k:
        w, b = np.array([[0, 1, -1]], dtype), np.zeros(3, dtype)
    exact = np.exp(-X[:, 0].astype(np.longdouble)) * (1 + (np.exp(-X[:, 0].astype(np.longdouble)) if k else 0))
    cost = fused.propagate(X, y, w, b)[0]
    np.testing.assert_allclose(float(cost), float(np.log1p(exact).sum()), rtol=relative)


@pytest.mark.parametrize("stored", ["float16", "bfloat16", "uint8", "int8"])
def test_every_number_of_a_storage_dtype(stored, run):
    bits = np.arange(1 << 16, dtype=np.uint16)
    if stored in ("uint8", "int8"):
        X = bits[:256].astype("uint8").view(stored)
    else:
        X = bits.view(np.float16 if stored == "float16" else pytest.importorskip("ml_dtypes").bfloat16)
    z = fused.matmul(X[:, None], np.ones(1, "float32"))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(z, X.astype("float32"))


def test_elements_farther_than_2_to_the_31st(run, rng):
    stride = 3 << 29
    memory = mmap.mmap(-1, 5 * 4 * stride, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
    X = np.frombuffer(memory, "float32").reshape(5, stride)[:, :20]
    X[...] = rng.normal(size=X.shape)
    y, w, b, s = problem(rng, X, "float32")
    check(fused.propagate(X, y, w, b, s), X, y, w, b, s)


# --- steps of gradient descent -----------------------------------------------------------------------------------------


def descent(rng, m, n, *, stored="float32", dtype="float32", k=None, weighted=False, intercept=True, scale=1.0):
    """The objective, a point and its rate, with the fused pass."""
    X = matrix(rng, m, n, stored)
    y, w, b, s = problem(rng, X, dtype, k)
    start = np.concatenate([w, b[None]]) if intercept else w
    rows = MemoryRows(X, y, s if weighted else None)
    return Objective(rows, start / 3, scale, fit_intercept=intercept, one_pass=PASSES["fused"])


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize(
    "case",
    [
        {"m": 300, "n": 100},
        {"m": 1, "n": 1, "dtype": "float64", "stored": "float64"},
        {"m": 70, "n": 784, "stored": "uint8", "scale": 1 / 255},
        {"m": 200, "n": 33, "weighted": True, "intercept": False, "scale": 0.3},
        {"m": 200, "n": 33, "k": 3, "weighted": True, "stored": "float64", "dtype": "float64"},
        {"m": 50, "n": 20, "k": 2, "intercept": False},
    ],
    ids=str,
)
def test_steps_on_the_device_are_those_of_gradient_descent(case, graphs, run, rng):
    F = descent(rng, **case)
    run.why_no_graph = None if graphs else "it has none"
    run.captured.clear()
    point = F.visit(F.start)
    steps, rate = 40, 0.1
    p = point.params - rate * point.gradient
    for _ in range(steps - 1):
        p = p - rate * F.visit(p).gradient
    F.reads = 0
    run.launches.clear()
    found = repeated(run, lambda: F.descend(point, rate, steps))
    assert found.dtype == p.dtype
    np.testing.assert_array_equal(found, p)
    assert F.reads == 2 * (steps - 1)  # `repeated` makes them twice
    assert [len(graph) for graph in run.captured] == ([2, 2] if graphs else [])
    assert len(run.launches) == 2 * 2 * (steps - 1)
    np.testing.assert_array_equal(point.params, F.start)


def test_what_a_graph_repeats(use, rng):
    """The first step by itself, which loads the kernels, the next one captured, on the same memory, and repeated."""
    recorder = use(Recorder(gpu=H200))
    F = descent(rng, 500, 40)
    point = Point(F.start, np.zeros(()), F.start, np.zeros(500, "float32"))
    allocated = []
    recorder.empty = lambda shape, dtype: allocated.append(shape) or np.empty(shape, dtype)
    F.descend(point, 0.1, 100)
    (graph,) = recorder.captured
    assert [launch[0].partition("<")[0] for launch in graph] == ["one_read", "add_blocks_and_descend"]
    assert len(recorder.launches) == 2 * 99  # the first step from the point needs no pass
    assert len(allocated) == 3  # margins and two kinds of sums, for all steps
    read, step = graph
    for again in (recorder.launches[:2], recorder.launches[-2:]):
        for one, other in zip((read, step), again, strict=True):
            assert one[:4] == other[:4]
            assert all(a is b for a, b in zip(one[4], other[4], strict=True) if isinstance(a, np.ndarray))
    assert step[4][-2] is read[4][5]  # the weights
    assert step[4][-1] is read[4][6]  # the intercept

    few = use(Recorder(gpu=H200))
    F.descend(point, 0.1, REPETITIONS_FOR_A_GRAPH)
    assert few.captured == []
    assert len(few.launches) == 2 * (REPETITIONS_FOR_A_GRAPH - 1)


def test_why_launches_are_plain_is_in_the_log(use, rng, caplog):
    recorder = use(Recorder(why_no_graph="CuPy 0.1 captures no graphs"))
    F = descent(rng, 50, 4)
    caplog.set_level("DEBUG", logger="gpulr.cuda")
    F.descend(Point(F.start, np.zeros(()), F.start, F.rows.y), 0.1, 100)
    assert caplog.messages == ["plain launches: CuPy 0.1 captures no graphs"]
    assert len(recorder.launches) == 2 * 99


def test_other_objectives_descend_by_passes(use, rng):
    recorder = use(Recorder())
    F = descent(rng, 60, 5)
    point = Point(F.start, np.zeros(()), F.start, F.rows.y)
    assert F._descend_by_kernels(F.start, 0.1, 3) is not None
    recorder.launches.clear()
    ones = np.ones(5, "float32")
    for other in (
        replace(F, ridge=0.1),
        replace(F, ridge=ones),
        replace(F, scale=ones),
        replace(F, shift=ones),
        replace(F, rows=replace(F.rows, origin=ones.astype(float))),
        replace(F, rows=replace(F.rows, X=np.asfortranarray(F.rows.X))),
        replace(F, rows=replace(F.rows, X=np.zeros((60, 65536), "float32")), start=np.zeros(65537, "float32")),
    ):
        assert other._descend_by_kernels(other.start, 0.1, 3) is None
        assert other.reads == F.reads
    assert recorder.launches == []
    by_passes = replace(F, rows=replace(F.rows, X=np.asfortranarray(F.rows.X)))
    expected = replace(by_passes, one_pass=PASSES["vectorized"]).descend(point, 0.1, 5)
    np.testing.assert_allclose(by_passes.descend(point, 0.1, 5), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"p has shape \(9,\), which does not fit X of shape \(60, 5\)"):
        fused.descend(
            F.rows.X,
            F.rows.y,
            np.zeros(9, "float32"),
            None,
            rate=1.0,
            steps=2,
            scale=1.0,
            fit_intercept=True,
            total_weight=60.0,
        )


def test_several_steps_at_once_are_for_the_lesson_alone(rng, monkeypatch):
    """It has one scale, no shift and no penalty, which is what the kernels take; an estimator looks at every iterate."""
    asked = set()

    def noted(F, point, rate, steps):
        plain = isinstance(F.scale, float) and F.shift is None and isinstance(F.ridge, float) and F.ridge == 0
        asked.add(("several" if steps > 1 else "one", plain))
        return point.params - rate * point.gradient

    monkeypatch.setattr(Objective, "descend", noted)
    train(load_dataset("digits"), iterations=300, learning_rate="auto", pass_name="vectorized")
    assert asked == {("several", True)}
    asked.clear()
    X, y = rng.normal(size=(60, 4)) + 2, rng.integers(0, 2, 60)
    for options in ({}, {"C": np.inf}, {"tol": 0}, {"standardize": True}, {"fit_intercept": False}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            LogisticRegression(solver=GradientDescent(0.1), max_iter=9, **options).fit(X, y)
    assert asked == {("one", False)}


# --- what waits for the device -----------------------------------------------------------------------------------------


class OnDevice(np.ndarray):
    """An array whose numbers cannot be read unnoticed; what is computed from it is one, too, and never a number."""

    seen: ClassVar[list[str]] = []

    def __array_wrap__(self, array, context=None, return_scalar=False):
        return array.view(OnDevice)


def _counted(name):
    def method(self, *arguments):
        OnDevice.seen.append(name)
        return getattr(np.ndarray, name)(self, *arguments)

    return method


for _name in ("__float__", "__int__", "__bool__", "__index__", "item", "tolist"):
    setattr(OnDevice, _name, _counted(_name))


@pytest.mark.parametrize("solver", [LBFGS(), LBFGS(hessian_size=0), Sketch()], ids=["lbfgs", "no Hessian", "sketch"])
@pytest.mark.parametrize("k", [None, 3])
def test_solvers_read_once_an_iteration(solver, k, run, rng, monkeypatch):
    monkeypatch.setattr(run, "empty", lambda shape, dtype: np.full(shape, np.nan, dtype).view(OnDevice))
    monkeypatch.setattr(OnDevice, "seen", [])
    to_host = device.to_host
    monkeypatch.setattr(device, "to_host", lambda array: OnDevice.seen.append("to_host") or to_host(array))
    read = device.read  # which sees NumPy's own arrays here and takes them as they are
    monkeypatch.setattr(lbfgs, "read", lambda arrays: OnDevice.seen.append("read") or read(arrays))
    X = rng.normal(size=(2000, 12)).astype("float32").view(OnDevice)
    Z = np.asarray(X) @ rng.normal(size=(12, k or 1)) * 2 + rng.gumbel(size=(2000, k or 1))
    y = (Z[:, 0] > 0 if k is None else Z.argmax(axis=1)).astype("float32").view(OnDevice)
    start = np.zeros((13,) if k is None else (13, k), "float32").view(OnDevice)
    F = Objective(MemoryRows(X, y), start, ridge=1e-3, one_pass=PASSES["fused"])
    at = []
    result = minimize(F, solver, max_iter=100, tol=1e-3, callback=lambda *_: at.append(len(OnDevice.seen)))
    assert result.last.gradient_norm < 1e-3
    each = np.diff(at)
    assert each.min() == 1  # so they are seen
    # A step of unknown length, at the start or where the metric turns out to be too large, may need a search.
    assert each.sum() <= len(each) + 3 * np.sum(each > 1)
    assert np.sum(each > 1) <= 3
    assert set(OnDevice.seen[at[0] :]) <= {"read", "to_host"}


# --- the host's part ---------------------------------------------------------------------------------------------------


def test_what_has_no_kernel_goes_through_products(use, rng):
    recorder = use(Recorder())
    wide = np.zeros((3, 65537), "float32")
    for X, k in [
        (np.asfortranarray(matrix(rng, 400, 30)), None),
        (np.asfortranarray(matrix(rng, 400, 30)), 3),
        (matrix(rng, 400, 30), 9),
        (matrix(rng, 400, 60)[:, ::2], None),
        (rng.integers(-9, 9, (400, 30)).astype("int16"), None),
        (wide, None),
    ]:
        y, w, b, s = problem(rng, X, "float32", k)
        for weights in (None, s):
            check(fused.propagate(X, y, w, b, weights), X, y, w, b, weights)
        check_products_alone(X, w, b, s, rng)
        assert fused.why_not(X, k or 1) is not None
    assert recorder.launches == []


def check_products_alone(X, d, d_b, s, rng):
    z = np.asarray(rng.normal(size=(X.shape[0], *d.shape[1:])), d.dtype)
    t = X.astype(float) @ d.astype(float)
    np.testing.assert_allclose(fused.matmul(X, d), t, rtol=3e-6, atol=1e-5)
    found, t = fused.hessian_product(X, z, d, d_b, s), t + d_b
    C = curvature(z.astype(float)) * t if d.ndim == 1 else softmax(z.astype(float))
    slope = s * C if d.ndim == 1 else s[:, None] * C * (t - (C * t).sum(axis=1, keepdims=True))
    for one, other in zip(found, ((slope * t).sum(), X.astype(float).T @ slope, slope.sum(axis=0), t), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)


def test_what_does_not_fit_is_refused(use, rng):
    use(Recorder())
    X = matrix(rng, 10, 3)
    y, w, b, s = problem(rng, X, "float32")
    for arguments, message in [
        ((X, y[1:], w, b), r"y has shape \(9,\), which does not fit X of shape \(10, 3\)"),
        ((X, y, w[1:], b), r"the weights have shape \(2,\), which does not fit X of shape \(10, 3\)"),
        ((X, y, w[:, None, None], b), r"the weights have shape \(3, 1, 1\)"),
        ((X, X, w, b), r"y has shape \(10, 3\), which does not fit X of shape \(10, 3\)"),
        ((X, y, w, b, s[1:]), r"sample_weight has shape \(9,\)"),
        ((X, y, w, np.zeros(2, "float32")), r"the intercept has shape \(2,\), but the weights \(3,\)"),
        ((X[0], y, w, b), r"X has shape \(3,\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            fused.propagate(*arguments)
    with pytest.raises(TypeError, match="convert it to float32 or float64"):
        fused.propagate(X.astype(complex), y, w, b)
    with pytest.raises(TypeError, match="not in float16: convert the weights"):
        fused.propagate(X, y, w.astype("float16"), b)
    with pytest.raises(ValueError, match=r"z has shape \(9,\)"):
        fused.hessian_product(X, y[1:], w, b)


def test_no_rows(use, rng):
    use(Recorder())
    X = np.zeros((0, 5), "float32")
    y, w, b, s = problem(rng, X, "float32")
    check(fused.propagate(X, y, w, b, s), X, y, w, b, s)
    assert fused.matmul(X, w).shape == (0,)


def test_the_pass_is_for_cupy_arrays(monkeypatch, rng):
    X = matrix(rng, 5, 3)
    with pytest.raises(ValueError, match="pass='fused' works on CuPy arrays, and X is a ndarray"):
        named("fused", X)
    # What `named` does with a CuPy array, without CuPy.
    monkeypatch.setattr("gpulr.passes.is_cupy_array", lambda X: True)
    monkeypatch.setattr("gpulr.passes.is_numpy_array", lambda X: False)
    assert named("auto", X) == ("fused", PASSES["fused"])
    assert named("fused", np.asfortranarray(X))[0] == "fused"
    assert named("auto", np.asfortranarray(X))[0] == "vectorized"
    assert named("auto", X.astype("int64"))[0] == "vectorized"


def launched(use, gpu, *shape, stored="float32", call=fused.propagate, **more):
    """The launches for an X of this shape that has no memory."""
    recorder = use(Recorder(gpu=gpu))
    X = np.broadcast_to(np.zeros((1, shape[1]), stored), shape)
    y, w, b = np.zeros(shape[0], "float32"), np.zeros(shape[1], "float32"), np.zeros((), "float32")
    call(X, w) if call is fused.matmul else call(X, y, w, b)
    return recorder.launches


def test_a_pass_is_two_launches(use):
    first, second = launched(use, H200, 1_000_000, 100)
    assert first[0] == "one_read<CrossEntropy<float, 1>, float, 16, 4, 8, 128, 2, 2, false, 3>"
    assert first[1:4] == ((3 * 132, 1), 128, 4 * 32 * 4)  # 3 blocks on each multiprocessor
    assert second[:4] == ("add_blocks<float, float>", (4, 1), 1024, 0)  # 100 columns, the cost and db
    stride, rows, n = first[4][1:4]
    assert (stride, rows, n) == (0, 1_000_000, 100)
    assert (stride.dtype, rows.dtype, n.dtype) == ("int64", "int64", "int32")  # of Index and int in the source
    partial_sums, scalars = first[4][10:]
    assert partial_sums.shape == (first[1][0], 100)
    assert scalars.shape == (first[1][0], 2)
    assert second[4][0] is partial_sums
    assert (second[4][2], second[4][3], second[4][4]) == (first[1][0], 100, 2)


def test_a_product_is_one_launch(use):
    ((kernel, grid, _, _, arguments),) = launched(use, H200, (1 << 31) + 9, 32, stored="uint8", call=fused.matmul)
    assert kernel.startswith("one_read<Product<float, 1>, unsigned char, 16,")
    assert grid[1] == 1
    assert arguments[2] == (1 << 31) + 9


def test_wide_rows_go_twice_through_the_cache(use):
    launches = launched(use, H200, 330, 65536, stored="float16")
    kernels = [launch[0].partition("<")[0] for launch in launches]
    tile = H200.cache_bytes // 2 // (2 * 65536)
    assert kernels == ["one_read", "wide_backward"] * -(-330 // tile) + ["add_blocks"]
    assert [launch[4][2] for launch in launches[0:-1:2]] == [tile] * (330 // tile) + [330 % tile]
    assert [bool(launch[4][-1]) for launch in launches[1:-1:2]] == [True] + [False] * (330 // tile)


@pytest.mark.parametrize(
    ("columns", "row_bytes", "address", "itemsize", "expected"),
    [
        (100, 400, 0, 4, 16),
        (100, 400, 8, 4, 8),
        (100, 404, 0, 4, 4),
        (99, 400, 0, 4, 4),
        (100, 100, 0, 1, 4),
        (784, 784, 1 << 40, 1, 16),
        (1001, 1001, 0, 1, 1),
        (1001, 2002, 0, 2, 2),
        (7, -56, 64, 8, 8),
        (1, 2, 6, 2, 2),
        (64, 0, 48, 1, 16),
    ],
)
def test_load_bytes(columns, row_bytes, address, itemsize, expected):
    assert fused_plan.load_bytes(columns, row_bytes, address, itemsize) == expected


@pytest.mark.parametrize("gpu", [H200, T4, SMALL_GPU], ids=["H200", "T4", "small"])
@pytest.mark.parametrize("outputs", [1, 3, 8])
@pytest.mark.parametrize(("itemsize", "real_bytes"), [(1, 4), (2, 4), (4, 4), (8, 8), (8, 4), (1, 8)])
def test_every_plan_covers_the_columns_with_what_an_sm_has(itemsize, real_bytes, outputs, gpu):
    for n in (*range(1, 300), 512, 783, 784, 1000, 1001, 2047, 2048, 4097, 8192, 12288, 16384, 32768, 65535, 65536):
        for rows in (1, 1000, 3 << 31):
            found = plan(rows, n, n * itemsize, 0, itemsize, real_bytes, outputs, gpu)
            if isinstance(found, WidePlan):
                width, loads, threads = map(int, found.forward.arguments.split(", ")[:3])
                assert found.width == loads * (width // itemsize) * threads
                assert (found.slices - 1) * found.width < n <= found.slices * found.width
                width, loads, threads = map(int, found.arguments.split(", "))
                slice_columns, (teams, slices) = loads * (width // itemsize) * threads, found.grid
                assert (slices - 1) * slice_columns < n <= slices * slice_columns
                assert 1 <= teams <= found.tile
                # What a block reads and writes of its sums is less than what it reads of X, where a tile has rows enough.
                if real_bytes == 4 and outputs == 1 and gpu is H200 and rows > 1:
                    assert teams * n * 16 <= found.tile * n * itemsize
                assert 1 <= found.tile <= rows
                assert n * itemsize * found.tile <= max(gpu.cache_bytes, n * itemsize)
                continue
            *numbers, shared, blocks = found.arguments.split(", ")
            width, loads, group, threads, together, stages = map(int, numbers)
            assert n * itemsize % width == 0
            # The last load of a row is the only one that may be beyond its end: `within` relies on it.
            assert (loads - 1) * group * (width // itemsize) < n <= loads * group * (width // itemsize)
            assert threads == found.threads
            assert threads % group == 0
            assert group <= 32 or group == threads
            assert together & (together - 1) == 0
            assert together <= 32
            assert int(blocks) * threads <= fused_plan.THREADS
            assert found.dynamic_bytes + fused_plan.STATIC_BYTES <= gpu.shared_bytes
            assert (shared == "true") <= (group == threads)
            assert 1 <= found.grid < 2**31
            assert found.grid == 1 or (found.grid - 1) * together * (threads // group) < rows
            # In float32 no sum is longer than this.
            assert rows <= found.grid * (threads // group) * (fused_plan.ROWS_A_PARTIAL_SUM + together)
            assert stages in (1, 2)


@pytest.mark.parametrize(
    ("itemsize", "real_bytes", "two_stages", "once"),
    [(4, 4, 16384, 24576), (2, 4, 24576, 32768), (1, 4, 32768, 32768), (8, 8, 7168, 11264)],
)
def test_widths_that_are_read_once(itemsize, real_bytes, two_stages, once):
    """What the table in `fused_plan` says."""
    for n in range(16, once + 17, 16):
        found = plan(10**6, n, n * itemsize, 0, itemsize, real_bytes, 1, H200)
        assert isinstance(found, Plan) == (n <= once), n
        if n in (two_stages, two_stages + 16) and n <= once:
            assert found.arguments.split(", ")[5] == ("2" if n == two_stages else "1")


# --- compiled for GPUs ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def architectures():
    reason = registers.why_no_nvrtc()
    if reason:
        pytest.skip(reason)
    return registers.architectures()


@pytest.mark.parametrize("architecture", registers.GPUS)
def test_nvrtc_compiles_without_spills(architecture, architectures):
    if architecture not in architectures:
        pytest.skip(f"NVRTC {registers.version()} does not know sm_{architecture}")
    # `python -m benchmarks.registers` has more of them, and takes a minute.
    some = {"CrossEntropy": (0, 1, 100, 784, 1024, 16384, 65536), "Curvature": (100, 16384), "Product": (100, 65536)}
    jobs = [
        kernel.name
        for pointwise, columns in some.items()
        for kernel in registers.kernels(architecture, pointwise)
        if kernel.columns in columns and (pointwise == "CrossEntropy" or kernel.stored == "float32")
    ]
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(jobs, pool.map(lambda name: registers.usage(name, architecture), jobs), strict=True))
    assert {name: usage for name, usage in found.items() if usage.spilled} == {}


def test_nvrtc_says_what_is_wrong(architectures):
    with pytest.raises(RuntimeError, match="compilation"):
        registers.usage("one_read<int>", architectures[0])


def test_the_record_has_the_kernels_of_today(architectures):
    """`python -m benchmarks.registers` writes it anew."""
    record = registers.RECORD.read_text()
    assert [k.name for a in architectures for k in registers.kernels(a) if f"`{k.name}`" not in record] == []
