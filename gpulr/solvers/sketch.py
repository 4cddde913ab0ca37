"""Sketched quasi-Newton: what some of the rows know of the minimum and of the curvature is learnt from them; then L-BFGS
on all rows, which needs few passes because it starts close by and with a good metric."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from itertools import islice
from typing import ClassVar

import numpy as np
from array_api_compat import device

from gpulr import cost_model
from gpulr.device import Array, array_namespace, floats
from gpulr.linear_algebra import rounding
from gpulr.objective import Objective, Point
from gpulr.solvers.lbfgs import LBFGS, Metric, Pairs, identity, quasi_newton
from gpulr.solvers.line_search import line_search
from gpulr.solvers.minimize import Look, Looks, Numbers, Solver
from gpulr.solvers.newton import newton_direction, positive_inverse, require_room_for_hessian

# The metric is given up when so many steps leave more than this share of the gradient.
SLOW_STEPS, SLOW_SHARE = 4, 0.3


@dataclass(frozen=True)
class Sketch(Solver):
    """Learn from samples, then p ← p − t·H⁻¹∇F(p) on all rows, H⁻¹ by L-BFGS from a sampled Hessian H₀.

    An iteration is a step on all rows; what the samples cost counts in the reads of X. With n parameters an output, of which
    the penalty leaves d free (`effective_parameters`; d = n without one), and m rows, for two classes and where the Hessian
    of 20 n rows is cheap beside a pass:

    1. three Newton steps on 10 d rows;
    2. steps on d/n of m/16 rows, with their Hessian as H₀, until the decrement is a tenth of what separates their minimum
       from that of all rows, about d/rows of the cost;
    3. steps on all rows, which keep H₀ and what L-BFGS has learnt.

    Otherwise H₀ is the Hessian of 6 d rows at equal probabilities, which all classes share; after a few steps on other m/16
    rows follows 3. Where the features of n rows are no more correlated than by chance, 3 starts at once, without H₀.
    With fewer than 20 n rows there is nothing to be learnt from some of them, and it is `LBFGS`.

    A sampled metric may be wrong: a few rows may be unlike all others. So the decrement is not taken at its word. A step
    with the true Hessian makes an end of the gradient; a step that leaves the share r of it was made with a metric that is
    too small by 1 − r, and the decrement is reported larger by 1/(1 − r). After four slow steps H₀ is replaced by the
    Hessian of all rows, or dropped where n is too large for that.

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
        pairs: Pairs = deque(maxlen=self.memory)
        p, metric = self._learn(objective, pairs)
        norms: list[float] = []
        for look in quasi_newton(objective, objective.visit(p), metric, pairs):
            yield _with_caution(look, norms)
            if metric.trust > 1 and len(norms) > SLOW_STEPS and norms[-1] > SLOW_SHARE * norms[-1 - SLOW_STEPS]:
                break
        else:
            return
        point = objective.visit(look.params)
        # The Hessian of all rows, where it takes no longer than ten passes.
        if p.shape[0] <= 10 * cost_model.PASS:
            metric = _sampled(objective.shared_hessian(point.margins))
        else:
            metric = identity(objective)
        following = quasi_newton(objective, point, metric, deque(maxlen=self.memory))
        next(following)  # it was looked at above
        for look in following:
            yield _with_caution(look, norms)

    def _learn(self, objective: Objective, pairs: Pairs) -> tuple[Array, Metric]:
        """Where to start on all rows and with which H₀; fills the pairs."""
        m, n = objective.rows.y.shape[0], objective.start.shape[0]
        require_room_for_hessian(objective, n)
        if objective.start.ndim == 1 and cost_model.newton_is_cheap_on_a_sample(m, n):
            return _by_newton(objective, self.seed, pairs)
        return _by_gram(objective, self.seed, pairs)


def _by_newton(objective: Objective, seed: int, pairs: Pairs) -> tuple[Array, Metric]:
    """Steps 1 and 2 of `Sketch` for cheap Hessians."""
    m, n = objective.rows.y.shape[0], objective.start.shape[0]
    d = max(n / 10, effective_parameters(objective))  # n rows cost next to nothing
    few, many = round(10 * d), round(max(20 * d, m / 16 * d / n))
    rows = _in_runs(m, many, seed)
    small, large = _sample(objective, rows[:few]), _sample(objective, rows)
    point = small.visit(objective.start)
    for _ in range(3):
        direction, _ = newton_direction(small.hessian(point.margins), point.gradient)
        found = line_search(small, point, direction)
        if found is None:
            break
        point, _ = found
    point = large.visit(point.params)
    metric = _sampled(large.hessian(point.margins))
    look = _solved(large, point, metric, pairs, most=30)
    _count(objective, small, large)
    return look.params, metric


