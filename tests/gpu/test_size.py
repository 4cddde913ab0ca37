"""Arrays of more than 2³¹ elements, and GPUs that have no room for more."""

from __future__ import annotations

import numpy as np
import pytest

from gpu.conftest import FOR_CUPY
from gpulr import LogisticRegression
from gpulr.device import Device, array_namespace, available_memory, device
from gpulr.passes import PASSES, vectorized
from gpulr.rows import MemoryRows, memory

WIDTH = 1024
SHOWN = 500  # rows at the begin, in the middle and at the end that are looked at


def in_reach(library, name):
    return name == "vectorized" or library.name == "cupy"


def shown(m):
    """The rows that are looked at: (3, SHOWN)."""
    return np.array([0, m // 2, m - SHOWN])[:, None] + np.arange(SHOWN)


def weights_of(library, m):
    """1 for the rows that are looked at, else 0: (m,) float32, on the library's device."""
    s = np.zeros(m, "float32")
    s[shown(m).reshape(-1)] = 1
    return library.put(s)


def numbers(rows):
    """What is in these rows (j,): (j, WIDTH), from 0 to 100. Rows that are 2³¹ or 2³² elements apart differ."""
    return (np.arange(WIDTH)[None, :] * 7 + rows[:, None] % 97) % 101


def check(library, X, some_rows, one_pass, rng):
    """A pass over X (m, n) whose rows `shown` are `some_rows` on the host: only those have weight, and are compared."""
    m, n = X.shape
    w = (rng.normal(size=n) / np.sqrt(n) / 100).astype("float32")
    labels = np.arange(m) % 2
    y, on_w, b = library.put(labels.astype("float32")), library.put(w), library.put(np.array(0.1, "float32"))
    cost, dw, db, z = MemoryRows(X, y, weights_of(library, m)).propagate(PASSES[one_pass], on_w, b)
    where = shown(m).reshape(-1)
    expected = vectorized.propagate(
        some_rows.astype("float64"), labels[where].astype("float64"), w.astype("float64"), 0.1
    )
    np.testing.assert_allclose(library.get(cost), expected[0], rtol=1e-5)
    np.testing.assert_allclose(library.get(dw), expected[1], rtol=1e-4, atol=1e-4 * np.abs(expected[1]).max())
    np.testing.assert_allclose(library.get(db), expected[2], rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(library.get(z)[where], expected[3], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("one_pass", ["vectorized", *FOR_CUPY])
def test_one_row_very_often(library, one_pass, rng):
    """A view of 1024 numbers with more than 2³¹ elements."""
    if not in_reach(library, one_pass):
        pytest.skip(f"{one_pass} is for CuPy")
    m = library.elements // WIDTH
    row = rng.integers(0, 100, (1, WIDTH)).astype("float32")
    on = library.put(row)
    X = array_namespace(on).broadcast_to(on, (m, WIDTH))
    check(library, X, np.broadcast_to(row, (3 * SHOWN, WIDTH)), one_pass, rng)


@pytest.mark.parametrize("stored", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("one_pass", ["vectorized", *FOR_CUPY])
def test_a_real_one(library, one_pass, stored, rng):
    """Numbers of their own in every place, so that an index that wraps around finds others."""
    if not in_reach(library, one_pass):
        pytest.skip(f"{one_pass} is for CuPy")
    if library.name == "array-api-strict":
        pytest.skip("its arrays are NumPy's")
    if (
        library.on_gpu
        and available_memory(library.put(np.zeros(1))) < 1.5 * library.elements * np.dtype(stored).itemsize
    ):
        pytest.skip("the GPU has no room for it")
    m = library.elements // WIDTH
    some = library.put(np.zeros(1))
    xp = array_namespace(some)
    X = xp.empty((m, WIDTH), dtype=getattr(xp, stored), device=device(some))
    for start in range(0, m, 1 << 13):
        block = numbers(np.arange(start, min(start + (1 << 13), m)))
        X[start : start + len(block), :] = library.put(block.astype(stored))
    check(library, X, numbers(shown(m).reshape(-1)), one_pass, rng)


# --- little room


@pytest.fixture
def limited(one_gpu):
    """CuPy's pool with so many bytes left beside what is in use."""

    def limit(nbytes):
        pool = one_gpu.get_default_memory_pool()
        pool.free_all_blocks()
        pool.set_limit(pool.used_bytes() + nbytes)
        return pool

    return limit


@pytest.mark.gpu
def test_blocks_shrink_with_the_room_that_is_left(one_gpu, limited, rng, monkeypatch):
    X = rng.integers(0, 255, (200_000, 1000), np.uint8)  # 200 MB; a block of the usual size and its copies are 1 GB
    y = (X[:, 0] > 127).astype("int64")
    model = LogisticRegression(device="cuda", max_iter=100, tol=1.0, solver="lbfgs")
    limited(700 << 20)
    sizes, block_bytes = [], memory.block_bytes
    monkeypatch.setattr(memory, "block_bytes", lambda X: sizes.append(block_bytes(X)) or sizes[-1])
    model.fit(X, y)
    assert np.isfinite(model.coef_).all()
    assert min(sizes) < memory.GPU_BLOCK_BYTES


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["propagate", "matmul", "rmatmul", "scatter", "moments"])
def test_a_block_that_has_no_room_is_tried_again_at_half_its_size(one_gpu, name, limited, rng, monkeypatch):
    """As where another process takes the memory after the size of the blocks was chosen."""
    monkeypatch.setattr(memory, "block_bytes", lambda X: 1 << 30)
    X = rng.integers(0, 255, (400_000, 1000), np.uint8)  # 400 MB, and 1.6 GB after conversion
    w, y = np.full(1000, 1e-3, "float32"), (X[:, 0] > 127).astype("float32")
    on_w, b, rows = one_gpu.asarray(w), one_gpu.zeros((), "float32"), MemoryRows(one_gpu.asarray(X), one_gpu.asarray(y))
    calls = {
        "propagate": lambda rows, w, b: rows.propagate(PASSES["vectorized"], w, b)[1],
        "matmul": lambda rows, w, b: rows.matmul(w[:, None] * w[:9]),  # for which there is no kernel
        "rmatmul": lambda rows, w, b: rows.rmatmul(rows.y),
        "scatter": lambda rows, w, b: rows.scatter(rows.y)[1],
        "moments": lambda rows, w, b: rows.moments()[1],
    }
    limited(700 << 20)
    found = calls[name](rows, on_w, b)
    assert rows._block_bytes < 1 << 30
    expected = calls[name](MemoryRows(X, y), w, b[()].get())
    np.testing.assert_allclose(found.get(), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.gpu
def test_what_does_not_fit_is_told_and_the_gpu_stays_usable(one_gpu, limited):
    X = np.broadcast_to(np.zeros(1, np.uint8), (1 << 20, 512))
    pool = limited(100 << 20)
    with pytest.raises(
        MemoryError, match=r"0\.50 GiB were asked for, 0\.10 of .* GiB are free on cuda:0.*device='cpu'"
    ):
        Device("cuda:0", "asked for").put(X)
    pool.set_limit(0)
    sent = Device("cuda:0", "asked for").put(X)
    assert sent.shape == X.shape
    assert int(sent.sum()) == 0


@pytest.mark.gpu
def test_what_the_pool_hoards_is_given_back(one_gpu, limited):
    pool = limited(200 << 20)
    hoard = [one_gpu.empty(1 << 20, np.uint8) for _ in range(150)]
    del hoard
    assert pool.free_bytes() >= 150 << 20
    sent = Device("cuda:0", "asked for").put(np.ones(180 << 20, np.uint8))  # in one piece, which the pool does not have
    assert int(sent.sum(dtype=np.int64)) == 180 << 20


@pytest.mark.gpu
def test_a_fit_that_does_not_fit_is_explained(one_gpu, limited, rng):
    X = one_gpu.asarray(rng.normal(size=(2000, 2000)).astype("float32"))
    y = one_gpu.asarray(rng.integers(0, 2, 2000))
    limited(1 << 20)
    with pytest.raises(MemoryError, match=r"the GPU has no room: .*nvidia-smi"):
        LogisticRegression(solver="lbfgs").fit(X, y)


@pytest.mark.gpu
@pytest.mark.parametrize("layout", ["C", "F", "some columns", "every other row", "vector"])
@pytest.mark.parametrize("stored", ["uint8", "float16", "float32", "float64"])
def test_large_arrays_arrive_as_they_are(one_gpu, layout, stored):
    from gpulr import transfer

    size = 5 * transfer.CHUNK_BYTES // np.dtype(stored).itemsize + 12_345 * 8
    array = (np.arange(size) % 251).astype(stored)
    if layout != "vector":
        array = array[: size // 1000 * 1000].reshape(-1, 1000)
        views = {"C": array, "F": array.T, "some columns": array[:, 10:900], "every other row": array[::2]}
        array = views[layout]
    sent = Device("cuda:0", "asked for").put(array)
    assert sent.dtype == array.dtype
    assert sent.flags.f_contiguous == (layout in ("F", "vector"))
    kept = array.copy()
    array[...] = 0  # at once: what was sent must not change
    np.testing.assert_array_equal(sent.get(), kept)
