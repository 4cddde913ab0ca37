"""The loop around every solver: it counts, stops, records, warns, and reads numbers from the device."""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from math import inf, isfinite
from operator import index
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from gpulr.device import Array, array_namespace, floats
from gpulr.objective import Objective


class Numbers(NamedTuple):
    """What the host has to know of an iterate: see `Look`; the norm is the largest entry, finite says whether p is."""

    cost: float
    gradient_norm: float
    decrement: float
    finite: float


@dataclass(frozen=True)
class Look:
    """What a solver saw at one iterate, on its device.

    Attributes:
        params: p.
        cost: what is minimized at p, (): F(p), plus the non-smooth penalty if there is one.
        gradient: ∇F(p), of p's shape; with a non-smooth penalty, the subgradient of least size.
        decrement: (), how much the solver expects the cost to be above its minimum: half the Newton decrement squared,
            ½ gᵀH⁻¹g, with H exact or estimated. It does not depend on the units of the features.
        numbers: the same on the host, where the solver has read them already.
        weights: for the callback of an estimator, which does not know the solver's variables: a function that gives the
            coefficients (n,) or (n, k) of the features as they are and the intercept () or (k,). In Gram space it reads X.
    """

    params: Array
    cost: Array
    gradient: Array
    decrement: Array
    numbers: Numbers | None = None
    weights: Callable[[], tuple[Array, Array]] | None = None

    def scalars(self) -> list[Array]:
        """What becomes `Numbers`, still on the device: four float64 arrays ()."""
        xp = array_namespace(self.params)
        norm, finite = xp.max(xp.abs(self.gradient)), xp.all(xp.isfinite(self.params))
        return [xp.astype(xp.asarray(x), xp.float64) for x in (self.cost, norm, self.decrement, finite)]


# What a solver yields, and how many steps it may be sent for: see `Solver.steps`.
Looks = Generator[Look, int | None, None]


@dataclass(frozen=True)
class Record:
    """A line of the history, of one iterate.

    Attributes:
        iteration: number of steps before it.
        cost, gradient_norm, decrement: see `Look`; the norm is the largest entry.
        seconds: since the start.
        reads: how many times X had been gone through; a sample of the rows counts as its share.
    """

    iteration: int
    cost: float
    gradient_norm: float
    decrement: float
    seconds: float
    reads: float


Status = Literal["converged", "max_iter", "precision"]


@dataclass(frozen=True)
class Result:
    """Where a minimization ended.

    Attributes:
        params: p after `n_iter` iterations.
        status: "converged" (`tol` is met), "max_iter", or "precision" (rounding forbids further progress).
        last: the record of `params`.
        history: the recorded iterates before it.
    """

    params: Array
    status: Status
    last: Record
    history: tuple[Record, ...]

    @property
    def cost(self) -> float:
        """The cost at `params`."""
        return self.last.cost

    @property
    def n_iter(self) -> int:
        """Number of iterations (steps) made."""
        return self.last.iteration


class Solver(ABC):
    """A way to minimize. Subclasses are frozen dataclasses of hyperparameters.

    Attributes:
        extra_steps: steps made after convergence.
        patience: iterations without progress after which rounding is held to forbid any.
        sharpness: the decrement must be at most (tol/sharpness)² of the cost.
        knows_curvature: the decrement is made with a Hessian, exact or estimated, and not a mere gradient.
        rises_by_mistake: a cost that rises is worth a warning.
    """

    extra_steps: ClassVar[int] = 0
    patience: ClassVar[int] = 10
    sharpness: ClassVar[float] = 100.0
    knows_curvature: ClassVar[bool] = False
    rises_by_mistake: ClassVar[bool] = False

    @abstractmethod
    def steps(self, objective: Objective) -> Looks:
        """A generator that starts at `objective.start`, yields a look at each iterate, and when resumed takes a step.

        It may end by itself: no step makes progress any more. With `strides` it takes as many steps as it is sent.
        """

    @property
    def strides(self) -> bool:
        """Whether it can take several steps without a look."""
        return False

    def remedy(self, objective: Objective) -> str:
        """A clause that tells the user what to change when the cost rises or the weights leave the finite numbers."""
        return "the features are too large for the dtype; scale them, or use float64"


def gradient_decrement(cost: Array, gradient: Array) -> Array:
    """½‖g‖²/h, the decrement of a solver that knows no Hessian, with h = min(¼, cost) for its curvature: ().

    σ' ≤ ¼, and σ'(z) is at most the cost of its sample, so that on separable data, where cost, gradient and curvature all
    vanish, nothing is taken for a minimum. Standardized features make it a fair estimate.
    """
    xp = array_namespace(gradient)
    cost = xp.astype(xp.asarray(cost), gradient.dtype)
    return 0.5 * xp.sum(gradient**2) / xp.where(cost < 0.25, cost, 0.25 + 0 * cost)


Callback = Callable[[int, Look], object]


