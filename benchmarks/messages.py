"""What a worker answers. A module of its own: the worker runs as `__main__`, whose classes the race could not unpickle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Ready:
    """The answer to (competitor, folder of the problem).

    Attributes:
        version: of the competitor's distribution.
        thread_pools: what threadpoolctl finds in the process, with the number of threads of each.
        transfer_seconds: of bringing the data to where the competitor computes; None where nothing had to be done.
    """

    version: str
    thread_pools: list[dict[str, Any]]
    transfer_seconds: float | None = None


@dataclass(frozen=True)
class Fit:
    """The answer to a tolerance.

    Attributes:
        seconds: wall-clock time of the fit, with the data where the competitor computes.
        coef, intercept: the solution, as `benchmarks.competitors.base.Solution`.
        extra_bytes: peak memory during the fit above that of the process with the data before its first fit; None where
            it cannot be measured, on a GPU for example.
        warnings: what the library warned of, each once.
    """

    seconds: float
    coef: np.ndarray
    intercept: np.ndarray
    extra_bytes: int | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Failed:
    """The answer where an exception ended the work."""

    reason: str
