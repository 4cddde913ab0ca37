"""What a fit would cost, by which `auto` chooses: solver, and whether to work in Gram space. The pass is chosen by
`gpulr.passes.named`.

The unit is one multiplication and addition in a product of large float32 matrices, which cores and GPUs do at full speed.
Everything else is measured in it, on two cores of a server with 20 GB/s of memory; it need not be exact, for where two ways
cost about the same either will do. Sizes are m rows, n parameters an output, k classes (outputs: 1 for two classes).
"""

from __future__ import annotations

from math import inf

# A pass, for each number of X and for each stored number of a sparse X.
PASS, SPARSE_PASS = 30, 250
# An output more than the first, for each number of X.
OUTPUT = 6
# What an iteration costs beside its pass, the calls: of L-BFGS, and of Newton with its factorization.
ITERATION, NEWTON_ITERATION = 3e7, 3.5e7
# A Cholesky factor of N × N, for each of N³: a third, in float64, on one core.
CHOLESKY = 4 / 3

# Passes until the optimum, as a rule: of L-BFGS with correlated features, for which others are easy; of L-BFGS where it
# starts with the Hessian, up to so many parameters; of Newton; of a sketch by Newton steps, and by the Gram matrix.
LBFGS_PASSES, HESSIAN_PASSES, NEWTON_PASSES, SKETCH_PASSES, SKETCH_GRAM_PASSES = 40, 10, 6, 6, 12
# Of L-BFGS in Gram space, where the classes are separable, so that curvature falls far from what it was at the start.
GRAM_PASSES = 25
HESSIAN_SIZE = 200
# Newton's last digits are exact, so it may take this much longer.
NEWTON_BONUS = 1.5

# Rows are drawn in runs of so many, which memory delivers at full speed.
RUN = 64
# Rows for each parameter that a sample has to leave behind to be worth taking; see `gpulr.solvers.sketch`.
FEWEST_ROWS = 20


def one_pass(m: int, n: int, outputs: int = 1, stored: int | None = None) -> float:
    """Forward and backward propagation of all rows; `stored` numbers when X is sparse."""
    numbers, each = (m * n, PASS) if stored is None else (stored, SPARSE_PASS)
    return ITERATION + numbers * float(each + OUTPUT * (outputs - 1))


def newton_is_cheap_on_a_sample(m: int, n: int) -> bool:
    """Whether the Hessian of 20 n rows takes less than one and a half passes over all rows."""
    return FEWEST_ROWS * n**3 <= 1.5 * PASS * m * n


def smooth_solvers(m: int, n: int, outputs: int = 1, stored: int | None = None) -> dict[str, float]:
    """Cost of a fit by each solver that `auto` considers without an l1 penalty; inf for one that does not apply."""
    a_pass = one_pass(m, n, outputs, stored)
    # Of one row, for one output. Rows of few numbers are read no faster than in a pass, and copied.
    row = float(max(n, 2 * PASS) * n) if stored is None else float(SPARSE_PASS * stored / m * n)
    hessian = max(1, outputs * (outputs - 1) / 2) * m * row + CHOLESKY * (n * outputs) ** 3
    newton = NEWTON_PASSES * (a_pass + hessian + NEWTON_ITERATION) / NEWTON_BONUS
    if m < FEWEST_ROWS * n:
        sketch = inf
    elif outputs == 1 and newton_is_cheap_on_a_sample(m, n):
        sketch = SKETCH_PASSES * a_pass + (30 * n + m / 16) * row + 3 * NEWTON_ITERATION + 7 * ITERATION
    else:
        sketch = SKETCH_GRAM_PASSES * a_pass + 6 * n * row + CHOLESKY * n**3
    lbfgs = HESSIAN_PASSES * a_pass + hessian if n * outputs <= HESSIAN_SIZE else LBFGS_PASSES * a_pass
    return {"newton": newton, "sketch": sketch, "lbfgs": lbfgs}


def gram_space(m: int, n: int) -> float:
    """To form XXᵀ and its factor, and to return."""
    return float(m) * m * n + CHOLESKY * m**3 + 2 * PASS * m * n


def gram_pays(m: int, n: int, passes: float, outputs: int = 1, stored: int | None = None) -> bool:
    """Whether so many passes are faster in Gram space, where X has m columns, n > m."""
    return n > m and gram_space(m, n) + passes * one_pass(m, m, outputs) < passes * one_pass(m, n, outputs, stored)


def gram_solvers(m: int, outputs: int = 1) -> dict[str, float]:
    """Cost of a fit on the m columns of Gram space. L-BFGS has the Hessian at its start there."""
    a_pass = one_pass(m, m, outputs)
    pairs = max(1, outputs * (outputs - 1) / 2)
    hessian = pairs * float(m) ** 3 + CHOLESKY * (m * outputs) ** 3
    newton = NEWTON_PASSES * (a_pass + hessian + NEWTON_ITERATION) / NEWTON_BONUS
    return {"newton": newton, "lbfgs": GRAM_PASSES * a_pass + hessian}


def working_sets_pay(m: int, n: int, outputs: int) -> bool:
    """Whether a few Hessians of 500 features, and quadratic problems with them, take less than a hundred passes or two."""
    return outputs == 1 and m * n >= 2e6
