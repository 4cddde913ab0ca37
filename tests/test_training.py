"""train: from a data set to a model."""

from __future__ import annotations

import json
import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from conftest import gpu
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from gpulr import load_dataset, train
from gpulr.datasets import Dataset
from gpulr.device import Device


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def test_the_cats_of_the_lesson(cats_folder):
    data = load_dataset(cats_folder)
    for dtype, digits in (("float64", 1e-6), ("float32", 1e-5)):
        summary = train(data, iterations=2000, learning_rate=0.005, dtype=dtype).summary
        assert summary["train_accuracy"] == 99.04306220095694
        assert summary["test_accuracy"] == 70.0
        costs = dict(summary["costs"])
        expected = {0: 0.693147, 100: 0.584508, 200: 0.466949, 300: 0.376007, 400: 0.331463, 1900: 0.140872}
        assert {i: costs[i] for i in expected} == pytest.approx(expected, abs=digits)
        assert list(costs) == list(range(0, 2000, 100))
        assert summary["space"] == "gram"


@pytest.mark.parametrize("pass_name", ["auto", "vectorized", "blocked", "loop"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_pass_gives_the_same_model(digits, pass_name, dtype):
    trained = train(digits, iterations=5, learning_rate=0.1, pass_name=pass_name, dtype=dtype)
    expected = train(digits, iterations=5, learning_rate=0.1, pass_name="loop", dtype="float64")
    np.testing.assert_allclose(trained.model.w, expected.model.w, rtol=1e-4, atol=1e-6)
    assert trained.model.w.dtype == dtype
    assert trained.summary["pass"] == ("blocked" if pass_name == "auto" else pass_name)
    assert trained.summary["dtype"] == dtype


def test_the_summary_says_what_was_done(digits):
    trained = train(digits, iterations=10, learning_rate="auto", record_every=4)
    summary = trained.summary
    assert [iteration for iteration, _ in summary["costs"]] == [0, 4, 8]
    assert summary["final_cost"] == trained.result.cost < summary["costs"][-1][1]
    assert summary["train_accuracy"] == 100 * np.mean(trained.model.predict(digits.X_train) == digits.y_train)
    assert summary["test_accuracy"] == 100 * np.mean(trained.model.predict(digits.X_test) == digits.y_test)
    assert (summary["n_samples"], summary["n_features"]) == digits.X_train.shape
    assert trained.model.classes == ("3", "8")
    assert trained.model.training["n_iter"] == 10


def test_costs_are_recorded_every_100_iterations_or_more_often_in_a_short_training(digits):
    assert [i for i, _ in train(digits, iterations=2).summary["costs"]] == [0, 1]
    assert [i for i, _ in train(digits, iterations=400).summary["costs"]] == list(range(0, 400, 20))
    assert [i for i, _ in train(digits, iterations=3000).summary["costs"]] == list(range(0, 3000, 100))


def test_a_random_start_is_seeded(digits):
    first, again, other, zeros = (
        train(digits, iterations=1, **options).model.w
        for options in ({"init": "random"}, {"init": "random"}, {"init": "random", "seed": 1}, {})
    )
    np.testing.assert_array_equal(first, again)
    assert 0.005 < np.std(first - zeros) < 0.02
    assert not np.array_equal(first, other)


def test_a_random_start_in_gram_space(cats_folder):
    data = load_dataset(cats_folder)
    options = {"init": "random", "iterations": 3, "dtype": "float64", "learning_rate": 0.001}
    gram, plain = (train(data, pass_name=name, **options).model for name in ("auto", "vectorized"))
    np.testing.assert_allclose(gram.w, plain.w, rtol=1e-9)


def test_nothing_held_out_means_no_test_accuracy():
    assert train(load_dataset("digits", test_size=0), iterations=1).summary["test_accuracy"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"solver": "adam"},
            "solver='adam': use gd or auto or sgd or lbfgs or newton or sketch or prox-newton or fista",
        ),
        ({"pass_name": "fast"}, "pass='fast': use auto or loop or vectorized or blocked or compiled"),
        ({"dtype": "float16"}, "dtype='float16': use float32 or float64"),
        ({"init": "ones"}, "init='ones': use zeros or random"),
        ({"iterations": 0}, "iterations=0: at least 1"),
        ({"record_every": 0}, "record_every=0"),
        ({"learning_rate": -1}, "learning_rate=-1"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
    ],
)
def test_other_arguments_are_refused(digits, options, message):
    with pytest.raises(ValueError, match=message):
        train(digits, **options)


def pixels(m=200, n=5, scale=1 / 255, seed=0):
    """Classes that overlap, one twice as frequent as the other, in columns of quite different spreads."""
    rng = np.random.default_rng(seed)
    X = rng.integers(0, np.geomspace(256, 16, n).astype(int), (m, n)).astype("uint8")
    y = (X[:, 0] + 60.0 * rng.standard_normal(m) > 170).astype(np.int64)
    return Dataset("pixels", X, y, X[:5], y[:5], ("a", "b"), None, scale)


