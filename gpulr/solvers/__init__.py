"""Solvers. `minimize` runs any of them; it alone counts, stops, records, warns and reads numbers from the device.

A solver is a frozen dataclass of hyperparameters with a generator `steps(objective)`, whose state is local variables; see
`Solver`. A new one is a file and a line in the table below.
"""

from __future__ import annotations

from gpulr.solvers.gd import GradientDescent
from gpulr.solvers.lbfgs import LBFGS
from gpulr.solvers.minimize import Look, Record, Result, Solver, minimize
from gpulr.solvers.newton import Newton
from gpulr.solvers.prox import FISTA, ProximalNewton
from gpulr.solvers.sgd import SGD
from gpulr.solvers.sketch import Sketch

SOLVERS = {
    "gd": GradientDescent,
    "sgd": SGD,
    "lbfgs": LBFGS,
    "newton": Newton,
    "sketch": Sketch,
    "prox-newton": ProximalNewton,
    "fista": FISTA,
}

__all__ = [
    "FISTA",
    "LBFGS",
    "SGD",
    "SOLVERS",
    "GradientDescent",
    "Look",
    "Newton",
    "ProximalNewton",
    "Record",
    "Result",
    "Sketch",
    "Solver",
    "minimize",
]
