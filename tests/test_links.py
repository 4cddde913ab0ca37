"""The link functions against exact values and against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gpulr.links import cross_entropy, sigmoid


def costs(backend, z, y, dtype):
    cost, dz = cross_entropy(backend.put(np.array(z, dtype)), backend.put(np.array(y, dtype)))
    return backend.get(cost), backend.get(dz)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_margins_of_1000_neither_overflow_nor_lose_the_cost(backend, dtype):
    cost, dz = costs(backend, [1000, 1000, -1000, -1000, 0], [1, 0, 0, 1, 1], dtype)
    np.testing.assert_allclose(cost, [0, 1000, 0, 1000, math.log(2)], rtol=1e-6)
    np.testing.assert_array_equal(dz, [0, 1, 0, -1, -0.5])
    assert cost.dtype == dz.dtype == dtype


def test_a_confident_right_answer_has_a_cost_in_float32(backend):
    # The textbook's -log(a) gives exactly 0 here, since a rounds to 1.
    cost, dz = costs(backend, [20, -20], [1, 0], "float32")
    np.testing.assert_allclose(cost, math.log1p(math.exp(-20)), rtol=1e-6)  # 2.06e-9
    np.testing.assert_allclose(dz, [-math.exp(-20), math.exp(-20)], rtol=1e-6)


def test_cost_is_the_cross_entropy_and_dz_its_derivative(backend, rng):
    z, y = rng.normal(0, 3, 50), rng.integers(0, 2, 50)
    cost, dz = costs(backend, z, y, "float64")
    a = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(cost, -y * np.log(a) - (1 - y) * np.log(1 - a), rtol=1e-12)
    np.testing.assert_allclose(dz, a - y, atol=1e-15)
    h = 1e-6
    above, below = (costs(backend, z + step, y, "float64")[0] for step in (h, -h))
    np.testing.assert_allclose(dz, (above - below) / (2 * h), atol=1e-9)


def test_sigmoid_at_both_ends(backend):
    a = backend.get(sigmoid(backend.put(np.array([-1000.0, -1.0, 0.0, 1.0, 1000.0]))))
    np.testing.assert_allclose(a, [0, 1 / (1 + math.e), 0.5, math.e / (1 + math.e), 1], rtol=1e-15)
