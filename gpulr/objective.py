"""F(p), what training minimizes: the mean cross-entropy of all rows as a function of the parameters p.

A solver sees p as one vector, never X. There are two choices of variables for the same F:

- `Objective`: p = (w, b), n + 1 numbers. A look at F is one pass over X.
- `GramObjective`, for n > m: w = w₀ + Xᵀα, p = (α, b), m + 1 numbers. Gradient descent from w₀ never leaves this
  set, for each step adds a combination Xᵀdz of samples. With K = XXᵀ the margins are z = X w₀ + Kα + b, and X is not
  read again: m² in place of 2mn operations a look. Lengths of α are measured in the metric ‖α‖² = αᵀKα = ‖Xᵀα‖²; the
  gradient in this metric is dz, because ∂F/∂α = K dz. So a step along it is the very step that (w, b) would take.
  Source: the representer theorem, Schölkopf & Smola, "Learning with Kernels" (2002), section 4.2.

`scale` multiplies X (1/255 for pixels). It is folded into w, for (scale·X) w = X (scale·w), so that X stays as it is
stored; the formulas above and w mean the scaled X.
"""

from __future__ import annotations

from array_api_compat import array_namespace, device

from gpulr.device import Array, floats, normal
from gpulr.links import cross_entropy
from gpulr.passes import PASSES, Propagate
from gpulr.rows import MemoryRows


class Objective:
    """F(p) with p = (w, b): (n + 1,) in the dtype of `rows.y`.

    Args:
        rows: the samples (m, n) and their labels.
        w: (n,) and
        b: () where a solver starts, in y's dtype.
        scale: factor of X.
        propagate: the pass, a value of `gpulr.passes.PASSES`.

    Attributes:
        start: p at (w, b).
    """

    def __init__(
        self,
        rows: MemoryRows,
        w: Array,
        b: Array,
        *,
        scale: float = 1.0,
        propagate: Propagate = PASSES["vectorized"],
    ) -> None:
        self.rows = rows
        self.scale = scale
        self.propagate = propagate
        self.total_weight = _total_weight(rows)
        self.start = _join(w, b)

    def value_and_grad(self, p: Array) -> tuple[Array, Array]:
        """F(p) () in float64 and its gradient, of p's shape and dtype. One pass over X."""
        xp = array_namespace(p)
        w, b = self.scale * p[:-1], p[-1]
        # One vector (cost, dw, db) a block, added in order and in float64: the same run gives the same bits.
        total = xp.zeros(p.shape[0] + 1, dtype=xp.float64, device=device(p))
        for X, y, sample_weight in self.rows.blocks():
            cost, dw, db = self.propagate(X, y, w, b, sample_weight)
            total = total + _join(cost, xp.astype(dw, xp.float64, copy=False), db)
        cost, dw, db = total[0], self.scale * total[1:-1], total[-1]
        return cost / self.total_weight, xp.astype(_join(dw, db) / self.total_weight, p.dtype, copy=False)

    def matmul(self, p: Array) -> Array:
        """The margins z = X w + b: (m,)."""
        return self.rows.matmul(self.scale * p[:-1]) + p[-1]

    def rmatmul(self, z: Array) -> Array:
        """(Xᵀz, Σz), the adjoint of `matmul`: of p's shape."""
        return _join(self.scale * self.rows.rmatmul(z), array_namespace(z).sum(z))

    def coefficients(self, p: Array) -> tuple[Array, Array]:
        """The weights w (n,) and the intercept b () at p."""
        return p[:-1], p[-1]


class GramObjective:
    """F(p) with p = (α, b): (m + 1,), where w = w₀ + Xᵀα; for n > m. K = XXᵀ (m, m) is formed here, once.

    Args:
        rows: the samples (m, n) and their labels.
        w: (n,) and
        b: () where a solver starts, in y's dtype; w₀ is this w.
        scale: factor of X.

    Attributes:
        start: p at (w, b), where α = 0.
    """

    def __init__(self, rows: MemoryRows, w: Array, b: Array, *, scale: float = 1.0) -> None:
        xp = array_namespace(w)
        self.rows = rows
        self.scale = scale
        self.total_weight = _total_weight(rows)
        self.K = scale**2 * rows.gram()
        self.w0, self.z0 = w, rows.matmul(scale * w)
        self.start = _join(xp.zeros_like(rows.y), b)

    def value_and_grad(self, p: Array) -> tuple[Array, Array]:
        """F(p) () in float64 and its gradient in the metric K, of p's shape and dtype. X is not read."""
        xp = array_namespace(p)
        cost, dz = cross_entropy(self.z0 + self.matmul(p), self.rows.y)
        if self.rows.sample_weight is not None:
            cost, dz = self.rows.sample_weight * cost, self.rows.sample_weight * dz
        return xp.sum(cost, dtype=xp.float64) / self.total_weight, self.rmatmul(dz) / self.total_weight

    def matmul(self, p: Array) -> Array:
        """What p adds to the margins: Kα + b, (m,)."""
        return self.K @ p[:-1] + p[-1]

    def rmatmul(self, z: Array) -> Array:
        """(z, Σz), the adjoint of `matmul` in the metric K: of p's shape."""
        return _join(z, array_namespace(z).sum(z))

    def coefficients(self, p: Array) -> tuple[Array, Array]:
        """The weights w = w₀ + Xᵀα (n,) and the intercept b () at p. Reads X once."""
        return self.w0 + self.scale * self.rows.rmatmul(p[:-1]), p[-1]


AnyObjective = Objective | GramObjective


def lipschitz_constant(objective: AnyObjective) -> float:
    """L with ‖∇F(p) − ∇F(q)‖ ≤ L·‖p − q‖: gradient descent with a learning rate ≤ 1/L never raises the cost.

    L = ‖S^½ [X 1]‖₂² / (4 Σs), since σ' ≤ 1/4; [X 1] is X with the intercept's column of ones, S the diagonal of the
    sample weights s (all 1, so that Σs = m, without any). It is the largest eigenvalue of a matrix with m rows that
    is never formed: power iteration finds it to about 1e-3, from below, and the norm of the residual is added, which
    puts it on the safe side (Parlett, "The Symmetric Eigenvalue Problem" (1998), theorem 4.5.1).
    """
    y, sample_weight = objective.rows.y, objective.rows.sample_weight
    xp = array_namespace(y)
    root = 1 if sample_weight is None else xp.sqrt(sample_weight)
    v = normal(y.shape, seed=0, like=y)
    for _ in range(200):
        v = v / xp.sqrt(v @ v)
        Av = root * objective.matmul(objective.rmatmul(root * v))
        eigenvalue = v @ Av
        residual = Av - eigenvalue * v
        largest, error = floats([eigenvalue, xp.sqrt(residual @ residual)])
        if error <= 1e-3 * largest:
            break
        v = Av
    return (largest + error) / (4 * objective.total_weight)


def _total_weight(rows: MemoryRows) -> float:
    """Σs, the number of samples when they have no weights."""
    if rows.sample_weight is None:
        return float(rows.X.shape[0])
    xp = array_namespace(rows.sample_weight)
    return floats([xp.sum(rows.sample_weight, dtype=xp.float64)])[0]


def _join(*parts: Array) -> Array:
    """Numbers and vectors as one vector."""
    xp = array_namespace(*parts)
    return xp.concat([xp.reshape(part, (-1,)) for part in parts])
