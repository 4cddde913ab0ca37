"""What one writes in JAX: optax's L-BFGS with its zoom line search, all iterations in one compiled loop.

It computes where the JAX that is installed does, on a GPU or the CPU.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.competitors.base import Competitor, Solution, dense_only, ridge_only
from benchmarks.competitors.cuda import Placed
from benchmarks.problem import Problem

ITERATIONS = 10_000


class JaxLbfgs(Competitor):
    name = "jax-lbfgs"
    module = distribution = "jax"

    def missing(self) -> str | None:
        return super().missing() or (None if find_spec("optax") else "not installed: pip install optax")

    def unsupported(self, problem: Problem) -> str | None:
        return ridge_only(problem) or dense_only(problem)

    def put(self, problem: Problem) -> Placed:
        import jax

        jax.config.update("jax_enable_x64", problem.dtype == "float64")
        X, y = jax.device_put(problem.X), jax.device_put(problem.y.astype(np.int32))
        return Placed(problem, X.block_until_ready(), y.block_until_ready())

    def warm_up(self, problem: Problem) -> None:
        self.fit(self.put(problem), 1e30)  # one iteration: what it compiles is for one shape only

    def fit(self, problem: Any, tol: float) -> Solution:
        problem, X, y = problem
        dtype = np.dtype(problem.dtype)
        ridge = 1 / (2 * problem.C * len(y))  # of the mean loss, as its tolerance is of the mean's gradient
        W, b = _minimizer(problem.outputs, problem.intercept)(
            X, y, dtype.type(problem.scale), dtype.type(ridge), dtype.type(tol)
        )
        return np.asarray(W), np.asarray(b)


@cache
def _minimizer(outputs: int, intercept: bool) -> Any:
    """(X, y, scale, ridge, tol) -> W (outputs, n), b (outputs,); compiled for each shape at its first call."""
    import jax
    import jax.numpy as jnp
    import optax

    def minimize(X: Any, y: Any, scale: Any, ridge: Any, tol: Any) -> Any:
        X = X.astype(scale.dtype) * scale

        def objective(p: Any) -> Any:
            Z = X @ p["W"].T + p.get("b", 0)
            if outputs == 1:
                losses = jax.nn.softplus((1 - 2 * y).astype(Z.dtype) * Z[:, 0])
            else:
                losses = optax.softmax_cross_entropy_with_integer_labels(Z, y)
            return losses.mean() + ridge * (p["W"] ** 2).sum()

        solver = optax.lbfgs(memory_size=10)
        value_and_grad = optax.value_and_grad_from_state(objective)

        def more(carry: Any) -> Any:
            count, gradient, moved, _, _ = carry
            return (count == 0) | ((count < ITERATIONS) & (gradient > tol) & moved)

        def step(carry: Any) -> Any:
            count, _, _, p, state = carry
            value, gradient = value_and_grad(p, state=state)
            update, state = solver.update(gradient, state, p, value=value, grad=gradient, value_fn=objective)
            # Rounding ends it where the line search finds nothing lower.
            moved = jnp.any(jnp.array([jnp.any(u != 0) for u in jax.tree.leaves(update)]))
            largest = jnp.max(jnp.array([jnp.max(jnp.abs(g)) for g in jax.tree.leaves(gradient)]))
            return count + 1, largest, moved, optax.apply_updates(p, update), state

        p = {"W": jnp.zeros((outputs, X.shape[1]), X.dtype)}
        if intercept:
            p["b"] = jnp.zeros(outputs, X.dtype)
        start = 0, jnp.asarray(jnp.inf, X.dtype), jnp.asarray(True), p, solver.init(p)
        p = jax.lax.while_loop(more, step, start)[3]
        return p["W"], p.get("b", jnp.zeros(outputs, X.dtype))

    return jax.jit(minimize)
