"""The race: that every contestant computes the same thing and that the record says what was measured."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import gpu

from gpulr import bench, device, load_dataset
from gpulr.cli import main
from gpulr.datasets import Dataset
from gpulr.training import train


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def test_the_lessons_numpy_trains_the_same_model(digits):
    X, Y = (digits.X_train * digits.scale).T, digits.y_train[None, :].astype(float)
    w, b, costs = bench.lesson_train(X, Y, 0.1, 20)
    model = train(digits, iterations=20, learning_rate=0.1, dtype="float64").model
    np.testing.assert_allclose(w[:, 0], model.w, rtol=1e-10)
    np.testing.assert_allclose(b, model.b, rtol=1e-10)
    assert costs == [pytest.approx(np.log(2))]


def results_of(record):
    json.dumps(record, allow_nan=False)
    return {(timing["name"], timing["device"]): timing for timing in record["results"]}


def wide_data(seed=0, scale=1.0):
    """More features than samples, so that a long training is in Gram space."""
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((20, 200)).astype(np.float32), np.arange(20) % 2
    return Dataset("wide", X, y, X[:0], y[:0], ("a", "b"), None, scale)


def test_the_record(digits):
    record = bench.speedup(digits, iterations=40, repeats=2, budget=0.02)
    results = results_of(record)
    loop, gpulr = results[bench.LOOP, "cpu"], results["gpulr", "cpu"]
    assert loop["extrapolated"]
    assert loop["iteration_speedup"] == loop["training_speedup"] == 1
    for timing in (loop, gpulr, results["lesson, NumPy", "cpu"]):
        assert timing["space"] == "features"
        assert timing["finite_costs"]
        assert timing["transfer_seconds"] is None
        assert timing["training_speedup"] == pytest.approx(loop["training_seconds"] / timing["training_seconds"])
        for what in ("iteration", "training"):
            least, greatest = timing[f"{what}_range"]
            assert 0 < least <= timing[f"{what}_seconds"] <= greatest
    assert record["environment"]["thread_pools"]


def test_what_is_cut_short_is_extrapolated_to_the_whole():
    ran = []

    def training(length):
        ran.append(length)
        time.sleep(0.01 * length)
        return []

    slow = bench.Contestant("slow", device.choose("cpu"), "features", lambda: time.sleep(0.01), training, lambda: None)
    (timing,) = bench._race([slow], iterations=100, repeats=1, budget=0.05, progress=lambda _: None)
    assert timing.extrapolated
    assert max(ran) <= 5
    assert 1 <= timing.training_seconds < 2


def test_gpulr_is_timed_in_the_space_where_it_trains():
    results = results_of(bench.speedup(wide_data(), iterations=2000, repeats=1, budget=0.01))
    assert results["gpulr", "cpu"]["space"] == "gram"
    assert not results["gpulr", "cpu"]["extrapolated"]
    assert results["gpulr, vectorized pass", "cpu"]["space"] == "features"
    assert results["gpulr, vectorized pass", "cpu"]["extrapolated"]


def test_the_lesson_computes_in_float64_from_the_stored_data(monkeypatch):
    seen = []
    propagate = bench.lesson_propagate
    monkeypatch.setattr(bench, "lesson_propagate", lambda w, b, X, Y: seen.append(X.dtype) or propagate(w, b, X, Y))
    lesson = bench._lesson(wide_data(), device.choose("cpu"), 0.005)
    lesson.training(1)
    assert seen == [np.float64]


def test_a_cost_of_nan_is_told_and_warns_of_nothing():
    # Features so large that the lesson's 1 - A is 0; filterwarnings makes any warning an error.
    results = results_of(bench.speedup(wide_data(scale=100.0), iterations=300, repeats=1, budget=10.0))
    assert not results["lesson, NumPy", "cpu"]["finite_costs"]
    assert results["gpulr", "cpu"]["finite_costs"]


class StandInGpu(device.Device):
    """A "GPU" with NumPy's arrays that knows whether it is the current device."""

    depth = 0

    @contextmanager
    def current(self):
        StandInGpu.depth += 1
        yield
        StandInGpu.depth -= 1

    def put(self, array):
        assert StandInGpu.depth > 0
        return array

    def synchronize(self):
        pass