def of_scikit_learn(data, standardize=False, **options):
    """w and b for X * scale."""
    X = data.X_train * data.scale
    spread = X.std(axis=0) if standardize else 1.0
    solver = "saga" if options.get("l1_ratio") else "lbfgs"
    oracle = LogisticRegression(solver=solver, tol=1e-12, max_iter=10**5, **options).fit(X / spread, data.y_train)
    return oracle.coef_[0] / spread, oracle.intercept_[0]


def mean_objective(data, w, b, C, l1_ratio):
    z = (2 * data.y_train - 1) * (data.X_train * data.scale @ w + b)
    penalty = (1 - l1_ratio) / 2 * w @ w + l1_ratio * np.abs(w).sum()
    return np.mean(np.logaddexp(0, -z)) + penalty / (C * len(z))


@pytest.mark.parametrize(
    ("solver", "options"),
    [
        ("auto", {}),
        ("lbfgs", {"C": 0.1}),
        ("newton", {"C": 10}),
        ("newton", {"C": math.inf}),
        ("lbfgs", {"C": math.inf}),
        ("auto", {"C": 0.3, "standardize": True}),
        ("auto", {"C": 3.0, "class_weight": "balanced"}),
        ("auto", {"C": 2.0, "l1_ratio": 1.0}),
        ("auto", {"C": 0.5, "l1_ratio": 0.3, "standardize": True}),
        ("prox-newton", {"C": 0.5, "l1_ratio": 0.4}),
        ("fista", {"C": 0.5, "l1_ratio": 0.7, "class_weight": "balanced"}),
    ],
)
@pytest.mark.parametrize("scale", [1 / 255, 1.0])
def test_other_solvers_find_scikit_learns_optimum_of_the_scaled_features(solver, options, scale):
    data = replace(pixels(), X_train=pixels().X_train / 255, scale=1.0) if scale == 1 else pixels()
    trained = train(data, solver=solver, iterations=10_000, tol=1e-10, **options)
    w, b = of_scikit_learn(data, **options)
    np.testing.assert_allclose(trained.model.w, w, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(trained.model.b, b, rtol=1e-5, atol=1e-7)
    if options.get("l1_ratio"):
        np.testing.assert_array_equal(trained.model.w == 0, w == 0)
    assert trained.summary["status"] in ("converged", "precision")
    assert trained.summary["solver"] in ((solver,) if solver != "auto" else ("newton", "prox-newton"))
    assert trained.summary["C"] == (None if options.get("C") == math.inf else options.get("C", 1.0))


@pytest.mark.parametrize("solver", ["auto", "lbfgs"])
def test_more_features_than_samples_go_through_gram_space(solver):
    data = pixels(m=30, n=80)
    trained = train(data, solver=solver, tol=1e-10)
    w, b = of_scikit_learn(data)
    np.testing.assert_allclose(trained.model.w, w, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(trained.model.b, b, rtol=1e-5)
    assert trained.summary["solver"].startswith("gram-")
    assert trained.summary["space"] == "gram"


@pytest.mark.parametrize(
    "options", [{"C": 0.5}, {"C": math.inf}, {"C": 0.5, "l1_ratio": 0.4}, {"C": 2.0, "class_weight": "balanced"}]
)
def test_the_summary_of_another_solver(options):
    data = pixels()
    trained = train(data, solver="auto", tol=1e-8, seed=3, **options)
    summary = trained.summary
    json.dumps(summary, allow_nan=False)
    assert set(train(data, iterations=1).summary) | {
        "C", "l1_ratio", "standardize", "tol", "class_weight", "status",
    } == set(summary)  # fmt: skip
    assert [i for i, _ in summary["costs"]] == list(range(summary["n_iter"]))
    assert summary["costs"][0] == [0, pytest.approx(math.log(2))]
    assert summary["final_cost"] == trained.result.cost < summary["costs"][1][1]
    if "class_weight" not in options:
        w, b = trained.model.w, trained.model.b
        expected = mean_objective(data, w, b, options["C"], options.get("l1_ratio", 0.0))
        assert summary["final_cost"] == pytest.approx(expected, rel=1e-12)
    np.testing.assert_array_equal(trained.result.params, [*trained.model.w, trained.model.b])
    assert (trained.result.status, trained.result.n_iter) == (summary["status"], summary["n_iter"])
    assert (summary["pass"], summary["space"], summary["tol"], summary["seed"]) == ("vectorized", "features", 1e-8, 3)
    assert (summary["learning_rate"], summary["init"]) == (None, "zeros")
    assert summary["train_accuracy"] == 100 * np.mean(trained.model.predict(data.X_train) == data.y_train)
    assert trained.model.training["n_iter"] == summary["n_iter"]


def test_iterations_are_the_most_there_are_and_100_by_default():
    with pytest.warns(ConvergenceWarning, match="max_iter is reached after 2 iterations"):
        summary = train(pixels(), solver="lbfgs", iterations=2, tol=1e-10).summary
    assert (summary["n_iter"], summary["status"]) == (2, "max_iter")
    with pytest.warns(ConvergenceWarning, match="max_iter=100"):
        assert train(pixels(), solver="sgd", tol=0.0).summary["n_iter"] == 100


def test_sgd_is_shuffled_by_the_seed():
    with pytest.warns(ConvergenceWarning):
        first, again, other = (train(pixels(), solver="sgd", iterations=3, seed=seed).model.w for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_another_solver_computes_in_the_dtype_that_is_asked_for():
    narrow, wide = (train(pixels(), solver="newton", dtype=dtype).model for dtype in ("float32", "float64"))
    assert (narrow.w.dtype, narrow.b.dtype, narrow.stored_dtype) == (np.float32, np.float32, "uint8")
    np.testing.assert_allclose(narrow.w, wide.w, rtol=1e-3)


def test_another_solver_neither_widens_nor_copies_the_stored_data():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (100_000, 400), dtype=np.uint8)
    y = (X[:, 0] > rng.integers(0, 256, len(X))).astype(np.int64)
    data = Dataset("large", X, y, X[:5], y[:5], ("a", "b"), None, 1 / 255)
    tracemalloc.start()
    train(data, solver="lbfgs", dtype="float32")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < X.nbytes  # blocks of X, columns such as the margins, and the Hessian of some rows


def test_a_callback_sees_the_iterations_of_another_solver():
    seen = []
    summary = train(pixels(), solver="newton", callback=lambda i, look: seen.append(float(look.cost))).summary
    assert seen == pytest.approx([cost for _, cost in summary["costs"]] + [summary["final_cost"]])


LESSON = {"learning_rate": 0.1, "init": "zeros", "pass_name": "auto", "record_every": 1}
PENALTY = {"C": 1.0, "l1_ratio": 0.0, "standardize": False, "tol": 1e-4, "class_weight": "balanced"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({name: value}, f"{name}={value!r} has no effect with solver='gd'") for name, value in PENALTY.items()),
        *(
            (
                {"solver": solver, name: value},
                f"{name.removesuffix('_name')}={value!r} has no effect with solver={solver!r}",
            )
            for solver in ("auto", "lbfgs", "newton", "sgd", "prox-newton", "fista")
            for name, value in LESSON.items()
        ),
        ({"solver": "auto", "C": math.inf, "l1_ratio": 0.5}, "l1_ratio=0.5 has no effect with C=inf"),
        ({"solver": "auto", "C": math.inf, "standardize": True}, "standardize=True has no effect with C=inf"),
        (
            {"solver": "lbfgs", "l1_ratio": 0.5},
            r"solver='lbfgs' does not support .*\(C=1.0, l1_ratio=0.5\): use 'auto'",
        ),
        ({"solver": "fista"}, "solver='fista' does not support this ridge penalty"),
        ({"solver": "auto", "C": 0}, "C=0: use a number > 0"),
        ({"solver": "auto", "l1_ratio": 2}, "l1_ratio=2: use a number from 0"),
        ({"solver": "auto", "tol": -1}, "tol=-1: use a number"),
        ({"solver": "auto", "class_weight": "heavy"}, "class_weight='heavy': use balanced"),
        ({"solver": "auto", "iterations": 0}, "iterations=0: at least 1"),
        ({"solver": "auto", "seed": -1}, "seed=-1: at least 0"),
        ({"solver": "auto", "dtype": "float16"}, "dtype='float16': use float32 or float64"),
        ({"solver": "auto", "device": "gpu"}, "unknown device 'gpu'"),
    ],
)
def test_what_does_not_fit_the_solver_is_refused(digits, options, message):
    with pytest.raises(ValueError, match=message):
        train(digits, **options)


