"""The solver file for benchopt: in a benchmark with the objective of benchmark_logreg_l2, run by benchopt itself.

That repository is not fetched here: its objective is written from its definition, Σ log(1 + exp(−yᵢ xᵢᵀβ)) + λ/2 ‖β‖² for y
in {−1, 1}, with the intercept, where there is one, as the last entry of β and without penalty.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.optimize import minimize

pytest.importorskip("benchopt")

SOLVER = Path(__file__).parents[1] / "benchmarks" / "benchopt" / "gpulr.py"

OBJECTIVE = """
import numpy as np
from benchopt import BaseObjective

class Objective(BaseObjective):
    name = "L2 Logistic Regression"
    parameters = {"lmbd": [0.5], "fit_intercept": [False, True]}

    def set_data(self, X, y):
        self.X, self.y = X, y

    def get_one_result(self):
        return {"beta": np.zeros(self.X.shape[1] + self.fit_intercept)}

    def evaluate_result(self, beta):
        w, b = (beta[:-1], beta[-1]) if self.fit_intercept else (beta, 0)
        return {"value": np.logaddexp(0, -self.y * (self.X @ w + b)).sum() + self.lmbd / 2 * w @ w}

    def get_objective(self):
        return {"X": self.X, "y": self.y, "lmbd": self.lmbd, "fit_intercept": self.fit_intercept}
"""

DATASET = """
import numpy as np
from benchopt import BaseDataset

class Dataset(BaseDataset):
    name = "Simulated"

    def get_data(self):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((200, 10))
        return {"X": X, "y": np.where(X[:, 0] + rng.standard_normal(200) > 0, 1, -1)}
"""


def least(X, y, lmbd, fit_intercept):
    """The minimum by SciPy."""

    def value(beta):
        w, b = (beta[:-1], beta[-1]) if fit_intercept else (beta, 0)
        return np.logaddexp(0, -y * (X @ w + b)).sum() + lmbd / 2 * w @ w

    return minimize(value, np.zeros(X.shape[1] + fit_intercept), tol=1e-12).fun, value


@pytest.fixture(scope="module")
def solver_class():
    specification = importlib.util.spec_from_file_location("benchopt_gpulr", SOLVER)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.Solver


def solver_of(solver_class, *objective):
    solver = solver_class.get_instance(solver="auto", device="cpu")
    solver.set_objective(*objective)
    return solver


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("shape", [(200, 10), (30, 60)])
@pytest.mark.parametrize("form", [np.asarray, np.asfortranarray, sparse.csr_matrix])
def test_it_minimizes_the_objective(solver_class, fit_intercept, shape, form, rng):
    X = rng.standard_normal(shape)
    y = np.where(X[:, 0] + rng.standard_normal(len(X)) > 0, 1, -1)
    lowest, value = least(X, y, 0.5, fit_intercept)
    solver = solver_of(solver_class, form(X), y, 0.5, fit_intercept)
    assert not solver.get_result()["beta"].any()
    values = []

    def callback():
        values.append(value(solver.get_result()["beta"]))
        return True

    solver.run(callback)
    values.append(value(solver.get_result()["beta"]))
    assert values[0] > values[-1]
    assert values[-1] == pytest.approx(lowest, rel=1e-8)


def test_it_stops_when_it_is_told(solver_class, rng):
    X = rng.standard_normal((200, 10))
    solver = solver_of(solver_class, X, np.where(X[:, 0] + rng.standard_normal(200) > 0, 1, -1), 0.5)
    answers = iter([True, True, False])
    solver.run(lambda: next(answers))
    assert next(answers, None) is None
    assert solver.get_result()["beta"].any()


def test_without_a_gpu_it_is_skipped_with_the_reason(solver_class, monkeypatch):
    monkeypatch.setattr("gpulr.device.why_no_gpu", lambda: "a stand-in for the reason")
    X, y = np.eye(2), np.array([-1, 1])
    assert solver_class.get_instance(solver="auto", device="cuda").skip(X, y, 1.0) == (
        True,
        "a stand-in for the reason",
    )
    assert solver_class.get_instance(solver="auto", device="cpu").skip(X, y, 1.0) == (False, None)


def test_benchopt_runs_it(tmp_path):
    for file, text in (("objective.py", OBJECTIVE), ("datasets/simulated.py", DATASET)):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    (tmp_path / "solvers").mkdir()
    (tmp_path / "solvers" / "gpulr.py").write_text(SOLVER.read_text())
    command = [sys.executable, "-m", "benchopt", "run", str(tmp_path), "--no-plot", "--no-display", "-n", "20", "-r", "1",
               "--output", "result", "-s", "gpulr[device=cpu]"]  # fmt: skip
    environment = {**os.environ, "BENCHOPT_DEFAULT_TIMEOUT": "60"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (file,) = (tmp_path / "outputs").glob("result*.parquet")
    curves = pd.read_parquet(file)
    namespace = {}
    exec(DATASET.replace("from benchopt import BaseDataset", "BaseDataset = object"), namespace)
    data = namespace["Dataset"]().get_data()
    for fit_intercept, curve in curves.groupby("p_obj_fit_intercept"):
        lowest, _ = least(data["X"], data["y"], 0.5, fit_intercept)
        assert len(curve) > 2
        assert curve["objective_value"].iloc[0] == pytest.approx(200 * np.log(2))
        assert curve["objective_value"].min() == pytest.approx(lowest, rel=1e-8)
