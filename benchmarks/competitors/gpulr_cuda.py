"""gpulr on a GPU: CuPy arrays in, the pass that it chooses itself."""

from __future__ import annotations

from typing import Any

from benchmarks.competitors.base import Solution, dense_only
from benchmarks.competitors.cuda import Placed, why_no_gpu
from benchmarks.competitors.gpulr import Gpulr
from benchmarks.problem import Problem


class GpulrCuda(Gpulr):
    name = "gpulr-cuda"
    device = "cuda"
    options = {}  # noqa: RUF012  # the base says that it is the class's

    def missing(self) -> str | None:
        from gpulr.device import why_no_gpu as why_no_cupy

        # First the driver: CuPy is only loaded where there is something to do with it.
        return why_no_gpu() or why_no_cupy()

    def unsupported(self, problem: Problem) -> str | None:
        return dense_only(problem) or super().unsupported(problem)

    def put(self, problem: Problem) -> Placed:
        from gpulr.device import choose

        gpu = choose("cuda")
        placed = Placed(problem, gpu.put(problem.X), gpu.put(problem.y))
        gpu.synchronize()
        return placed

    def fit(self, problem: Any, tol: float) -> Solution:
        from gpulr.device import to_host

        coef, intercept = self.fitted(problem.problem, problem.X, problem.y, tol)
        return to_host(coef), to_host(intercept)
