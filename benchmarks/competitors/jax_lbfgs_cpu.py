"""JAX's L-BFGS on the CPU, whatever else JAX sees."""

from __future__ import annotations

from benchmarks.competitors.jax_lbfgs import JaxLbfgs


class JaxLbfgsCpu(JaxLbfgs):
    name = "jax-lbfgs-cpu"
    environment = {"JAX_PLATFORMS": "cpu"}  # noqa: RUF012  # the base says that it is the class's

    def __init__(self) -> None:
        super().__init__("cpu")
