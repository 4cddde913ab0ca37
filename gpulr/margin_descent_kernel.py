"""`gpulr.margin_descent` for CuPy arrays in float64: one kernel, `margin_descent.cu`, of one block makes all steps.

Step by step, CuPy starts some six kernels of a few microseconds each. One block needs none of them, but it has one
multiprocessor, which reads 64 bytes a clock from the second-level cache and does 64 multiply-adds in float64 (2 on GPUs
that are not made for it). So it is for small problems: at the limits below a step takes 51,000 clocks by this count, about
as long as the launches. Larger ones go step by step, with all multiprocessors at each product. These clocks are
counted; measured are the cats alone, 209 samples: 51 ms for 2000 steps and 20 records on an H200.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpulr.cuda import Gpu, Runtime, runtime
from gpulr.device import Array, array_namespace, current_device_of

SOURCE = "margin_descent.cu"

# Samples, at most: 640² · 8 / 64 and 320² / 2 clocks. From a float64_ratio of 16 on, GPUs are of the second kind.
LARGEST, LARGEST_SLOW_FLOAT64, SLOW_FLOAT64 = 640, 320, 16

# A GPU that has a display, too, ends a kernel after some seconds. These steps take half a second at the most.
STEPS_A_LAUNCH = 1 << 14

# Columns that a thread holds in registers: HELD in the source.
HELD = 12


@dataclass(frozen=True)
class MarginPlan:
    """The launch for m samples, in the terms of the source.

    Attributes:
        groups: shares of M's columns; there are groups · rows threads.
        rows: m in whole warps.
        share: columns of a group, an even number.
        kept: how many of them shared memory has, an even number.
        padded: numbers of s with the zeros behind it.
    """

    groups: int
    rows: int
    share: int
    kept: int
    padded: int

    @property
    def threads(self) -> int:
        """Of the block."""
        return self.groups * self.rows

    @property
    def dynamic_bytes(self) -> int:
        """Of shared memory."""
        return 8 * (self.padded + self.threads * (1 + self.kept))


def plan(m: int, gpu: Gpu) -> MarginPlan:
    """The launch for m ≥ 1 samples, up to 1024."""
    rows = -(-m // 32) * 32
    groups = min(1024 // rows, -(-m // HELD))  # a smaller share would leave registers empty
    share = _even(-(-m // groups) + 1)
    padded = (groups - 1) * share + max(share, HELD)
    room = (gpu.shared_bytes // 8 - padded) // (groups * rows) - 1
    return MarginPlan(groups, rows, share, max(0, min(_even(room), share - HELD)), padded)


def why_not(m: int, dtype: str, gpu: Gpu) -> str | None:
    """Why m samples in this dtype do not go through the kernel; None when they do."""
    if dtype != "float64":
        return f"the margins are {dtype}, not float64"
    largest = LARGEST if gpu.float64_ratio < SLOW_FLOAT64 else LARGEST_SLOW_FLOAT64
    return f"{m} samples are more than {largest}" if m > largest else None


def descend(M: Array, v: Array, steps: int) -> Array | None:
    """`gpulr.margin_descent.descend`, the same sums in another order; None where the kernel is not for them."""
    with current_device_of(v):
        run = _runtime_of(v)
        m = v.shape[0]
        if why_not(m, v.dtype.name, run.gpu) is not None:
            return None
        xp, how = array_namespace(v), plan(m, run.gpu)
        transposed = xp.asarray(M.T, dtype=v.dtype, order="C")
        v, total = xp.asarray(v, order="C", copy=True), xp.zeros_like(v)
        sizes = (np.int32(size) for size in (m, how.rows, how.share, how.kept, how.padded))
        arguments = (transposed, v, total, *sizes)
        for done in range(0, steps, STEPS_A_LAUNCH):
            now = np.int64(min(STEPS_A_LAUNCH, steps - done))
            run.launch("margin_descent", (1, 1), how.threads, how.dynamic_bytes, (*arguments, now))
        return total


def _even(number: int) -> int:
    return number // 2 * 2


def _runtime_of(array: Array) -> Runtime:
    return runtime(array.device.id, SOURCE)
