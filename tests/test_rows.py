"""Blocks of rows: they cover X once, in order, and never convert it as a whole."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from gpulr.objective import Objective
from gpulr.rows import MemoryRows, memory


@pytest.fixture(params=["C", "F", "strided", "read-only"])
def layout(request):
    def arrange(X):
        if request.param == "strided":
            wide = np.zeros((2 * X.shape[0], 2 * X.shape[1]), X.dtype)
            wide[::2, ::2] = X
            return wide[::2, ::2]
        X = np.array(X, order="F" if request.param == "F" else "C")
        X.flags.writeable = request.param != "read-only"
        return X

    return arrange


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_products_in_small_blocks_equal_numpys(layout, dtype, rng, monkeypatch):
    monkeypatch.setattr(memory, "BLOCK_BYTES", 100)
    X = layout(rng.integers(0, 255, (23, 6)).astype(dtype))
    rows = MemoryRows(X, np.zeros(23))
    wide = X.astype("float64")
    w, z = rng.normal(size=6), rng.normal(size=23)
    np.testing.assert_allclose(rows.matmul(w), wide @ w, rtol=1e-12)
    np.testing.assert_allclose(rows.rmatmul(z), wide.T @ z, rtol=1e-12)
    np.testing.assert_allclose(rows.gram(), wide @ wide.T, rtol=1e-12)


def test_products_on_every_backend(backend, rng, monkeypatch):
    monkeypatch.setattr(memory, "BLOCK_BYTES", 100)
    X, w, z = rng.integers(0, 255, (23, 6)).astype("uint8"), rng.normal(size=6), rng.normal(size=23)
    rows = MemoryRows(backend.put(X), backend.put(np.zeros(23)))
    np.testing.assert_allclose(backend.get(rows.matmul(backend.put(w))), X @ w, rtol=1e-12)
    np.testing.assert_allclose(backend.get(rows.rmatmul(backend.put(z))), X.T @ z, rtol=1e-12)
    np.testing.assert_array_equal(backend.get(rows.gram()), X.astype(float) @ X.T)


def test_gram_of_pixels_is_exact_though_the_computation_is_in_float32(rng):
    X = rng.integers(0, 256, (5, 4096)).astype("uint8")
    exact = X.astype("int64") @ X.astype("int64").T
    np.testing.assert_array_equal(MemoryRows(X, np.zeros(5, "float32")).gram(), exact.astype("float32"))


def test_blocks_cover_every_row_once_in_order(rng, monkeypatch):
    monkeypatch.setattr(memory, "BLOCK_BYTES", 100)
    X, s = rng.integers(0, 255, (23, 6)).astype("uint8"), np.arange(23.0)
    blocks = list(MemoryRows(X, np.arange(23.0), s).blocks())
    assert len(blocks) > 2
    np.testing.assert_array_equal(np.concatenate([block for block, _, _ in blocks]), X)
    np.testing.assert_array_equal(np.concatenate([y for _, y, _ in blocks]), np.arange(23.0))
    np.testing.assert_array_equal(np.concatenate([weight for _, _, weight in blocks]), s)


def test_pixels_are_not_widened_as_a_whole(rng):
    X = rng.integers(0, 255, (20_000, 3000)).astype("uint8")  # 60 MB; in float64 it would be 480 MB
    objective = Objective(MemoryRows(X, np.zeros(20_000)), np.zeros(3000), np.zeros(()), scale=1 / 255)
    tracemalloc.start()
    objective.value_and_grad(objective.start)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * memory.BLOCK_BYTES
