"""Dense rows in memory, host or device, taken in blocks so that X is never converted or copied as a whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from array_api_compat import device, is_cupy_array, is_numpy_array

from gpulr import products
from gpulr.device import Array, array_namespace, available_memory, current_device_of, floats, is_on_gpu
from gpulr.gpu_memory import give_back, out_of_memory
from gpulr.parallel import cores, in_blocks, ordered
from gpulr.passes import AS_STORED, PASSES, Propagate, fused
from gpulr.transfer import Arrival

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

# Size of a block after conversion to the dtype of the computation. On the host: so large that the Python calls around a
# block, for which its threads wait for one another, cost little beside it; so small that it stays in a last-level cache. A
# GPU reads 8 MB faster than it starts the dozen kernels of a pass, so its blocks are only small beside its memory.
BLOCK_BYTES = 8 << 20
GPU_BLOCK_BYTES = 256 << 20
# How many times larger blocks of a large X on the host are at most that is read as it is. In array operations, whose
# temporaries grow with a block; and in the compiled pass, which works on tiles of its own within it.
LARGER_BLOCKS, LARGER_COMPILED_BLOCKS = 8, 16

# A block on a GPU with what is computed from it, a product or a square of its size and their sum.
COPIES_OF_A_BLOCK = 4

# Rows of the Gram matrix that one core computes at a time, and the columns of X that they are products of.
GRAM_TILE, GRAM_PANEL = 256, 4096

# Products in a Hessian from which on its rows are spread over the cores even where a block could hold them.
WORTH_SPREADING = 1 << 26

# Of a variance, how much may be lost to rounding where it is a difference, and how often X is read at most to avoid it.
LOST_DIGITS, READS_FOR_MOMENTS = 1e-5, 3

# Rows that `about_moments` looks at, at least and at most, in so many runs; how many numbers of X it takes beyond the least;
# and from how many in X on.
SAMPLE, SAMPLE_RUNS, SAMPLE_NUMBERS, WORTH_SAMPLING = (128, 2048), 32, 1 << 19, 1 << 20


def _with_room(method: Callable[Concatenate[MemoryRows, P], R]) -> Callable[Concatenate[MemoryRows, P], R]:
    """The method, called again where a GPU had no room: first as it was, then with blocks half as large, as all after it.

    What is free when the blocks are chosen may be somebody else's when they are needed.
    """

    @wraps(method)
    def call(rows: MemoryRows, /, *args: P.args, **options: P.kwargs) -> R:
        again = False
        while True:
            try:
                return method(rows, *args, **options)
            except out_of_memory():
                if again and rows._block_bytes <= BLOCK_BYTES:
                    raise
            # Here, not above: an error that is being handled holds the arrays of the block that failed.
            with current_device_of(rows.X):
                give_back()
            if again:
                vars(rows)["_block_bytes"] = max(BLOCK_BYTES, rows._block_bytes // 2)
            again = True

    return call


@dataclass(frozen=True)
class MemoryRows:
    """The samples as rows, with their labels.

    Attributes:
        X: (m, n), any real dtype and memory order.
        y: (m,) labels 0, 1, ... in the floating dtype of the computation, in X's namespace and on its device.
        sample_weight: (m,) ≥ 0 in y's dtype, or None for all ones.
        given_total: stands in for Σs, see `take`.
        origin: (n,) in float64, subtracted from every row as it is read: the samples are x − origin. None is zero. For
            columns far from zero: in X w the large terms that all rows share would cost the digits in which they differ.
        arrival: of an X that is on its way to a GPU, whose rows are to be read by `stored`; else None.
    """

    X: Array
    y: Array
    sample_weight: Array | None = None
    given_total: float | None = None
    origin: Array | None = None
    arrival: Arrival | None = None

    def stored(self, rows: slice = slice(None)) -> Array:
        """Rows of X as they are stored, there for whatever is launched next."""
        if self.arrival is not None:
            self.arrival.wait(rows)
        return self.X[rows, :]

    def take(self, indices: Array, dtype: Any = None) -> MemoryRows:
        """Copies of some rows, (j,) indices. Σs becomes their share of it, so that means over them are unbiased.

        `dtype` is that of the computation with them, by default as with all rows; floats are not kept wider than that.
        """
        xp, dtype = array_namespace(self.X, indices), dtype or self.y.dtype
        share = self.total_weight * indices.shape[0] / self.y.shape[0]
        y, s = (
            None if part is None else xp.astype(xp.take(part, indices, axis=0), dtype, copy=False)
            for part in (self.y, self.sample_weight)
        )
        if dtype != self.y.dtype and _has_more_digits(self.X, dtype):
            return MemoryRows(self._taken(indices, dtype, self.origin), y, s, share)
        return MemoryRows(self._taken(indices, self.X.dtype, None), y, s, share, self.origin)

    def _taken(self, indices: Array, dtype: Any, origin: Array | None) -> Array:
        """Some rows less `origin` in this dtype; on the host by blocks: on all cores, and without a wide copy of all."""
        xp, n, stored = array_namespace(self.X), self.X.shape[1], self.stored()
        if not is_numpy_array(self.X):
            return _converted(xp.take(stored, indices, axis=0), dtype, origin)
        X = xp.empty((indices.shape[0], n), dtype=dtype)  # NumPy's

        # NumPy's take would copy all of an X in Fortran order first.
        as_it_is = stored.dtype == dtype and origin is None and stored.flags.c_contiguous

        def copy(rows: slice) -> None:
            if as_it_is:
                # Once; where NumPy is to look for indices that are none ("raise"), it writes to a buffer first.
                stored.take(indices[rows], axis=0, out=X[rows], mode="clip")
            else:
                X[rows] = _converted(stored[indices[rows]], dtype, origin)

        for _ in self._ordered(copy, _slices(X, self.X.dtype, self._block_bytes // 2, always=True)):
            pass
        return X

    @_with_room
    def propagate(self, one_pass: Propagate, w: Array, b: Array) -> tuple[Array, Array, Array, Array]:
        """One pass over all rows, block by block: as in `gpulr.passes`, the sums added in order in float64."""
        xp = array_namespace(w)

        def of_block(rows: slice) -> tuple[list[Array], Array]:
            s = None if self.sample_weight is None else self.sample_weight[rows]
            X = self.stored(rows) if self.origin is None else self._block(rows, w.dtype)
            *sums, z = one_pass(X, self.y[rows], w, b, s)
            return [xp.astype(part, xp.float64, copy=False) for part in sums], z

        blocks = self._blocks(w.dtype)
        if one_pass in AS_STORED and self.origin is None:
            blocks = self._as_they_arrive([slice(0, self.X.shape[0])])  # a kernel takes all rows
            if one_pass is PASSES["compiled"]:
                blocks = _slices(self.X, self.X.dtype, _host_block_bytes(self.X, LARGER_COMPILED_BLOCKS))
        (cost, dw, db), Z = added_and_joined(self._ordered(of_block, blocks))
        return cost, dw, db, Z

    @cached_property
    def total_weight(self) -> float:
        """Σs, the number of samples when they have no weights."""
        return total_weight(self.y, self.sample_weight) if self.given_total is None else self.given_total

    @_with_room
    def matmul(self, w: Array) -> Array:
        """X w: (m,) for w (n,), (m, k) for w (n, k), in w's dtype."""
        if (
            is_cupy_array(self.X)
            and self.origin is None
            and fused.why_not(self.X, 1 if w.ndim == 1 else w.shape[1]) is None
        ):
            return fused.matmul(self.stored(), w)
        return joined(
            list(self._ordered(lambda rows: products.matmul(self._block(rows, w.dtype), w), self._blocks(w.dtype)))
        )

    @_with_room
    def rmatmul(self, z: Array) -> Array:
        """Xᵀ z: (n,) for z (m,), (n, k) for z (m, k), in z's dtype; blocks added in order in float64."""
        xp = array_namespace(self.X, z)

        def of_block(rows: slice) -> list[Array]:
            product = products.rmatmul(self._block(rows, z.dtype), z[rows, ...])
            return [xp.astype(product, xp.float64, copy=False)]

        (total,) = added(self._ordered(of_block, self._blocks(z.dtype)))
        return xp.astype(total, z.dtype, copy=False)

    @_with_room
    def gram(self, dtype: Any = None) -> Array:
        """K = X Xᵀ: (m, m) in float64, of products in `dtype`; see below for the default.

        Products over blocks of columns, added in order in float64: of all rows where they are few, else by tiles of K's rows
        up to the diagonal. By default these are in the dtype of the computation, but of integers in float64, where they are
        exact: 64 × 64 × 3 pixels overflow the 24 bits of a float32, and K is formed only once.
        """
        xp, (m, n), X = array_namespace(self.X, self.y), self.X.shape, self.stored()
        dtype = dtype or (self.y.dtype if is_floating(X) else xp.float64)
        spread = in_blocks() and is_numpy_array(self.X)
        if spread and m > GRAM_TILE:
            return self._gram_by_tiles(dtype)
        step = max(1, min(n, self._block_bytes // (xp.finfo(dtype).bits // 8 * m)))
        if spread:
            step = min(step, max(1024, -(-n // 4)))  # four blocks at least, for some cores
        elif self.X.dtype == dtype and self.origin is None:
            step = n

        def product(of: slice) -> list[Array]:
            block = _converted(X[:, of], dtype, None if self.origin is None else self.origin[of])
            return [xp.astype(block @ block.T, xp.float64, copy=False)]

        (K,) = added(self._ordered(product, _steps(n, step)))
        return K

    def _gram_by_tiles(self, dtype: Any) -> Array:
        """`gram` of many rows on the host: a panel of columns after the other, converted once, tile by tile of K's rows."""
        xp, (m, n), X = array_namespace(self.X), self.X.shape, self.stored()
        as_it_is = self.X.dtype == dtype and self.origin is None
        K, tiles = xp.zeros((m, m), dtype=xp.float64), _steps(m, GRAM_TILE)
        copied = xp.empty((0 if as_it_is else m, min(n, GRAM_PANEL)), dtype=dtype)

        def together(function: Callable[[slice], None]) -> None:
            # The largest first, so that all cores are busy to the end.
            for _ in self._ordered(function, tiles[::-1]):
                pass

        for of in _steps(n, GRAM_PANEL):
            panel = X[:, of] if as_it_is else copied[:, : of.stop - of.start]

            def copy(rows: slice, of: slice = of, panel: Array = panel) -> None:
                panel[rows, :] = _converted(X[rows, of], dtype, None if self.origin is None else self.origin[of])

            def tile(rows: slice, panel: Array = panel) -> None:
                K[rows, : rows.stop] += panel[rows, :] @ panel[: rows.stop, :].T

            if not as_it_is:
                together(copy)
            together(tile)

        def mirror(rows: slice) -> None:
            K[: rows.start, rows] = K[rows, : rows.start].T

        together(mirror)
        return K

    @_with_room
    def scatter(self, d: Array, columns: Array | None = None) -> tuple[Array, Array]:
        """Xᵀ diag(d) X (n, n) and Xᵀ d (n,) for d (m,) ≥ 0, in float64; blocks multiplied in d's dtype.

        Those in float32 have all its digits, unless CuPy or PyTorch was told otherwise in its own way.

        Of some columns of X only, where their indices (j,) are given: (j, j) and (j,).
        """
        xp = array_namespace(self.X, d)

        def of_block(rows: slice) -> list[Array]:
            root = xp.sqrt(d[rows])
            if columns is None:
                block = self._block(rows, d.dtype)
            else:
                origin = None if self.origin is None else xp.take(self.origin, columns, axis=0)
                block = _converted(self._columns(rows, columns), d.dtype, origin)
            block = root[:, None] * block
            square, single = products.matmul(block.T, block), products.rmatmul(block, root)
            return [xp.astype(part, xp.float64, copy=False) for part in (square, single)]

        n = self.X.shape[1] if columns is None else columns.shape[0]
        blocks = self._blocks_of_products(n, d.dtype)
        square, single = added(self._ordered(of_block, blocks, self._matrices_at_once(n)))
        return square, single

    def _matrices_at_once(self, n: int) -> int | None:
        """How many matrices (n, n) of blocks are in memory at most, where they are larger than a block of X: one a core and
        one to be added, as long as all take no more than a quarter of what is free."""
        size = 2 * 8 * n**2  # of products, and in float64
        small = size <= BLOCK_BYTES or not is_numpy_array(self.X)
        return None if small else max(1, min(cores() + 1, available_memory(self.X) // (4 * size)))

    def _blocks_of_products(self, n: int, dtype: object) -> list[slice]:
        """Blocks for matrices (n, n); on the host as many for each core, where these have something to do.

        A product with √d is a copy, so there are blocks even where X needs no conversion. On the host they have at least n/4
        rows, for each takes a matrix to be added.
        """
        m, least = self.X.shape[0], -(-n // 4)
        blocks = self._blocks(dtype, always=True, rows=least)
        if is_numpy_array(self.X) and m * n * n >= WORTH_SPREADING:
            count = cores() * math.ceil(len(blocks) / cores())
            blocks = _steps(m, max(least, math.ceil(m / count)))
        return blocks

    def about_moments(self) -> tuple[Array, Array]:
        """`moments` to a few percent, from some rows spread evenly over all; exact where they see no deviation.

        Enough to choose variables by, which any other choice only makes a little less good.
        """
        xp, (m, n) = array_namespace(self.X, self.y), self.X.shape
        count = max(min(m // 16, SAMPLE_NUMBERS // n, SAMPLE[1]), SAMPLE[0])
        if 2 * count > m or m * n < WORTH_SAMPLING:
            return self.moments()
        length, step = count // SAMPLE_RUNS, m // SAMPLE_RUNS
        starts = xp.arange(SAMPLE_RUNS, device=device(self.y)) * step
        rows = xp.reshape(starts[:, None] + xp.arange(length, device=device(self.y)), (-1,))
        sample = self.take(rows)
        if sample.sample_weight is not None and not total_weight(sample.y, sample.sample_weight) > 0:
            return self.moments()
        mean, spread = sample.moments()
        spread = _shrunk(spread, 1 / (2 * SAMPLE_RUNS * length))
        unseen = spread == 0
        (columns,) = xp.nonzero(unseen)
        if columns.shape[0]:
            place = xp.cumulative_sum(xp.astype(unseen, columns.dtype)) - 1  # of a column among these
            place = xp.where(unseen, place, xp.zeros_like(place))
            exact = self.moments(columns)
            mean, spread = (
                xp.where(unseen, xp.take(b, place, axis=0), a) for a, b in zip((mean, spread), exact, strict=True)
            )
        return mean, spread

    @_with_room
    def moments(self, columns: Array | None = None) -> tuple[Array, Array]:
        """Weighted mean and standard deviation of each column of X itself, whatever the origin: (n,), (n,) in float64.

        Of some columns only, where their indices (j,) are given: (j,), (j,).
        """
        xp, dtype = array_namespace(self.X, self.y), self.y.dtype
        wide = _subtracted_in(self.X, dtype)
        # Moments about a typical sample: those about zero lose all digits when a column is far from zero.
        origin = self._typical(columns)
        for _ in range(READS_FOR_MOMENTS):
            mean, variance = self._moments_about(origin, columns)
            # The variance is a difference from (mean − origin)², so it has lost digits where that is much larger: the sample
            # was not typical. Not so where both are zero, of a column of one value.
            lost = xp.finfo(dtype).eps * (mean - origin) ** 2
            if not bool(xp.any(lost > LOST_DIGITS * variance)):
                break
            origin = _in_two_dtypes(mean, wide)
        spread = xp.sqrt(variance)
        if is_floating(self.X):
            # Values that differ in their last digit only are one value that was computed in two ways.
            rounding = 2 * xp.finfo(wide).eps * xp.abs(mean)
            spread = xp.where(spread <= rounding, xp.zeros_like(spread), spread)
        return mean, spread

    def _typical(self, columns: Array | None) -> Array:
        """The median of three samples that have a weight, column by column: (n,) in float64, or (j,) of some columns.

        In a column of one value it is that value, and one outlier does not put it far from the others.
        """
        xp, m = array_namespace(self.X, self.y), self.y.shape[0]
        some = list(range(min(m, 3)))  # of an X on its way the first are the first to be there
        if self.sample_weight is not None:
            (weighted,) = xp.nonzero(self.sample_weight > 0)
            some = [int(weighted[i]) for i in range(min(weighted.shape[0], 3))]
        a, b, c = (
            xp.astype(self._columns(slice(i, i + 1), columns)[0, :], xp.float64) for i in (some + 2 * some[-1:])[:3]
        )
        return xp.maximum(xp.minimum(a, b), xp.minimum(xp.maximum(a, b), c))

    def _moments_about(self, origin: Array, columns: Array | None) -> tuple[Array, Array]:
        """Weighted mean and variance of each column, in float64, from sums over x − origin in the computation's dtype."""
        xp, total = array_namespace(self.X, self.y), total_weight(self.y, self.sample_weight)

        def of_block(rows: slice) -> list[Array]:
            block = _converted(self._columns(rows, columns), self.y.dtype, origin)
            s = xp.ones_like(self.y[rows]) if self.sample_weight is None else self.sample_weight[rows]
            return [xp.astype(products.rmatmul(part, s), xp.float64, copy=False) for part in (block, block**2)]

        blocks = self._blocks(self.y.dtype, always=True)
        # Several blocks at once a worker: their sums take as long to hand over as a small block to add up.
        few = math.ceil(len(blocks) / (4 * cores()))
        runs = [blocks[start : start + few] for start in range(0, len(blocks), few)]
        first, second = added(self._ordered(lambda run: added(map(of_block, run)), runs))
        mean = first / total
        variance = second / total - mean**2
        return origin + mean, xp.where(variance < 0, xp.zeros_like(variance), variance)

    def _columns(self, rows: slice, columns: Array | None) -> Array:
        """A block of X as it is stored, of some columns or of all."""
        block = self.stored(rows)
        return block if columns is None else array_namespace(block).take(block, columns, axis=1)

    def at_origin(self, w: Array) -> Array | float:
        """origin·w: () for w (n,), (k,) for w (n, k), in float64; to go from an intercept for x − origin to one for x."""
        if self.origin is None:
            return 0.0
        xp = array_namespace(w)
        return self.origin @ xp.astype(w, xp.float64, copy=False)

    def _block(self, rows: slice, dtype: object) -> Array:
        return _converted(self.stored(rows), dtype, self.origin)

    def _ordered(self, function: Callable[[T], R], items: Sequence[T], at_once: int | None = None) -> Iterator[R]:
        """function(item) for each item, in order; on the host's cores where these are what NumPy computes with.

        A GPU and a stream are current in one thread only, and PyTorch has threads of its own.
        """
        return ordered(function, items, at_once) if is_numpy_array(self.X) else map(function, items)

    def _blocks(self, dtype: object, always: bool = False, rows: int = 1) -> list[slice]:
        """Slices of the rows; see `_slices`. `rows` is the least number of them in a block of a NumPy X."""
        size, always = self._block_bytes, always or self.origin is not None
        if is_numpy_array(self.X):
            as_they_are = self.X.dtype == dtype and not always  # a copy of a larger block is slower: new memory
            size = _host_block_bytes(self.X, LARGER_BLOCKS) if as_they_are else size
            size = max(size, rows * self.X.shape[1] * _itemsize(dtype))
        return self._as_they_arrive(_slices(self.X, dtype, size, always=always))

    def _as_they_arrive(self, blocks: list[slice]) -> list[slice]:
        """The blocks; in parts where X is on its way, so that the work on what is there goes on beside the copies."""
        return blocks if self.arrival is None else [part for block in blocks for part in self.arrival.parts(block)]

    @cached_property
    def _block_bytes(self) -> int:
        """Looked up once, so that all passes over these rows have the same blocks and the same bits."""
        return block_bytes(self.X)


def total_weight(y: Array, sample_weight: Array | None) -> float:
    """Σs as a Python number: m when the samples have no weights."""
    if sample_weight is None:
        return float(y.shape[0])
    xp = array_namespace(sample_weight)
    return floats([xp.sum(sample_weight, dtype=xp.float64)])[0]


def block_bytes(X: Array) -> int:
    """The size of a block where X lives: less than usual on a GPU that has little room left."""
    return _fitting(GPU_BLOCK_BYTES, available_memory(X)) if is_on_gpu(X) else BLOCK_BYTES


def _host_block_bytes(X: Array, times: int) -> int:
    """The size of a block of a NumPy X, of which each core gets as many: two, but of the usual size at least and of so many
    times as much at most.

    The cores are those of the machine, not the threads in use, so that their number does not change the bits.
    """
    usual = X.nbytes / BLOCK_BYTES
    least = max(1, usual / times, min(usual, 2 * cores()))
    blocks = 1 if usual <= 1 else cores() * math.ceil(least / cores())
    return int(max(1, math.ceil(X.shape[0] / blocks)) * X.shape[1] * X.itemsize)


def _fitting(size: int, free: int) -> int:
    """`size` halved until a block of it with what is computed from it fits in so many free bytes, or is a host's block."""
    while size > BLOCK_BYTES and COPIES_OF_A_BLOCK * size > free:
        size //= 2
    return size


def _shrunk(spread: Array, noise: float) -> Array:
    """Deviations (n,) nearer to each other by what the variance `noise` of their logarithms explains; zeros stay.

    Features that are alike would otherwise differ by chance, which costs a solver some iterations. It is the estimator of
    James & Stein, "Estimation with quadratic loss" (1961), with the mean of all as the centre.
    """
    xp = array_namespace(spread)
    known = xp.astype(spread > 0, spread.dtype)
    logarithm = xp.log(xp.where(spread > 0, spread, xp.ones_like(spread)))
    count = xp.sum(known) + 1e-300  # all may be zero
    centre = xp.sum(logarithm) / count
    between = xp.sum(known * (logarithm - centre) ** 2) / count - noise
    between = xp.where(between > 0, between, xp.zeros_like(between))
    return known * xp.exp(centre + between / (between + noise) * (logarithm - centre))


def _converted(X: Array, dtype: object, origin: Array | None) -> Array:
    """X − origin in this dtype; X itself where nothing is to be done."""
    xp = array_namespace(X)
    if origin is None:
        return xp.astype(X, dtype, copy=False)
    wide = _subtracted_in(X, dtype)
    return xp.astype(xp.astype(X, wide, copy=False) - xp.astype(origin, wide, copy=False), dtype, copy=False)


def _subtracted_in(X: Array, dtype: Any) -> Any:
    """The dtype in which an origin is subtracted from X for a result in `dtype`, of which only the difference is rounded.

    Numbers that have more digits than the result are subtracted first, so that the digits that stay are those that differ.
    """
    if is_floating(X):
        return X.dtype if _has_more_digits(X, dtype) else dtype
    return dtype if _itemsize(X.dtype) <= 2 else array_namespace(X).float64


def _in_two_dtypes(a: Array, narrow: Any) -> Array:
    """Numbers of float64 that are the same in another dtype."""
    xp = array_namespace(a)
    return xp.astype(xp.astype(a, narrow), xp.float64)


def is_floating(X: Array) -> bool:
    """Whether X holds floats; bfloat16 too, which NumPy and CuPy have from elsewhere and the standard does not know."""
    return getattr(X.dtype, "name", "") == "bfloat16" or bool(array_namespace(X).isdtype(X.dtype, "real floating"))


def _has_more_digits(X: Array, dtype: object) -> bool:
    """Whether X holds floats wider than a floating dtype."""
    return is_floating(X) and 8 * _itemsize(X.dtype) > array_namespace(X).finfo(dtype).bits


def added_and_joined(blocks: Iterator[tuple[list[Array], Array]]) -> tuple[list[Array], Array]:
    """The sums over all blocks, added in their order, and the margins of all of them."""
    margins = []

    def sums() -> Iterator[list[Array]]:
        for of_block, z in blocks:
            margins.append(z)
            yield of_block

    total = added(sums())
    return total, joined(margins)


def joined(parts: list[Array]) -> Array:
    """The margins of all blocks."""
    return parts[0] if len(parts) == 1 else array_namespace(*parts).concat(parts)


def added(blocks: Iterator[list[Array]]) -> list[Array]:
    """The sums over all blocks, added in their order to those of the first, which nobody else may use any more."""
    total = next(blocks)
    for block in blocks:
        for i, part in enumerate(block):
            total[i] += part  # in place: new memory for a large matrix takes longer than the sum
    return total


def _slices(X: Array, dtype: object, size: int, always: bool = False) -> list[slice]:
    """Slices of the rows of X such that a block has `size` bytes in this dtype.

    One slice of all rows when a product reads X as it is, that is in this dtype and without gaps; unless `always`, or blocks
    are to be spread over the cores of the host.
    """
    m, n = X.shape
    flags = getattr(X, "flags", None)  # NumPy and CuPy; a BLAS library copies what has gaps
    has_gaps = flags is not None and not (flags.c_contiguous or flags.f_contiguous)
    spread = in_blocks() and is_numpy_array(X)
    if m == 0 or (X.dtype == dtype and not has_gaps and not always and not spread):
        return [slice(0, m)]
    return _steps(m, max(1, size // max(1, _itemsize(dtype) * n)))


def _steps(end: int, step: int) -> list[slice]:
    """Slices of so many indices up to the end."""
    return [slice(start, min(start + step, end)) for start in range(0, end, step)]


def _itemsize(dtype: Any) -> int:
    """Bytes of a number; PyTorch's dtypes and NumPy's know it themselves, those of array-api-strict wrap NumPy's."""
    return int(getattr(dtype, "_np_dtype", dtype).itemsize)
