"""The problems by name, found by their files, whose `draw(rng, size, dtype)` makes a `Problem` with C = 1.

Where `draw` also takes a `correlation`, the problem comes a second time, as `tall_correlated` and so on: independent
features are easy, every method needs few steps; measured ones are correlated.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import numpy as np

from benchmarks import discovery
from benchmarks.problem import Dtype, Problem
from benchmarks.problems import drawn
from benchmarks.problems.real import UnavailableError

__all__ = ["PROBLEMS", "UnavailableError", "discovered", "make"]

Draw = Callable[[np.random.Generator, float, Dtype], Problem]


def discovered(paths: Iterable[str], package: str) -> dict[str, Draw]:
    """The problems in the modules of a package, in the order of their names; `paths` is its `__path__`."""
    found: dict[str, Draw] = {}
    for module in discovery.modules(paths, package):
        if not hasattr(module, "draw"):  # what they have in common
            continue
        name = module.__name__.rpartition(".")[2]
        found[name] = module.draw
        if "correlation" in inspect.signature(module.draw).parameters:
            found[drawn.named(name, drawn.CORRELATED)] = partial(module.draw, correlation=drawn.CORRELATED)
    return found


PROBLEMS = discovered(__path__, __name__)


def make(
    name: str,
    *,
    seed: int = 0,
    size: float = 1.0,
    C: float | str = 1.0,
    dtype: Dtype = "float32",
    intercept: bool | None = None,
) -> Problem:
    """One of `PROBLEMS`.

    Args:
        name: a key of `PROBLEMS`.
        seed: of the synthetic ones; the same seed and size give the same data.
        size: > 0, number of entries of a synthetic X as a share of the full one; its shape keeps its proportions.
        C: a number > 0, or "1/m" for the reciprocal of the number of samples.
        dtype: "float32" or "float64", of the computation and of X where it is not stored as something else.
        intercept: None for what the problem comes with.

    Raises:
        UnavailableError: its data are not at hand; says what to do.
    """
    problem = PROBLEMS[name](np.random.default_rng(seed), size, dtype)
    return replace(
        problem,
        C=1 / len(problem.y) if C == "1/m" else float(C),
        intercept=problem.intercept if intercept is None else intercept,
    )
