"""scikit-learn's lbfgs on arrays of CuPy."""

from __future__ import annotations

from benchmarks.competitors.sklearn_on_device import SklearnOnDevice


class SklearnCupy(SklearnOnDevice):
    name = "sklearn-cupy"
    library = "cupy"
