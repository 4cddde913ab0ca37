"""The speed-up race: the same training by `for` loops, by the lesson's NumPy and by gpulr, on the CPU and on a GPU.

Each contestant is timed for one iteration (forward and backward) and for a whole training, everything from the stored
data to the weights. Repeats are interleaved, so that a disturbance of the machine meets all alike, and medians are
reported. A training that would take longer than the time budget is cut short and extrapolated, which the result says.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import isfinite
from typing import Any

import numpy as np

from gpulr import device as devices
from gpulr.datasets import Dataset
from gpulr.device import Array, Device, array_namespace
from gpulr.objective import descent_from
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
    """

    name: str
    device: Device
    space: str
    iteration: Callable[[], object]
    training: Callable[[int], list[float]]
    transfer: Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """What was measured of a contestant; seconds are medians of the repeats, a range is their [least, greatest].

    Attributes:
        name, device, space: whose time it is.
        iteration_seconds, iteration_range: one forward and backward pass.
        training_seconds, training_range: all iterations.
        extrapolated: the training was cut short and the rest added at iteration_seconds each.
        transfer_seconds: what of the training is the move of X to the GPU; None on the CPU.
        iteration_speedup, training_speedup: how many times faster than the loop.
        finite_costs: every cost that was recorded is a finite number.
        unavailable: why there is no time, otherwise None.
    """

    name: str
    device: str
    space: str | None = None
    iteration_seconds: float | None = None
    iteration_range: list[float] | None = None
    training_seconds: float | None = None
    training_range: list[float] | None = None
    extrapolated: bool = False
    transfer_seconds: float | None = None
    iteration_speedup: float | None = None
    training_speedup: float | None = None
    finite_costs: bool | None = None
    unavailable: str | None = None


def speedup(
    dataset: Dataset,
    *,
    iterations: int = 2000,
    learning_rate: float = 0.005,
    repeats: int = 5,
    budget: float = 2.0,
    progress: Callable[[str], object] = lambda _: None,
) -> dict[str, Any]:
    """Race all contestants on the training part of a data set, in float64 as the lesson does.

    Args:
        dataset: from `gpulr.load_dataset`.
        iterations: length of the whole training.
        learning_rate: of gradient descent; it does not change the time.
        repeats: how often everything is timed, at least 1; less often what takes far longer than the budget.
        budget: seconds > 0 that one training may take before it is extrapolated.
        progress: called with the name of what is done next.

    Returns:
        JSON values: data, n_samples, n_features, iterations, learning_rate, dtype, repeats, environment, and results, a
        list of `Timing`, the loop's first.
    """
    cpu, gpu = devices.choose("cpu"), devices.choose("auto")
    contestants: list[Contestant] = []
    for place in [cpu] if gpu.index is None else [cpu, gpu]:
        progress(f"preparing the data, {place.name}")
        contestants += _contestants(dataset, place, iterations, learning_rate)

    timings = _race(contestants, iterations, repeats, budget, progress)
    if gpu.index is None:
        missing = [c.name.replace("NumPy", "CuPy") for c in contestants if c.name != LOOP]
        timings += [Timing(name, "cuda", unavailable=gpu.reason) for name in missing]
    m, n = dataset.X_train.shape
    return {
        "data": dataset.name,
        "n_samples": m,
        "n_features": n,
        "iterations": iterations,
        "learning_rate": learning_rate,
        "dtype": "float64",
        "repeats": repeats,
        "environment": environment(),
        "results": [asdict(timing) for timing in timings],
    }


def environment() -> dict[str, Any]:
    """What a time depends on: processor, cores, BLAS and its threads, versions, GPUs."""
    import os
    import platform

    from threadpoolctl import threadpool_info

    pools = [
        {"library": pool["internal_api"], "version": pool["version"], "threads": pool["num_threads"]}
        for pool in threadpool_info()
    ]
    return {
        "machine": platform.machine(),
        "processor": _processor_name() or platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "thread_pools": pools,
        "gpus": devices.describe_gpus(),
    }


