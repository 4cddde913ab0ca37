"""The inverse Hessian as the last few steps tell it: L-BFGS in matrix form, a few operations on the device however many
pairs there are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from array_api_compat import device

from gpulr.device import Array, array_namespace
from gpulr.objective import Objective


@dataclass(frozen=True)
class Metric:
    """A first estimate M of H⁻¹.

    Attributes:
        times: multiplies a gradient by it.
        trust: ≥ 1; as a whole it may be too large or small by this factor before the newest pair corrects it.
    """

    times: Callable[[Array], Array]
    trust: float


def identity(objective: Objective) -> Metric:
    """A multiple of the identity, for a start; the first pair tells better.

    One over the largest curvature that standardized features have when they depend on each other by chance only,
    (1 + √(n/m))²/4 (Marchenko & Pastur, "Distribution of eigenvalues for some sets of random matrices" (1967)).
    """
    m, n = objective.rows.y.shape[0], objective.start.shape[0]
    size = 4 / (1 + math.sqrt(n / m)) ** 2
    return Metric(lambda g: size * g, 1.0)


@dataclass(frozen=True)
class Place:
    """Where a step begins or ends.

    Attributes:
        params, gradient: p and ∇F(p), (N,).
        image: M∇F(p), likewise.
    """

    params: Array
    gradient: Array
    image: Array


class Pairs:
    """H⁻¹ by L-BFGS from a metric M and the last pairs: steps s and changes y of the gradient along them.

    With S and Y of the pairs in columns, the newest last, U = M Y, R the upper triangle of SᵀY, D its diagonal, and γ the
    factor by which M is corrected,

        H⁻¹g = γ Mg + S δ − γ U α,   α = R⁻¹ Sᵀg,   δ = R⁻ᵀ ((D + γ YᵀU) α − γ Uᵀg),

    which is what the two-loop recursion comes to. That waits for one product of vectors after the other, of which each is
    several launches on a GPU; here two products with a matrix bring them all, and what is made of them is the host's.
    Source: Byrd, Nocedal & Schnabel, "Representations of quasi-Newton matrices and their use in limited memory methods"
    (1994), theorem 2.2.

    Args:
        metric: M.
        memory: the most pairs that are kept, ≥ 1; the oldest make room.
    """

    def __init__(self, metric: Metric, memory: int) -> None:
        self.metric, self.memory = metric, memory
        # Mg, then s and u of a pair in each slot: (1 + 2·memory, N), where the parameters are and in their dtype.
        self._rows: Array | None = None
        # By slots: sⱼᵀyᵢ in row i and column j, for pairs j that are no newer than i, and yᵢᵀuⱼ.
        self._steps = np.zeros((memory, memory))
        self._images = np.zeros((memory, memory))
        self._order: list[int] = []  # slots, the newest last

    def __len__(self) -> int:
        return len(self._order)

    def clear(self) -> None:
        """Forget the pairs."""
        self._order = []

    def products(self, place: Place, before: Place | None = None) -> Array:
        """What `keep` and `aim` have to be told of a place, in float64, where it is; nothing is read from there.

        The pair that the step from the place `before` makes is a candidate. It takes the room of the last candidate, and
        where the memory is full that of the oldest pair, which is then lost unless `keep` follows.
        """
        xp, p, g, v = array_namespace(place.params), place.params, place.gradient, place.image
        if self._rows is None:
            self._rows = xp.zeros((1 + 2 * self.memory, p.shape[0]), dtype=g.dtype, device=device(p))
        elif self._rows.dtype != g.dtype:  # pairs of a sample
            self._rows = xp.astype(self._rows, g.dtype)
        self._rows[0, :] = v
        factors, used = [g], self._used(self._order)
        if before is not None:
            slot = self._candidate()
            self._rows[1 + 2 * slot, :] = p - before.params
            self._rows[2 + 2 * slot, :] = v - before.image
            factors, used = [g, g - before.gradient], self._used([*self._order, slot])
        # A product each: NumPy's BLAS takes as long for a matrix of two columns, and longer where the rows are long.
        products = xp.stack([self._rows[:used, :] @ factor for factor in factors], axis=1)
        return xp.astype(products, xp.float64, copy=False)

    def keep(self, products: np.ndarray) -> None:
        """Make the candidate the newest pair, with the products of its end; unless rounding left it no curvature."""
        slot, steps, images = self._candidate(), products[1::2, 1], products[2::2, 1]
        if len(self) == self.memory:
            self._order.pop(0)
        # Convexity makes sᵀy > 0 but for rounding.
        if steps[slot] > 0:
            self._order.append(slot)
            self._steps[slot, : len(steps)] = steps
            self._images[slot, : len(images)] = self._images[: len(images), slot] = images

    def aim(self, products: np.ndarray) -> tuple[Array, float]:
        """The direction −H⁻¹g (N,) from the last place, which has these products, and ½ gᵀH⁻¹g."""
        assert self._rows is not None
        slots, xp = np.array(self._order, dtype=int), array_namespace(self._rows)
        products = products[: self._used(self._order), 0]
        coefficients = np.zeros(len(products))
        coefficients[0] = factor = self._factor()
        if len(self):
            L, images = np.tril(self._steps[np.ix_(slots, slots)]), self._images[np.ix_(slots, slots)]
            of_steps, of_images = products[1 + 2 * slots], products[2 + 2 * slots]
            alpha = _solve_lower(L, of_steps, transposed=True)
            curved = np.diag(L) * alpha + factor * (images @ alpha - of_images)
            coefficients[1 + 2 * slots] = _solve_lower(L, curved)
            coefficients[2 + 2 * slots] = -factor * alpha
        there = xp.asarray(-coefficients, dtype=self._rows.dtype, device=device(self._rows))
        return there @ self._rows[: len(products), :], 0.5 * float(coefficients @ products)

    def _factor(self) -> float:
        """How much larger the metric should be by what the newest step has shown, sᵀy / yᵀMy, where that is beyond trust."""
        if not self._order or self.metric.trust == math.inf:
            return 1.0
        newest = self._order[-1]
        ratio = float(self._steps[newest, newest] / self._images[newest, newest])
        return 1.0 if 1 / self.metric.trust <= ratio <= self.metric.trust else ratio

    def _candidate(self) -> int:
        """The slot of the next pair."""
        if len(self) == self.memory:
            return self._order[0]
        return next(slot for slot in range(self.memory) if slot not in self._order)

    @staticmethod
    def _used(slots: list[int]) -> int:
        """Rows up to the last one of these slots."""
        return 1 + 2 * (1 + max(slots, default=-1))


def _solve_lower(L: np.ndarray, b: np.ndarray, *, transposed: bool = False) -> np.ndarray:
    """L⁻¹b or L⁻ᵀb for a lower triangular L with a positive diagonal: LAPACK alone, for what SciPy does around it takes ten
    times as long for a matrix of 20."""
    from scipy.linalg.lapack import dtrtrs  # here, because importing it takes a tenth of a second

    solution: np.ndarray = dtrtrs(L, b, lower=1, trans=int(transposed))[0]
    return solution
