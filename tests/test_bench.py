"""The race: that every contestant computes the same thing and that the record says what was measured."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from gpulr import bench, device, load_dataset
from gpulr.cli import main
from gpulr.training import train


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def test_the_lessons_numpy_trains_the_same_model(digits):
    X, Y = (digits.X_train * digits.scale).T, digits.y_train[None, :].astype(float)
    w, b = bench.lesson_train(X, Y, 0.1, 20)
    model = train(digits, iterations=20, learning_rate=0.1, dtype="float64").model
    np.testing.assert_allclose(w[:, 0], model.w, rtol=1e-10)
    np.testing.assert_allclose(b, model.b, rtol=1e-10)


def test_the_record(digits):
    record = bench.speedup(digits, iterations=40, repeats=1, budget=0.02)
    json.dumps(record, allow_nan=False)
    results = {(timing["name"], timing["device"]): timing for timing in record["results"]}
    loop, gpulr = results["loop (pure Python)", "cpu"], results["gpulr", "cpu"]
    assert loop["extrapolated"]
    assert not gpulr["extrapolated"]
    assert loop["iteration_speedup"] == loop["training_speedup"] == 1
    for timing in (loop, gpulr, results["lesson, NumPy", "cpu"]):
        assert timing["iteration_seconds"] > 0
        assert timing["training_speedup"] == pytest.approx(loop["training_seconds"] / timing["training_seconds"])
    assert record["environment"]["thread_pools"]


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
    assert "a stand-in for the reason" in table
    record = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert record["iterations"] == 3