def lesson_propagate(w: Array, b: float, X: Array, Y: Array) -> tuple[Array, Array, Array]:
    """Forward and backward propagation as the lesson's notebook writes it, with its unstable cost: the yardstick.

    X (n, m), w (n, 1), Y (1, m); returns cost (), dw (n, 1), db ().
    """
    xp = array_namespace(X)
    m = X.shape[1]
    A = 1 / (1 + xp.exp(-(w.T @ X + b)))
    cost = -xp.sum(Y * xp.log(A) + (1 - Y) * xp.log(1 - A)) / m
    dZ = A - Y
    return cost, X @ dZ.T / m, xp.sum(dZ) / m


def lesson_train(X: Array, Y: Array, learning_rate: float, iterations: int) -> tuple[Array, Array, list[float]]:
    """The lesson's gradient descent from zero weights; X (n, m), Y (1, m); returns w (n, 1), b () and every 100th cost."""
    w, b = X[:, :1] * 0, Y[0, 0] * 0
    costs = []
    for i in range(iterations):
        cost, dw, db = lesson_propagate(w, b, X, Y)
        w = w - learning_rate * dw
        b = b - learning_rate * db
        if i % 100 == 0:
            costs.append(float(cost))
    return w, b, costs


def _contestants(dataset: Dataset, device: Device, iterations: int, learning_rate: float) -> list[Contestant]:
    """Those who run on a device; the loop, on the CPU only, is the first."""
    with device.current():
        rows = MemoryRows(device.put(dataset.X_train), device.put(dataset.y_train.astype(np.float64)))
        gpulr = partial(_gpulr, dataset, device, rows, iterations, learning_rate)
        contestants = [gpulr(LOOP, "loop")] if device.index is None else []
        contestants += [_lesson(dataset, device, learning_rate), gpulr("gpulr", "auto")]
        if contestants[-1].space == "gram":  # otherwise gpulr is the vectorized pass already
            contestants.append(gpulr("gpulr, vectorized pass", "vectorized"))
    return contestants


def _gpulr(
    dataset: Dataset, device: Device, rows: MemoryRows, iterations: int, learning_rate: float, name: str, pass_name: str
) -> Contestant:
    """`gpulr.training.fit` with one of its passes; `rows` are those of the training part, on the device."""
    m, n = rows.X.shape
    w, b = device.put(np.zeros(n)), device.put(np.zeros(()))
    gram = pass_name == "auto" and gram_pays(m, n, iterations, like=w)
    _, one_pass = named(pass_name, rows.X)
    objective, _ = descent_from(w, b, rows, scale=dataset.scale, gram=gram, one_pass=one_pass)

    def training(length: int) -> list[float]:
        with warnings.catch_warnings():
            # A cost that rises is for `train` to tell; here it would be told at every repeat.
            warnings.filterwarnings("ignore", "the cost rose")
            trained = fit(
                dataset, iterations=length, learning_rate=learning_rate, init="zeros", seed=0,
                device=device.name, pass_name=pass_name, dtype="float64", record_every=100, callback=None,
            )  # fmt: skip
        return [record.cost for record in trained.result.history]

    iteration = partial(objective.visit, objective.start)
    transfer = partial(device.put, dataset.X_train)
    return Contestant(name, device, "gram" if gram else "features", iteration, training, transfer)


def _lesson(dataset: Dataset, device: Device, learning_rate: float) -> Contestant:
    """The lesson's notebook, which converts X to features as a whole."""

    def features() -> np.ndarray:
        # Always float64, as in the notebook, also where the data are stored as float32.
        return dataset.X_train.astype(np.float64) * dataset.scale

    def put(host: np.ndarray) -> tuple[Array, Array]:
        # The notebook flattens with reshape(m, -1).T, so its X (n, m) is a transposed view: NumPy's best layout for it.
        return device.put(host).T, device.put(dataset.y_train.astype(np.float64)[None, :])

    def training(length: int) -> list[float]:
        with np.errstate(all="ignore"):  # that its formula overflows is a part of the lesson; `finite_costs` tells
            return lesson_train(*put(features()), learning_rate, length)[2]

    host = features()
    X, Y = put(host)
    iteration = partial(lesson_propagate, X[:, :1] * 0, 0.0, X, Y)
    name = "lesson, NumPy" if device.index is None else "lesson, CuPy"
    return Contestant(name, device, "features", iteration, training, partial(device.put, host))


