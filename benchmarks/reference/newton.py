"""What both Newton methods have in common."""

from __future__ import annotations

import time
from collections.abc import Callable

LARGEST_HESSIAN = 2_000
"""Columns up to which a Hessian is formed."""

GOAL = 1e-15
"""Relative gap at which to stop: rounding of F itself."""


def step_length(along: Callable[[float], float], value: float, slope: float) -> float:
    """The first of 1, ½, ¼, ... that decreases F enough (Armijo's condition).

    Near the minimum F no longer resolves its own decrease, so as much as rounding may add is let pass.

    Args:
        along: t -> F at the step t.
        value: F at 0.
        slope: the decrease per step that the model promises, < 0.
    """
    step = 1.0
    while along(step) > value + 1e-4 * step * slope + 1e-14 * value and step > 1e-6:
        step /= 2
    return step


def require_time(until: float) -> None:
    """Raises TimeoutError when `time.monotonic` is past `until`: there is no minimum that is not proven."""
    if time.monotonic() > until:
        raise TimeoutError("no time left to find the minimum")
