"""Where rows come from. A source has `y`, `sample_weight` and `total_weight`, and knows these about its X:

`propagate` (the pass over all rows), `matmul` X w, `rmatmul` Xᵀ z, `gram` X Xᵀ, `scatter` Xᵀ diag(d) X and `moments`
of the columns.
"""

from __future__ import annotations

from gpulr.rows.memory import MemoryRows
from gpulr.rows.rotated import Rotation, gram_fits, gram_pays, rotate
from gpulr.rows.sparse import SparseRows

Rows = MemoryRows | SparseRows

__all__ = ["MemoryRows", "Rotation", "Rows", "SparseRows", "gram_fits", "gram_pays", "rotate"]
