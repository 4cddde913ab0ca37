"""Dense rows in memory, host or device, taken in blocks so that X is never converted or copied as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from array_api_compat import is_cupy_array, is_numpy_array, is_torch_array

from gpulr import products
from gpulr.device import Array, array_namespace, floats
from gpulr.parallel import in_blocks, ordered
from gpulr.passes import Propagate

# Size of a block after conversion to the dtype of the computation. On the host: large enough that the Python call around
# a block costs nothing beside it, small enough to stay in a last-level cache. A GPU reads 8 MB faster than it starts the
# dozen kernels of a pass, so its blocks are only small beside its memory.
BLOCK_BYTES = 8 << 20
GPU_BLOCK_BYTES = 256 << 20


@dataclass(frozen=True)
class MemoryRows:
    """The samples as rows, with their labels.

    Attributes:
        X: (m, n), any real dtype and memory order.
        y: (m,) labels 0, 1, ... in the floating dtype of the computation, in X's namespace and on its device.
        sample_weight: (m,) ≥ 0 in y's dtype, or None for all ones.
        given_total: stands in for Σs, see `take`.
    """

    X: Array
    y: Array
    sample_weight: Array | None = None
    given_total: float | None = None

    def take(self, indices: Array) -> MemoryRows:
        """Copies of some rows, (j,) indices. Σs becomes their share of it, so that means over them are unbiased."""
        xp = array_namespace(self.X, indices)
        s = None if self.sample_weight is None else xp.take(self.sample_weight, indices, axis=0)
        share = self.total_weight * indices.shape[0] / self.y.shape[0]
        return MemoryRows(xp.take(self.X, indices, axis=0), xp.take(self.y, indices, axis=0), s, share)

    def propagate(self, one_pass: Propagate, w: Array, b: Array) -> tuple[Array, Array, Array]:
        """One pass over all rows, block by block: (cost, dw, db) as in `gpulr.passes`, summed in order in float64."""
        xp = array_namespace(w)

        def of_block(rows: slice) -> list[Array]:
            s = None if self.sample_weight is None else self.sample_weight[rows]
            sums = one_pass(self.X[rows, :], self.y[rows], w, b, s)
            return [xp.astype(part, xp.float64, copy=False) for part in sums]

        cost, dw, db = _added(ordered(of_block, _slices(self.X, w.dtype, axis=0)))
        return cost, dw, db

    @cached_property
    def total_weight(self) -> float:
        """Σs, the number of samples when they have no weights."""
        return total_weight(self.y, self.sample_weight) if self.given_total is None else self.given_total

    def matmul(self, w: Array) -> Array:
        """X w: (m,) for w (n,), (m, k) for w (n, k), in w's dtype."""
        return matmul(self.X, w)

    def rmatmul(self, z: Array) -> Array:
        """Xᵀ z: (n,) for z (m,), (n, k) for z (m, k), in z's dtype; blocks added in order in float64."""
        xp = array_namespace(self.X, z)

        def of_block(rows: slice) -> list[Array]:
            block = xp.astype(self.X[rows, :], z.dtype, copy=False)
            return [xp.astype(products.rmatmul(block, z[rows, ...]), xp.float64, copy=False)]

        (total,) = _added(ordered(of_block, _slices(self.X, z.dtype, axis=0)))
        return xp.astype(total, z.dtype, copy=False)

    def gram(self) -> Array:
        """K = X Xᵀ: (m, m) in float64, from blocks of columns added in order.

        Products of integers are formed in float64, where they are exact: 64 × 64 × 3 pixels overflow the 24 bits of a
        float32, and K is formed only once.
        """
        xp = array_namespace(self.X, self.y)
        dtype = self.y.dtype if xp.isdtype(self.X.dtype, "real floating") else xp.float64

        def of_block(columns: slice) -> list[Array]:
            block = xp.astype(self.X[:, columns], dtype, copy=False)
            return [xp.astype(block @ block.T, xp.float64, copy=False)]

        (total,) = _added(ordered(of_block, _slices(self.X, dtype, axis=1)))
        return total

    def scatter(self, d: Array) -> tuple[Array, Array]:
        """Xᵀ diag(d) X (n, n) and Xᵀ d (n,) for d (m,) ≥ 0, in float64; blocks multiplied in d's dtype."""
        xp = array_namespace(self.X, d)

        def of_block(rows: slice) -> list[Array]:
            root = xp.sqrt(d[rows])
            block = root[:, None] * xp.astype(self.X[rows, :], d.dtype, copy=False)
            return [xp.astype(part, xp.float64, copy=False) for part in (block.T @ block, root @ block)]

        # The product with √d is a copy, so it is made in blocks even where X needs no conversion.
        square, single = _added(ordered(of_block, _slices(self.X, d.dtype, axis=0, always=True)))
        return square, single

    def moments(self) -> tuple[Array, Array]:
        """Weighted mean and standard deviation of each column: (n,), (n,) in float64."""
        xp, dtype = array_namespace(self.X, self.y), self.y.dtype
        # Moments about the first row: those about zero lose all digits when a column is far from zero.
        origin = xp.astype(self.X[0, :], dtype)

        def of_block(rows: slice) -> list[Array]:
            block = xp.astype(self.X[rows, :], dtype, copy=False) - origin
            s = xp.ones_like(self.y[rows]) if self.sample_weight is None else self.sample_weight[rows]
            return [xp.astype(part, xp.float64, copy=False) for part in (s @ block, s @ block**2)]

        first, second = _added(ordered(of_block, _slices(self.X, dtype, axis=0, always=True)))
        total = self.total_weight
        mean = first / total
        variance = second / total - mean**2
        spread = xp.sqrt(xp.where(variance < 0, xp.zeros_like(variance), variance))
        mean = mean + xp.astype(origin, xp.float64, copy=False)
        # What rounding leaves of the spread of a constant column is no spread.
        rounding = 100 * xp.finfo(dtype).eps * xp.abs(mean)
        return mean, xp.where(spread <= rounding, xp.zeros_like(spread), spread)


