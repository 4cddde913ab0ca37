"""Damped Newton with the exact Hessian: few steps, each of which costs m·N² for N parameters."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from gpulr.device import Array, array_namespace, available_memory
from gpulr.linear_algebra import cholesky, cholesky_solve, eigh, rounding, unit_diagonal
from gpulr.objective import Objective, Point
from gpulr.products import inner
from gpulr.solvers.line_search import line_search
from gpulr.solvers.minimize import Look, Looks, Solver


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

    def steps(self, objective: Objective) -> Looks:
        """A look at every iterate, from `objective.start` on; it ends when no step lowers the cost any more.

        Raises:
            ValueError: the Hessian does not fit in memory; found out before any work.
        """
        require_room_for_hessian(objective)
        yield from newton_from(objective, objective.visit(objective.start))


def newton_from(objective: Objective, start: Point, H: Array | None = None) -> Looks:
    """A look at every iterate of `Newton`, from a point on, whose Hessian H may be known."""
    point: Point | None = start
    regular = objective.flat_directions()
    unpenalized, warned = is_zero(objective.ridge), False
    while point is not None:
        H = objective.hessian(point.margins) if H is None else H
        direction, singular = newton_direction(H + regular, point.gradient)
        H = None
        if singular and unpenalized and not warned:
            warned = True
            _warn_of_singular_hessian()
        yield Look(point.params, point.cost, point.gradient, -0.5 * inner(point.gradient, direction))
        found = line_search(objective, point, direction)
        point = None if found is None else found[0]


def is_zero(ridge: Array | float) -> bool:
    """Whether nothing is penalized."""
    return ridge == 0 if isinstance(ridge, float) else not bool(array_namespace(ridge).any(ridge > 0))


def hessian_bytes(n_parameters: int) -> int:
    """Memory to form and solve with a float64 Hessian: itself, a sum of blocks, and a factor beside it."""
    return 4 * 8 * n_parameters**2


def require_room_for_hessian(objective: Objective, size: int | None = None) -> None:
    """Raises ValueError when the Hessian, of all parameters or of `size`, would not fit into the memory free now."""
    xp = array_namespace(objective.start)
    size = math.prod(objective.start.shape) if size is None else size
    needed, free = hessian_bytes(size), available_memory(objective.start)
    if needed > free:
        raise ValueError(
            f"the Hessian of {size} parameters needs {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB of {xp.__name__} "
            "memory are free: use solver='lbfgs', or 'fista' for an l1 penalty"
        )


def newton_direction(H: Array, g: Array) -> tuple[Array, bool]:
    """−H⁻¹g, of g's shape and dtype, and whether H (N, N) is singular to rounding, so that its pseudo-inverse was used."""
    times, singular = _inverse(H, pseudo=True)
    return -times(g), singular


def positive_inverse(H: Array) -> Callable[[Array], Array]:
    """Multiplies a gradient by about H⁻¹, H (N, N): one of N entries, or one (N, k) whose outputs share H; in its own dtype.

    It is symmetric and positive: eigenvalues of H that are rounding, relative to a unit diagonal, count as small positive
    ones. Where H is regular to float32's rounding, it is to float32's digits, which takes half the time.
    """
    return regular_inverse(H) or _inverse(H, pseudo=False)[0]


def regular_inverse(H: Array) -> Callable[[Array], Array] | None:
    """`positive_inverse` to float32's digits; None where H is singular to its rounding."""
    R, root = unit_diagonal(H)
    xp = array_namespace(H)
    L = cholesky(xp.astype(R, xp.float32))
    return None if L is None else partial(_times, partial(cholesky_solve, L), root, L.dtype)


def _inverse(H: Array, *, pseudo: bool) -> tuple[Callable[[Array], Array], bool]:
    """Multiplies by H⁻¹, see above, and whether H is singular.

    In directions where H has no more curvature than rounding, a pseudo-inverse does nothing; otherwise it counts as small.
    """
    xp = array_namespace(H)
    R, root = unit_diagonal(H)
    L = cholesky(R)
    if L is not None:
        return partial(_times, partial(cholesky_solve, L), root, L.dtype), False
    values, vectors = eigh(R)
    floor = values[-1] * rounding(R)
    large = values > floor
    inverses = 1 / xp.where(large, values, floor * xp.ones_like(values))
    inverses = xp.where(large, inverses, xp.zeros_like(inverses)) if pseudo else inverses

    def by_eigenvectors(columns: Array) -> Array:
        return vectors @ (inverses[:, None] * (vectors.T @ columns))

    return partial(_times, by_eigenvectors, root, R.dtype), True


def _times(solve: Callable[[Array], Array], root: Array, dtype: Any, g: Array) -> Array:
    """H⁻¹g, of g's shape and dtype, where `solve` multiplies by the inverse of H / root / rootᵀ in this dtype."""
    xp = array_namespace(g)
    columns = xp.astype(xp.reshape(g, (root.shape[0], -1)), root.dtype, copy=False)
    product = solve(xp.astype(columns / root[:, None], dtype, copy=False)) / root[:, None]
    return xp.astype(xp.reshape(product, g.shape), g.dtype, copy=False)


def _warn_of_singular_hessian() -> None:
    from sklearn.exceptions import ConvergenceWarning  # here, because importing it takes a second

    warnings.warn(
        "the Hessian is singular: columns of X depend on each other (or on the intercept) and nothing is penalized, so "
        "many solutions are equally good; this one is the smallest. Remove the dependent columns or use a finite C",
        ConvergenceWarning,
        stacklevel=4,
    )
