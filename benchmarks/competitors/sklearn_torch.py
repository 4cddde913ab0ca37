"""scikit-learn's lbfgs by its array-API path, on arrays of PyTorch."""

from __future__ import annotations

from benchmarks.competitors.sklearn_cupy import SklearnCupy


class SklearnTorch(SklearnCupy):
    name = "sklearn-torch"
    library = "torch"
