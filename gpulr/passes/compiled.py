"""The pass compiled for the CPU by numba (the extra `fast`): X is read from memory once, in the dtype it is stored in.

Everything here works on one block of rows in one thread, without Python's lock: `gpulr.parallel` runs several blocks at
once. The same block gives the same bits. Compiling takes seconds once for each pair of dtypes; numba keeps the result on
disk, beside this file or in its cache directory.

X is (m, n), NumPy, in any memory order and with any strides: bool, integers, float16, bfloat16, float32 or float64, in
the processor's byte order. The dtype of the computation is that of w (or of z, or of `out`), float32 or float64. Rows or
columns whose elements are adjacent are fast; anything else is read one element at a time.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from gpulr.device import Array
from gpulr.passes import compiled_kernels as kernels

# Rows are worked on in tiles, forward and backward, so that the second step finds them in a core's own cache. What a tile
# costs beside its rows is little from 256 rows on.
TILE_BYTES = 128 << 10
TILE_ROWS = 4, 256
# A tile of columns is pieces of many streams, which are read the faster the longer they are, even where the tile outgrows
# the second-level cache. Wide rows outgrow every cache: then X is read twice, in longer pieces.
TILE_BYTES_BY_COLUMN = 512 << 10
TILE_ROWS_BY_COLUMN = 256, 1024
WIDE_ROW_BYTES = 16 << 10
LONG_PIECE_ROWS = 2048

_AS_THEY_ARE = frozenset(map(np.dtype, ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")))


def propagate(
    X: Array, y: Array, w: Array, b: Array, sample_weight: Array | None = None
) -> tuple[Array, Array, Array, Array]:
    """Forward and backward propagation in one read of X. Arguments and formulas: see `gpulr.passes`.

    Returns:
        cost and db in float64, dw in w's dtype, the margins z (m,) or (m, k) in w's dtype.

    Raises:
        TypeError: a dtype that is not compiled, see above.
        ValueError: shapes that do not fit; compiled code would read past the end.
    """
    A, by_column = _lines(X)
    _check(X, w, "w", axis=1, dimensions=(1, 2))
    _check(X, y, "y", axis=0)
    if sample_weight is not None:
        _check(X, sample_weight, "sample_weight", axis=0)
    W, dtype = _classes_as_rows(w), w.dtype
    b = _contiguous(b, dtype).reshape(-1)
    if b.shape != W.shape[:1]:
        raise ValueError(f"b has {b.size} elements, but w is for {W.shape[0]}")
    y = _contiguous(y, dtype)
    s = y[:0] if sample_weight is None else _contiguous(sample_weight, dtype)
    two = w.ndim == 1
    z, dW, db = np.empty((b.size, y.size), dtype), np.zeros(W.shape), np.zeros(b.size)
    cost = kernels.propagate(A, by_column, y, s, W, b, two, _tile(X, by_column), z, dW, db)
    dW = dW.astype(dtype)
    return np.float64(cost), *((dW[0], db[0], z[0]) if two else (dW.T, db, z.T))


def matmul(X: Array, w: Array) -> Array:
    """X w: (m,) for w (n,), (m, k) for w (n, k), in w's dtype. Raises as `propagate`."""
    A, by_column = _lines(X)
    _check(X, w, "w", axis=1, dimensions=(1, 2))
    W = _classes_as_rows(w)
    z = np.zeros((W.shape[0], X.shape[0]), w.dtype)
    kernels.matmul(A, by_column, W, _tile_of_one_product(X, by_column), z)
    return z[0] if w.ndim == 1 else z.T


def rmatmul(X: Array, z: Array) -> Array:
    """Xᵀ z: (n,) for z (m,), (n, k) for z (m, k), summed in float64, in z's dtype. Raises as `propagate`."""
    A, by_column = _lines(X)
    _check(X, z, "z", axis=0, dimensions=(1, 2))
    Z = _classes_as_rows(z)
    W = np.zeros((Z.shape[0], X.shape[1]))
    kernels.rmatmul(A, by_column, Z, _tile_of_one_product(X, by_column), W)
    W = W.astype(z.dtype)
    return W[0] if z.ndim == 1 else W.T


def moments(X: Array, origin: Array, s: Array | None = None) -> tuple[Array, Array]:
    """Σᵢ sᵢ·(xᵢ − origin) and Σᵢ sᵢ·(xᵢ − origin)², in float64 throughout.

    Args:
        X: (m, n).
        origin: (n,), any real dtype.
        s: (m,) weights, any real dtype; None for all ones.

    Returns:
        (n,), (n,) in float64. Raises as `propagate`.
    """
    A, by_column = _lines(X)
    s = np.ones(X.shape[0]) if s is None else s
    _check(X, origin, "origin", axis=1)
    _check(X, s, "s", axis=0)
    first, second = np.zeros(X.shape[1]), np.zeros(X.shape[1])
    kernels.moments(A, by_column, _contiguous(origin, np.float64), _contiguous(s, np.float64), first, second)
    return first, second


