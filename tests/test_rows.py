"""Blocks of rows: they cover X once, in order, and never convert it as a whole."""

from __future__ import annotations

import threading
import tracemalloc

import array_api_strict as xp_strict
import numpy as np
import pytest
from scipy.sparse import csr_array, random_array, vstack

from gpulr.objective import descent_from
from gpulr.parallel import one_core_a_block
from gpulr.passes import PASSES
from gpulr.rows import MemoryRows, SparseRows, memory, rotate


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
    np.testing.assert_array_equal(MemoryRows(X, np.zeros(5, "float32")).gram(), exact)


@pytest.mark.parametrize("k", [1, 3])
def test_the_pass_in_blocks_is_the_pass(rng, monkeypatch, k):
    X, s = rng.integers(0, 255, (23, 6)).astype("uint8"), rng.uniform(0, 2, 23)
    y = rng.integers(0, k + 1 if k == 1 else k, 23).astype(float)
    w, b = (
        (rng.normal(size=6) / 100, np.array(0.1)) if k == 1 else (rng.normal(size=(6, 3)) / 100, np.array([0.1, 0, 0]))
    )
    whole = MemoryRows(X, y, s).propagate(PASSES["vectorized"], w, b)
    monkeypatch.setattr(memory, "BLOCK_BYTES", 100)
    for one, other in zip(MemoryRows(X, y, s).propagate(PASSES["vectorized"], w, b), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_scatter_and_moments(backend, weighted, rng, monkeypatch):
    monkeypatch.setattr(memory, "BLOCK_BYTES", 200)
    X, s = 1e6 + rng.normal(size=(23, 4)), rng.uniform(0.5, 2, 23)
    rows = MemoryRows(backend.put(X), backend.put(np.zeros(23)), backend.put(s) if weighted else None)
    square, single = rows.scatter(backend.put(s))
    np.testing.assert_allclose(backend.get(square), X.T @ (s[:, None] * X), rtol=1e-12)
    np.testing.assert_allclose(backend.get(single), X.T @ s, rtol=1e-12)
    mean, spread = rows.moments()
    weights = s if weighted else None
    expected = np.average(X, axis=0, weights=weights)
    np.testing.assert_allclose(backend.get(mean), expected, rtol=1e-12)
    np.testing.assert_allclose(backend.get(spread), np.sqrt(np.average((X - expected) ** 2, axis=0, weights=weights)))


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_rows_less_an_origin_are_what_they_say(backend, dtype, rng, monkeypatch):
    monkeypatch.setattr(memory, "BLOCK_BYTES", 100)
    X, origin = rng.integers(90, 99, (23, 6)).astype(dtype), rng.integers(80, 99, 6).astype(float)
    y, s, z = rng.integers(0, 2, 23).astype("float32"), rng.uniform(0, 2, 23).astype("float32"), rng.normal(size=23)
    w, b = rng.normal(size=6).astype("float32"), np.array(0.5, "float32")
    put = backend.put
    shifted = MemoryRows(put(X), put(y), put(s), origin=put(origin))
    plain = MemoryRows(put(X - origin), put(y.astype(float)), put(s.astype(float)))
    one_pass, of_shifted, of_plain = (
        PASSES["vectorized"],
        [put(w), put(b)],
        [put(w.astype(float)), put(b.astype(float))],
    )
    for found, expected in (
        *zip(shifted.propagate(one_pass, *of_shifted), plain.propagate(one_pass, *of_plain), strict=True),
        (shifted.matmul(of_shifted[0]), plain.matmul(of_plain[0])),
        (shifted.rmatmul(put(z)), plain.rmatmul(put(z))),
        (shifted.gram(), plain.gram()),
        *zip(shifted.scatter(put(s)), plain.scatter(put(s.astype(float))), strict=True),
        (shifted.take(put(np.array([3, 1]))).gram(), plain.take(put(np.array([3, 1]))).gram()),
    ):
        np.testing.assert_allclose(backend.get(found), backend.get(expected), rtol=1e-4, atol=1e-4)
    mean, _ = shifted.moments()  # of X itself
    np.testing.assert_allclose(backend.get(mean), np.average(X, axis=0, weights=s), rtol=1e-6)
    np.testing.assert_allclose(backend.get(shifted.at_origin(of_shifted[0])), origin @ w.astype(float), rtol=1e-6)


@pytest.mark.parametrize("stored", ["float64", "uint8"])
def test_a_sample_in_another_dtype(backend, stored, rng):
    X = (rng.integers(0, 9, (40, 5)) + 1000).astype(stored)
    s, y, origin = rng.uniform(0, 2, 40), rng.integers(0, 2, 40).astype(float), np.full(5, 1000.0)
    rows = MemoryRows(*(backend.put(a) for a in (X, y, s)), origin=backend.put(origin))
    indices, narrow = backend.put(np.array([3, 39, 0])), backend.put(np.zeros(1, "float32")).dtype
    part, same = rows.take(indices, narrow), rows.take(indices)
    assert part.y.dtype == part.sample_weight.dtype == narrow
    assert part.total_weight == same.total_weight
    if stored == "float64":
        assert part.X.dtype == narrow
    else:
        assert part.X.dtype == rows.X.dtype  # no wider than it is stored
    w = backend.put(np.ones(5))
    np.testing.assert_allclose(
        backend.get(part.matmul(backend.put(np.ones(5, "float32")))), backend.get(same.matmul(w)), rtol=1e-6
    )


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("k", [1, 3])
def test_sparse_rows_equal_dense_rows(dtype, k, rng):
    dense = (rng.integers(0, 9, (23, 6)) * (rng.uniform(size=(23, 6)) < 0.3)).astype(dtype)
    s, y = rng.uniform(0, 2, 23), rng.integers(0, 2, 23).astype(float)
    one, other = SparseRows(csr_array(dense), y, s), MemoryRows(dense, y, s)
    shape = () if k == 1 else (k,)
    w, b, z = rng.normal(size=(6, *shape)), rng.normal(size=shape), rng.normal(size=(23, *shape))
    np.testing.assert_allclose(one.matmul(w), other.matmul(w), rtol=1e-6)
    np.testing.assert_allclose(one.rmatmul(z), other.rmatmul(z), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(one.gram(), other.gram())
    for found, expected in zip(one.scatter(s) + one.moments(), other.scatter(s) + other.moments(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    for found, expected in zip(
        one.propagate(PASSES["vectorized"], w, b), other.propagate(PASSES["vectorized"], w, b), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_moments_of_sparse_columns_far_from_zero(weighted, rng):
    X = 1.7e9 + 100 * rng.normal(size=(3000, 4))
    X[:, 1], X[:, 2], X[:, 3] = 1e3 / 3, 1, X[:, 3] - 1.7e9
    X[17, 2] = 0
    s = rng.uniform(0, 2, 3000) if weighted else None
    mean, spread = SparseRows(csr_array(X), np.zeros(3000), s).moments()
    expected = moments_in_float64(X, s)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-10)
    np.testing.assert_allclose(spread[[0, 2, 3]], expected[1][[0, 2, 3]], rtol=1e-7)
    assert spread[1] == 0


def test_moments_of_sparse_integers_that_store_a_number_in_parts():
    X = csr_array((np.full(3, 100, "int8"), np.zeros(3, "int32"), np.array([0, 3, 3])), shape=(2, 1))
    mean, spread = SparseRows(X, np.zeros(2, "float32")).moments()
    np.testing.assert_allclose((mean, spread), [[150], [150]])


def test_moments_of_sparse_rows_that_store_a_number_in_parts():
    X = csr_array((np.array([1.0, 2, -1, 0.5, 0.5]), np.array([0, 0, 0, 1, 1]), np.array([0, 2, 3, 5])), shape=(3, 2))
    rows = SparseRows(X, np.zeros(3))
    np.testing.assert_allclose(rows.moments(), (X.toarray().mean(axis=0), X.toarray().std(axis=0)), rtol=1e-12)
    assert X.nnz == 5


@pytest.mark.parametrize("k", [1, 3])
def test_many_sparse_rows_are_blocks_that_share_their_memory(k, rng):
    X = random_array((3000, 40), density=0.5, format="csr", rng=rng).tocsr()
    X = vstack([X] * 20).tocsr()
    X[777:900] *= 0  # rows without a stored value
    X.eliminate_zeros()
    rows = SparseRows(X, rng.integers(0, max(k, 2), 60_000).astype(float), rng.uniform(size=60_000))
    blocks = rows._blocks
    assert len(blocks) > 3
    assert all(np.shares_memory(block.data, X.data) for _, block in blocks)
    shape = () if k == 1 else (k,)
    w, b = rng.normal(size=(40, *shape)), rng.normal(size=shape)
    dense = MemoryRows(X.toarray(), rows.y, rows.sample_weight)
    with one_core_a_block():
        found, expected = (r.propagate(PASSES["vectorized"], w, b) for r in (rows, dense))
        np.testing.assert_allclose(rows.rmatmul(found[3]), X.T @ found[3], rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(rows.moments(), dense.moments(), rtol=1e-10)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("case", ["wide", "dependent", "zeros"])
def test_gram_space_keeps_products_and_lengths(backend, case, rng):
    X = rng.normal(size=(5, 12))
    X = {"wide": X, "dependent": np.concatenate([X, 2 * X]), "zeros": 0 * X}[case]
    rotation = rotate(MemoryRows(backend.put(X), backend.put(np.zeros(len(X)))))
    v = backend.put(rng.normal(size=rotation.rows.X.shape[1]))
    w = backend.get(rotation.back(v))
    np.testing.assert_allclose(X @ w, backend.get(rotation.rows.matmul(v)), atol=1e-12)
    if case != "zeros":
        assert rotation.rows.X.shape[1] == 5
        np.testing.assert_allclose(np.linalg.norm(w), np.linalg.norm(backend.get(v)))
        np.testing.assert_allclose(backend.get(rotation.forward(backend.put(w))), backend.get(v), atol=1e-12)


def test_no_row_at_all_is_no_error(rng):
    assert MemoryRows(np.zeros((0, 3), "uint8"), np.zeros(0)).matmul(np.zeros(3)).shape == (0,)


def test_pixels_are_not_widened_as_a_whole(rng):
    X = rng.integers(0, 255, (20_000, 3000)).astype("uint8")  # 60 MB; in float64 it would be 480 MB
    rows = MemoryRows(X, np.zeros(20_000))
    objective, _ = descent_from(np.zeros(3000), np.zeros(()), rows, scale=1 / 255, gram=False)
    tracemalloc.start()
    objective.visit(objective.start)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * memory.BLOCK_BYTES


def test_only_blocks_of_numpy_arrays_leave_the_thread(monkeypatch):
    # A GPU and a stream are current in one thread; this array library stands for all that are not NumPy.
    monkeypatch.setattr("gpulr.rows.memory.BLOCK_BYTES", 4000)
    threads = []

    def one_pass(*arguments):
        threads.append(threading.get_ident())
        return PASSES["vectorized"](*arguments)

    X, y, w, b = (xp_strict.zeros(shape) for shape in ((1000, 10), (1000,), (10,), ()))
    with one_core_a_block():
        MemoryRows(xp_strict.astype(X, xp_strict.uint8), y).propagate(one_pass, w, b)
    assert len(threads) == 20
    assert set(threads) == {threading.get_ident()}


def test_about_moments_shrink_what_is_chance_and_keep_what_is_not(rng):
    """Of 300 alike features no deviation differs; of unlike ones each is kept to a few percent, and zero stays zero."""
    X = rng.normal(size=(5000, 300)).astype("float32")
    rows = MemoryRows(X, np.zeros(5000, "float32"))
    exact, about = rows.moments()[1], rows.about_moments()[1]
    np.testing.assert_allclose(about, exact, rtol=0.1)
    assert np.std(about) < 0.3 * np.std(exact)
    X *= np.logspace(-3, 3, 300, dtype="float32")
    X[:, 7], X[:, 8] = 5.0, 0.0
    X[1234, 8] = 3.0  # which the sample does not see
    exact, about = rows.moments()[1], rows.about_moments()[1]
    np.testing.assert_allclose(about, exact, rtol=0.2)
    assert about[7] == 0
    assert about[8] == exact[8] > 0


def moments_in_float64(X, s=None):
    X = X.astype("float64")
    mean = np.average(X, axis=0, weights=s)
    return mean, np.sqrt(np.average((X - mean) ** 2, axis=0, weights=s))


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint16", "int64"])
@pytest.mark.parametrize("outlier", [1e4, 65535.0, 1e10, 0.0])
def test_moments_do_not_depend_on_the_order_of_the_samples(backend, dtype, outlier, rng):
    """Neither on outliers, whichever sample they are."""
    X = rng.integers(900, 1100, (4000, 4)).astype("float64")
    X[0, 0] = X[:2, 1] = X[:3, 2] = outlier
    X[:, 3] = 1000
    if dtype == "uint16":
        X = np.minimum(X, 65535)
    X = X.astype(dtype)
    expected = moments_in_float64(X)
    for order in (slice(None), slice(None, None, -1)):
        mean, spread = MemoryRows(backend.put(X[order].copy()), backend.put(np.zeros(4000, "float32"))).moments()
        assert (np.abs(backend.get(mean) - expected[0]) <= 1e-5 * (1 + expected[1])).all()
        np.testing.assert_allclose(backend.get(spread), expected[1], rtol=1e-4)


@pytest.mark.parametrize("sentinel", [-9999, 1e10, -1e18])
def test_a_sample_without_weight_does_not_change_moments(backend, sentinel, rng):
    X, s = rng.normal(size=(4000, 3)).astype("float32"), rng.uniform(0.5, 2, 4000).astype("float32")
    gone = [0, 1, 2, 77, 3999]
    X[gone, 0], s[gone] = sentinel, 0
    rows = MemoryRows(backend.put(X), backend.put(np.zeros(4000, "float32")), backend.put(s))
    there = s > 0
    for found, expected in zip(rows.moments(), moments_in_float64(X[there], s[there]), strict=True):
        np.testing.assert_allclose(backend.get(found), expected, rtol=1e-4, atol=1e-6)


def test_moments_of_samples_all_without_weight_but_few(backend, rng):
    X = rng.normal(size=(40, 3))
    s = np.zeros(40)
    s[[7, 30]] = 1, 2
    found = MemoryRows(*(backend.put(a) for a in (X, np.zeros(40), s))).moments()
    for one, expected in zip(found, moments_in_float64(X, s), strict=True):
        np.testing.assert_allclose(backend.get(one), expected, rtol=1e-12)


def test_about_moments_where_the_sample_has_no_weight(rng):
    X, s = rng.normal(size=(20_000, 60)), np.zeros(20_000)
    s[5] = s[19_990] = 1.0
    found = MemoryRows(X, np.zeros(20_000), s).about_moments()
    np.testing.assert_allclose(found, moments_in_float64(X, s), rtol=1e-12)


def test_integers_that_deviate_once_are_not_constant(backend):
    X = np.full((30_000, 2), 65535, dtype="uint16")
    X[12_345, 0] -= 1
    _, spread = MemoryRows(backend.put(X), backend.put(np.zeros(30_000, "float32"))).moments()
    np.testing.assert_allclose(backend.get(spread), moments_in_float64(X)[1], rtol=1e-4)


def test_rare_columns_take_no_more_than_blocks(backend, rng):
    """Moments of columns in which a sample sees no deviation, of which there can be many."""
    m, n = 20_000, 3000
    X = np.zeros((m, n), "uint8")
    X[np.arange(m), rng.integers(0, n, m)] = 1
    rows = MemoryRows(backend.put(X), backend.put(np.zeros(m, "float32")))
    tracemalloc.start()
    found = rows.about_moments()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    mean, spread = (backend.get(part) for part in found)
    expected = moments_in_float64(X)
    assert peak < 6 * memory.BLOCK_BYTES
    np.testing.assert_array_equal(spread > 0, expected[1] > 0)
    rare = spread < 0.05  # of those that the sample saw, a deviation once among 128 is 0.09
    assert rare.sum() > 0.9 * n
    np.testing.assert_allclose(spread[rare], expected[1][rare], rtol=1e-4)
    np.testing.assert_allclose(mean[rare], expected[0][rare], rtol=1e-4)
