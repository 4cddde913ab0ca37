"""The pass compiled for the CPU by numba (the extra `fast`): X is read from memory once, in the dtype it is stored in.

It works on one block of rows in one thread, without Python's lock: `gpulr.parallel` runs several blocks at once. The same
block gives the same bits. Compiling takes seconds once for each pair of dtypes; numba keeps the result on disk, beside
this file or in its cache directory.

X is (m, n), NumPy, in any memory order and with any strides: bool, integers, float16, bfloat16, float32 or float64, in
the processor's byte order. The dtype of the computation is that of w, float32 or float64. Rows or columns whose elements
are adjacent are fast; anything else is read one element at a time.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from gpulr.device import Array
from gpulr.passes import compiled_kernels as kernels

# Rows are worked on in tiles, forward and backward, so that the second step finds them in a core's own cache. What a tile
# costs beside its rows is little from 256 rows on.
TILE_BYTES = 128 << 10
TILE_ROWS = 8, 256
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


def _lines(X: Array) -> tuple[Array, bool]:
    """X, or Xᵀ where columns are the lines: `compiled_kernels` calls whatever is nearest in memory a line.

    Read-only, so that arrays that are and arrays that are not share the compiled code.
    """
    X = _stored(X)
    m, n = X.shape
    by_column = (abs(X.strides[0]), -m) < (abs(X.strides[1]), -n)
    return _adjacent(X.T if by_column else X), by_column


def _adjacent(A: Array) -> Array:
    """A as numba's contiguous arrays, whose elements need no multiplication by a stride, where its lines are contiguous.

    Lines with gaps between them (some columns of C-ordered X, some rows of Fortran-ordered X) become lines so long that
    they have none. So the result has rows longer than A's: no more than A's length of them may be read.
    """
    lines, length = A.shape
    step, between = divmod(A.strides[0], A.itemsize)
    if not A.flags.c_contiguous and A.strides[1] == A.itemsize and between == 0 and step >= length:
        return as_strided(A, (lines, step), writeable=False)
    A = A.view()
    A.flags.writeable = False
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


def _classes_as_rows(w: Array) -> Array:
    """A copy of w (n,) or (n, k) as (1, n) or (k, n): contiguous and writeable, as what is computed from it."""
    if w.dtype not in (np.float32, np.float64):
        raise TypeError(f"the computation is in float32 or float64, not in {w.dtype}: convert w")
    return np.array(np.atleast_2d(w.T), order="C")


def _contiguous(array: Array, dtype: np.dtype) -> Array:
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
