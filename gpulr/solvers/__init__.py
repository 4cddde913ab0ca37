"""Solvers: a solver is a frozen dataclass of hyperparameters with three members.

- `steps(objective)` is a generator. It starts at `objective.start` and yields a `Look` each time it has looked at the
  data; resumed, it takes its step. Its state is local variables.
- `extra_steps` is how many steps are made after convergence (0, or 1 for Newton's quadratic convergence).
- `remedy(objective)` is a clause that tells the user what to change when the cost rises or diverges.

`minimize` runs any of them. It alone counts, stops, records, warns and reads numbers from the device.
"""

from __future__ import annotations

from gpulr.solvers.gd import GradientDescent
from gpulr.solvers.lbfgs import LBFGS
from gpulr.solvers.minimize import Look, Record, Result, Solver, minimize
from gpulr.solvers.newton import Newton

SOLVERS = {"gd": GradientDescent, "lbfgs": LBFGS, "newton": Newton}

__all__ = ["LBFGS", "SOLVERS", "GradientDescent", "Look", "Newton", "Record", "Result", "Solver", "minimize"]
