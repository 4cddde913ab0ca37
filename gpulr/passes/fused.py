"""The pass in one CUDA kernel that reads X once, for CuPy arrays; `fused.cu` is the kernel, `fused_plan` how it is launched.

Besides the pass: `matmul`, X d for a line search, and `hessian_product`, the second derivative along d; one read each. And
`descend`, many steps of gradient descent, two kernels a step, in a CUDA graph.

Rows whose elements are adjacent, of up to 65,536 columns and with up to 8 outputs, in bool, uint8, int8, float16, bfloat16,
float32 or float64, go through the kernel as they are stored, with whatever distance from row to row. Anything else goes
through two products, in blocks of rows where it has to be converted: more outputs, for which a matrix product is the faster
way; float32 or float64 rows of so many columns that a block of threads does not hold them (`gpulr.passes.fused_plan` has how
many), Fortran order, wider integers. For columns that are adjacent one read of X would need a kernel of its own, which
nothing asks for yet.

The computation is in w's dtype, float32 or float64. A block of threads adds up at most some thousand rows in it, and blocks
and tiles are added in float64, in one order: the same call gives the same bits on the same GPU.

Nothing here waits for the device.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpulr.cuda import Runtime, or_null, repeat, runtime
from gpulr.device import Array, array_namespace, current_device_of
from gpulr.links import curvature, softmax
from gpulr.passes import fused_plan, vectorized
from gpulr.passes.fused_plan import REAL, STORED, Plan, WidePlan
from gpulr.products import rmatmul, weigh

SOURCE = "passes/fused.cu"

# Of X, converted for products of matrices: so much takes as long to go through as the launches that do it.
CONVERTED_BYTES = 256 << 20


def why_not(X: Array, outputs: int = 1) -> str | None:
    """Why X does not go through the kernel; None when it does."""
    if X.ndim != 2:
        return f"X has shape {X.shape}, not (samples, features)"
    return fused_plan.why_not(X.shape, X.strides, X.dtype.name, X.dtype.itemsize, outputs)


def propagate(
    X: Array, y: Array, w: Array, b: Array, sample_weight: Array | None = None
) -> tuple[Array, Array, Array, Array]:
    """Forward and backward propagation in one read of X. Arguments and formulas: see `gpulr.passes`.

    Returns:
        cost and db in float64, dw and the margins z in w's dtype.

    Raises:
        TypeError: w is neither float32 nor float64, or X complex.
        ValueError: shapes that do not fit; a kernel would read past the end.
    """
    with current_device_of(X):
        return _Rows(X, w, b, sample_weight).propagate(y)


def hessian_product(
    X: Array, z: Array, d: Array, d_b: Array, sample_weight: Array | None = None
) -> tuple[Array, Array, Array, Array]:
    """The second derivative of the cost along (d, d_b), in one read of X.

    Args:
        X: (m, n), as in `propagate`.
        z: (m,) or (m, k) margins where the derivative is taken, in d's dtype.
        d: (n,) or (n, k) direction of w, and d_b () or (k,) that of b.
        sample_weight: (m,) or None.

    Returns:
        square () = Σᵢ sᵢ tᵢᵀCᵢtᵢ in float64 with t = X d + d_b, C = σ'(z) or diag(P) − PPᵀ, P = softmax(z): the curvature
        along the direction; (n,) or (n, k) = Xᵀ(s∘C t) in d's dtype; () or (k,) = Σᵢ sᵢ Cᵢtᵢ in float64; t in d's dtype.

    Raises:
        TypeError, ValueError: see `propagate`.
    """
    with current_device_of(X):
        return _Rows(X, d, d_b, sample_weight).hessian_product(z)


def matmul(X: Array, d: Array) -> Array:
    """X d in one read of X: (m,) for d (n,), (m, k) for d (n, k), in d's dtype, float32 or float64.

    Raises:
        TypeError, ValueError: see `propagate`.
    """
    with current_device_of(X):
        return _Rows(X, d, None, None).matmul()


def descend(
    X: Array,
    y: Array,
    p: Array,
    sample_weight: Array | None,
    *,
    rate: float,
    steps: int,
    scale: float,
    fit_intercept: bool,
    total_weight: float,
) -> Array | None:
    """p after so many steps p ← p − rate·∇F(p), one read of X each; None where X does not go through the one kernel.

    F(p) = Σᵢ sᵢ·cost(zᵢ, yᵢ)/total_weight, z = X (scale·u) + c, with p = (u, c) as in `gpulr.objective`: (n + 1,) or
    (n + 1, k), without the last row unless `fit_intercept`.

    Raises:
        TypeError, ValueError: see `propagate`.
    """
    with current_device_of(X):
        xp, n = array_namespace(p), X.shape[1]
        if p.shape[0] != n + fit_intercept:
            raise ValueError(f"p has shape {p.shape}, which does not fit X of shape {X.shape}")
        p = xp.asarray(p, order="C", copy=True)
        c = xp.asarray(p[n, ...], copy=True) if fit_intercept else xp.zeros(p.shape[1:], dtype=p.dtype)
        rows = _Rows(X, scale * p[:n], c, sample_weight)
        factors = np.float64(total_weight), np.float64(scale), np.float64(rate), np.int32(fit_intercept)
        return p if rows.descend(y, steps, (*factors, p)) else None


class _Rows:
    """X with the arguments that all kernels share, checked."""

    def __init__(self, X: Array, w: Array, b: Array | None, sample_weight: Array | None) -> None:
        if X.ndim != 2:
            raise ValueError(f"X has shape {X.shape}, but has to be (samples, features)")
        if w.dtype.name not in REAL:
            raise TypeError(f"the computation is in float32 or float64, not in {w.dtype}: convert the weights")
        if X.dtype.kind == "c":
            raise TypeError(f"X is {X.dtype}: convert it to float32 or float64")
        if w.ndim not in (1, 2) or w.shape[0] != X.shape[1]:
            raise ValueError(f"the weights have shape {w.shape}, which does not fit X of shape {X.shape}")
        if b is not None and b.shape != w.shape[1:]:
            raise ValueError(f"the intercept has shape {b.shape}, but the weights {w.shape}")
        self.X, self.dtype, self.two = X, w.dtype, w.ndim == 1
        self.outputs = 1 if self.two else w.shape[1]
        self.xp = array_namespace(w)
        self.w = self._contiguous(w)
        self.b = None if b is None else self._contiguous(b)
        self.s = None if sample_weight is None else self._of_rows(sample_weight, "sample_weight")
        self.run = _runtime_of(X)
        self.by_kernel = why_not(X, self.outputs) is None and X.shape[0] > 0
        # A tile of wide rows takes two launches, in which a product of matrices reads ten times as much. What has to be
        # converted for those takes as long either way.
        if self.by_kernel and X.dtype.itemsize >= 4 and isinstance(self._plan(), WidePlan):
            self.by_kernel = False

    def propagate(self, y: Array) -> tuple[Array, Array, Array, Array]:
        y = self._of_rows(y, "y")
        if not self.by_kernel:
            return self._in_blocks(lambda X, known, s: vectorized.propagate(X, known, self.w, self.b, s), y)
        return self._sums("CrossEntropy", y)

    def hessian_product(self, z: Array) -> tuple[Array, Array, Array, Array]:
        z = self._of_rows(z, "z", () if self.two else (self.outputs,))
        if not self.by_kernel:
            return self._in_blocks(self._hessian_product_of_block, z)
        return self._sums("Curvature", z)

    def matmul(self) -> Array:
        if not self.by_kernel:
            parts = [self._converted(rows) @ self.w for rows in self._blocks()]
            return parts[0] if len(parts) == 1 else self.xp.concat(parts)
        z = self._margins()
        plan = self._plan()
        if isinstance(plan, Plan):
            self._one_read("Product", plan, None, z, None, None)
            return z
        rows = self.X.shape[0]
        for start in range(0, rows, plan.tile):
            tile = slice(start, min(start + plan.tile, rows))
            parts = self._parts(plan, tile)
            self._add(parts, None, plan.slices, z[tile], None)
        return z

    def descend(self, y: Array, steps: int, update: tuple[Any, ...]) -> bool:
        """Steps of gradient descent, with the arguments `update` of the kernel that makes them; w and b change, too.

        False, and nothing done, where a pass is not one kernel: wide rows need memory for each of many tiles, and what
        goes through products is not written for it. Beside such passes a launch takes no time.
        """
        y = self._of_rows(y, "y")
        plan = self._plan() if self.by_kernel else None
        if not isinstance(plan, Plan):
            return False
        z, partial, scalars = self._margins(), *self._workspace(plan.grid, self.dtype)
        count, others = np.int64(self.w.size), np.int32(1 + self.outputs)
        arguments = (partial, scalars, np.int32(plan.grid), count, others, *update, self.w, self.b)
        kernel, grid = f"add_blocks_and_descend<{REAL[self.dtype.name]}>", -(-(self.w.size + 1 + self.outputs) // 32)

        def step() -> None:
            self._one_read("CrossEntropy", plan, y, z, partial, scalars)
            self.run.launch(kernel, (grid, 1), 1024, 0, arguments)

        repeat(self.run, step, steps)
        return True

    # --- the kernels -----------------------------------------------------------------------------------------------

    def _sums(self, pointwise: str, known: Array) -> tuple[Array, Array, Array, Array]:
        plan, z = self._plan(), self._margins()
        if isinstance(plan, Plan):
            blocks, (partial, scalars) = plan.grid, self._workspace(plan.grid, self.dtype)
            self._one_read(pointwise, plan, known, z, partial, scalars)
        else:
            blocks, (partial, scalars) = plan.grid[0], self._workspace(plan.grid[0], np.float64)
            self._two_reads(pointwise, plan, known, z, partial, scalars)
        dw, totals = self.run.empty(self.w.shape, self.dtype), self.run.empty((1 + self.outputs,), np.float64)
        self._add(partial, scalars, blocks, dw, totals)
        return totals[0, ...], dw, totals[1, ...] if self.two else totals[1:], z

    def _workspace(self, blocks: int, dtype: Any) -> tuple[Array, Array]:
        """For the sums of each block: gradients, in this dtype, and cost with those of dz."""
        partial = self.run.empty((blocks, *self.w.shape), dtype)
        return partial, self.run.empty((blocks, 1 + self.outputs), np.float64)

    def _one_read(
        self, pointwise: str, plan: Plan, known: Array, z: Array, partial: Array | None, scalars: Array | None
    ) -> None:
        rows, n = self.X.shape
        arguments = (
            *(self.X, np.int64(self._stride()), np.int64(rows), np.int32(n), np.int32(n)),
            *(self.w, or_null(self.b), or_null(known), or_null(self.s), z, or_null(partial), or_null(scalars)),
        )
        self.run.launch(
            self._kernel("one_read", pointwise, plan.arguments),
            (plan.grid, 1),
            plan.threads,
            plan.dynamic_bytes,
            arguments,
        )

    def _two_reads(
        self, pointwise: str, plan: WidePlan, known: Array, z: Array, partial: Array, scalars: Array
    ) -> None:
        rows, n = self.X.shape
        for start in range(0, rows, plan.tile):
            tile = slice(start, min(start + plan.tile, rows))
            parts = self._parts(plan, tile)
            arguments = (
                *(self.X[tile], np.int64(self._stride()), np.int32(tile.stop - start), np.int32(n)),
                *(parts, np.int32(plan.slices), or_null(self.b), known[tile]),
                *(or_null(None if self.s is None else self.s[tile]), z[tile], partial, scalars, np.int32(start == 0)),
            )
            self.run.launch(
                self._kernel("wide_backward", pointwise, plan.arguments), plan.grid, plan.threads, 0, arguments
            )

    def _parts(self, plan: WidePlan, tile: slice) -> Array:
        """The margins of a tile by slices of columns: (slices, rows, ...), without intercept."""
        rows, n = tile.stop - tile.start, self.X.shape[1]
        parts = self.run.empty((plan.slices, rows, *self.w.shape[1:]), self.dtype)
        null = or_null(None)
        arguments = (
            *(self.X[tile], np.int64(self._stride()), np.int64(rows), np.int32(plan.width), np.int32(n)),
            *(self.w, null, null, null, parts, null, null),
        )
        forward = plan.forward
        self.run.launch(
            self._kernel("one_read", "Product", forward.arguments),
            (forward.grid, plan.slices),
            forward.threads,
            0,
            arguments,
        )
        return parts

    def _add(self, partial: Array, scalars: Array | None, blocks: int, out: Array, totals: Array | None) -> None:
        """The sums over all blocks, added in their order: of `partial` in `out`, of `scalars` in `totals`."""
        count, others = out.size, 0 if totals is None else totals.size
        arguments = (
            *(partial, or_null(scalars), np.int32(blocks), np.int64(count), np.int32(others), out, or_null(totals)),
        )
        kernel = f"add_blocks<{REAL[partial.dtype.name]}, {REAL[self.dtype.name]}>"
        self.run.launch(kernel, (-(-(count + others) // 32), 1), 1024, 0, arguments)

    def _kernel(self, name: str, pointwise: str, arguments: str) -> str:
        real, stored = REAL[self.dtype.name], STORED[self.X.dtype.name]
        return f"{name}<{pointwise}<{real}, {self.outputs}>, {stored}, {arguments}>"

    def _plan(self) -> Plan | WidePlan:
        X = self.X
        sizes = X.shape[0], X.shape[1], X.strides[0], self.run.address(X) % 16, X.dtype.itemsize
        return fused_plan.plan(*sizes, self.dtype.itemsize, self.outputs, self.run.gpu)

    def _margins(self) -> Array:
        return self.run.empty((self.X.shape[0], *self.w.shape[1:]), self.dtype)

    def _stride(self) -> int:
        """Elements from row to row."""
        return int(self.X.strides[0]) // int(self.X.dtype.itemsize)

    # --- two products, for what has no kernel -------------------------------------------------------------------------

    def _in_blocks(self, of_block: Any, known: Array) -> tuple[Array, Array, Array, Array]:
        """Sums over blocks of rows, added in their order in float64, and the margins of all."""
        xp, margins, total = self.xp, [], None
        for rows in self._blocks():
            *sums, z = of_block(self._converted(rows), known[rows], None if self.s is None else self.s[rows])
            margins.append(z)
            sums = [xp.astype(part, xp.float64, copy=False) for part in sums]
            total = sums if total is None else [one + other for one, other in zip(total, sums, strict=True)]
        assert total is not None
        cost, dw, db = total
        return cost, xp.astype(dw, self.dtype), db, margins[0] if len(margins) == 1 else xp.concat(margins)

    def _hessian_product_of_block(self, X: Array, z: Array, s: Array | None) -> tuple[Array, Array, Array, Array]:
        xp = self.xp
        t = X @ self.w + self.b
        if self.two:
            slope = curvature(z) * t
        else:
            P = softmax(z)
            slope = P * (t - xp.sum(P * t, axis=1, keepdims=True))
        slope = weigh(s, slope)
        return (
            xp.sum(slope * t, dtype=xp.float64),
            rmatmul(X, slope),
            xp.sum(slope, axis=0, dtype=xp.float64),
            t,
        )

    def _converted(self, rows: slice) -> Array:
        return self.xp.astype(self.X[rows], self.dtype, copy=False)

    def _blocks(self) -> list[slice]:
        """All rows at once where they are not converted, which takes memory."""
        m, n = self.X.shape
        step = max(1, m if self.X.dtype == self.dtype else CONVERTED_BYTES // max(1, self.dtype.itemsize * n))
        return [slice(start, min(start + step, m)) for start in range(0, max(m, 1), step)]

    # --- arguments ----------------------------------------------------------------------------------------------------

    def _of_rows(self, array: Array, name: str, rest: tuple[int, ...] = ()) -> Array:
        if array.shape != (self.X.shape[0], *rest):
            raise ValueError(f"{name} has shape {array.shape}, which does not fit X of shape {self.X.shape}")
        return self._contiguous(array)

    def _contiguous(self, array: Array) -> Array:
        return self.xp.asarray(array, dtype=self.dtype, order="C")


def _runtime_of(X: Array) -> Runtime:
    return runtime(X.device.id, SOURCE)