def total_weight(y: Array, sample_weight: Array | None) -> float:
    """Σs as a Python number: m when the samples have no weights."""
    if sample_weight is None:
        return float(y.shape[0])
    xp = array_namespace(sample_weight)
    return floats([xp.sum(sample_weight, dtype=xp.float64)])[0]


def matmul(X: Array, w: Array) -> Array:
    """X w, converting X to w's dtype block by block.

    Args:
        X: (m, n), any real dtype.
        w: (n,) or (n, k), floating.

    Returns:
        (m,) or (m, k) in w's dtype.
    """
    xp = array_namespace(X, w)
    slices = _slices(X, w.dtype, axis=0)
    parts = list(ordered(lambda rows: xp.astype(X[rows, :], w.dtype, copy=False) @ w, slices))
    return parts[0] if len(parts) == 1 else xp.concat(parts)


def block_bytes(X: Array) -> int:
    """The size of a block where X lives."""
    on_gpu = not is_numpy_array(X) and (is_cupy_array(X) or (is_torch_array(X) and X.is_cuda))
    return GPU_BLOCK_BYTES if on_gpu else BLOCK_BYTES


def _added(blocks: Iterator[list[Array]]) -> list[Array]:
    """The sums over all blocks, added in their order."""
    total = next(blocks)
    for block in blocks:
        total = [one + other for one, other in zip(total, block, strict=True)]
    return total


def _slices(X: Array, dtype: object, axis: int, always: bool = False) -> list[slice]:
    """Slices of one axis of X such that a block of `dtype` has BLOCK_BYTES.

    One slice of all of X when a product reads it as it is, that is in this dtype and without gaps; unless `always`, or
    blocks are to be spread over the cores of the host.
    """
    size = X.shape[axis]
    flags = getattr(X, "flags", None)  # NumPy and CuPy; a BLAS library copies what has gaps
    has_gaps = flags is not None and not (flags.c_contiguous or flags.f_contiguous)
    spread = in_blocks() and is_numpy_array(X)
    if size == 0 or (X.dtype == dtype and not has_gaps and not always and not spread):
        return [slice(0, size)]
    xp = array_namespace(X)
    itemsize = xp.finfo(dtype).bits // 8
    step = max(1, block_bytes(X) // max(1, itemsize * X.shape[1 - axis]))
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]
