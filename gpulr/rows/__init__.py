"""Where blocks of rows come from. A source has `X`, `y`, `sample_weight`, `blocks`, `matmul`, `rmatmul` and `gram`."""

from __future__ import annotations

from gpulr.rows.memory import MemoryRows, matmul

__all__ = ["MemoryRows", "matmul"]
