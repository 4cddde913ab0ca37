"""train: from a data set to a model."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import gpu

from gpulr import load_dataset, train
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


@pytest.mark.parametrize("pass_name", ["auto", "vectorized", "loop"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_pass_gives_the_same_model(digits, pass_name, dtype):
    trained = train(digits, iterations=5, learning_rate=0.1, pass_name=pass_name, dtype=dtype)
    expected = train(digits, iterations=5, learning_rate=0.1, pass_name="loop", dtype="float64")
    np.testing.assert_allclose(trained.model.w, expected.model.w, rtol=1e-4, atol=1e-6)
    assert trained.model.w.dtype == dtype
    assert trained.summary["pass"] == ("loop" if pass_name == "loop" else "vectorized")
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
        ({"solver": "newton"}, "solver='newton': use gd"),
        ({"pass_name": "fast"}, "pass='fast': use auto or loop or vectorized"),
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