def _by_gram(objective: Objective, seed: int, pairs: Pairs) -> tuple[Array, Metric]:
    """The start of `Sketch` for expensive Hessians: H₀ at equal probabilities, where features depend on each other."""
    m, n = objective.rows.y.shape[0], objective.start.shape[0]
    end = round(6 * effective_parameters(objective))
    middle = max(n, end)
    rows = _in_runs(m, middle + max(4 * n, m // 16), seed)
    H = _at_equal_probabilities(objective, rows[:n])
    if not _correlated(H, objective.ridge_diagonal(H), n):
        return objective.start, identity(objective)
    if end > 1.5 * n:  # fewer rows more are not worth another product
        H = _at_equal_probabilities(objective, rows[:end])
    metric = _sampled(H)
    other = _sample(objective, rows[middle:])
    look = _solved(other, other.visit(objective.start), metric, pairs, most=8)
    _count(objective, other)
    return look.params, metric


def effective_parameters(objective: Objective) -> float:
    """How many of the n parameters of an output the ridge R leaves to the data, from 1 to n: at least tr (H − R) H⁻¹.

    H in standardized variables has at most ¼ on its diagonal, of which R is a part. The trace is no larger than with the
    diagonal alone, since x/(x + r) is concave in the eigenvalues x. See Hastie, Tibshirani & Friedman, "The Elements of
    Statistical Learning" (2009), 3.4.1, for the effective degrees of freedom of ridge regression.
    """
    n, ridge = objective.start.shape[0], objective.ridge
    held: float = n * ridge if isinstance(ridge, float) else floats([array_namespace(ridge).sum(ridge)])[0]
    return max(1.0, float(n - 4 * held))


def _at_equal_probabilities(objective: Objective, rows: np.ndarray) -> Array:
    """The Hessian of some rows, whose copies are given up, so that the next sample has their memory."""
    part = _sample(objective, rows)
    H = part.shared_hessian(0 * part.matmul(part.start))
    _count(objective, part)
    return H


def _correlated(H: Array, ridge: Array, rows: int) -> bool:
    """Whether correlations in a sample of so many rows are larger than those that independent features have by chance.

    These have squares of 1/rows on average. If squares are less than 1/(12 n) larger, a sample of 6 n rows would show half
    as much correlation as chance, and its H⁻¹ would be noise more than anything. H (n, n) without the `ridge` (n,) on its
    diagonal is the covariance, but for a factor.
    """
    xp, n = array_namespace(H), H.shape[0]
    diagonal = xp.linalg.diagonal(H)
    variance = diagonal - ridge
    known = variance > rounding(H) * diagonal
    inverse = xp.where(known, 1 / xp.where(known, variance, xp.ones_like(variance)), xp.zeros_like(variance))
    (squares,) = floats([inverse @ (H * H @ inverse) - xp.sum((diagonal * inverse) ** 2)])
    return n > 1 and bool(squares / (n * (n - 1)) > 1 / rows + 1 / (12 * n))


def _solved(part: Objective, point: Point, metric: Metric, pairs: Pairs, most: int) -> Look:
    """The last look at a sample: it is no use to solve it to more digits than it has in common with all rows."""
    deserved = 0.1 * effective_parameters(part) / part.rows.y.shape[0]
    for look in islice(quasi_newton(part, point, metric, pairs), most):
        numbers = _numbers(look)
        if numbers.decrement <= deserved * abs(numbers.cost):
            break
    return look


def _with_caution(look: Look, norms: list[float]) -> Look:
    """The look with a decrement that is larger by what the last step suggests, 100 where there was none; notes the norm."""
    numbers = _numbers(look)
    left = min(0.99, numbers.gradient_norm / norms[-1]) if norms and norms[-1] > 0 else 0.99
    norms.append(numbers.gradient_norm)
    return replace(look, numbers=numbers._replace(decrement=numbers.decrement / (1 - left)))


def _numbers(look: Look) -> Numbers:
    assert look.numbers is not None  # `quasi_newton` reads them
    return look.numbers


def _in_runs(m: int, count: int, seed: int) -> np.ndarray:
    """The numbers of `count` ≤ m rows, in runs that come in random order: the first of them are a sample of their own."""
    run = cost_model.RUN
    # One run more than that: the last one of all may be short.
    starts = np.random.default_rng(seed).permutation(-(-m // run))[: count // run + 2] * run
    rows = (starts[:, None] + np.arange(run)).ravel()
    return rows[rows < m][:count]


def _sample(objective: Objective, rows: np.ndarray) -> Objective:
    part = objective.sample(array_namespace(objective.start).asarray(rows, device=device(objective.start)))
    part.reads = 0
    return part


def _count(objective: Objective, *parts: Objective) -> None:
    """Add the reads of samples, as shares of X."""
    objective.reads += sum(part.reads * part.rows.y.shape[0] for part in parts) / objective.rows.y.shape[0]


def _sampled(H: Array) -> Metric:
    """The inverse of a Hessian that may be too large as a whole: curvature is largest at equal probabilities."""
    return Metric(positive_inverse(H), 2.0)
