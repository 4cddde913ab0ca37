"""Sparse rows: CSR matrices of SciPy, or of CuPy on a GPU. Only stored values are touched; nothing is made dense but
what has no more than n² or m² numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from gpulr import products
from gpulr.device import Array, array_namespace
from gpulr.links import cross_entropy
from gpulr.passes import Propagate
from gpulr.rows.memory import total_weight


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

    def take(self, indices: Array) -> SparseRows:
        """Copies of some rows, as in `MemoryRows`."""
        s = None if self.sample_weight is None else self.sample_weight[indices]
        share = self.total_weight * indices.shape[0] / self.y.shape[0]
        return SparseRows(self.X[indices], self.y[indices], s, share)

    def propagate(self, one_pass: Propagate, w: Array, b: Array) -> tuple[Array, Array, Array, Array]:
        """The vectorized pass in sparse products. `one_pass` is for dense blocks and is not used."""
        xp = array_namespace(w)
        Z = self.matmul(w) + b
        cost, dZ = cross_entropy(Z, self.y)
        cost, dZ = products.weigh(self.sample_weight, cost), products.weigh(self.sample_weight, dZ)
        return xp.sum(cost, dtype=xp.float64), self.rmatmul(dZ), xp.sum(dZ, axis=0, dtype=xp.float64), Z

    def matmul(self, w: Array) -> Array:
        """X w: (m,) for w (n,), (m, k) for w (n, k), in w's dtype."""
        return (self.X @ w).astype(w.dtype, copy=False)

    def rmatmul(self, z: Array) -> Array:
        """Xᵀ z: (n,) for z (m,), (n, k) for z (m, k), in z's dtype."""
        return (self.X.T @ z).astype(z.dtype, copy=False)

    def gram(self) -> Array:
        """K = X Xᵀ: (m, m), dense, in float64."""
        X = self.X.astype("float64")
        return (X @ X.T).toarray()

    def scatter(self, d: Array) -> tuple[Array, Array]:
        """Xᵀ diag(d) X (n, n), dense, and Xᵀ d (n,) for d (m,) ≥ 0, in float64."""
        X, d = self.X.astype("float64"), d.astype("float64")
        return (X.T @ X.multiply(d[:, None]).tocsr()).toarray(), X.T @ d

    def at_origin(self, w: Array) -> float:
        """As in `MemoryRows`: sparse rows are never shifted."""
        return 0.0

    def about_moments(self) -> tuple[Array, Array]:
        """The `moments`, which read stored values only."""
        return self.moments()

    def moments(self) -> tuple[Array, Array]:
        """Weighted mean and standard deviation of each column: (n,), (n,) in float64."""
        xp = array_namespace(self.y)
        s = xp.ones_like(self.y) if self.sample_weight is None else self.sample_weight
        X, s = self.X.astype("float64"), s.astype("float64")
        mean = (X.T @ s) / self.total_weight
        variance = (X.multiply(X).tocsr().T @ s) / self.total_weight - mean**2
        spread = xp.sqrt(xp.where(variance < 0, xp.zeros_like(variance), variance))
        # What rounding leaves of the spread of a constant column, after the difference of squares, is no spread.
        return mean, xp.where(spread <= 1e-7 * xp.abs(mean), xp.zeros_like(spread), spread)