def minimize(
    objective: Objective,
    solver: Solver,
    *,
    max_iter: int,
    tol: float | None = None,
    record_every: int = 1,
    callback: Callback | None = None,
) -> Result:
    """Run `solver` on `objective` from `objective.start`.

    Args:
        objective: what to minimize.
        solver: one of `gpulr.solvers.SOLVERS`.
        max_iter: at most so many iterations, ≥ 0.
        tol: stop when max |gradient| ≤ tol and decrement ≤ (tol/c)²·cost, c = `solver.sharpness`. The first is
            scikit-learn's rule; the second says that p is within tol/c of the optimum in the metric of the Hessian,
            relative to the cost, which no choice of units can fool. None: make exactly `max_iter` iterations.
        record_every: iterations 0, k, 2k, ... < max_iter go into the history. In between nothing is read from the device,
            so that it never waits for the host. With a `tol` every iteration is looked at, and k must be 1.
        callback: called as callback(iteration, look) at iterations 0, k, 2k, ... and the last, with the numbers still on the
            device.

    Returns:
        where it ended, with the history.

    Warns:
        sklearn.exceptions.ConvergenceWarning: once, when a recorded cost is above the one before it; names the
            iteration and what to change.

    Raises:
        TypeError: max_iter or record_every is no integer.
        ValueError: max_iter < 0, record_every < 1, or record_every ≠ 1 with a tol.
        FloatingPointError: cost or parameters left the finite numbers; names what to change.
    """
    max_iter, record_every = index(max_iter), index(record_every)
    if max_iter < 0 or record_every < 1 or (tol is not None and record_every != 1):
        raise ValueError(
            f"max_iter={max_iter}, record_every={record_every}: they must be at least 0 and 1, and record_every=1 with a tol"
        )
    begin = time.perf_counter()
    history: list[Record] = []
    status: Status = "precision"  # unless the loop below finds another reason to end
    rise: tuple[Record, Record] | None = None
    extra = 0  # iterates looked at since the tolerance was met
    # An overflow is not NumPy's to warn of: it is looked for here, on every device alike, and raised.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for iteration, look in _looks(solver, objective, record_every, max_iter):
            if callback is not None:
                callback(iteration, look)
            done = iteration == max_iter
            record = _record(look, iteration, begin, solver, objective)
            if solver.rises_by_mistake and rise is None and history and _rises(history[-1], record, look):
                rise = history[-1], record
            history.append(record)
            if tol is not None and _converged(record, tol / solver.sharpness, tol):
                status = "converged"
                extra += 1
                if extra > solver.extra_steps:
                    break
            elif tol is not None and solver.knows_curvature and _converged(record, 0.1 * _eps(look) ** 0.5, tol):
                break  # the cost would change in no digit; the last factor of the sharpness is not to be had
            if done:
                status = status if status == "converged" else "max_iter"
                break
            if tol is not None and _stalls(history, look, solver.patience):
                break
    if rise is not None:  # told after the last reading of the clock, for the advice takes some passes over X
        _warn_of_rise(*rise, solver, objective)
    return Result(look.params, status, history[-1], tuple(history[:-1]))


def _looks(solver: Solver, objective: Objective, every: int, last: int) -> Iterator[tuple[int, Look]]:
    """Iterations 0, k, 2k, ... and `last` with their looks, k = `every`; or up to where the solver ends by itself."""
    steps = solver.steps(objective)
    iteration, look = 0, next(steps)
    while True:
        yield iteration, look
        told, target = iteration, min(iteration + every, last)
        try:
            while iteration < target:
                stride = target - iteration if solver.strides else 1
                look = steps.send(stride)
                iteration += stride
        except StopIteration:
            if iteration > told:
                yield iteration, look
            return


def _record(look: Look, iteration: int, begin: float, solver: Solver, objective: Objective) -> Record:
    """The numbers of a look, in one transfer from the device unless they have come already."""
    cost, gradient_norm, decrement, finite = look.numbers or floats(look.scalars())
    if not (isfinite(cost) and isfinite(gradient_norm) and finite):
        raise FloatingPointError(
            f"the weights left the finite numbers by iteration {iteration}: {solver.remedy(objective)}"
        )
    return Record(iteration, cost, gradient_norm, decrement, time.perf_counter() - begin, objective.reads)


def _converged(record: Record, distance: float, tol: float) -> bool:
    return record.gradient_norm <= tol and record.decrement <= distance**2 * abs(record.cost)


def _rises(before: Record, after: Record, look: Look) -> bool:
    # Near the minimum a sum of rounded terms moves by some units of its last place; that is no divergence.
    return after.cost > before.cost * (1 + 100 * _eps(look))


def _warn_of_rise(before: Record, after: Record, solver: Solver, objective: Objective) -> None:
    from sklearn.exceptions import ConvergenceWarning  # here, because importing it takes a second

    warnings.warn(
        f"the cost rose from {before.cost:.6g} at iteration {before.iteration} to {after.cost:.6g} at iteration "
        f"{after.iteration}: {solver.remedy(objective)}",
        ConvergenceWarning,
        stacklevel=3,
    )


def _stalls(history: list[Record], look: Look, patience: int) -> bool:
    """For `patience` iterations neither did the cost fall by more than its rounding nor did the decrement halve."""
    if len(history) <= patience:
        return False
    recent, before = history[-patience:], history[-patience - 1]
    fell = before.cost - recent[-1].cost > 4 * _eps(look) * abs(before.cost)
    best = min((record.decrement for record in history[:-patience]), default=inf)
    return not fell and min(record.decrement for record in recent) > 0.5 * best


def _eps(look: Look) -> float:
    return float(array_namespace(look.params).finfo(look.params.dtype).eps)
