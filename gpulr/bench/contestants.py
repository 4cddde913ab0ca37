"""Who races: for loops, the lesson's NumPy or CuPy, and gpulr, on one data set and device."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from gpulr.bench.notebook import lesson_propagate, lesson_train
from gpulr.datasets import Dataset
from gpulr.device import Array, Device
from gpulr.objective import descent_from
from gpulr.parallel import one_core_a_block
from gpulr.passes import named
from gpulr.rows import MemoryRows, gram_pays
from gpulr.training import fit

LOOP = "loop (pure Python)"


@dataclass(frozen=True)
class Contestant:
    """One way to train.

    Attributes:
        name: for the table.
        device: where it computes; it is to be the current one when a function below is called.
        space: "features", or "gram" for `gpulr.rows.rotated`.
        iteration: does one forward and backward pass.
        training: does so many iterations, everything from the stored data to the weights; returns the recorded costs.
        transfer: moves X to the device, a part of the training.
        scope: what an iteration runs in, as it does within a training.
        factor: all rows are so many times those that it is given; its times are to be multiplied by it.
    """

    name: str
    device: Device
    space: str
    iteration: Callable[[], object]
    training: Callable[[int], list[float]]
    transfer: Callable[[], object]
    scope: Callable[[], AbstractContextManager[object]] = nullcontext
    factor: float = 1.0


@dataclass(frozen=True)
class Setting:
    """What all contestants of a race share.

    Attributes:
        iterations, learning_rate: of the training.
        dtype: of the computation, "float32" or "float64"; the loop's is Python's, double precision.
        loop_entries: of X, at most, that the loop is given: whole rows; the rest is extrapolated.
    """

    iterations: int
    learning_rate: float
    dtype: str = "float64"
    loop_entries: float = float("inf")


def on_device(dataset: Dataset, device: Device, setting: Setting) -> list[Contestant]:
    """Those who run on a device; the loop, on the CPU only, is the first."""
    with device.current():
        contestants = [_loop(dataset, device, setting)] if device.index is None else []
        contestants += [_lesson(dataset, device, setting), _gpulr(dataset, device, setting, "gpulr", "auto")]
        if contestants[-1].space == "gram":  # otherwise gpulr is the vectorized pass already
            contestants.append(_gpulr(dataset, device, setting, "gpulr, vectorized pass", "vectorized"))
    return contestants


def _loop(dataset: Dataset, device: Device, setting: Setting) -> Contestant:
    """The loop over as many rows as it may have."""
    m, n = dataset.X_train.shape
    rows = int(max(2, min(m, setting.loop_entries // n)))
    some = dataset if rows == m else replace(dataset, X_train=dataset.X_train[:rows], y_train=dataset.y_train[:rows])
    return replace(_gpulr(some, device, setting, LOOP, "loop"), factor=m / rows)


def _gpulr(dataset: Dataset, device: Device, setting: Setting, name: str, pass_name: str) -> Contestant:
    """`gpulr.training.fit` with one of its passes."""
    dtype = np.dtype(setting.dtype)
    rows = MemoryRows(device.put(dataset.X_train), device.put(dataset.y_train.astype(dtype)))
    m, n = rows.X.shape
    w, b = device.put(np.zeros(n, dtype)), device.put(np.zeros((), dtype))
    gram = pass_name == "auto" and gram_pays(m, n, setting.iterations, like=w)
    _, one_pass = named(pass_name, rows.X)
    objective, _ = descent_from(w, b, rows, scale=dataset.scale, gram=gram, one_pass=one_pass)

    def training(length: int) -> list[float]:
        with warnings.catch_warnings():
            # A cost that rises is for `train` to tell; here it would be told at every repeat.
            warnings.filterwarnings("ignore", "the cost rose")
            trained = fit(
                dataset, iterations=length, learning_rate=setting.learning_rate, init="zeros", seed=0,
                device=device.name, pass_name=pass_name, dtype=setting.dtype, record_every=100, callback=None,
            )  # fmt: skip
        return [record.cost for record in trained.result.history]

    iteration = partial(objective.visit, objective.start)
    transfer = partial(device.put, dataset.X_train)
    space = "gram" if gram else "features"
    return Contestant(name, device, space, iteration, training, transfer, one_core_a_block)


def _lesson(dataset: Dataset, device: Device, setting: Setting) -> Contestant:
    """The lesson's notebook, which converts X to features as a whole."""
    dtype = np.dtype(setting.dtype)

    def features() -> np.ndarray:
        # Of the computation's type, float64 in the notebook, also where the data are stored as another one.
        converted: np.ndarray = np.multiply(dataset.X_train, dataset.scale, dtype=dtype)
        return converted

    def put(host: np.ndarray) -> tuple[Array, Array]:
        # The notebook flattens with reshape(m, -1).T, so its X (n, m) is a transposed view: NumPy's best layout for it.
        return device.put(host).T, device.put(dataset.y_train.astype(dtype)[None, :])

    def training(length: int) -> list[float]:
        with np.errstate(all="ignore"):  # that its formula overflows is a part of the lesson; `finite_costs` tells
            return lesson_train(*put(features()), setting.learning_rate, length)[2]

    def iteration() -> object:
        with np.errstate(all="ignore"):
            return lesson_propagate(X[:, :1] * 0, 0.0, X, Y)

    host = features()
    X, Y = put(host)
    name = "lesson, NumPy" if device.index is None else "lesson, CuPy"
    return Contestant(name, device, "features", iteration, training, partial(device.put, host))
