"""Stochastic gradient descent on mini-batches: many cheap steps in one read of X, none of them exact."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar, Literal

import numpy as np
from array_api_compat import device

from gpulr.device import Array, array_namespace
from gpulr.objective import Objective, lipschitz_constant
from gpulr.solvers.minimize import Look, Looks, Solver, gradient_decrement


@dataclass(frozen=True)
class SGD(Solver):
    """An iteration is an epoch: every sample once, in shuffled mini-batches.

    Attributes:
        batch_size: samples a step ≥ 1.
        learning_rate: a positive number, or "auto": (1 − momentum)/L for "momentum", with L as in `GradientDescent`, and
            0.01 for "adam".
        optimizer: "momentum": v ← momentum·v + g, p ← p − rate·v (Polyak 1964); "adam": Kingma & Ba, "Adam" (2015).
        momentum: in [0, 1); for Adam, its β₁. Adam's β₂ is 0.999.
        schedule: "constant", or "inverse": the rate of epoch e is learning_rate/(1 + decay·e), without which the noise of
            the batches keeps p from settling.
        decay: of the "inverse" schedule, ≥ 0.
        seed: of the shuffling.

    Raises:
        ValueError: a hyperparameter out of its range.
    """

    patience: ClassVar[int] = 30

    batch_size: int = 256
    learning_rate: float | Literal["auto"] = "auto"
    optimizer: Literal["momentum", "adam"] = "momentum"
    momentum: float = 0.9
    schedule: Literal["constant", "inverse"] = "inverse"
    decay: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        rate = self.learning_rate
        for holds, text in (
            (self.batch_size >= 1, f"batch_size={self.batch_size}: at least 1"),
            (
                rate == "auto" or (isfinite(float(rate)) and float(rate) > 0),
                f"learning_rate={rate!r}: positive, or 'auto'",
            ),
            (self.optimizer in ("momentum", "adam"), f"optimizer={self.optimizer!r}: use momentum or adam"),
            (0 <= self.momentum < 1, f"momentum={self.momentum}: at least 0 and less than 1"),
            (self.schedule in ("constant", "inverse"), f"schedule={self.schedule!r}: use constant or inverse"),
            (self.decay >= 0, f"decay={self.decay}: at least 0"),
        ):
            if not holds:
                raise ValueError(text)

    def steps(self, objective: Objective) -> Looks:
        """A look, with all rows, at `objective.start` and after every epoch."""
        xp = array_namespace(objective.start)
        p = objective.start
        state = (xp.zeros_like(p), xp.zeros_like(p))
        rate = self._first_rate(objective)
        rng = np.random.default_rng(self.seed)
        m, step, epoch = objective.rows.y.shape[0], 0, 0
        while True:
            point = objective.visit(p)
            yield Look(p, point.cost, point.gradient, gradient_decrement(point.cost, point.gradient))
            now = rate / (1 + self.decay * epoch) if self.schedule == "inverse" else rate
            order = xp.asarray(rng.permutation(m), device=device(p))
            for start in range(0, m, self.batch_size):
                step += 1
                batch = objective.sample(order[start : min(start + self.batch_size, m)])
                change, state = self._update(batch.visit(p).gradient, state, step)
                p = p - now * change
            objective.reads += 1
            epoch += 1

    def _first_rate(self, objective: Objective) -> float:
        if self.learning_rate != "auto":
            return float(self.learning_rate)
        return 0.01 if self.optimizer == "adam" else (1 - self.momentum) / lipschitz_constant(objective)

    def _update(self, g: Array, state: tuple[Array, Array], step: int) -> tuple[Array, tuple[Array, Array]]:
        """The direction of a step, and the moving averages after it."""
        first, second = state
        if self.optimizer == "momentum":
            first = self.momentum * first + g
            return first, (first, second)
        first = self.momentum * first + (1 - self.momentum) * g
        second = 0.999 * second + 0.001 * g**2
        xp = array_namespace(g)
        size = xp.sqrt(second / (1 - 0.999**step)) + 1e-8
        return first / (1 - self.momentum**step) / size, (first, second)

    def remedy(self, objective: Objective) -> str:
        """What to do about a cost that rises."""
        return f"learning_rate={self.learning_rate} is too large for batches of {self.batch_size}; lower it"
