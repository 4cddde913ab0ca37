"""From a data set to a model: choose the device, move the rows, minimize, measure the accuracy."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import index
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gpulr import __version__
from gpulr import device as devices
from gpulr.datasets import Dataset
from gpulr.model_file import Model
from gpulr.objective import descent_from
from gpulr.parallel import one_core_a_block
from gpulr.passes import HOST_ONLY, PASSES, named
from gpulr.rows import MemoryRows, gram_pays
from gpulr.solvers import SOLVERS, GradientDescent, Record, Result, minimize
from gpulr.solvers.minimize import Callback

if TYPE_CHECKING:
    from gpulr.estimator import LogisticRegression

# Of `train`: the lesson's gradient descent, and those of the estimator, whose own "gd" is another one, with line searches.
SOLVER_NAMES = ("gd", "auto", *(name for name in SOLVERS if name != "gd"))
LESSON_OPTIONS = ("learning_rate", "init", "pass_name", "record_every")
ESTIMATOR_OPTIONS = ("C", "l1_ratio", "standardize", "tol", "class_weight")


@dataclass(frozen=True)
class Training:
    """A trained model and how it came about.

    Attributes:
        model: the trained model, in host memory.
        result: of the minimization. Of gradient descent its parameters stay on the device; of the other solvers they
            are w and b of `model`, and the decrements in its history are nan.
        device: where it ran, and why there.
        summary: the same as JSON values: accuracies in percent, costs as [iteration, cost] pairs, seconds, options. For
            a solver other than gd the cost is the mean objective, penalty included, and C is None when that is none.
    """

    model: Model
    result: Result
    device: devices.Device
    summary: dict[str, Any]


def train(
    dataset: Dataset,
    *,
    solver: str = "gd",
    iterations: int | None = None,
    learning_rate: float | Literal["auto"] | None = None,
    init: str | None = None,
    seed: int = 0,
    device: str = "auto",
    pass_name: str | None = None,
    dtype: str = "float64",
    record_every: int | None = None,
    C: float | None = None,
    l1_ratio: float | None = None,
    standardize: bool | None = None,
    tol: float | None = None,
    class_weight: Literal["balanced"] | None = None,
    callback: Callback | None = None,
) -> Training:
    """Train on `dataset.X_train`, measure the accuracy on both parts.

    "gd" is the lesson's full-batch gradient descent: no penalty, a fixed number of steps. Any other solver minimizes
    scikit-learn's objective of the features, `dataset.scale` included, with `gpulr.LogisticRegression`. None takes an
    option's default; an option without effect is refused.

    Args:
        dataset: from `gpulr.load_dataset`.
        solver: "gd", or one of the estimator: "auto", "lbfgs", "newton" and "sgd" for ridge or no penalty, "auto",
            "prox-newton" and "fista" with l1.
        iterations: number of steps ≥ 1 of gd, 2000 by default; else the most iterations, 100 by default.
        learning_rate: of gd. A positive number, or "auto" for 1/L, which cannot raise the cost. By default 0.005.
        init: of gd. "zeros" (the default), or "random" for w ~ N(0, 0.01²) from `seed`; b starts at 0.
        seed: of a random `init`, and of sgd's shuffling.
        device: "auto", "cpu", "cuda" or "cuda:N".
        pass_name: of gd. "loop", "vectorized", "blocked", "compiled" and "fused" (on a GPU) read X at every iteration in
            that way; "auto" (the default) is one of them but the loop, see `gpulr.passes.named`, and in Gram space when
            there are more features than samples and enough iterations for it to pay (the same iterates, see
            `gpulr.rows.rotated`).
        dtype: of the computation, "float32" or "float64". X stays as it is stored.
        record_every: of gd. The cost is recorded every so many iterations. By default every 100, as in the lesson, or
            more often in a short training, so that there are about 20 records. Other solvers record every iteration.
        C, l1_ratio, standardize, tol, class_weight: see `gpulr.LogisticRegression`; not for gd.
        callback: see `gpulr.solvers.minimize`.

    Raises:
        TypeError: a count or the seed is no integer.
        ValueError: an argument that is not among the above or has no effect, or the loop on a GPU.
        RuntimeError: a GPU was asked for and there is none.
        FloatingPointError: the weights left the finite numbers.
    """
    options = {
        "learning_rate": learning_rate, "init": init, "pass_name": pass_name, "record_every": record_every,
        "C": C, "l1_ratio": l1_ratio, "standardize": standardize, "tol": tol, "class_weight": class_weight,
    }  # fmt: skip
    check_options(solver, options)
    _require("dtype", dtype, ("float32", "float64"))
    common: dict[str, Any] = {
        "iterations": _at_least("iterations", default_iterations(solver) if iterations is None else iterations, 1),
        "seed": _at_least("seed", seed, 0),
        "device": device,
        "dtype": dtype,
        "callback": callback,
    }
    if solver == "gd":
        trained = fit(dataset, **common, **_given(options))
    else:
        trained = _fit_estimator(dataset, solver, **common, **_given(options))
    accuracies = {
        "train_accuracy": _accuracy(trained.model, dataset.X_train, dataset.y_train),
        "test_accuracy": _accuracy(trained.model, dataset.X_test, dataset.y_test),
    }
    summary = {**trained.summary, **accuracies}
    versions = {"gpulr": __version__, "numpy": np.__version__}
    return replace(trained, summary=summary, model=replace(trained.model, training={**summary, "versions": versions}))


def default_iterations(solver: str) -> int:
    """The steps of gd; the most iterations of the other solvers, which stop by themselves."""
    return 2000 if solver == "gd" else 100


def check_options(solver: str, options: Mapping[str, Any]) -> None:
    """Refuse an unknown solver, options that have no effect with it, and a penalty that it cannot handle.

    Args:
        solver: see `train`.
        options: those among `LESSON_OPTIONS` and `ESTIMATOR_OPTIONS`; None is not given.

    Raises:
        ValueError: says which, and what to do.
    """
    _require("solver", solver, SOLVER_NAMES)
    given, lesson = _given(options), solver == "gd"
    for name in ESTIMATOR_OPTIONS if lesson else LESSON_OPTIONS:
        if name in given:
            option, other = name.removesuffix("_name"), "another solver" if lesson else "solver='gd'"
            raise ValueError(
                f"{option}={given[name]!r} has no effect with solver={solver!r}: leave it out, or use {other}"
            )
    if lesson:
        return
    _require("class_weight", given.get("class_weight", "balanced"), ("balanced",))
    _estimator(solver, **given)._check_parameters()
    for name in ("l1_ratio", "standardize"):
        if math.isinf(given.get("C", 1.0)) and given.get(name):
            raise ValueError(f"{name}={given[name]!r} has no effect with C=inf, which is no penalty: leave one out")


def fit(
    dataset: Dataset,
    *,
    iterations: int,
    learning_rate: float | Literal["auto"] = 0.005,
    init: str = "zeros",
    seed: int,
    device: str,
    pass_name: str = "auto",
    dtype: str,
    record_every: int | None = None,
    callback: Callback | None,
) -> Training:
    """`train` by gd without the accuracies: what takes part in a race. Arguments and errors are those of `train`."""
    _require("init", init, ("zeros", "random"))
    _require("pass", pass_name, ("auto", *PASSES))
    method = GradientDescent(learning_rate)
    place = _choose(device, pass_name)
    if record_every is None:
        record_every = min(100, max(1, iterations // 20))

    begin = time.perf_counter()
    with place.current(), one_core_a_block():
        rows, w, b = _put(dataset, place, np.dtype(dtype), init, seed)
        m, n = rows.X.shape
        gram = pass_name == "auto" and gram_pays(m, n, iterations, like=w)
        pass_, one_pass = named(pass_name, rows.X)
        objective, weights = descent_from(w, b, rows, scale=dataset.scale, gram=gram, one_pass=one_pass)
        seconds = time.perf_counter() - begin
        result = minimize(objective, method, max_iter=iterations, record_every=record_every, callback=callback)
        begin = time.perf_counter()  # anew: a warning, and the advice in it, are not training
        w, b = (devices.to_host(part) for part in weights(result.params))
        seconds += result.last.seconds + time.perf_counter() - begin

    how = {
        "solver": "gd",
        "learning_rate": method.learning_rate,
        "pass": "vectorized" if gram else pass_,
        "space": "gram" if gram else "features",
        "dtype": dtype,
        "init": init,
        "seed": seed,
    }
    return _training(dataset, w, b, result, place, seconds, how)


def _fit_estimator(
    dataset: Dataset,
    solver: str,
    *,
    iterations: int,
    seed: int,
    device: str,
    dtype: str,
    callback: Callback | None,
    **options: Any,
) -> Training:
    """`train` by the estimator without the accuracies; `options` are those of `ESTIMATOR_OPTIONS` that are given."""
    place = devices.choose(device)
    estimator = _estimator(solver, max_iter=iterations, random_state=seed, dtype=dtype, callback=callback, **options)
    asked = estimator.get_params()
    if not estimator.standardize:  # features of unit variance are the same in any unit
        C, l1_ratio = _penalty_of_stored(estimator.C, estimator.l1_ratio, dataset.scale)
        estimator.set_params(C=C, l1_ratio=l1_ratio)
    estimator.set_params(device=place.name)

    begin = time.perf_counter()
    estimator.fit(dataset.X_train, dataset.y_train)
    seconds = time.perf_counter() - begin

    w = estimator.coef_[0] / estimator.coef_.dtype.type(dataset.scale)
    b = np.asarray(estimator.intercept_[0])
    result = _result_of(estimator, w, b, len(dataset.y_train))
    how = {
        "solver": estimator.solver_,
        "learning_rate": None,
        "pass": "vectorized",
        "space": "gram" if estimator.solver_.startswith("gram-") else "features",
        "dtype": dtype,
        "init": "zeros",
        "seed": seed,
        "C": None if math.isinf(asked["C"]) else float(asked["C"]),  # JSON has no infinity
        "l1_ratio": float(asked["l1_ratio"]),
        "standardize": bool(asked["standardize"]),
        "tol": float(asked["tol"]),
        "class_weight": asked["class_weight"],
        "status": result.status,
    }
    return _training(dataset, w, b, result, place, seconds, how)


def _estimator(solver: str, **options: Any) -> LogisticRegression:
    from gpulr.estimator import LogisticRegression  # here, because scikit-learn takes a second to import

    return LogisticRegression(solver=solver, **options)


def _penalty_of_stored(C: float, l1_ratio: float, scale: float) -> tuple[float, float]:
    """C and l1_ratio for the stored X that make the penalty of the features, X times `scale`.

    The weights of the features are those of the stored X divided by `scale`. So the strengths (1 − l1_ratio)/C of ½‖w‖²
    and l1_ratio/C of ‖w‖₁ become these, and no scaled copy of X is needed.
    """
    ridge, l1 = (1 - l1_ratio) / C / scale**2, l1_ratio / C / scale
    total = ridge + l1
    return (1 / total, l1 / total) if total > 0 else (math.inf, 0.0)


def _result_of(estimator: LogisticRegression, w: np.ndarray, b: np.ndarray, m: int) -> Result:
    """What the estimator tells of its minimization, with the mean over the m samples as the cost."""
    # Balanced weights sum to m as well.
    total = m * (1.0 if math.isinf(estimator.C) else estimator.C)
    records = [
        Record(
            line["iteration"],
            line["objective"] / total,
            line["gradient_norm"],
            math.nan,
            line["seconds"],
            line["passes"],
        )
        for line in estimator.history_
    ]
    return Result(np.append(w, b), estimator.history_[-1]["status"], records[-1], tuple(records[:-1]))


def _training(
    dataset: Dataset,
    w: np.ndarray,
    b: np.ndarray,
    result: Result,
    place: devices.Device,
    seconds: float,
    how: Mapping[str, Any],
) -> Training:
    """The model and the summary; `how` are the options, as JSON values."""
    m, n = dataset.X_train.shape
    summary = {
        "data": dataset.name,
        "n_samples": m,
        "n_features": n,
        **how,
        "device": place.name,
        "device_reason": place.reason,
        "n_iter": result.n_iter,
        "costs": [[record.iteration, record.cost] for record in result.history],
        "final_cost": result.cost,
        "seconds": seconds,
    }
    model = Model(w, b, dataset.classes, dataset.image_shape, dataset.scale, dataset.X_train.dtype.name)
    return Training(model, result, place, summary)


def _choose(device: str, pass_name: str) -> devices.Device:
    """The device, which for the loop and what is compiled for the CPU can only be that."""
    place = devices.choose(device)
    if pass_name not in ("loop", *HOST_ONLY) or place.name == "cpu":
        return place
    if device != "auto":
        raise ValueError(f"the {pass_name} pass runs on the CPU, not on {place.name}: {devices.CPU_ONLY}")
    return devices.Device("cpu", f"the {pass_name} pass runs there only")


def _put(
    dataset: Dataset, place: devices.Device, dtype: np.dtype, init: str, seed: int
) -> tuple[MemoryRows, devices.Array, devices.Array]:
    """The training rows, and the weights and intercept to start from, on the device."""
    X, arrival = place.send(dataset.X_train)
    rows = MemoryRows(X, place.put(dataset.y_train.astype(dtype)), arrival=arrival)
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


def _at_least(name: str, value: int, least: int) -> int:
    value = index(value)
    if value < least:
        raise ValueError(f"{name}={value}: at least {least} is needed")
    return value


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
