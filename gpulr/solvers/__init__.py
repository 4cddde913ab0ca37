"""Solvers: a solver is a frozen dataclass of hyperparameters with two methods.

- `steps(objective)` is a generator. It starts at `objective.start` and yields a `Look` each time it has looked at the
  data; resumed, it takes its step. Its state is local variables.
- `remedy(objective)` is a clause that tells the user what to change when the cost rises or diverges.

`minimize` runs any of them. It alone counts, stops, records, warns and reads numbers from the device.
"""

from __future__ import annotations

from gpulr.solvers.gd import GradientDescent
from gpulr.solvers.minimize import Look, Record, Result, Solver, minimize

SOLVERS = {"gd": GradientDescent}

__all__ = ["SOLVERS", "GradientDescent", "Look", "Record", "Result", "Solver", "minimize"]
