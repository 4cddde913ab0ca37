"""gpulr in benchopt's benchmark_logreg_l2, https://github.com/benchopt/benchmark_logreg_l2: copy this file into solvers/.

The objective there is Σ log(1 + exp(−yᵢ xᵢᵀβ)) + λ/2 ‖β‖² with y in {−1, 1}: ours with C = 1/λ, times λ. Where the
benchmark has a `fit_intercept`, the intercept, without penalty, is the last entry of β.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from benchopt import BaseSolver
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from gpulr import LogisticRegression
from gpulr import device as devices


class Solver(BaseSolver):
    """Sampled by callback: the curve is that of one fit. `set_objective`, which is not timed, moves X to the GPU."""

    name = "gpulr"
    install_cmd = "conda"
    requirements = ["pip::gpulr"]  # noqa: RUF012  # benchopt reads class attributes
    parameters = {"solver": ["auto"], "device": ["cpu", "cuda"]}  # noqa: RUF012  # and this one
    sampling_strategy = "callback"

    solver: str
    device: str

    def skip(self, X: Any, y: Any, lmbd: float, fit_intercept: bool = False) -> tuple[bool, str | None]:
        if self.device == "cuda":
            why_not = devices.why_no_gpu() or ("sparse X stays on the CPU" if sparse.issparse(X) else None)
            return why_not is not None, why_not
        return False, None

    def set_objective(self, X: Any, y: Any, lmbd: float, fit_intercept: bool = False) -> None:
        place = devices.choose(self.device)
        # gpulr takes rows; in which order they lie in memory is all the same to it.
        self._X = sparse.csr_array(X) if sparse.issparse(X) else place.put(np.asarray(X))
        self._y = y
        self._beta = np.zeros(X.shape[1] + fit_intercept)
        self._weights: Callable[[], Any] | None = None
        self._fit_intercept = fit_intercept
        # A tolerance of 0 is never met: benchopt stops the fit, or rounding does.
        self._options: dict[str, Any] = {"C": 1 / lmbd, "tol": 0.0, "max_iter": 1_000_000, "solver": self.solver}

    def warm_up(self) -> None:
        """A kernel that is compiled when it is first used is no part of the curve."""
        self.run(lambda: False)

    def run(self, callback: Callable[[], bool]) -> None:
        def sample(iteration: int, look: Any) -> None:
            self._weights = look.weights
            if not callback():
                raise _Enough

        model = LogisticRegression(**self._options, fit_intercept=self._fit_intercept, callback=sample)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # that the tolerance of 0 is not met
                model.fit(self._X, self._y)
        except _Enough:
            return
        self._weights = lambda: (model.coef_[0], model.intercept_[0])

    def get_result(self) -> dict[str, np.ndarray]:
        """β of the iterate last looked at; zeros before the first."""
        if self._weights is not None:
            w, b = (devices.to_host(part) for part in self._weights())
            self._beta = np.append(w, b) if self._fit_intercept else w
        return {"beta": self._beta}


class _Enough(Exception):  # noqa: N818  # it is none
    """benchopt has what it wants."""
