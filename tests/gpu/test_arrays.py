"""Where arrays are: what comes out is where what went in was, nothing is read from the device without need, and two runs
give the same bits."""

from __future__ import annotations

import pickle
import warnings
from itertools import pairwise

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from gpu.conftest import FOR_CUPY, PAIRS, Library, same_place
from gpulr import LogisticRegression, transfer
from gpulr.device import device
from gpulr.estimator import NON_SMOOTH, SMOOTH
from gpulr.objective import Objective
from gpulr.passes import PASSES
from gpulr.rows import MemoryRows, memory
from gpulr.solvers import LBFGS, SGD, SOLVERS, GradientDescent, Newton, Sketch, minimize


def samples(rng, m=300, n=8, k=2, dtype="float64"):
    X = rng.normal(size=(m, n))
    y = np.argmax(X @ rng.normal(size=(n, k)) + rng.gumbel(size=(m, k)), axis=1)
    return X.astype(dtype), y


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("k", [2, 3])
def test_what_goes_in_comes_out(library, k, dtype, rng):
    X, y = samples(rng, k=k, dtype=dtype)
    Xd, yd = library.put(X), library.put(y)
    model = LogisticRegression().fit(Xd, yd)
    outputs = 1 if k == 2 else k
    for name, shape in (("coef_", (outputs, 8)), ("intercept_", (outputs,)), ("n_iter_", (1,)), ("classes_", (k,))):
        value = getattr(model, name)
        assert same_place(value, Xd), name
        assert value.shape == shape, name
    assert model.coef_.dtype == model.intercept_.dtype == Xd.dtype
    assert str(model.n_iter_.dtype).endswith("int32")
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        assert same_place(getattr(model, method)(Xd), Xd), method
    assert model.predict(Xd).dtype == yd.dtype
    assert model.predict_proba(Xd).dtype == Xd.dtype
    assert isinstance(model.score(Xd, yd), float)
    if library.name != "array-api-strict":  # whose devices have names of their own
        assert model.device_ == ("cuda:0" if library.on_gpu else "cpu")
    twin = pickle.loads(pickle.dumps(model))
    assert type(twin.coef_) is np.ndarray
    np.testing.assert_array_equal(twin.predict(X), library.get(model.predict(Xd)))
    np.testing.assert_allclose(model.to_sklearn().predict_proba(X), library.get(model.predict_proba(Xd)), atol=1e-6)


def test_labels_that_are_strings_stay_strings(library, rng):
    X, y = samples(rng)
    names = np.array(["no", "yes"])[y]
    model = LogisticRegression().fit(library.put(X), names)
    assert set(model.predict(library.put(X))) <= {"no", "yes"}


@pytest.mark.gpu
def test_host_arrays_in_host_arrays_out(one_gpu, rng):
    X, y = samples(rng)
    model = LogisticRegression(device="cuda").fit(X, y)
    assert model.device_ == "cuda:0"
    for value in (model.coef_, model.intercept_, model.classes_, model.predict(X), model.predict_proba(X)):
        assert type(value) is np.ndarray


# --- the same bits


def bits(library, arrays):
    return [np.ascontiguousarray(library.get(a)).tobytes() for a in arrays]


