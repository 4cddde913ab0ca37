"""The problems by name: one file each, whose `draw(rng, size, dtype)` makes a `Problem` with C = 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from benchmarks.problem import Dtype, Problem
from benchmarks.problems import (
    breast_cancer,
    cats,
    covtype,
    digits,
    drawn,
    elastic_net,
    images,
    mnist,
    multinomial,
    sparse,
    square,
    tall,
    wide,
)
from benchmarks.problems.real import UnavailableError

__all__ = ["PROBLEMS", "UnavailableError", "make"]

PROBLEMS: dict[str, Callable[[np.random.Generator, float, Dtype], Problem]] = {
    "tall": tall.draw,
    "square": square.draw,
    "wide": wide.draw,
    "images": images.draw,
    "multinomial": multinomial.draw,
    "sparse": sparse.draw,
    "elastic_net": elastic_net.draw,
    "digits": digits.draw,
    "breast_cancer": breast_cancer.draw,
    "cats": cats.draw,
    "covtype": covtype.draw,
    "mnist": mnist.draw,
}
# Independent features are easy: every method needs few steps. Measured ones are correlated.
PROBLEMS |= {
    drawn.named(name, drawn.CORRELATED): partial(draw, correlation=drawn.CORRELATED)
    for name, draw in {
        "tall": tall.draw, "square": square.draw, "wide": wide.draw, "multinomial": multinomial.draw,
    }.items()
}  # fmt: skip


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
