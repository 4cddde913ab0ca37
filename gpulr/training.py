"""From a data set to a model: choose the device, move the rows, minimize, measure the accuracy."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from operator import index
from typing import Any, Literal

import numpy as np

from gpulr import __version__
from gpulr import device as devices
from gpulr.datasets import Dataset
from gpulr.model_file import Model
from gpulr.objective import descent_from, gram_pays
from gpulr.passes import PASSES
from gpulr.rows import MemoryRows
from gpulr.solvers import GradientDescent, Result, minimize
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
    dtype: str = "float64",
    record_every: int | None = None,
    callback: Callback | None = None,
) -> Training:
    """Train on `dataset.X_train`, measure the accuracy on both parts.

    Args:
        dataset: from `gpulr.load_dataset`.
        solver: "gd", full-batch gradient descent.
        iterations: number of steps ≥ 1.
        learning_rate: a positive number, or "auto" for 1/L, which cannot raise the cost.
        init: "zeros", or "random" for w ~ N(0, 0.01²) from `seed`; b starts at 0.
        device: "auto", "cpu", "cuda" or "cuda:N".
        pass_name: "loop" and "vectorized" read X at every iteration in that way; "auto" is vectorized, in Gram space
            when there are more features than samples and enough iterations for it to pay (the same iterates, see
            `gpulr.rows.rotated`).
        dtype: of the computation, "float32" or "float64". X stays as it is stored.
        record_every: the cost is recorded every so many iterations. By default every 100, as in the lesson, or more
            often in a short training, so that there are about 20 records.
        callback: see `gpulr.solvers.minimize`.

    Raises:
        TypeError: a count or the seed is no integer.
        ValueError: an argument that is not among the above, or the loop on a GPU.
        RuntimeError: a GPU was asked for and there is none.
        FloatingPointError: the weights left the finite numbers.
    """
    trained = fit(
        dataset,
        solver=solver,
        iterations=iterations,
        learning_rate=learning_rate,
        init=init,
        seed=seed,
        device=device,
        pass_name=pass_name,
        dtype=dtype,
        record_every=record_every,
        callback=callback,
    )
    accuracies = {
        "train_accuracy": _accuracy(trained.model, dataset.X_train, dataset.y_train),
        "test_accuracy": _accuracy(trained.model, dataset.X_test, dataset.y_test),
    }
    summary = {**trained.summary, **accuracies}
    versions = {"gpulr": __version__, "numpy": np.__version__}
    return replace(trained, summary=summary, model=replace(trained.model, training={**summary, "versions": versions}))


def fit(
    dataset: Dataset,
    *,
    solver: str,
    iterations: int,
    learning_rate: float | Literal["auto"],
    init: str,
    seed: int,
    device: str,
    pass_name: str,
    dtype: str,
    record_every: int | None,
    callback: Callback | None,
) -> Training:
    """`train` without the accuracies: what takes part in a race. Arguments and errors are those of `train`."""
    _require("solver", solver, ("gd",))
    _require("init", init, ("zeros", "random"))
    _require("pass", pass_name, ("auto", *PASSES))
    _require("dtype", dtype, ("float32", "float64"))
    iterations, seed = index(iterations), index(seed)
    if iterations < 1:
        raise ValueError(f"iterations={iterations}: at least 1 is needed")
    if seed < 0:
        raise ValueError(f"seed={seed}: at least 0 is needed")
    method = GradientDescent(learning_rate)
    place = _choose(device, pass_name)
    if record_every is None:
        record_every = min(100, max(1, iterations // 20))

    begin = time.perf_counter()
    with place.current():
        rows, w, b = _put(dataset, place, np.dtype(dtype), init, seed)
        m, n = rows.X.shape
        gram = pass_name == "auto" and gram_pays(m, n, iterations, like=w)
        one_pass = PASSES["vectorized" if pass_name == "auto" else pass_name]
        objective, weights = descent_from(w, b, rows, scale=dataset.scale, gram=gram, one_pass=one_pass)
        result = minimize(objective, method, max_iter=iterations, record_every=record_every, callback=callback)
        w, b = (devices.to_host(part) for part in weights(result.params))
    seconds = time.perf_counter() - begin

    summary = {
        "data": dataset.name,
        "n_samples": m,
        "n_features": n,
        "solver": solver,
        "learning_rate": method.learning_rate,
        "pass": "vectorized" if pass_name == "auto" else pass_name,
        "space": "gram" if gram else "features",
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
    model = Model(w, b, dataset.classes, dataset.image_shape, dataset.scale, dataset.X_train.dtype.name)
    return Training(model, result, place, summary)


def _choose(device: str, pass_name: str) -> devices.Device:
    """The device, which for the loop can only be the CPU."""
    place = devices.choose(device)
    if pass_name != "loop" or place.name == "cpu":
        return place
    if device != "auto":
        raise ValueError(f"the loop pass runs on the CPU, not on {place.name}: {devices.CPU_ONLY}")
    return devices.Device("cpu", "the loop pass runs there only")


def _put(
    dataset: Dataset, place: devices.Device, dtype: np.dtype, init: str, seed: int
) -> tuple[MemoryRows, devices.Array, devices.Array]:
    """The training rows, and the weights and intercept to start from, on the device."""
    rows = MemoryRows(place.put(dataset.X_train), place.put(dataset.y_train.astype(dtype)))
    w = place.put(np.zeros(dataset.X_train.shape[1], dtype))
    if init == "random":
        w = w + 0.01 * devices.normal(w.shape, seed, like=w)
    return rows, w, place.put(np.zeros((), dtype))


def _accuracy(model: Model, X: np.ndarray, y: np.ndarray) -> float | None:
    """Percentage of rows that are predicted right; None when there are no rows (nothing was held out)."""
    if len(y) == 0:
        return None
    return 100 * float(np.mean(model.predict(X) == y))


def _require(name: str, value: object, accepted: object) -> None:
    names = list(accepted)  # type: ignore[call-overload]
    if value not in names:
        raise ValueError(f"{name}={value!r}: use {' or '.join(names)}")
