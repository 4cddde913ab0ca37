"""Where rows come from. A source has `y`, `sample_weight` and `total_weight`, and knows these about its X:

`propagate` (the pass over all rows), `matmul` X w, `rmatmul` Xᵀ z, `gram` X Xᵀ, `scatter` Xᵀ diag(d) X, `moments` of the
columns and `about_moments`, which are nearly that; `take` copies some rows, and `at_origin` is what w makes of the origin
that is subtracted from the rows.
"""

from __future__ import annotations

from gpulr.rows.memory import MemoryRows
from gpulr.rows.rotated import Rotation, gram_fits, gram_pays, rotate
from gpulr.rows.sparse import SparseRows

Rows = MemoryRows | SparseRows

__all__ = ["MemoryRows", "Rotation", "Rows", "SparseRows", "gram_fits", "gram_pays", "rotate"]