def test_the_gpu_is_the_current_device_and_its_timer_gets_a_name(monkeypatch):
    names = []

    def benchmark(func, *, n_repeat, n_warmup, name=None):  # as CuPy's: a partial has no __name__
        assert StandInGpu.depth > 0
        names.append(name or func.__name__)
        func()
        return SimpleNamespace(gpu_times=np.full((1, n_repeat), 0.25))

    choose = device.choose
    stand_in = StandInGpu("cuda:1", "a stand-in")
    monkeypatch.setitem(sys.modules, "cupyx", ModuleType("cupyx"))
    monkeypatch.setitem(sys.modules, "cupyx.profiler", SimpleNamespace(benchmark=benchmark))
    monkeypatch.setattr(device, "choose", lambda name: choose(name) if name == "cpu" else stand_in)
    results = results_of(bench.speedup(wide_data(), iterations=2000, repeats=1, budget=0.01))
    assert names == ["lesson, CuPy", "gpulr", "gpulr, vectorized pass"]
    assert StandInGpu.depth == 0
    assert not any(timing["unavailable"] for timing in results.values())
    for name in names:
        assert results[name, "cuda:1"]["iteration_seconds"] == 0.25
        assert results[name, "cuda:1"]["transfer_seconds"] > 0


@pytest.mark.gpu
def test_the_race_on_a_gpu(request):
    gpu(request)
    results = results_of(bench.speedup(wide_data(), iterations=2000, repeats=1, budget=0.1))
    assert not any(timing["unavailable"] for timing in results.values())
    for name in ("lesson, CuPy", "gpulr", "gpulr, vectorized pass"):
        assert results[name, "cuda:0"]["iteration_seconds"] > 0
        assert results[name, "cuda:0"]["training_seconds"] > results[name, "cuda:0"]["transfer_seconds"] > 0


def test_without_a_gpu_the_reason_is_given(digits, monkeypatch):
    monkeypatch.setattr(device, "why_no_gpu", lambda: "a stand-in for the reason")
    record = bench.speedup(digits, iterations=1, repeats=1, budget=0.01)
    missing = [timing for timing in record["results"] if timing["unavailable"]]
    assert [timing["device"] for timing in missing] == ["cuda", "cuda"]
    assert all("a stand-in for the reason" in timing["unavailable"] for timing in missing)
    assert all(timing["iteration_seconds"] is None for timing in missing)


def test_the_command(monkeypatch):
    monkeypatch.setattr(device, "why_no_gpu", lambda: "a stand-in for the reason")
    arguments = ["bench", "--iterations", "3", "--repeats", "1"]
    table = CliRunner().invoke(main, arguments).stdout
    assert "loop (pure Python)" in table
    assert "extrapolated" not in table
    assert "a stand-in for the reason" in table
    record = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert record["iterations"] == 3


def test_the_table_tells_what_the_reader_should_know(monkeypatch):
    told = {"name": "lesson, CuPy", "device": "cuda:0", "space": "features", "iteration_seconds": 0.001}
    told |= {"iteration_range": [0.001, 0.003], "training_seconds": 2.0, "training_range": [2.0, 2.1]}
    told |= {"iteration_speedup": 1.0, "training_speedup": 1.0, "extrapolated": True, "transfer_seconds": 0.25}
    told |= {"finite_costs": False, "unavailable": None}
    record = {"data": "[x]", "n_samples": 2, "n_features": 3, "iterations": 5, "dtype": "float64", "results": [told]}
    monkeypatch.setattr(bench, "speedup", lambda *_, **__: record)
    table = CliRunner().invoke(main, ["bench"]).stdout
    assert table.startswith("[x]: 2 samples, 3 features, float64, training of 5 iterations")
    for note in ("* extrapolated", "in 250.000 ms", "not a finite number", "the machine was busy"):
        assert note in table
