"""Sparse rows: CSR matrices of SciPy, or of CuPy on a GPU. Only stored values are touched; nothing is made dense but
what has no more than n² or m² numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from array_api_compat import is_numpy_array

from gpulr import links, products
from gpulr.device import Array, array_namespace
from gpulr.parallel import cores, ordered
from gpulr.passes import Propagate, blocked
from gpulr.rows.memory import added, added_and_joined, joined, total_weight


@dataclass(frozen=True)
class SparseRows:
    """The samples as rows of a CSR matrix X (m, n), with labels and weights as in `MemoryRows`, in X's library."""

    X: Array
    y: Array
    sample_weight: Array | None = None
    given_total: float | None = None  # stands in for Σs, see `take`

    @cached_property
    def total_weight(self) -> float:
        """Σs, the number of samples when they have no weights."""
        return total_weight(self.y, self.sample_weight) if self.given_total is None else self.given_total

    def take(self, indices: Array, dtype: Any = None) -> SparseRows:
        """Copies of some rows, as in `MemoryRows`."""
        X, y, s = (None if part is None else part[indices] for part in (self.X, self.y, self.sample_weight))
        share = self.total_weight * indices.shape[0] / self.y.shape[0]
        if dtype is not None and dtype != self.y.dtype:
            X, y, s = (None if part is None else part.astype(dtype) for part in (X, y, s))
        return SparseRows(X, y, s, share)

    def propagate(self, one_pass: Propagate, w: Array, b: Array) -> tuple[Array, Array, Array, Array]:
        """The vectorized pass in sparse products. `one_pass` is for dense blocks and is not used."""
        xp = array_namespace(w)

        def of_block(block: tuple[slice, Array]) -> tuple[list[Array], Array]:
            rows, X = block
            Z = _cast(X @ w, w) + b
            cost, dZ = (blocked if is_numpy_array(Z) else links).cross_entropy(Z, self.y[rows])
            s = None if self.sample_weight is None else self.sample_weight[rows]
            cost, dZ = products.weigh(s, cost), products.weigh(s, dZ)
            return [xp.sum(cost, dtype=xp.float64), _cast(X.T @ dZ, w), xp.sum(dZ, axis=0, dtype=xp.float64)], Z

        (cost, dw, db), Z = added_and_joined(ordered(of_block, self._blocks))
        return cost, dw, db, Z

    def matmul(self, w: Array) -> Array:
        """X w: (m,) for w (n,), (m, k) for w (n, k), in w's dtype."""
        return joined([_cast(Z, w) for Z in ordered(lambda block: block[1] @ w, self._blocks)])

    def rmatmul(self, z: Array) -> Array:
        """Xᵀ z: (n,) for z (m,), (n, k) for z (m, k), in z's dtype."""
        (total,) = added(ordered(lambda block: [_cast(block[1].T @ z[block[0]], z)], self._blocks))
        return total

    @cached_property
    def _blocks(self) -> list[tuple[slice, Array]]:
        """Rows and the CSR matrix of each block, which shares X's memory. One on a GPU.

        Each costs a sum of n numbers, so it should have some more of its own.
        """
        X, m = self.X, self.X.shape[0]  # y may be a mere sample of its kind: `gpulr.inputs.rows_of`
        count = min(4 * cores(), X.nnz // (16 * X.shape[1] + 100_000)) if is_numpy_array(self.y) else 1
        if count <= 1:
            return [(slice(0, m), X)]
        from scipy.sparse import csr_array  # here, because importing it takes a while

        ends = np.linspace(0, m, count + 1).astype(int)
        blocks = []
        for start, end in pairwise(ends):
            first, last = X.indptr[start], X.indptr[end]
            block = csr_array((end - start, X.shape[1]), dtype=X.dtype)
            # Its constructor would copy pieces of a larger array.
            block.data, block.indices = X.data[first:last], X.indices[first:last]
            block.indptr = X.indptr[start : end + 1] - first
            blocks.append((slice(start, end), block))
        return blocks

    def gram(self) -> Array:
        """K = X Xᵀ: (m, m), dense, in float64."""
        X = self.X.astype("float64")
        return (X @ X.T).toarray()

    def scatter(self, d: Array, columns: Array | None = None) -> tuple[Array, Array]:
        """Xᵀ diag(d) X (n, n), dense, and Xᵀ d (n,) for d (m,) ≥ 0, in float64; of some columns as in `MemoryRows`."""
        X = self.X if columns is None else self.X[:, columns]
        X, d = X.astype("float64"), d.astype("float64")
        return (X.T @ X.multiply(d[:, None]).tocsr()).toarray(), X.T @ d

    def at_origin(self, w: Array) -> float:
        """As in `MemoryRows`: sparse rows are never shifted."""
        return 0.0

    def about_moments(self) -> tuple[Array, Array]:
        """The `moments`, which read stored values only."""
        return self.moments()

    def moments(self) -> tuple[Array, Array]:
        """Weighted mean and standard deviation of each column: (n,), (n,) in float64."""
        xp, total = array_namespace(self.y), total_weight(self.y, self.sample_weight)
        s = xp.ones_like(self.y) if self.sample_weight is None else self.sample_weight
        s = s.astype("float64")

        def sums(parts: Callable[[Array, Array], tuple[Array, Array]]) -> list[Array]:
            """Weighted sums over each column of what `parts` makes of (stored values, their columns)."""

            def of_block(block: tuple[slice, Array]) -> list[Array]:
                rows, X = block
                if not X.has_canonical_format:
                    X = X.astype("float64")  # in which their sums do not overflow
                    X.sum_duplicates()  # the square of a sum is not the sum of squares
                return [_with_values(X, part).T @ s[rows] for part in parts(X.data.astype("float64"), X.indices)]

            return added(ordered(of_block, self._blocks))

        first, second = sums(lambda x, _: (x, x * x))
        mean = first / total
        variance = second / total - mean**2
        if xp.any((mean != 0) & (variance <= 1e-10 * mean**2)):
            # A difference of squares that agree in many digits. About the mean it is none, and zeros are far from that.
            stored, second = sums(lambda x, column: (xp.ones_like(x), (x - mean[column]) ** 2))
            zeros = total - stored
            least = self.y.shape[0] * xp.finfo(xp.float64).eps * total  # what is less is rounding of the sums
            zeros = xp.where(zeros > least, zeros, 0.0)
            variance = (second + zeros * mean**2) / total
        spread = xp.sqrt(xp.where(variance < 0, xp.zeros_like(variance), variance))
        # Less than the computation sees in sparse rows, which are not shifted; in float64 what rounding leaves of the mean.
        rounding = max(2 * float(xp.finfo(self.y.dtype).eps), 1e-12) * xp.abs(mean)
        return mean, xp.where(spread <= rounding, xp.zeros_like(spread), spread)


def _with_values(X: Array, values: Array) -> Array:
    """X with other numbers in the places of those it stores, whose indices it shares."""
    return type(X)((values, X.indices, X.indptr), shape=X.shape)


def _cast(Z: Array, like: Array) -> Array:
    return Z.astype(like.dtype, copy=False)
