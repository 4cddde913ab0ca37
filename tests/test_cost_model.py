"""What `auto` takes on a CPU and on a GPU, by the figures that the cost model was made from."""

from __future__ import annotations

import numpy as np
import pytest

from gpulr import LogisticRegression, estimator
from gpulr.cost_model import CPU, GPU, hessian_size, smooth_solvers


@pytest.mark.parametrize(
    ("m", "n", "outputs", "on_cpu", "on_gpu"),
    [
        (1_000_000, 100, 1, "sketch", "lbfgs"),  # an H200: 22 ms by lbfgs, 30 by sketch
        (60_000, 784, 1, "sketch", "lbfgs"),  # 22, 33
        (100_000, 1000, 1, "sketch", "lbfgs"),  # correlated, on an H100: 20 by lbfgs, 34 by sketch, 41 by newton
        (100_000, 200, 10, "sketch", "sketch"),  # 54 by sketch, 133 by newton
        (2_000, 20_000, 1, "lbfgs", "lbfgs"),
    ],
)
def test_the_cheapest_solver(m, n, outputs, on_cpu, on_gpu):
    for machine, expected in ((CPU, on_cpu), (GPU, on_gpu)):
        costs = smooth_solvers(m, n, outputs, on=machine)
        assert min(costs, key=lambda name: costs[name]) == expected


def test_a_sparse_hessian_is_for_few_parameters_everywhere():
    assert hessian_size(None, GPU) > hessian_size(None, CPU)
    assert hessian_size(10_000, GPU) == hessian_size(10_000, CPU)


def test_auto_asks_where_the_rows_are(rng, monkeypatch):
    X = rng.normal(size=(100_000, 40)).astype("float32")
    y = (X[:, 0] + rng.logistic(size=len(X)) > 0).astype(int)
    here = LogisticRegression().fit(X, y)
    monkeypatch.setattr(estimator, "is_on_gpu", lambda array: True)
    there = LogisticRegression().fit(X, y)
    assert (here.solver_, there.solver_) == ("sketch", "lbfgs")
    np.testing.assert_allclose(there.coef_, here.coef_, atol=1e-4)
