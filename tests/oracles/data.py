"""What a data set is while the oracles are made, and the two ways to write counts as weighted rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Data:
    """A binary logit before it is solved.

    Attributes:
        name: of letters, digits and _.
        source: who published the numbers, where.
        X: (m, n) float64.
        y: (m,) of 0 and 1.
        weight: (m,) float64 ≥ 0, or None.
        published: the fit printed in the source, intercept first, digits as printed: it proves that no number was
            mistyped. Empty where none was printed.
        varied: whether shifted and scaled variants are made of it.
    """

    name: str
    source: str
    X: NDArray[np.float64]
    y: NDArray[np.int64]
    weight: NDArray[np.float64] | None = None
    published: tuple[str, ...] = ()
    varied: bool = False


def counts(X: ArrayLike, successes: ArrayLike, failures: ArrayLike) -> dict[str, NDArray]:
    """X, y and weight of a table of counts: two rows a record, a success's and a failure's, counts of zero kept.

    Args:
        X: (k, n), or (k,) for one column.
        successes, failures: (k,) counts.

    Returns:
        X (2k, n) float64, y (2k,) int64, all ones first, weight (2k,) float64.
    """
    rows = np.array(X, dtype=np.float64)
    rows = rows[:, None] if rows.ndim == 1 else rows
    label = np.repeat(np.array([1, 0], dtype=np.int64), len(rows))
    weight = np.concatenate([successes, failures]).astype(np.float64)
    return {"X": np.concatenate([rows, rows]), "y": label, "weight": weight}


def aggregate(X: ArrayLike, y: ArrayLike) -> dict[str, NDArray]:
    """X, y and weight of the distinct rows (X, y) of long data: the same cost from fewer rows."""
    rows, times = np.unique(np.column_stack([X, y]).astype(np.float64), axis=0, return_counts=True)
    return {"X": rows[:, :-1], "y": rows[:, -1].astype(np.int64), "weight": times.astype(np.float64)}


def plain(X: ArrayLike, y: ArrayLike) -> dict[str, NDArray]:
    """X and y as float64 and int64 arrays; one column may be given as (m,)."""
    rows = np.array(X, dtype=np.float64)
    return {"X": rows[:, None] if rows.ndim == 1 else rows, "y": np.array(y).astype(np.int64)}