def test_the_loop_is_refused_on_a_gpu(digits, monkeypatch):
    monkeypatch.setattr("gpulr.device.choose", lambda name: Device("cuda:0", "a stand-in"))
    with pytest.raises(ValueError, match="the loop pass runs on the CPU, not on cuda:0"):
        train(digits, pass_name="loop", device="cuda")
    assert train(digits, iterations=1, pass_name="loop", device="auto").device.name == "cpu"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_gpu_gives_the_same_model(request, digits, dtype):
    gpu(request)
    cpu, cuda = (train(digits, iterations=50, device=name, dtype=dtype) for name in ("cpu", "cuda"))
    np.testing.assert_allclose(cuda.model.w, cpu.model.w, rtol=1e-4 if dtype == "float32" else 1e-10, atol=1e-6)
    assert isinstance(cuda.model.w, np.ndarray)


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{}, {"l1_ratio": 0.5}])
def test_another_solver_on_a_gpu_gives_the_same_model(request, options):
    gpu(request)
    cpu, cuda = (train(pixels(), solver="auto", tol=1e-10, device=name, **options) for name in ("cpu", "cuda"))
    np.testing.assert_allclose(cuda.model.w, cpu.model.w, rtol=1e-6, atol=1e-8)
    assert isinstance(cuda.model.w, np.ndarray)
    assert cuda.device.name == cuda.summary["device"] == "cuda:0"