@pytest.mark.parametrize("stored", ["uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize(("library", "one_pass"), PAIRS, indirect=["library"])
def test_a_pass_gives_the_same_bits_again(library, one_pass, stored, rng):
    m, n = (3000, 100) if one_pass == "loop" else (30_001, 100)
    X = library.stored(rng.integers(0, 100, (m, n)).astype("float64"), stored)
    dtype = "float64" if stored == "float64" else "float32"
    rest = (rng.integers(0, 2, m), rng.normal(size=n) / 100, np.array(0.1), rng.uniform(size=m))
    y, w, b, s = (library.put(np.asarray(a, dtype)) for a in rest)
    first, *others = (bits(library, PASSES[one_pass](X, y, w, b, s)) for _ in range(3))
    assert others == [first, first]


@pytest.mark.parametrize("solver", [*SMOOTH, *NON_SMOOTH, "auto"])
@pytest.mark.parametrize("shape", [(3000, 40), (60, 300)])
def test_a_fit_gives_the_same_bits_again(library, solver, shape, rng):
    X, y = samples(rng, *shape, dtype="float32")
    chosen = SGD(batch_size=17, seed=1) if solver == "sgd" else solver
    l1_ratio = 1.0 if solver in NON_SMOOTH else 0.0

    def once():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(solver=chosen, l1_ratio=l1_ratio, C=0.1, random_state=5, max_iter=5)
            model.fit(library.put(X), library.put(y))
        return bits(library, (model.coef_, model.intercept_)), [line["objective"] for line in model.history_]

    assert once() == once()


# --- reads from the device


@pytest.fixture(params=["vectorized", *FOR_CUPY])
def objective(library, request, rng):
    """On standardized samples; reads can be counted."""
    if library.name == "numpy":
        pytest.skip("NumPy's methods cannot be counted, and cost nothing")
    if request.param in FOR_CUPY and library.name != "cupy":
        pytest.skip(f"{request.param} is for CuPy")
    X, y = samples(rng, 2000, 12, dtype="float32")
    rows = MemoryRows(library.put(X), library.put(y.astype("float32")))
    return Objective(rows, library.put(np.zeros(13, "float32")), 1.0, None, 1e-3, one_pass=PASSES[request.param])


@pytest.mark.gpu
def test_steps_in_a_graph_read_nothing(one_gpu, rng, caplog):
    """Without a penalty, as the lesson trains."""
    caplog.set_level("DEBUG", logger="gpulr.cuda")
    X, y = samples(rng, 2000, 12, dtype="float32")
    rows = MemoryRows(one_gpu.asarray(X), one_gpu.asarray(y.astype("float32")))
    F = Objective(rows, one_gpu.zeros(13, "float32"), one_pass=PASSES["fused"])
    with Library("cupy", one_gpu.asarray).counting_reads() as seen:
        minimize(F, GradientDescent(0.5), max_iter=2000, record_every=1000)
    assert len(seen) <= 2 * 3
    assert F.reads == 2001
    assert "plain launches" not in caplog.text


def test_reads_are_counted(library):
    if library.name == "numpy":
        pytest.skip("NumPy's methods cannot be counted, and cost nothing")
    a = library.put(np.arange(3.0))
    with library.counting_reads() as reads:
        b = a * 2 + a[0]
        assert reads == []
        assert float(b[1]) == 2
        assert len(reads) == 1
        assert bool(b[1] > 1)
        library.get(b)
    assert 3 <= len(reads) <= 4
    float(b[0])
    assert len(reads) <= 4  # no longer


def test_gradient_descent_reads_nothing_between_records(library, objective):
    def reads(iterations, record_every):
        with library.counting_reads() as seen:
            minimize(objective, GradientDescent(0.5), max_iter=iterations, record_every=record_every)
        return len(seen)

    once = reads(0, 1)  # at the last iterate
    assert 1 <= once <= 2
    assert reads(50, 50) == reads(200, 200) == 2 * once
    assert reads(200, 20) == 11 * once


@pytest.mark.parametrize(
    ("solver", "each"), [(LBFGS(), 1), (Sketch(), 1), (Newton(), 3)], ids=["lbfgs", "sketch", "newton"]
)
def test_so_many_reads_an_iteration(library, objective, solver, each):
    """Counted from the second iterate on, before which samples may be drawn and a Hessian factorized."""
    if library.name == "cupy" and isinstance(solver, Newton):
        each += 1  # CuPy's own look whether a matrix had a factor
    seen_at = []
    with library.counting_reads() as seen:
        minimize(objective, solver, max_iter=30, tol=1e-7, callback=lambda *_: seen_at.append(len(seen)))
    steps = [after - before for before, after in pairwise(seen_at[1:])]
    assert len(steps) >= 1
    assert max(steps) <= each


@pytest.mark.parametrize("solver", [name for name in SOLVERS if name != "sgd"])
def test_no_array_of_the_size_of_x_or_y_comes_back(library, solver, rng):
    """Only numbers and what has the size of the parameters."""
    if library.name == "numpy":
        pytest.skip("NumPy's arrays are on the host")
    X, y = samples(rng, 500, 6, dtype="float32")
    Xd, yd = library.put(X), library.put(y)
    sizes = []
    from gpulr import device as places

    original = places.to_host

    def to_host(array):
        if not isinstance(array, np.ndarray):
            sizes.append(int(np.prod(array.shape)))
        return original(array)

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        patch.setattr(places, "to_host", to_host)
        l1_ratio = 1.0 if solver in NON_SMOOTH else 0.0
        LogisticRegression(solver=solver, l1_ratio=l1_ratio, max_iter=20).fit(Xd, yd)
    assert sizes
    assert max(sizes) <= 2 * 7 + 1  # parameters, what a metric makes of a gradient, and a number


# --- two devices


@pytest.fixture
def second_gpu(one_gpu):
    if one_gpu.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one GPU")
    return one_gpu


@pytest.mark.gpu
def test_work_stays_on_the_second_gpu(second_gpu, rng):
    cupy = second_gpu
    X, y = samples(rng)
    expected = LogisticRegression(device="cpu").fit(X, y)
    with cupy.cuda.Device(1):
        Xd, yd = cupy.asarray(X), cupy.asarray(y)
    model = LogisticRegression().fit(Xd, yd)  # while the first is the current one
    assert cupy.cuda.Device().id == 0
    assert model.device_ == "cuda:1"
    for value in (model.coef_, model.predict_proba(Xd), model.predict(Xd), model.decision_function(Xd)):
        assert device(value).id == 1
    np.testing.assert_allclose(model.coef_.get(), expected.coef_, atol=1e-6)
    with pytest.raises(ValueError, match="X is on cuda:1"):
        LogisticRegression(device="cuda:0").fit(Xd, yd)
    of_host = LogisticRegression(device="cuda:1").fit(X, y)
    assert of_host.device_ == "cuda:1"
    np.testing.assert_allclose(of_host.coef_, expected.coef_, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("stored", ["uint8", "float32"])
@pytest.mark.parametrize("one_pass", ["vectorized", "fused"])
def test_many_blocks_on_the_second_gpu(second_gpu, one_pass, stored, rng, monkeypatch):
    """A fit in blocks of some rows, of samples there and of samples that are sent there in chunks."""
    monkeypatch.setattr(memory, "block_bytes", lambda X: 1 << 14)
    monkeypatch.setattr(transfer, "CHUNK_BYTES", 1 << 14)
    monkeypatch.setattr(transfer, "LARGE", 1 << 15)
    X = rng.integers(0, 9, (20_000, 9)).astype(stored)
    y = (X[:, 0] + rng.integers(0, 9, 20_000) > X[:, 1] + 4).astype("int64")
    options = {"one_pass": one_pass, "solver": "newton", "standardize": True}
    expected = LogisticRegression(device="cuda:0", **options).fit(X, y)
    with second_gpu.cuda.Device(1):
        Xd, yd = second_gpu.asarray(X), second_gpu.asarray(y)
    there = LogisticRegression(**options).fit(Xd, yd)
    sent = LogisticRegression(device="cuda:1", **options).fit(X, y)
    assert (there.device_, sent.device_) == ("cuda:1", "cuda:1")
    assert device(there.coef_).id == 1
    for found in (there.coef_.get(), sent.coef_):
        np.testing.assert_allclose(found, expected.coef_, rtol=1e-2, atol=1e-3)


@pytest.mark.gpu
def test_a_gpu_that_is_not_there_is_refused(one_gpu, rng):
    count = one_gpu.cuda.runtime.getDeviceCount()
    with pytest.raises(RuntimeError, match=f"the last of {count} GPUs is cuda:{count - 1}"):
        LogisticRegression(device=f"cuda:{count}").fit(*samples(rng))
