"""Damped Newton with the exact Hessian: few steps, each of which costs m·N² for N parameters."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import device

from gpulr.device import Array, array_namespace, available_memory
from gpulr.objective import Objective, Point
from gpulr.solvers.line_search import line_search
from gpulr.solvers.minimize import Look, Solver


@dataclass(frozen=True)
class Newton(Solver):
    """p ← p − t·(∇²F)⁻¹∇F(p).

    Where the Hessian is singular (dependent columns without a penalty) its pseudo-inverse takes the place of the inverse:
    the steps stay in the range of the Hessian, and the end is the solution nearest to the start.
    Source: Nocedal & Wright, "Numerical Optimization" (2006), section 3.3; Boyd & Vandenberghe, "Convex Optimization"
    (2004), section 9.5, for the decrement.
    """

    # Each step squares the error, so one after convergence brings all the digits there are.
    extra_steps: ClassVar[int] = 1
    knows_curvature: ClassVar[bool] = True

    def steps(self, objective: Objective) -> Iterator[Look]:
        """A look at every iterate, from `objective.start` on; it ends when no step lowers the cost any more.

        Raises:
            ValueError: the Hessian does not fit in memory; found out before any work.
        """
        require_room_for_hessian(objective)
        point: Point | None = objective.visit(objective.start)
        regular = objective.flat_directions()
        unpenalized, warned = is_zero(objective.ridge), False
        while point is not None:
            direction, singular = newton_direction(objective.hessian(point.margins) + regular, point.gradient)
            if singular and unpenalized and not warned:
                warned = True
                _warn_of_singular_hessian()
            slope = array_namespace(direction).sum(point.gradient * direction)
            yield Look(point.params, point.cost, point.gradient, -0.5 * slope)
            found = line_search(objective, point, direction)
            point = None if found is None else found[0]


def is_zero(ridge: Array | float) -> bool:
    """Whether nothing is penalized."""
    return ridge == 0 if isinstance(ridge, float) else not bool(array_namespace(ridge).any(ridge > 0))


def hessian_bytes(n_parameters: int) -> int:
    """Memory to form and solve with a float64 Hessian: itself, a sum of blocks, and a factor beside it."""
    return 4 * 8 * n_parameters**2


def require_room_for_hessian(objective: Objective) -> None:
    """Raises ValueError when the Hessian would not fit into the memory that is free now."""
    xp = array_namespace(objective.start)
    size = int(np.prod(objective.start.shape))
    needed, free = hessian_bytes(size), available_memory(objective.start)
    if needed > free:
        raise ValueError(
            f"the Hessian of {size} parameters needs {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB of {xp.__name__} "
            "memory are free: use solver='lbfgs'"
        )


def newton_direction(H: Array, g: Array) -> tuple[Array, bool]:
    """−H⁻¹g, of g's shape and dtype, and whether H (N, N) is singular to rounding, so that its pseudo-inverse was used."""
    xp = array_namespace(H)
    flat = xp.astype(xp.reshape(g, (-1,)), H.dtype, copy=False)
    H, root = unit_diagonal(H)
    flat = flat / root
    singular = not _is_positive_definite(H)
    if singular:
        values, vectors = xp.linalg.eigh(H)
        floor = values[-1] * _rounding(H)
        inverse = xp.where(values > floor, 1 / xp.where(values > floor, values, xp.ones_like(values)), values * 0)
        solution = vectors @ (inverse * (vectors.T @ flat))
    else:
        solution = xp.linalg.solve(H, flat)
    return xp.astype(xp.reshape(-solution / root, g.shape), g.dtype, copy=False), singular


def positive_inverse(H: Array) -> Array:
    """H⁻¹ (N, N), with eigenvalues that are rounding, relative to a unit diagonal, replaced by small positive ones."""
    xp = array_namespace(H)
    H, root = unit_diagonal(H)
    values, vectors = xp.linalg.eigh(H)
    floor = values[-1] * _rounding(H)
    values = xp.where(values > floor, values, floor * xp.ones_like(values))
    return (vectors / values) @ vectors.T / root[:, None] / root


def unit_diagonal(H: Array) -> tuple[Array, Array]:
    """H / r / rᵀ with ones on its diagonal, and r (N,): what is singular should not depend on units.

    Where H (N, N) has no curvature at all, for a constant column without a penalty, it gets 1, so that the weight stays.
    """
    xp = array_namespace(H)
    diagonal = xp.linalg.diagonal(H)
    missing = xp.where(diagonal > 0, xp.zeros_like(diagonal), xp.ones_like(diagonal))
    H = H + xp.eye(H.shape[0], dtype=H.dtype, device=device(H)) * missing
    root = xp.sqrt(xp.where(diagonal > 0, diagonal, xp.ones_like(diagonal)))
    return H / root[:, None] / root, root


def _is_positive_definite(H: Array) -> bool:
    """Whether H with a unit diagonal has a Cholesky factor whose pivots are above rounding."""
    xp = array_namespace(H)
    try:
        pivots = xp.linalg.diagonal(xp.linalg.cholesky(H))
    except (np.linalg.LinAlgError, RuntimeError):  # NumPy's and PyTorch's way to say no; CuPy's is NaN
        return False
    # Not their squares: a factor that failed may hold negative ones.
    return bool(xp.min(pivots) > _rounding(H) ** 0.5)


def _rounding(H: Array) -> float:
    """What rounding leaves of a zero pivot or eigenvalue, relative to the largest: a sum of N terms, and some leeway."""
    eps: float = array_namespace(H).finfo(H.dtype).eps
    return 100 * int(H.shape[0]) * float(eps)


def _warn_of_singular_hessian() -> None:
    from sklearn.exceptions import ConvergenceWarning  # here, because importing it takes a second

    warnings.warn(
        "the Hessian is singular: columns of X depend on each other (or on the intercept) and nothing is penalized, so "
        "many solutions are equally good; this one is the smallest. Remove the dependent columns or use a finite C",
        ConvergenceWarning,
        stacklevel=4,
    )
