"""From a data set to a model: choose the device, move the rows, minimize, measure the accuracy."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gpulr import __version__
from gpulr import device as devices
from gpulr.datasets import Dataset
from gpulr.model_file import Model
from gpulr.objective import AnyObjective, GramObjective, Objective
from gpulr.passes import PASSES
from gpulr.rows import MemoryRows
from gpulr.solvers import SOLVERS, Result, minimize
from gpulr.solvers.minimize import Callback


@dataclass(frozen=True)
class Training:
    """A trained model and how it came about.

    Attributes:
        model: the trained model, in host memory.
        result: of the minimization; its parameters stay on the device.
        device: where it ran, and why there.
        summary: the same as JSON values: accuracies in percent, costs as [iteration, cost] pairs, seconds, options.
    """

    model: Model
    result: Result
    device: devices.Device
    summary: dict[str, Any]


def train(
    dataset: Dataset,
    *,
    solver: str = "gd",
    iterations: int = 2000,
    learning_rate: float | Literal["auto"] = 0.005,
    init: str = "zeros",
    seed: int = 0,
    device: str = "auto",
    pass_name: str = "auto",
    dtype: str = "float32",
    record_every: int | None = None,
    callback: Callback | None = None,
) -> Training:
    """Train on `dataset.X_train`, measure the accuracy on both parts.

    Args:
        dataset: from `gpulr.load_dataset`.
        solver: "gd", full-batch gradient descent.
        iterations: number of steps ≥ 1.
        learning_rate: a positive number, or "auto" for 1/L, the largest that is sure not to raise the cost.
        init: "zeros", or "random" for w ~ N(0, 0.01²) from `seed`; b starts at 0.
        device: "auto", "cpu", "cuda" or "cuda:N".
        pass_name: "loop" and "vectorized" read X at every iteration in that way; "auto" is vectorized, in Gram space
            when there are more features than samples (the same iterates, see `gpulr.objective`).
        dtype: of the computation, "float32" or "float64". X stays as it is stored.
        record_every: the cost is recorded every so many iterations. By default every 100, as in the lesson, or more
            often in a short training, so that there are about 20 records.
        callback: see `gpulr.solvers.minimize`.

    Raises:
        ValueError: an argument that is not among the above, or the loop on a GPU.
        RuntimeError: a GPU was asked for and there is none.
        FloatingPointError: the weights left the finite numbers.
    """
    _require("solver", solver, SOLVERS)
    _require("init", init, ("zeros", "random"))
    _require("pass", pass_name, ("auto", *PASSES))
    _require("dtype", dtype, ("float32", "float64"))
    if iterations < 1:
        raise ValueError(f"iterations={iterations}: at least 1 is needed")
    method = SOLVERS[solver](learning_rate)
    place = devices.choose(device)
    if pass_name == "loop" and place.name != "cpu":
        if device != "auto":
            raise ValueError(f"the loop pass runs on the CPU, not on {place.name}: {devices.CPU_ONLY}")
        place = devices.Device("cpu", "the loop pass runs there only")
    if record_every is None:
        record_every = min(100, max(1, iterations // 20))

    begin = time.perf_counter()
    objective = _objective(dataset, place, pass_name, np.dtype(dtype), init, seed)
    result = minimize(objective, method, max_iter=iterations, record_every=record_every, callback=callback)
    w, b = (devices.to_host(part) for part in objective.coefficients(result.params))
    seconds = time.perf_counter() - begin

    summary = {
        "data": dataset.name,
        "n_samples": dataset.X_train.shape[0],
        "n_features": dataset.X_train.shape[1],
        "solver": solver,
        "learning_rate": learning_rate,
        "pass": "vectorized" if pass_name == "auto" else pass_name,
        "space": "gram" if isinstance(objective, GramObjective) else "features",
        "dtype": dtype,
        "device": place.name,
        "device_reason": place.reason,
        "init": init,
        "seed": seed,
        "n_iter": result.n_iter,
        "costs": [[record.iteration, record.cost] for record in result.history],
        "final_cost": result.cost,
        "seconds": seconds,
    }
    model = Model(w, b, dataset.classes, dataset.image_shape, dataset.scale)
    summary["train_accuracy"] = _accuracy(model, dataset.X_train, dataset.y_train)
    summary["test_accuracy"] = _accuracy(model, dataset.X_test, dataset.y_test)
    versions = {"gpulr": __version__, "numpy": np.__version__}
    model = Model(w, b, dataset.classes, dataset.image_shape, dataset.scale, training={**summary, "versions": versions})
    return Training(model, result, place, summary)


def _objective(
    dataset: Dataset, place: devices.Device, pass_name: str, dtype: np.dtype, init: str, seed: int
) -> AnyObjective:
    """The cost of the training rows on the device, in the variables that suit their shape."""
    m, n = dataset.X_train.shape
    rows = MemoryRows(place.put(dataset.X_train), place.put(dataset.y_train.astype(dtype)))
    w = place.put(np.zeros(n, dtype))
    if init == "random":
        w = w + 0.01 * devices.normal((n,), seed, like=w)
    b = place.put(np.zeros((), dtype))
    if pass_name == "auto" and n > m:
        return GramObjective(rows, w, b, scale=dataset.scale)
    propagate = PASSES["vectorized" if pass_name == "auto" else pass_name]
    return Objective(rows, w, b, scale=dataset.scale, propagate=propagate)


def _accuracy(model: Model, X: np.ndarray, y: np.ndarray) -> float | None:
    """Percentage of rows that are predicted right; None when there are no rows (nothing was held out)."""
    if len(y) == 0:
        return None
    return 100 * float(np.mean(model.predict(X) == y))


def _require(name: str, value: object, accepted: object) -> None:
    names = list(accepted)  # type: ignore[call-overload]
    if value not in names:
        raise ValueError(f"{name}={value!r}: use {' or '.join(names)}")
