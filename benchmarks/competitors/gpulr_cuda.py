"""gpulr on a GPU, as it comes."""

from __future__ import annotations

from benchmarks.competitors.base import Solution
from benchmarks.competitors.gpulr import Gpulr
from benchmarks.competitors.on_device import OnDevice
from benchmarks.problem import Problem
from gpulr.device import to_host


class GpulrCuda(OnDevice, Gpulr):
    name = "gpulr-cuda"
    library = "cupy"
    options = {}  # noqa: RUF012  # the base says that it is the class's

    def fit(self, problem: Problem, tol: float) -> Solution:
        coef, intercept = super().fit(problem, tol)
        return to_host(coef), to_host(intercept)
