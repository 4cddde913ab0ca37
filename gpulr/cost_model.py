"""What a fit would cost, by which `auto` chooses: solver, and whether to work in Gram space. The pass is chosen by
`gpulr.passes.named`.

The unit is one multiplication and addition in a product of large float32 matrices, which cores and GPUs do at full speed.
Everything else is measured in it, see `Machine`; it need not be exact, for where two ways cost about the same either will
do. In float64 all of it takes twice as long, so the unit can stay. Sizes are m rows, n parameters an output, k classes
(outputs: 1 for two classes).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt


@dataclass(frozen=True)
class Machine:
    """What things cost beside products of large matrices.

    Attributes:
        one_pass, sparse_pass: a pass, for each number of X, and for each stored number of a sparse X.
        output: an output more than the first, for each number of X.
        iteration, newton_iteration: what an iteration costs beside its pass, the calls: of L-BFGS, and of Newton with its
            factorization.
        symmetric: part of a product that is computed where its result is symmetric.
        hessian_row: making the rows of a Hessian, for each number.
        cholesky: a factor of N × N, for each of N³.
        learning: what a sketch costs beside its passes, the calls.
        hessian_size: up to so many parameters L-BFGS starts with the Hessian of a dense X. That costs as many passes as it
            saves where there are more.
    """

    one_pass: float
    sparse_pass: float
    output: float
    iteration: float
    newton_iteration: float
    symmetric: float
    hessian_row: float
    cholesky: float
    learning: float
    hessian_size: int


CPU = Machine(
    one_pass=30, sparse_pass=250, output=6, iteration=3e7, newton_iteration=4e7, symmetric=0.6, hessian_row=140,
    cholesky=4 / 3, learning=0, hessian_size=200,
)  # fmt: skip
"""Two cores of servers with 20 to 30 GB/s of memory. A Cholesky factor is a third of N³, in float64, on one core."""

GPU = Machine(
    one_pass=37, sparse_pass=300, output=40, iteration=2e10, newton_iteration=5e10, symmetric=0.93, hessian_row=280,
    cholesky=17, learning=3e11, hessian_size=1500,
)  # fmt: skip
"""An H100, on which the unit is 4e-14 s and the start of whatever is computed 1e8 units and more."""

# Passes until the optimum, as a rule: of L-BFGS with correlated features, for which others are easy; of L-BFGS where it
# starts with the Hessian, up to so many parameters; of Newton; of a sketch by Newton steps, and by the Gram matrix.
LBFGS_PASSES, HESSIAN_PASSES, NEWTON_PASSES, SKETCH_PASSES, SKETCH_GRAM_PASSES = 50, 10, 6, 6, 14
# Of L-BFGS in Gram space, where the classes are separable, so that curvature falls far from what it was at the start.
GRAM_PASSES = 30
# Each digit takes L-BFGS as many passes as the one before it, and float64 has twice as many.
DOUBLE = 2
# The part of a product's time in float64 that it takes in float32.
COARSE = 0.55
# Newton's last digits are exact, so it may take this much longer.
NEWTON_BONUS = 1.5

# Rows are drawn in runs of so many, which memory delivers at full speed.
RUN = 64
# Rows for each parameter that a sample has to leave behind to be worth taking; see `gpulr.solvers.sketch`.
FEWEST_ROWS = 20


def one_pass(m: int, n: int, outputs: int = 1, stored: int | None = None, on: Machine = CPU) -> float:
    """Forward and backward propagation of all rows; `stored` is how many numbers X holds when it is sparse."""
    numbers, each = (m * n, on.one_pass) if stored is None else (stored, on.sparse_pass)
    return on.iteration + numbers * float(each + on.output * (outputs - 1))


def newton_is_cheap_on_a_sample(m: int, n: int) -> bool:
    """Whether the Hessian of 20 n rows takes less than one and a half passes over all rows."""
    return FEWEST_ROWS * n**3 <= 1.5 * CPU.one_pass * m * n


def rows_of_a_sample(m: int, n: int, d: float, *, double: bool) -> float:
    """How many rows are worth learning from by Newton steps, where the penalty leaves d of n parameters free.

    As many as save about as much time in passes over all rows as they take. A step on all rows with what S rows tell leaves
    a few times d/S of what there is to be gained: so S depends on the cost of a pass, and on d, whose logarithm counts, no
    more than √(d/n) does. Where passes are cheap, more than sixty rows a parameter, which take away all but a fiftieth at
    each step, are not worth it.
    """
    passes = (DOUBLE if double else 1) * m * sqrt(d / n)
    return max(FEWEST_ROWS * d, min(60 * d, passes / 16), passes / 48)


def rows_of_samples(m: int, n: int, d: float, outputs: int) -> tuple[float, float]:
    """How many rows are worth a Hessian H₀ that is to last, and how many others steps from it, before those on all rows.

    With 6 d rows a step takes away four fifths of what there is to be gained, with more somewhat more than that, as long as
    these cost little beside a pass.
    """
    a_quarter = 0.25 * one_pass(m, n, outputs) / _hessian_row(n, CPU)
    return max(n, 6 * d, min(10 * d, a_quarter)), max(4 * n, m / 16)


def hessian_size(stored: int | None, on: Machine) -> int:
    """Up to how many parameters L-BFGS starts with the Hessian; of a sparse X it takes n times as long as a pass."""
    return on.hessian_size if stored is None else min(on.hessian_size, CPU.hessian_size)


def lbfgs_passes(double: bool) -> int:
    """Of L-BFGS on many features, in float64 (`double`) or float32."""
    return LBFGS_PASSES * (DOUBLE if double else 1)


def hessian_of_all_is_cheap(n: int) -> bool:
    """Whether the Hessian of all rows takes no longer than ten passes."""
    return n <= 10 * CPU.one_pass


def smooth_solvers(
    m: int, n: int, outputs: int = 1, stored: int | None = None, *, double: bool = False, on: Machine = CPU
) -> dict[str, float]:
    """Cost of a fit by each solver that `auto` considers without an l1 penalty; inf for one that does not apply."""
    a_pass = one_pass(m, n, outputs, stored, on)
    # Of one row, for one output.
    row = _hessian_row(n, on) if stored is None else float(on.sparse_pass * stored / m * n)
    hessian = max(1, outputs * (outputs - 1) / 2) * m * row + on.cholesky * (n * outputs) ** 3
    newton = NEWTON_PASSES * (a_pass + hessian + on.newton_iteration) / NEWTON_BONUS
    if m < FEWEST_ROWS * n:
        sketch = inf
    elif outputs == 1 and newton_is_cheap_on_a_sample(m, n):
        rows = 30 * n + rows_of_a_sample(m, n, n, double=double)
        sketch = SKETCH_PASSES * a_pass + rows * row + 3 * on.newton_iteration + 7 * on.iteration
    else:
        sketch = SKETCH_GRAM_PASSES * a_pass + rows_of_samples(m, n, n, outputs)[0] * row + on.cholesky * n**3
    lbfgs = lbfgs_passes(double) * a_pass
    if n * outputs <= hessian_size(stored, on):
        lbfgs = HESSIAN_PASSES * a_pass + hessian
    return {"newton": newton, "sketch": sketch + on.learning, "lbfgs": lbfgs}


def _hessian_row(n: int, on: Machine) -> float:
    return float(n * (on.symmetric * n + on.hessian_row))


def gram_space(m: int, n: int, *, coarse: bool = False, on: Machine = CPU) -> float:
    """To form XXᵀ and its factor, and to return; `coarse`: of float32 products where the computation is in float64."""
    product = (COARSE if coarse else 1) * on.symmetric * m * m * n
    return product + on.cholesky * m**3 + 2 * on.one_pass * m * n


def gram_pays(
    m: int, n: int, passes: float, outputs: int = 1, stored: int | None = None, *, coarse: bool = False,
    on: Machine = CPU,
) -> bool:  # fmt: skip
    """Whether so many passes are faster in Gram space, where X has m columns, n > m."""
    there = gram_space(m, n, coarse=coarse, on=on) + passes * one_pass(m, m, outputs, on=on)
    return n > m and there < passes * one_pass(m, n, outputs, stored, on)


def gram_solvers(m: int, outputs: int = 1, *, double: bool = False, on: Machine = CPU) -> dict[str, float]:
    """Cost of a fit on the m columns of Gram space. L-BFGS has the Hessian at its start there."""
    a_pass = one_pass(m, m, outputs, on=on)
    pairs = max(1, outputs * (outputs - 1) / 2)
    hessian = pairs * m * _hessian_row(m, on) + on.cholesky * (m * outputs) ** 3
    newton = NEWTON_PASSES * (a_pass + hessian + on.newton_iteration) / NEWTON_BONUS
    passes, share = (GRAM_PASSES * DOUBLE, COARSE) if double else (GRAM_PASSES, 1.0)
    return {"newton": newton, "lbfgs": passes * a_pass + share * hessian}


def working_sets_pay(m: int, n: int, outputs: int) -> bool:
    """Whether a few Hessians of 500 features, and quadratic problems with them, take less than a hundred passes or two."""
    return outputs == 1 and m * n >= 2e6
