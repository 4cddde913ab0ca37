"""Benchmarks for any machine: what vectorization, algebra and a GPU bring, and how near a pass is to the memory's speed.

`gpulr bench` runs them; `python -m benchmarks`, in a checkout, runs the same functions and other libraries beside.
"""

from __future__ import annotations

from gpulr.bench.effort import EFFORTS, Effort
from gpulr.bench.machine import environment
from gpulr.bench.race import speedup
from gpulr.bench.roofline import passes
from gpulr.bench.sizes import crossovers, sweep

__all__ = ["EFFORTS", "Effort", "crossovers", "environment", "passes", "speedup", "sweep"]
