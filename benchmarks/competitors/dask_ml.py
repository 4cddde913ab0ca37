"""dask-ml: SciPy's L-BFGS over a dask array with a block of rows for each thread.

Made for data larger than a machine; on one machine it is slow, so only on demand.
"""

from __future__ import annotations

import numpy as np

from benchmarks.competitors.base import (
    ITERATIONS,
    Competitor,
    Solution,
    dense_only,
    ridge_only,
    threads,
    two_classes_only,
)
from benchmarks.problem import Problem


class DaskML(Competitor):
    """Its objective is ours divided by C, but for the intercept, which it penalizes. It minimizes in float64."""

    name = "dask-ml-lbfgs"
    module, distribution = "dask_ml", "dask-ml"

    def unsupported(self, problem: Problem) -> str | None:
        penalized = "it penalizes its intercept: use --no-intercept" if problem.intercept else None
        return ridge_only(problem) or two_classes_only(problem) or dense_only(problem) or penalized

    def by_default(self, problem: Problem) -> bool:
        return False

    def fit(self, problem: Problem, tol: float) -> Solution:
        import dask
        import dask.array
        from dask_ml.linear_model import LogisticRegression

        m, n = problem.X.shape
        rows = -(-m // threads())
        X = dask.array.from_array(problem.features(), chunks=(rows, n))
        y = dask.array.from_array(problem.y.astype(problem.dtype), chunks=rows)
        model = LogisticRegression(C=problem.C, solver="lbfgs", tol=tol, fit_intercept=False, max_iter=ITERATIONS)
        with dask.config.set(scheduler="threads", num_workers=threads()):
            model.fit(X, y)
        return np.reshape(model.coef_, (1, -1)), np.zeros(1)
