"""The speed-up race: the same training by `for` loops, by the lesson's NumPy and by gpulr, on the CPU and on a GPU.

Each contestant is timed for one iteration (forward and backward) and for a whole training. Repeats are interleaved,
so that a disturbance of the machine meets all alike, and medians are reported. A training that would take longer than
the time budget runs as many iterations as fit and is extrapolated, which the result says.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from gpulr import device as devices
from gpulr.datasets import Dataset
from gpulr.device import Array, Device
from gpulr.objective import descent_from
from gpulr.passes import PASSES
from gpulr.rows import MemoryRows
from gpulr.training import train


@dataclass(frozen=True)
class Contestant:
    """One way to train.

    Attributes:
        name: for the table.
        device: where it computes.
        iteration: does one forward and backward pass.
        training: does so many iterations, everything from the stored data to the weights.
        divisible: k iterations take k times as long as one, so that the time of a few tells that of many.
    """

    name: str
    device: Device
    iteration: Callable[[], object]
    training: Callable[[int], object]
    divisible: bool


@dataclass(frozen=True)
class Timing:
    """What was measured of a contestant; seconds are medians.

    Attributes:
        name, device: whose time it is.
        iteration_seconds: one forward and backward pass.
        training_seconds: all iterations.
        extrapolated: training_seconds is the time of a few iterations times a factor.
        iteration_speedup, training_speedup: how many times faster than the loop.
        unavailable: why there is no time, otherwise None.
    """

    name: str
    device: str
    iteration_seconds: float | None = None
    training_seconds: float | None = None
    extrapolated: bool = False
    iteration_speedup: float | None = None
    training_speedup: float | None = None
    unavailable: str | None = None


def speedup(
    dataset: Dataset,
    *,
    iterations: int = 2000,
    learning_rate: float = 0.005,
    repeats: int = 5,
    budget: float = 3.0,
    progress: Callable[[str], object] = lambda _: None,
) -> dict[str, Any]:
    """Race all contestants on the training part of a data set, in float64 as the lesson does.

    Args:
        dataset: from `gpulr.load_dataset`.
        iterations: length of the whole training.
        learning_rate: of gradient descent; it does not change the time.
        repeats: how often everything is timed, at least 1.
        budget: seconds that one contestant's training may take before it is extrapolated.
        progress: called with the name of what is timed next.

    Returns:
        JSON values: data, n_samples, n_features, iterations, dtype, environment, and results, a list of `Timing`.
    """
    cpu, gpu = devices.choose("cpu"), devices.choose("auto")
    contestants = _contestants(dataset, cpu, learning_rate)
    if gpu.index is not None:
        contestants += [c for c in _contestants(dataset, gpu, learning_rate) if not c.name.startswith("loop")]

    trainings = []
    for contestant in contestants:
        progress(f"{contestant.name}, {contestant.device.name}: {iterations} iterations")
        trainings.append(_training_seconds(contestant, iterations, repeats, budget))
    passes: list[list[float]] = [[] for _ in contestants]
    for repeat in range(repeats):
        progress(f"one iteration of each: {repeat + 1} of {repeats}")
        for sample, contestant in zip(passes, contestants, strict=True):
            sample.append(_iteration_seconds(contestant))

    loop_iteration, loop_training = statistics.median(passes[0]), trainings[0][0]
    timings = [
        Timing(
            name=contestant.name,
            device=contestant.device.name,
            iteration_seconds=(iteration := statistics.median(sample)),
            training_seconds=training,
            extrapolated=extrapolated,
            iteration_speedup=loop_iteration / iteration,
            training_speedup=loop_training / training,
        )
        for contestant, sample, (training, extrapolated) in zip(contestants, passes, trainings, strict=True)
    ]
    if gpu.index is None:
        timings += [Timing(name, "cuda", unavailable=gpu.reason) for name in ("lesson, CuPy", "gpulr")]
    return {
        "data": dataset.name,
        "n_samples": dataset.X_train.shape[0],
        "n_features": dataset.X_train.shape[1],
        "iterations": iterations,
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


def lesson_train(X: Array, Y: Array, learning_rate: float, iterations: int) -> tuple[Array, Array]:
    """The lesson's gradient descent from zero weights; X (n, m), Y (1, m); returns w (n, 1) and b ()."""
    w, b = X[:, :1] * 0, Y[0, 0] * 0
    for i in range(iterations):
        cost, dw, db = lesson_propagate(w, b, X, Y)
        w = w - learning_rate * dw
        b = b - learning_rate * db
        if i % 100 == 0:
            float(cost)
    return w, b


def _contestants(dataset: Dataset, device: Device, learning_rate: float) -> list[Contestant]:
    # The notebook flattens with reshape(m, -1).T, so its X (n, m) is a transposed view: NumPy's best layout for it.
    X = device.put(dataset.X_train * dataset.scale).T
    y = device.put(dataset.y_train.astype(np.float64))
    w, b = X[:, 0] * 0, y[0] * 0
    rows = MemoryRows(device.put(dataset.X_train), y)
    scale = dataset.scale
    objectives = {name: descent_from(w, b, rows, scale=scale, gram=False, one_pass=PASSES[name])[0] for name in PASSES}

    def iteration(name: str) -> object:
        return objectives[name].value_and_grad(objectives[name].start)

    def loop_training(iterations: int) -> object:
        p = objectives["loop"].start
        for _ in range(iterations):
            p = p - learning_rate * objectives["loop"].value_and_grad(p)[1]
        return p

    def gpulr_training(iterations: int) -> object:
        return train(dataset, iterations=iterations, learning_rate=learning_rate, device=device.name, dtype="float64")

    array_library = "NumPy" if device.index is None else "CuPy"
    return [
        Contestant("loop (pure Python)", device, partial(iteration, "loop"), loop_training, True),
        Contestant(
            f"lesson, {array_library}",
            device,
            partial(lesson_propagate, X[:, :1] * 0, 0.0, X, y[None, :]),
            partial(lesson_train, X, y[None, :], learning_rate),
            True,
        ),
        Contestant("gpulr", device, partial(iteration, "vectorized"), gpulr_training, False),
    ]


def _training_seconds(contestant: Contestant, iterations: int, repeats: int, budget: float) -> tuple[float, bool]:
    """Seconds of a whole training, and whether they are extrapolated."""
    first = _seconds(partial(contestant.training, 1), contestant.device)  # this is the warm-up, too
    if contestant.divisible and first * iterations > budget:
        few = max(1, min(iterations, int(budget / first)))
        return _seconds(partial(contestant.training, few), contestant.device) / few * iterations, few < iterations
    times = [_seconds(partial(contestant.training, iterations), contestant.device)]
    while len(times) < repeats and sum(times) < budget:
        times.append(_seconds(partial(contestant.training, iterations), contestant.device))
    return statistics.median(times), False


def _iteration_seconds(contestant: Contestant) -> float:
    """Seconds of one iteration, of as many in a row as take a hundredth of a second."""
    if contestant.device.index is not None:
        from cupyx.profiler import benchmark

        times = benchmark(contestant.iteration, n_repeat=20, n_warmup=3)
        return float(np.median(times.gpu_times))
    first = _seconds(contestant.iteration, contestant.device)
    count = max(1, int(0.01 / first))
    return _seconds(lambda: [contestant.iteration() for _ in range(count)], contestant.device) / count


def _seconds(function: Callable[[], object], device: Device) -> float:
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
