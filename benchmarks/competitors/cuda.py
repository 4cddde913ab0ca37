"""What competitors on a GPU have in common: whether there is one, and the data that lie there."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any, NamedTuple

from benchmarks.problem import Problem


class Placed(NamedTuple):
    """A problem whose arrays are where the competitor computes.

    Attributes:
        problem: with the arrays on the host.
        X, y: the same arrays there, X (m, n) in the type it is stored in.
    """

    problem: Problem
    X: Any
    y: Any


@cache
def why_no_gpu() -> str | None:
    """Why no CUDA device can be used, by its driver alone: no competitor's library is loaded for it. None if one can."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "no GPU: no NVIDIA driver is installed"
    count = ctypes.c_int(0)
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if failed:
        return f"no GPU: the driver gives error {failed}"
    return None if count.value else "no GPU: the driver sees none"
