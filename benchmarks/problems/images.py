"""Pictures stored as bytes, as many and as large as MNIST's: correlated, many zeros, a quarter of float32's size."""

from __future__ import annotations

import numpy as np

from benchmarks.problem import Dtype, Problem
from benchmarks.problems import drawn

BLOBS = 20


def draw(rng: np.random.Generator, size: float, dtype: Dtype) -> Problem:
    """60,000 pictures of 28 × 28 uint8: sums of 20 blurred spots of random brightness, with noise."""
    m, side = drawn.shape(60_000, 28, size)[0], max(4, round(28 * size**0.25))
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 1, 2)
    distance = np.sum((grid - rng.uniform(0, side, (BLOBS, 2))) ** 2, axis=-1)  # (n, BLOBS), squared
    spots = np.exp(-distance / (2 * (side / 7) ** 2)).astype(np.float32)
    brightness = rng.standard_normal((m, BLOBS), dtype=np.float32)
    noise = rng.standard_normal((m, side * side), dtype=np.float32)
    X = np.clip(120 * brightness @ spots.T + 20 * noise, 0, 255).astype(np.uint8)
    z = X.astype(np.float32) @ drawn.weights(rng, side * side).astype(np.float32)
    y = drawn.labels(rng, drawn.SIGNAL * (z - z.mean()) / z.std())
    return Problem("images", X, y, dtype, scale=1 / 255, intercept=True)
