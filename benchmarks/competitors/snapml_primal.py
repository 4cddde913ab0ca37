"""IBM's Snap ML, coordinate descent on the weights."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy import sparse

from benchmarks.competitors.base import ITERATIONS, Competitor, Solution, ridge_only, threads, two_classes_only
from benchmarks.problem import Matrix, Problem


class SnapMLPrimal(Competitor):
    """Its objective is ours with `regularizer` = 1/C. Its tolerance is the largest change of a weight.

    Its intercept is the weight of one more feature, with the same penalty as all others, and the primal solver gives back
    none at all: so it races where there is no intercept.
    """

    name = "snapml-primal"
    module = distribution = "snapml"
    dual: ClassVar[bool] = False

    def unsupported(self, problem: Problem) -> str | None:
        penalized = "it penalizes its intercept: use --no-intercept" if problem.intercept else None
        return ridge_only(problem) or two_classes_only(problem) or penalized  # more classes are one against the rest

    def fit(self, problem: Problem, tol: float) -> Solution:
        from snapml import LogisticRegression

        model = LogisticRegression(
            regularizer=1 / problem.C, dual=self.dual, tol=tol, fit_intercept=False, max_iter=ITERATIONS, n_jobs=threads(),
            random_state=0,
        )  # fmt: skip
        model.fit(self._accepted(problem.features()), problem.y)
        return np.reshape(model.coef_, (1, -1)), np.zeros(1)

    def _accepted(self, X: Matrix) -> Matrix:
        """X as the solver wants it: by columns for the primal, where it is sparse."""
        if not sparse.issparse(X):
            return X
        return sparse.csr_matrix(X) if self.dual else sparse.csc_matrix(X)
