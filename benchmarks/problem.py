"""What is minimized: data and objective, as every competitor and the evaluator get them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy import sparse

Matrix: TypeAlias = np.ndarray | sparse.csr_array
Dtype = Literal["float32", "float64"]


@dataclass(frozen=True, eq=False)  # arrays have no one truth value to compare by
class Problem:
    """Minimize, over the weights w of the features and the intercept b,

        F(w, b) = C Σᵢ lossᵢ + (1 − l1_ratio)/2 ‖w‖² + l1_ratio ‖w‖₁,

    where lossᵢ = −log P(yᵢ | zᵢ) at the margin zᵢ = wᵀ(scale·xᵢ) + b: logistic for two classes, softmax for more, which
    have one w and b each. The intercept is not penalized.

    Attributes:
        name: for the tables.
        X: (m, n) samples as rows, C-contiguous or CSR, in the type they are stored in.
        y: (m,) int64, 0, 1, ..., k − 1, each of them at least once.
        dtype: in which the competitors are to compute.
        C, l1_ratio: of the objective; C > 0, 0 ≤ l1_ratio < 1.
        scale: a stored value times this is a feature; 1/255 for pixels.
        intercept: whether there is a b; without, it is 0.
    """

    name: str
    X: Matrix
    y: np.ndarray
    dtype: Dtype
    C: float = 1.0
    l1_ratio: float = 0.0
    scale: float = 1.0
    intercept: bool = False

    @cached_property
    def classes(self) -> int:
        """k, the number of classes."""
        return int(self.y.max()) + 1

    @property
    def kind(self) -> str:
        return "binary" if self.classes == 2 else "multinomial"

    @property
    def outputs(self) -> int:
        """Rows of the coefficients: 1 for two classes, k for more."""
        return 1 if self.classes == 2 else self.classes

    @property
    def is_sparse(self) -> bool:
        return sparse.issparse(self.X)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """What X consists of: itself, or its three arrays where it is sparse."""
        return (self.X,) if isinstance(self.X, np.ndarray) else (self.X.data, self.X.indices, self.X.indptr)

    def features(self, dtype: Dtype | None = None) -> Matrix:
        """scale·X in `dtype` (default: the problem's), X itself where it is that already.

        What a competitor calls that takes no integers: the conversion is then a part of its time, since the data are
        stored as they are.
        """
        dtype = dtype or self.dtype
        if self.scale == 1.0:
            return self.X.astype(dtype, copy=False)
        return self.X * self.scale if self.is_sparse else np.multiply(self.X, self.scale, dtype=dtype)

    def small(self, rows: int = 300, columns: int = 20) -> Problem:
        """Some rows of every class and some columns: the same kind of problem, solved in no time."""
        each = max(2, rows // self.classes)
        chosen = np.sort(np.concatenate([np.flatnonzero(self.y == label)[:each] for label in range(self.classes)]))
        X = self.X[chosen][:, :columns]
        return replace(self, X=X if self.is_sparse else np.ascontiguousarray(X), y=self.y[chosen])

    def describe(self) -> dict[str, object]:
        """Everything but the arrays, as JSON values."""
        return {
            "name": self.name,
            "rows": self.X.shape[0],
            "columns": self.X.shape[1],
            "classes": self.classes,
            "kind": self.kind,
            "sparse": self.is_sparse,
            "stored_as": str(self.X.dtype),
            "bytes": sum(array.nbytes for array in self.arrays),
        } | self.parameters()

    def parameters(self) -> dict[str, Any]:
        names = ("dtype", "C", "l1_ratio", "scale", "intercept")
        return {name: getattr(self, name) for name in names}


def save(problem: Problem, folder: Path) -> None:
    """Write a problem into a folder, for `load` in another process."""
    if problem.is_sparse:
        sparse.save_npz(folder / "X.npz", problem.X, compressed=False)
    else:
        np.save(folder / "X.npy", problem.X)
    np.save(folder / "y.npy", problem.y)
    (folder / "problem.json").write_text(json.dumps({"name": problem.name, **problem.parameters()}))


def load(folder: Path) -> Problem:
    """Read into memory what `save` wrote."""
    X = sparse.load_npz(folder / "X.npz") if (folder / "X.npz").is_file() else np.load(folder / "X.npy")
    return Problem(X=X, y=np.load(folder / "y.npy"), **json.loads((folder / "problem.json").read_text()))