def _race(
    contestants: list[Contestant], iterations: int, repeats: int, budget: float, progress: Callable[[str], object]
) -> list[Timing]:
    """The times of the contestants, of whom the loop is the first; arguments as in `speedup`."""
    repeated = partial(_interleaved, repeats=repeats, budget=budget, progress=progress)
    # The iterations first: they tell how much of a training is within the budget.
    passes = repeated("one iteration", [partial(_iteration_seconds, c) for c in contestants])
    one = [statistics.median(seconds) for seconds in passes]
    lengths = [max(1, min(iterations, int(budget / seconds))) for seconds in one]
    finite, samplers = [], []
    for i, contestant in enumerate(contestants):
        if contestant.space == "gram":
            lengths[i] = iterations  # it takes most of its time to get there, and a short training would not go there
        training = partial(contestant.training, lengths[i])
        samplers.append(partial(_seconds, training, contestant.device))
        progress(f"warming up: {contestant.name}, {contestant.device.name}")
        with contestant.device.current():
            finite.append(all(map(isfinite, training())))
    trainings = repeated("training", samplers)
    rest = [iterations - length for length in lengths]
    total = [statistics.median(sample) + rest[i] * one[i] for i, sample in enumerate(trainings)]
    transfers = repeated("transfer", [partial(_seconds, c.transfer, c.device) for c in contestants])

    return [
        Timing(
            name=contestant.name,
            device=contestant.device.name,
            space=contestant.space,
            iteration_seconds=one[i],
            iteration_range=[min(passes[i]), max(passes[i])],
            training_seconds=total[i],
            training_range=[extreme(trainings[i]) + rest[i] * extreme(passes[i]) for extreme in (min, max)],
            extrapolated=rest[i] > 0,
            transfer_seconds=None if contestant.device.index is None else statistics.median(transfers[i]),
            iteration_speedup=one[0] / one[i],
            training_speedup=total[0] / total[i],
            finite_costs=finite[i],
        )
        for i, contestant in enumerate(contestants)
    ]


def _interleaved(
    what: str, samplers: Sequence[Callable[[], float]], repeats: int, budget: float, progress: Callable[[str], object]
) -> list[list[float]]:
    """The seconds that each sampler returns at every repeat, fewer once it has had the budget of all repeats."""
    samples: list[list[float]] = [[] for _ in samplers]
    for repeat in range(repeats):
        progress(f"{what}: {repeat + 1} of {repeats}")
        for sample, sampler in zip(samples, samplers, strict=True):
            if sum(sample) < repeats * budget:
                sample.append(sampler())
    return samples


def _iteration_seconds(contestant: Contestant) -> float:
    """Seconds of one iteration: the median of 20 on a GPU, the mean of those in a tenth of a second on the CPU."""
    if contestant.device.index is not None:
        from cupyx.profiler import benchmark

        with contestant.device.current():
            times = benchmark(contestant.iteration, n_repeat=20, n_warmup=3, name=contestant.name)
        return float(np.median(times.gpu_times))
    first = _seconds(contestant.iteration, contestant.device)
    if first > 0.05:
        return first  # so long that warming up does not matter
    count = int(0.1 / first)
    return _seconds(lambda: [contestant.iteration() for _ in range(count)], contestant.device) / count


def _seconds(function: Callable[[], object], device: Device) -> float:
    with device.current():
        device.synchronize()
        begin = time.perf_counter()
        function()
        device.synchronize()
        return time.perf_counter() - begin


def _processor_name() -> str:
    """The model name that Linux gives; empty elsewhere."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        return ""
    return names[0] if names else ""
