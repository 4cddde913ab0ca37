"""What one writes in JAX: L-BFGS of Optax with its zoom line search, the whole loop compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.competitors.base import ITERATIONS, Solution
from benchmarks.competitors.on_device import POLITE, OnDevice
from benchmarks.problem import Problem


class JaxLbfgs(OnDevice):
    name = "jax-lbfgs"
    module = distribution = "optax"
    library = "jax"
    environment = POLITE

    def prepare(self, problem: Problem) -> None:
        self.fit(problem, 1e30)  # one iteration: what it compiles is for one shape only

    def fit(self, problem: Problem, tol: float) -> Solution:
        jnp = import_module("jax.numpy")
        k, n = problem.outputs, problem.X.shape[1]
        start = {"W": jnp.zeros((n, k), problem.dtype)}
        if problem.intercept:
            start["b"] = jnp.zeros(k, problem.dtype)
        # The mean, as tolerances of the gradient expect it.
        ridge = 1 / (problem.C * len(problem.y))
        # A product with 1 would be a copy of X.
        scale = None if problem.scale == 1 else jnp.asarray(problem.scale, problem.dtype)
        found = _minimize()(start, problem.X, problem.y, scale, ridge, tol)
        return np.asarray(found["W"]).T, np.asarray(found["b"]) if problem.intercept else np.zeros(k)


@cache
def _minimize() -> Callable[..., Any]:
    """(parameters, X, y, scale, ridge, tol) -> parameters, compiled once for each shape."""
    jax, jnp, optax = (import_module(name) for name in ("jax", "jax.numpy", "optax"))

    def minimize(p: Any, X: Any, y: Any, scale: Any, ridge: Any, tol: Any) -> Any:
        A = X.astype(p["W"].dtype)
        A = A if scale is None else A * scale

        def objective(p: Any) -> Any:
            Z = A @ p["W"] + p.get("b", 0)
            if Z.shape[1] == 1:
                losses = jnp.logaddexp(0, Z[:, 0]) - y * Z[:, 0]
            else:
                losses = optax.softmax_cross_entropy_with_integer_labels(Z, y)
            return jnp.mean(losses).astype(Z.dtype) + jnp.asarray(ridge / 2, Z.dtype) * jnp.sum(p["W"] ** 2)

        method = optax.lbfgs()
        value_and_grad = optax.value_and_grad_from_state(objective)

        def step(carry: Any) -> Any:
            p, state = carry
            value, grad = value_and_grad(p, state=state)
            updates, state = method.update(grad, state, p, value=value, grad=grad, value_fn=objective)
            return optax.apply_updates(p, updates), state

        def goes_on(carry: Any) -> Any:
            _, state = carry
            count = optax.tree.get(state, "count")
            size = optax.tree.norm(optax.tree.get(state, "grad"), ord=jnp.inf)
            return (count == 0) | ((count < ITERATIONS) & (size > tol))

        return jax.lax.while_loop(goes_on, step, (p, method.init(p)))[0]

    compiled: Callable[..., Any] = jax.jit(minimize)
    return compiled
