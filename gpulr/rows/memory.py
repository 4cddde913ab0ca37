"""Rows in memory, host or device, handed out in blocks so that X is never converted or copied as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from array_api_compat import array_namespace, device

from gpulr.device import Array

# Size of a block after conversion to the dtype of the computation. Large enough that the Python call around a block
# costs nothing beside it, small enough to be no burden in memory and to stay in a last-level cache.
BLOCK_BYTES = 8 << 20


@dataclass(frozen=True)
class MemoryRows:
    """The samples as rows, with their labels.

    Attributes:
        X: (m, n), any real dtype and memory order.
        y: (m,) labels 0 or 1 in the floating dtype of the computation, in X's namespace and on its device.
        sample_weight: (m,) ≥ 0 in y's dtype, or None for all ones.
    """

    X: Array
    y: Array
    sample_weight: Array | None = None

    def blocks(self) -> Iterator[tuple[Array, Array, Array | None]]:
        """Blocks (X, y, sample_weight) of consecutive rows, in order; together all rows once."""
        for rows in _slices(self.X, self.y.dtype, axis=0):
            yield (
                self.X[rows, :],
                self.y[rows],
                None if self.sample_weight is None else self.sample_weight[rows],
            )

    def matmul(self, w: Array) -> Array:
        """X w: (m,) in w's dtype."""
        return matmul(self.X, w)

    def rmatmul(self, z: Array) -> Array:
        """Xᵀ z: (n,) in z's dtype, blocks added in order in float64."""
        xp = array_namespace(self.X, z)
        total = xp.zeros(self.X.shape[1], dtype=xp.float64, device=device(z))
        for rows in _slices(self.X, z.dtype, axis=0):
            total = total + xp.astype(z[rows] @ xp.astype(self.X[rows, :], z.dtype, copy=False), xp.float64)
        return xp.astype(total, z.dtype, copy=False)

    def gram(self) -> Array:
        """K = X Xᵀ: (m, m) in y's dtype, from blocks of columns added in order in float64.

        Products of integers are formed in float64, where they are exact: 64 × 64 × 3 pixels overflow the 24 bits of a
        float32, and K is formed only once.
        """
        xp = array_namespace(self.X, self.y)
        m = self.X.shape[0]
        dtype = self.y.dtype if xp.isdtype(self.X.dtype, "real floating") else xp.float64
        total = xp.zeros((m, m), dtype=xp.float64, device=device(self.y))
        for columns in _slices(self.X, dtype, axis=1):
            block = xp.astype(self.X[:, columns], dtype, copy=False)
            total = total + xp.astype(block @ block.T, xp.float64, copy=False)
        return xp.astype(total, self.y.dtype, copy=False)


def matmul(X: Array, w: Array) -> Array:
    """X w, converting X to w's dtype block by block.

    Args:
        X: (m, n), any real dtype.
        w: (n,) floating.

    Returns:
        (m,) in w's dtype.
    """
    xp = array_namespace(X, w)
    parts = [xp.astype(X[rows, :], w.dtype, copy=False) @ w for rows in _slices(X, w.dtype, axis=0)]
    return parts[0] if len(parts) == 1 else xp.concat(parts)


def _slices(X: Array, dtype: object, axis: int) -> list[slice]:
    """Slices of one axis of X: all of it when X has the dtype already, else so many that a block is BLOCK_BYTES."""
    size = X.shape[axis]
    if X.dtype == dtype:
        return [slice(0, size)]
    xp = array_namespace(X)
    itemsize = xp.finfo(dtype).bits // 8
    step = max(1, BLOCK_BYTES // max(1, itemsize * X.shape[1 - axis]))
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]
