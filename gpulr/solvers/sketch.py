"""Sketched quasi-Newton: what some of the rows know of the minimum and of the curvature is learnt from them; then L-BFGS
on all rows, which needs few passes because it starts close by and with a good metric."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar

import numpy as np
from array_api_compat import device

from gpulr import cost_model
from gpulr.device import Array, array_namespace, floats
from gpulr.linear_algebra import rounding
from gpulr.objective import Objective, Point
from gpulr.solvers.lbfgs import LBFGS, numbers_of, quasi_newton
from gpulr.solvers.line_search import line_search
from gpulr.solvers.minimize import Look, Looks, Solver
from gpulr.solvers.newton import (
    newton_direction,
    newton_from,
    positive_inverse,
    regular_inverse,
    require_room_for_hessian,
)
from gpulr.solvers.pairs import Metric, Pairs, identity

# The metric is given up when so many steps leave more than this share of the gradient.
SLOW_STEPS, SLOW_SHARE = 4, 0.3

# Columns whose pairs tell whether features are correlated: chance moves the mean of their squares by 0.6 %, and 8 % count.
ENOUGH_COLUMNS = 256


@dataclass(frozen=True)
class Sketch(Solver):
    """Learn from samples, then p ← p − t·H⁻¹∇F(p) on all rows, H⁻¹ by L-BFGS from a sampled Hessian H₀.

    An iteration is a step on all rows; what the samples cost counts in the reads of X. With n parameters an output, of which
    the penalty leaves d free (`effective_parameters`; d = n without one), and m rows, for two classes and where the Hessian
    of 20 n rows is cheap beside a pass:

    1. three Newton steps on 10 d rows;
    2. steps on as many rows as `cost_model.rows_of_a_sample` says, m/48 where m ≫ n, from the last of these Hessians, until
       the decrement is a tenth of what separates their minimum from that of all rows, about d/rows of the cost;
    3. steps on all rows, from the Hessian H₀ of those rows where 2. ends. (The Hessian of where 2. begins takes as long, but
       the minimum of 10 d rows is not close enough: it costs a step more on all rows.)

    Otherwise H₀ is the Hessian of 6 d to 10 d rows at equal probabilities, which all classes share; after a few steps on
    other rows, m/16 of them where m ≫ n, follows 3. Where some features are no more correlated than by chance in n rows, 3
    starts at once, without H₀.
    With fewer than 20 n rows there is nothing to be learnt from some of them, and it is `LBFGS`.

    A sampled metric may be wrong: a few rows may be unlike all others. So the decrement is not taken at its word. A step
    with the true Hessian makes an end of the gradient; a step that leaves the share r of it was made with a metric that is
    too small by 1 − r, and the decrement is reported larger by 1/(1 − r). After four slow steps Newton's follow, or where
    there are k classes H₀ is replaced by the Hessian of all rows, or dropped where n is too large for either.

    Sources: Roosta-Khorasani & Mahoney, "Sub-sampled Newton methods" (2019), for sampled Hessians; Daneshmand, Lucchi &
    Hofmann, "Starting small: learning with adaptive sample sizes" (2016), for the accuracy that a sample deserves.

    Attributes:
        memory: number of L-BFGS pairs ≥ 1.
        seed: of the samples.

    Raises:
        ValueError: memory < 1.
    """

    memory: int = 20
    seed: int = 0

    sharpness: ClassVar[float] = 1e3  # between Newton's and that of L-BFGS, as is its convergence
    knows_curvature: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.memory < 1:
            raise ValueError(f"memory={self.memory}: at least one pair is needed")

    def steps(self, objective: Objective) -> Looks:
        """A look at every iterate on all rows; it ends when no step lowers the cost any more.

        Raises:
            ValueError: the Hessian of one output does not fit in memory; found out before any work.
        """
        if objective.rows.y.shape[0] < cost_model.FEWEST_ROWS * objective.start.shape[0]:
            yield from LBFGS(self.memory).steps(objective)
            return
        p, pairs = self._learn(objective)
        norms: list[float] = []
        for look in quasi_newton(objective, objective.visit(p), pairs):
            yield _with_caution(look, norms)
            if pairs.metric.trust > 1 and len(norms) > SLOW_STEPS and norms[-1] > SLOW_SHARE * norms[-1 - SLOW_STEPS]:
                break
        else:
            return
        point = objective.visit(look.params)
        H = objective.shared_hessian(point.margins) if cost_model.hessian_of_all_is_cheap(p.shape[0]) else None
        if H is not None and p.ndim == 1 and regular_inverse(H) is not None:
            following = newton_from(objective, point, H)
        else:
            metric = identity(objective) if H is None else _sampled(H)
            following = quasi_newton(objective, point, Pairs(metric, self.memory))
        next(following)  # it was looked at above
        for look in following:
            yield look if look.numbers is None else _with_caution(look, norms)

    def _learn(self, objective: Objective) -> tuple[Array, Pairs]:
        """Where to start on all rows, and H₀ with the pairs that some of them gave.

        In float32, whose digits are more than those that a sample has in common with all rows; unless they do not tell all
        directions apart, or numbers overflow.
        """
        m, n = objective.rows.y.shape[0], objective.start.shape[0]
        require_room_for_hessian(objective, n)
        newton = objective.start.ndim == 1 and cost_model.newton_is_cheap_on_a_sample(m, n)
        learn, xp, dtype = _by_newton if newton else _by_gram, array_namespace(objective.start), objective.start.dtype
        found = learn(objective, self.seed, self.memory, xp.float32)
        if found is None:
            found = learn(objective, self.seed, self.memory, dtype)
        if found is None:
            raise FloatingPointError(f"samples, or sums of their products, are too large for {dtype}: scale them")
        return xp.astype(found[0], dtype, copy=False), found[1]


def _by_newton(objective: Objective, seed: int, memory: int, dtype: Any) -> tuple[Array, Pairs] | None:
    """Steps 1 and 2 of `Sketch` for cheap Hessians; None where the dtype will not do, see `_will_do`."""
    m, n = objective.rows.y.shape[0], objective.start.shape[0]
    d = max(n / 10, effective_parameters(objective))  # n rows cost next to nothing
    double = array_namespace(objective.start).finfo(objective.start.dtype).bits > 32
    few, many = round(10 * d), round(cost_model.rows_of_a_sample(m, n, d, double=double))
    rows = _in_runs(m, many, seed)
    small, large = _sample(objective, rows[:few], dtype), _sample(objective, rows, dtype)
    point = small.visit(small.start)
    H = small.hessian(point.margins)
    if not _will_do(H, objective, dtype):
        _count(objective, small)
        return None
    for _ in range(3):
        direction, _ = newton_direction(H, point.gradient)
        found = line_search(small, point, direction)
        if found is None:
            break
        point, _ = found
        H = small.hessian(point.margins)
    point = large.visit(point.params)
    if not _finite(point.gradient):
        _count(objective, small, large)
        return None
    look = _solved(large, point, Pairs(_sampled(H), memory), most=30)
    # Without the pairs: the Hessian of where they end tells more than they do.
    metric = _sampled(large.hessian(large.matmul(look.params)))
    _count(objective, small, large)
    return look.params, Pairs(metric, memory)


def _by_gram(objective: Objective, seed: int, memory: int, dtype: Any) -> tuple[Array, Pairs] | None:
    """The start of `Sketch` for expensive Hessians: H₀ at equal probabilities, where features depend on each other.

    None where the dtype will not do, see `_will_do`.
    """
    m, n = objective.rows.y.shape[0], objective.start.shape[0]
    d, outputs = effective_parameters(objective), math.prod(objective.start.shape[1:])
    few, many = (round(count) for count in cost_model.rows_of_samples(m, n, d, outputs))
    rows = _in_runs(m, few + many, seed)
    some = _some_columns(objective, seed)
    H = _at_equal_probabilities(objective, rows[:n], dtype, some)
    if not _finite(array_namespace(H).linalg.diagonal(H)):
        return None
    if not _correlated(H, objective.ridge_diagonal(H, some), n):
        return objective.start, Pairs(identity(objective), memory)
    H = _at_equal_probabilities(objective, rows[:few], dtype)
    if not _will_do(H, objective, dtype):
        return None
    pairs = Pairs(_sampled(H), memory)
    other = _sample(objective, rows[few:], dtype)
    point = other.visit(other.start)
    if not _finite(point.gradient):
        _count(objective, other)
        return None
    look = _solved(other, point, pairs, most=8)
    _count(objective, other)
    return look.params, pairs


def effective_parameters(objective: Objective) -> float:
    """How many of the n parameters of an output the ridge R leaves to the data, from 1 to n: at least tr (H − R) H⁻¹.

    H in standardized variables has at most ¼ on its diagonal, of which R is a part. The trace is no larger than with the
    diagonal alone, since x/(x + r) is concave in the eigenvalues x. See Hastie, Tibshirani & Friedman, "The Elements of
    Statistical Learning" (2009), 3.4.1, for the effective degrees of freedom of ridge regression.
    """
    n, ridge = objective.start.shape[0], objective.ridge
    held: float = n * ridge if isinstance(ridge, float) else floats([array_namespace(ridge).sum(ridge)])[0]
    return max(1.0, float(n - 4 * held))


def _some_columns(objective: Objective, seed: int) -> Array | None:
    """Random ones (j,), by which to tell whether features are correlated; None for all where they are few."""
    n, like = objective.start.shape[0] - objective.fit_intercept, objective.start
    if n <= ENOUGH_COLUMNS:
        return None
    some = np.sort(np.random.default_rng(seed).permutation(n)[:ENOUGH_COLUMNS])
    return array_namespace(like).asarray(some, device=device(like))


def _at_equal_probabilities(objective: Objective, rows: np.ndarray, dtype: Any, columns: Array | None = None) -> Array:
    """The Hessian of some rows, whose copies are given up, so that the next sample has their memory."""
    part = _sample(objective, rows, dtype)
    H = part.shared_hessian(0 * part.matmul(part.start), columns)
    _count(objective, part)
    return H


def _correlated(H: Array, ridge: Array, n: int) -> bool:
    """Whether correlations in a sample of n rows of n features are larger than those that independent ones have by chance.

    These have squares of 1/n on average. If squares are less than 1/(12 n) larger, a sample of 6 n rows would show half as
    much correlation as chance, and its H⁻¹ would be noise more than anything. H (j, j) of some features without the `ridge`
    (j,) on its diagonal is their covariance, but for a factor.
    """
    xp, j = array_namespace(H), H.shape[0]
    diagonal = xp.linalg.diagonal(H)
    variance = diagonal - ridge
    known = variance > rounding(H) * diagonal
    inverse = xp.where(known, 1 / xp.where(known, variance, xp.ones_like(variance)), xp.zeros_like(variance))
    (squares,) = floats([inverse @ (H * H @ inverse) - xp.sum((diagonal * inverse) ** 2)])
    return j > 1 and bool(squares / (j * (j - 1)) > (1 + 1 / 12) / n)


def _solved(part: Objective, point: Point, pairs: Pairs, most: int) -> Look:
    """The last look at a sample: it is no use to solve it to more digits than it has in common with all rows."""
    deserved = 0.1 * effective_parameters(part) / part.rows.y.shape[0]
    for look in islice(quasi_newton(part, point, pairs), most):
        numbers = numbers_of(look)
        if numbers.decrement <= deserved * abs(numbers.cost):
            break
    return look


def _with_caution(look: Look, norms: list[float]) -> Look:
    """The look with a decrement that is larger by what the last step suggests, 100 where there was none; notes the norm."""
    numbers = numbers_of(look)
    left = min(0.99, numbers.gradient_norm / norms[-1]) if norms and norms[-1] > 0 else 0.99
    norms.append(numbers.gradient_norm)
    return replace(look, numbers=numbers._replace(decrement=numbers.decrement / (1 - left)))


def _in_runs(m: int, count: int, seed: int) -> np.ndarray:
    """The numbers of `count` ≤ m rows, in runs that come in random order: the first of them are a sample of their own."""
    run = cost_model.RUN
    # One run more than that: the last one of all may be short.
    starts = np.random.default_rng(seed).permutation(-(-m // run))[: count // run + 2] * run
    rows = (starts[:, None] + np.arange(run)).ravel()
    return rows[rows < m][:count]


def _will_do(H: Array, objective: Objective, dtype: Any) -> bool:
    """Whether the Hessian H of a sample in this dtype is finite, and if that is narrower than the computation, regular."""
    finite = _finite(array_namespace(H).linalg.diagonal(H))
    return finite and (dtype == objective.start.dtype or regular_inverse(H) is not None)


def _finite(a: Array) -> bool:
    """Whether all numbers are. A gradient has one that is not for each column where a sample has; so has the diagonal of
    a Hessian."""
    xp = array_namespace(a)
    return bool(xp.all(xp.isfinite(a)))


def _sample(objective: Objective, rows: np.ndarray, dtype: Any) -> Objective:
    part = objective.sample(array_namespace(objective.start).asarray(rows, device=device(objective.start)), dtype)
    part.reads = 0
    return part


def _count(objective: Objective, *parts: Objective) -> None:
    """Add the reads of samples, as shares of X."""
    objective.reads += sum(part.reads * part.rows.y.shape[0] for part in parts) / objective.rows.y.shape[0]


def _sampled(H: Array) -> Metric:
    """The inverse of a Hessian that may be too large as a whole: curvature is largest at equal probabilities."""
    return Metric(positive_inverse(H), 2.0)
