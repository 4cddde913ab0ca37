"""scikit-learn's lbfgs on arrays of PyTorch."""

from __future__ import annotations

from benchmarks.competitors.sklearn_on_device import SklearnOnDevice


class SklearnTorch(SklearnOnDevice):
    name = "sklearn-torch"
    library = "torch"
