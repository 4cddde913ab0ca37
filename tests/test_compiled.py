"""The compiled pass against the vectorized one and the loop: every storage dtype, memory order and shape it has code for."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

numba = pytest.importorskip("numba")

from gpulr.passes import compiled, loop, vectorized  # noqa: E402  # only where numba is
from gpulr.passes import compiled_kernels as kernels  # noqa: E402  # as above

# What the pass is compiled for here, which takes seconds each; `test_number` has the conversion of the others.
PAIRS = [(stored, "float32") for stored in ("bool", "uint8", "int16", "float16", "bfloat16", "float32")]
PAIRS += [(stored, "float64") for stored in ("uint8", "float64")]
RELATIVE = {"float32": 3e-6, "float64": 1e-12}

ORDERS = {
    "C": lambda X: np.ascontiguousarray(X),
    "F": lambda X: np.asfortranarray(X),
    "some columns of C": lambda X: np.concatenate([X, X], axis=1)[:, 1 : X.shape[1] + 1],
    "some rows of F": lambda X: np.asfortranarray(np.concatenate([X, X]))[1 : X.shape[0] + 1],
    "every second row": lambda X: np.repeat(X, 2, axis=0)[::2],
    "every second element": lambda X: np.repeat(np.repeat(X, 2, axis=0), 2, axis=1)[::2, ::2],
    "rows from the last to the first": lambda X: X[::-1],
    "columns from the last to the first": lambda X: np.asfortranarray(X)[:, ::-1],
    "rows that are one": lambda X: np.broadcast_to(X[:1], X.shape),
    "windows": lambda X: np.lib.stride_tricks.sliding_window_view(X.ravel()[: sum(X.shape) - 1], X.shape[1]),
}


def matrix(rng, m, n, stored="float32"):
    """Numbers of order 1 that every dtype has room for."""
    if stored == "bool":
        return rng.integers(0, 2, (m, n)).astype(bool)
    if stored == "bfloat16":
        return rng.normal(size=(m, n)).astype(pytest.importorskip("ml_dtypes").bfloat16)
    if np.dtype(stored).kind in "iu":
        return rng.integers(0 if stored[0] == "u" else -5, 6, (m, n)).astype(stored)
    return rng.normal(size=(m, n)).astype(stored)


def problem(rng, m, n, dtype, k=None):
    """y, w, b and weights; margins of order 1."""
    shape = (n,) if k is None else (n, k)
    y = rng.integers(0, k or 2, m)
    w, b = rng.normal(size=shape) / np.sqrt(n), rng.normal(size=shape[1:])
    return [np.asarray(array, dtype) for array in (y, w, b, rng.uniform(0, 3, m))]


def check(found, X, y, w, b, s=None):
    """`found` against the vectorized pass in float64; sums that cancel may be wrong by a part of their terms."""
    dtype = w.dtype
    X, y, w, b = (np.asarray(array, float) for array in (X, y, w, b))
    s = None if s is None else s.astype(float)
    cost, dw, db = vectorized.propagate(X, y, w, b, s)[:3]
    z = X @ w + b
    relative = RELATIVE[dtype.name]
    scale = np.sqrt(len(y)) + 1 if s is None else np.sqrt(len(y)) * 3 + 1
    size = np.abs(X).max(initial=1)
    np.testing.assert_allclose(found[0], cost, rtol=relative)
    np.testing.assert_allclose(found[1], dw, rtol=relative, atol=relative * scale * size)
    np.testing.assert_allclose(found[2], db, rtol=relative, atol=relative * scale)
    np.testing.assert_allclose(found[3], z, rtol=relative, atol=relative * 3 * size)
    assert found[0].dtype == found[2].dtype == "float64"
    assert found[1].dtype == found[3].dtype == dtype
    assert (found[1].shape, found[2].shape, found[3].shape) == (dw.shape, db.shape, z.shape)


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize(("stored", "dtype"), PAIRS)
def test_every_dtype(stored, dtype, order, rng):
    X = np.asarray(matrix(rng, 301, 67, stored), order=order)
    y, w, b, s = problem(rng, 301, 67, dtype)
    check(compiled.propagate(X, y, w, b), X, y, w, b)
    check(compiled.propagate(X, y, w, b, s), X, y, w, b, s)
    y, w, b, s = problem(rng, 301, 67, dtype, k=3)
    check(compiled.propagate(X, y, w, b, s), X, y, w, b, s)


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("n", [1, 2, 3, 7, 31, 32, 33, 100, 1000, 4097])
def test_every_shape(n, order, rng):
    for m in (1, 2, 7, 64, 65, 1000) if n < 1000 else (1, 65, 300):
        X = np.asarray(matrix(rng, m, n), order=order)
        for k in (None, 3) if n < 1000 else (None, 10):
            y, w, b, s = problem(rng, m, n, "float32", k)
            check(compiled.propagate(X, y, w, b, s), X, y, w, b, s)


@pytest.mark.parametrize("order", ORDERS)
def test_every_memory_order(order, rng):
    X = ORDERS[order](matrix(rng, 130, 37))
    y, w, b, s = problem(rng, 130, 37, "float32")
    check(compiled.propagate(X, y, w, b, s), X, y, w, b, s)
    X.flags.writeable = False
    check(compiled.propagate(X, y, w, b, s), X, y, w, b, s)


def test_rows_mapped_from_a_file(tmp_path, rng):
    X = matrix(rng, 50, 12)
    X.tofile(tmp_path / "rows")
    mapped_rows = np.memmap(tmp_path / "rows", "float32", "r", shape=X.shape)
    y, w, b, s = problem(rng, 50, 12, "float32")
    check(compiled.propagate(mapped_rows, y, w, b, s), X, y, w, b, s)


def test_equals_the_loop(rng):
    X = matrix(rng, 40, 7, "float64")
    y, w, b, s = problem(rng, 40, 7, "float64")
    for one, other in zip(compiled.propagate(X, y, w, b, s)[:3], loop.propagate(X, y, w, b, s)[:3], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("k", [None, 10])
def test_nothing_to_add(k, rng):
    for m, n in ((0, 5), (6, 0)):
        X = np.zeros((m, n), "float32")
        y, w, b, _ = problem(rng, m, max(n, 1), "float32", k)
        check(compiled.propagate(X, y, w[:n], b), X, y, w[:n], b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_margins_of_1000(dtype):
    X, y = np.array([[1000.0], [-1000.0], [1000.0]], dtype), np.array([1, 0, 0], dtype)
    cost, dw, db, z = compiled.propagate(X, y, np.ones(1, dtype), np.zeros((), dtype))
    assert (float(cost), dw.tolist(), float(db), z.tolist()) == (1000.0, [1000.0], 1.0, X[:, 0].tolist())
    cost, dw, db, _ = compiled.propagate(X, y, np.array([[-1, 1, 0]], dtype), np.zeros(3, dtype))
    assert (float(cost), db.tolist()) == (2000.0, [-1.0, 1.0, 0.0])


@pytest.mark.parametrize("k", [None, 3])
@pytest.mark.parametrize(("dtype", "margin", "relative"), [("float32", 18.4, 1e-5), ("float64", 23.0, 1e-13)])
def test_a_small_cost_keeps_its_digits(dtype, margin, relative, k):
    """Well-separated samples: every e is about 1e-8 (1e-10), and log(1 + e) would lose it."""
    X = np.linspace(margin, margin + 1, 100).astype(dtype)[:, None]
    y, w, b = np.ones(100, dtype), np.ones(1, dtype), np.zeros((), dtype)
    expected = np.log1p(np.exp(-X.astype(float))).sum()
    if k:
        w, b = np.array([[0, 1, 0]], dtype), np.zeros(3, dtype)
        expected = np.log1p(2 * np.exp(-X.astype(float))).sum()
    assert compiled.propagate(X, y, w, b)[0] == pytest.approx(expected, rel=relative)


@pytest.mark.parametrize("k", [None, 3])
@pytest.mark.parametrize("stored", ["float16", "bfloat16", "float32"])
def test_nan_comes_out(stored, k, rng):
    X = matrix(rng, 100, 20, stored)
    X[57, 3] = np.nan
    y, w, b, _ = problem(rng, 100, 20, "float32", k)
    for order in "CF":
        cost, dw, db, z = compiled.propagate(np.asarray(X, order=order), y, w, b)
        assert np.isnan(cost)
        assert np.isnan(dw).all()
        assert np.isnan(db).all()
        assert np.isnan(z).reshape(100, -1).all(axis=1).nonzero()[0].tolist() == [57]


def test_the_same_bits_twice(rng):
    X = matrix(rng, 1000, 33)
    for k in (None, 3):
        arguments = problem(rng, 1000, 33, "float32", k)
        for one, other in zip(compiled.propagate(X, *arguments), compiled.propagate(X, *arguments), strict=True):
            assert one.tobytes() == other.tobytes()


def test_float32_sums_do_not_degrade_with_the_number_of_rows(rng):
    """A column of 0.1 and residuals of one sign: added one by one in float32 the sum is wrong in its 4th digit."""
    X, y = np.full((300_000, 1), 0.1, "float32"), np.zeros(300_000, "float32")
    for layout in (X, np.repeat(X, 3, axis=1)):
        w = np.zeros(layout.shape[1], "float32")
        _, dw, db, _ = compiled.propagate(layout, y, w, np.float32(0))
        np.testing.assert_allclose(dw, 0.5 * 300_000 * X[0, 0].astype(float), rtol=5e-6)
        assert db == 150_000


def check_margins_of_one_column(column, expected):
    """z = 1·x + 0 is x itself, whether the lines are columns or rows."""
    m, one, zero = len(column), np.ones(1, "float32"), np.zeros((), "float32")
    for X in (column[:, None], np.stack([column, column], axis=1)[:, :1]):
        np.testing.assert_array_equal(compiled.propagate(X, np.zeros(m, "float32"), one, zero)[3], expected)


def test_all_16_bits_of_a_float16():
    bits = np.arange(1 << 16, dtype=np.uint16)
    expected = bits.view(np.float16).astype("float32")
    check_margins_of_one_column(bits.view(np.float16), expected)
    # The way of processors without an instruction for it.
    np.testing.assert_array_equal(mapped(kernels.half_by_bits, bits.view(np.int16), np.float32), expected)


def test_all_16_bits_of_a_bfloat16():
    bits = np.arange(1 << 16, dtype=np.uint16)
    column = bits.view(pytest.importorskip("ml_dtypes").bfloat16)
    check_margins_of_one_column(column, (bits.astype("uint32") << 16).view("float32"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("stored", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_number(stored, dtype, rng):
    @numba.njit
    def number(x):
        return kernels.number(x, dtype(0))

    if stored[0] == "f":
        x = rng.normal(size=1000).astype(stored)
    else:
        limits = np.iinfo(stored)
        x = rng.integers(limits.min, limits.max, 1000, stored, endpoint=True)
        x[:2] = limits.min, limits.max
    np.testing.assert_array_equal(mapped(number, x, dtype), x.astype(dtype))


def mapped(function, x, dtype):
    """A compiled function of one number over an array."""

    @numba.njit(error_model="numpy")
    def loop_over(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    out = np.empty(x.shape, dtype)
    loop_over(x, out)
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exp(dtype):
    tiny, eps = np.finfo(dtype).tiny, np.finfo(dtype).eps
    lowest = float(np.log(tiny))
    t = np.concatenate([np.linspace(lowest + 1, 0, 100_001), -np.logspace(-30, 1.5, 10_001)]).astype(dtype)
    exact = np.exp(t.astype(np.longdouble))
    assert (np.abs(mapped(kernels.exp, t, dtype) - exact) <= eps * exact).all()
    # Underflow is to 0 or a number as small; never to a negative one.
    below = np.array([lowest - 5, -1e4, -1e30, -np.finfo(dtype).max], dtype)
    assert mapped(kernels.exp, below, dtype).tolist() == [0, 0, 0, 0]
    edge = mapped(kernels.exp, np.linspace(lowest - 2, lowest + 1, 1001).astype(dtype), dtype)
    assert ((edge >= 0) & (edge < 4 * tiny)).all()
    assert np.isnan(mapped(kernels.exp, np.array([np.nan], dtype), dtype)).all()
    assert mapped(kernels.exp, np.zeros(1, dtype), dtype) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log1p(dtype):
    x = np.concatenate([np.linspace(0, 20, 100_001), np.logspace(-37, 3, 100_001)]).astype(dtype)
    exact = np.log1p(x.astype(np.longdouble))
    assert (np.abs(mapped(kernels.log1p, x, dtype) - exact) <= 2 * np.finfo(dtype).eps * exact).all()
    assert np.isnan(mapped(kernels.log1p, np.array([np.nan], dtype), dtype)).all()


def test_what_does_not_fit_is_refused(rng):
    X = matrix(rng, 10, 3)
    y, w, b, s = problem(rng, 10, 3, "float32")
    for arguments, message in [
        ((X, y[1:], w, b), r"y has shape \(9,\), which does not fit X of shape \(10, 3\)"),
        ((X, y, w[1:], b), r"w has shape \(2,\), which does not fit X of shape \(10, 3\)"),
        ((X, y, w[:, None, None], b), r"w has shape \(3, 1, 1\)"),
        ((X, X, w, b), r"y has shape \(10, 3\), which does not fit X of shape \(10, 3\)"),
        ((X, y, w, b, s[1:]), r"sample_weight has shape \(9,\)"),
        ((X, y, w, np.zeros(2, "float32")), "b has 2 elements, but w is for 1"),
        ((X[0], y, w, b), r"X has shape \(3,\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            compiled.propagate(*arguments)
    for stored in (X.astype(">f4"), X.astype(complex), X.astype(">f2"), X.astype(object)):
        with pytest.raises(TypeError, match="convert it to float32 or float64"):
            compiled.propagate(stored, y, w, b)
    with pytest.raises(TypeError, match="not in float16: convert w"):
        compiled.propagate(X, y, w.astype("float16"), b)


def test_importing_gpulr_does_not_import_numba():
    code = "import sys, gpulr.passes; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "numba" not in loaded
