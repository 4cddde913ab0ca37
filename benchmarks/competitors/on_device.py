"""What competitors on a GPU have in common: their data are there before the clock starts, as the others' are in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from benchmarks.competitors.base import Competitor, Solution, dense_only, ridge_only
from benchmarks.problem import Problem
from gpulr import device as devices

Library = Literal["cupy", "torch", "jax"]

# Of the part of JAX that works on the GPU: it would take three quarters of the memory, which all share here.
POLITE = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


class OnDevice(Competitor):
    """Attributes: device, "cuda", or "cpu" to rehearse where there is no GPU; library, whose arrays it takes."""

    library: Library

    def __init__(self, device: str = "cuda") -> None:
        self.device = device

    def missing(self) -> str | None:
        for module in (self.module, self.library):
            if module == "cupy" and self.device == "cpu":
                continue
            if not find_spec(module):
                return f"not installed: pip install {self.distribution if module == self.module else module}"
        why_not = devices.why_no_gpu() if self.device == "cuda" else None
        return f"no GPU: {why_not}" if why_not else None

    def unsupported(self, problem: Problem) -> str | None:
        return dense_only(problem) or ridge_only(problem)

    def by_default(self, problem: Problem) -> bool:
        return True

    @property
    def clock(self) -> str:
        """Events of the library on a GPU. JAX has none: its fits end in arrays of the host, so the host's clock is true."""
        return f"events of {self.library}" if self.device == "cuda" and self.library != "jax" else super().clock

    def timed(self, problem: Problem, tol: float) -> tuple[Solution, float]:
        if self.device == "cpu" or self.library == "jax":
            return super().timed(problem, tol)
        solutions: list[Solution] = []

        def fit() -> None:
            solutions.append(self.fit(problem, tol))

        if self.library == "torch":
            seconds = _seconds_by_torch(fit)
        else:
            from gpulr.bench import clock  # here, so that the processes of others do not load what it needs

            seconds = clock.seconds(fit, devices.choose(self.device))
        return solutions[0], seconds

    def put(self, problem: Problem) -> Problem:
        """X, in the type it is stored in, and y as arrays of the library on the device."""
        return replace(problem, X=self._put(problem.X), y=self._put(problem.y))

    def _put(self, array: Any) -> Any:
        if self.library == "torch":
            torch = import_module("torch")
            if self.device == "cuda" and not torch.cuda.is_available():
                raise RuntimeError("this PyTorch has no CUDA")
            return torch.from_numpy(array).to(self.device)
        if self.library == "jax":
            jax = import_module("jax")
            if self.device == "cuda" and jax.default_backend() != "gpu":
                raise RuntimeError("this JAX has no CUDA")
            jax.config.update("jax_enable_x64", True)  # before the first array; float32 stays float32
            return jax.block_until_ready(jax.numpy.asarray(array))
        place = devices.choose(self.device)
        placed = place.put(array)
        place.synchronize()
        return placed


def _seconds_by_torch(function: Callable[[], object]) -> float:
    """As `gpulr.bench.clock.seconds`, by PyTorch's events, for a process without CuPy."""
    cuda = import_module("torch").cuda
    start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    cuda.synchronize()
    start.record()
    function()
    cuda.synchronize()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3


def features(problem: Problem) -> Any:
    """scale·X in the dtype of the computation, for an X of any library: `Problem.features` is NumPy's."""
    xp = devices.array_namespace(problem.X)
    X = xp.astype(problem.X, getattr(xp, problem.dtype), copy=False)
    return X if problem.scale == 1.0 else X * problem.scale
