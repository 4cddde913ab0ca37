"""The lesson's photographs, cat or not: bytes, and 59 features to a sample."""

from __future__ import annotations

import os

import numpy as np

from benchmarks.problem import Dtype, Problem
from benchmarks.problems.real import UnavailableError
from gpulr import load_dataset


def draw(rng: np.random.Generator, size: float, dtype: Dtype) -> Problem:
    """209 pictures of 64 × 64 × 3 uint8, the training part.

    Raises:
        UnavailableError: GPULR_DATA is not set; nothing is fetched for a benchmark.
    """
    if not os.environ.get("GPULR_DATA"):
        raise UnavailableError("set the environment variable GPULR_DATA to the folder of the cat files")
    data = load_dataset("cats")
    return Problem("cats", data.X_train, data.y_train, dtype, scale=data.scale, intercept=True)