def convert(X: Array, out: Array, factor: Array | None = None) -> Array:
    """X in the dtype of `out`, in the memory of `out`; fastest where both have the same memory order.

    Args:
        X: (m, n).
        out: (m, n), float32 or float64, may not overlap X.
        factor: (m,), multiplies the rows; None for none.

    Returns:
        out. Raises as `propagate`.
    """
    A, by_column = _lines(X)
    if out.shape != X.shape:
        raise ValueError(f"out has shape {out.shape}, but X has {X.shape}")
    _computation(out.dtype)
    factor = np.ones(X.shape[0], out.dtype) if factor is None else factor
    _check(X, factor, "factor", axis=0)
    target = out.T if by_column else out
    # Across the order of `out`, pieces of lines: their elements meet the next lines' in the same cache lines of `out`.
    length = target.shape[1]
    run = length if abs(target.strides[1]) <= abs(target.strides[0]) else 64
    factor = _contiguous(factor, out.dtype)
    kernels.convert(A, by_column, length, factor, _adjacent(target, writeable=True), max(1, run))
    return out


def _lines(X: Array) -> tuple[Array, bool]:
    """X, or Xᵀ where columns are the lines: `compiled_kernels` calls whatever is nearest in memory a line.

    Read-only, so that arrays that are and arrays that are not share the compiled code.
    """
    X = _stored(X)
    m, n = X.shape
    by_column = (abs(X.strides[0]), -m) < (abs(X.strides[1]), -n)
    return _adjacent(X.T if by_column else X, writeable=False), by_column


def _adjacent(A: Array, writeable: bool) -> Array:
    """A as numba's contiguous arrays, whose elements need no multiplication by a stride, where its lines are contiguous.

    Lines with gaps between them (some columns of C-ordered X, some rows of Fortran-ordered X) become lines so long that
    they have none. So the result has rows longer than A's: no more than A's length of them may be touched.
    """
    lines, length = A.shape
    step, between = divmod(A.strides[0], A.itemsize)
    if not A.flags.c_contiguous and A.strides[1] == A.itemsize and between == 0 and step >= length:
        return as_strided(A, (lines, step), writeable=writeable)
    A = A.view()
    A.flags.writeable = writeable
    return A


def _stored(X: Array) -> Array:
    """X as numba knows it: no subclass of an array, and `compiled_kernels` says why some are records."""
    X = np.asarray(X)
    if X.ndim != 2:
        raise ValueError(f"X has shape {X.shape}, but has to be (samples, features)")
    if X.dtype in _AS_THEY_ARE:
        return X
    if X.dtype == bool:
        return X.view(np.uint8)
    if X.dtype.name in ("float16", "bfloat16") and X.dtype.isnative:
        return X.view([(X.dtype.name, np.int16)])
    raise TypeError(f"X is {X.dtype}: convert it to float32 or float64 in the processor's byte order")


def _computation(dtype: np.dtype) -> None:
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"the computation is in float32 or float64, not in {dtype}: convert w (or z, or out)")


def _classes_as_rows(w: Array) -> Array:
    """A copy of w (n,) or (n, k) as (1, n) or (k, n): contiguous and writeable, as what is computed from it."""
    _computation(w.dtype)
    return np.array(np.atleast_2d(w.T), order="C")


def _contiguous(array: Array, dtype: np.dtype | type) -> Array:
    """The array itself where it is contiguous and of this dtype, read-only (see `_lines`)."""
    view = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False
    return view


def _check(X: Array, array: Array, name: str, axis: int, dimensions: tuple[int, ...] = (1,)) -> None:
    if array.ndim not in dimensions or array.shape[0] != X.shape[axis]:
        raise ValueError(f"{name} has shape {array.shape}, which does not fit X of shape {X.shape}")


def _tile(X: Array, by_column: bool) -> int:
    """The number of rows in a tile."""
    bytes_a_row = max(1, X.itemsize * X.shape[1])
    if not by_column:
        return _between(TILE_BYTES // bytes_a_row, *TILE_ROWS)
    if bytes_a_row > WIDE_ROW_BYTES:
        return LONG_PIECE_ROWS
    return _between(TILE_BYTES_BY_COLUMN // bytes_a_row // 64 * 64, *TILE_ROWS_BY_COLUMN)


def _between(value: int, least: int, most: int) -> int:
    return min(max(value, least), most)


def _tile_of_one_product(X: Array, by_column: bool) -> int:
    """The number of rows in a tile that is read once: only the result has to stay in the cache."""
    return LONG_PIECE_ROWS if by_column else _tile(X, by_column)
