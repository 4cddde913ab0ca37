"""gpulr with the pass that numba compiles."""

from __future__ import annotations

from importlib.util import find_spec

from benchmarks.competitors.base import dense_only
from benchmarks.competitors.gpulr import Gpulr
from benchmarks.problem import Problem


class GpulrCompiled(Gpulr):
    name = "gpulr-compiled"
    options = {"one_pass": "compiled", "device": "cpu"}  # noqa: RUF012  # the base says that it is the class's

    def missing(self) -> str | None:
        return None if find_spec("numba") else "not installed: pip install numba"

    def unsupported(self, problem: Problem) -> str | None:
        return dense_only(problem) or super().unsupported(problem)
