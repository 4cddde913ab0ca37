"""The loop around every solver: it counts, stops, records, warns, and reads numbers from the device."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Protocol

import numpy as np
from array_api_compat import array_namespace

from gpulr.device import Array, floats
from gpulr.objective import AnyObjective


@dataclass(frozen=True)
class Look:
    """What a solver saw at one iterate, on its device.

    Attributes:
        params: p, in the variables of the objective.
        cost: F(p), ().
        gradient: of p's shape.
    """

    params: Array
    cost: Array
    gradient: Array


@dataclass(frozen=True)
class Record:
    """A line of the history: the cost before the step of `iteration`, `seconds` after the start."""

    iteration: int
    cost: float
    seconds: float


@dataclass(frozen=True)
class Result:
    """Where a minimization ended.

    Attributes:
        params: p after `n_iter` iterations, in the variables of the objective.
        cost: F(params).
        n_iter: number of iterations (steps) made.
        history: the recorded costs.
        seconds: wall time of the whole run.
    """

    params: Array
    cost: float
    n_iter: int
    history: tuple[Record, ...]
    seconds: float


class Solver(Protocol):
    """See `gpulr.solvers`."""

    def steps(self, objective: AnyObjective) -> Iterator[Look]: ...

    def remedy(self, objective: AnyObjective) -> str: ...


Callback = Callable[[int, Look], object]


def minimize(
    objective: AnyObjective,
    solver: Solver,
    *,
    max_iter: int,
    record_every: int = 100,
    callback: Callback | None = None,
) -> Result:
    """Run `solver` on `objective` from `objective.start` for `max_iter` iterations.

    Args:
        objective: what to minimize.
        solver: one of `gpulr.solvers.SOLVERS`.
        max_iter: number of iterations ≥ 0.
        record_every: the cost goes into the history at iterations 0, k, 2k, ... < max_iter. In between nothing is read
            from the device, so that it never waits for the host.
        callback: called as callback(iteration, look) at every iterate 0, 1, ..., max_iter, with the numbers still on
            the device.

    Returns:
        where it ended, with the history.

    Warns:
        sklearn.exceptions.ConvergenceWarning: once, when a recorded cost is above the one before it; names the
            iteration and what to change.

    Raises:
        ValueError: max_iter < 0 or record_every < 1.
        FloatingPointError: cost or parameters left the finite numbers; names what to change.
    """
    if max_iter < 0 or record_every < 1:
        raise ValueError(f"max_iter={max_iter}, record_every={record_every}: they must be at least 0 and 1")
    begin = time.perf_counter()
    history: list[Record] = []
    warned = False
    # An overflow is not NumPy's to warn of: it is looked for here, on every device alike, and raised.
    with np.errstate(over="ignore", invalid="ignore"):
        for iteration, look in enumerate(solver.steps(objective)):
            if callback is not None:
                callback(iteration, look)
            done = iteration == max_iter
            if not done and iteration % record_every != 0:
                continue
            record = Record(iteration, _finite_cost(look, iteration, solver, objective), time.perf_counter() - begin)
            if history and not warned and _rises(history[-1], record, look):
                warned = True
                _warn_of_rise(history[-1], record, solver, objective)
            if done:
                break
            history.append(record)
    return Result(look.params, record.cost, iteration, tuple(history), record.seconds)


def _finite_cost(look: Look, iteration: int, solver: Solver, objective: AnyObjective) -> float:
    """The cost of a look, in the only transfer from the device."""
    xp = array_namespace(look.params)
    all_finite = xp.astype(xp.all(xp.isfinite(look.params)), look.cost.dtype)
    cost, finite = floats([look.cost, all_finite])
    if not (isfinite(cost) and finite):
        raise FloatingPointError(
            f"the weights left the finite numbers by iteration {iteration}: {solver.remedy(objective)}"
        )
    return cost


def _rises(before: Record, after: Record, look: Look) -> bool:
    # Near the minimum a sum of rounded terms moves by some units of its last place; that is no divergence.
    rounding = 100 * float(array_namespace(look.params).finfo(look.params.dtype).eps)
    return after.cost > before.cost * (1 + rounding)


def _warn_of_rise(before: Record, after: Record, solver: Solver, objective: AnyObjective) -> None:
    from sklearn.exceptions import ConvergenceWarning  # here, because importing it takes a second

    warnings.warn(
        f"the cost rose from {before.cost:.6g} at iteration {before.iteration} to {after.cost:.6g} at iteration "
        f"{after.iteration}: {solver.remedy(objective)}",
        ConvergenceWarning,
        stacklevel=3,
    )
