"""The speed-up race: the same training by `for` loops, by the lesson's NumPy and by gpulr, on the CPU and on a GPU.

Each contestant is timed for one iteration (forward and backward) and for a whole training, everything from the stored
data to the weights. Repeats are interleaved, so that a disturbance of the machine meets all alike, and medians are
reported. A training that would take longer than the time budget is cut short and extrapolated, which the result says.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import isfinite
from typing import Any

from gpulr import device as devices
from gpulr.bench import clock
from gpulr.bench.contestants import LOOP, Contestant, Setting, on_device
from gpulr.bench.machine import environment
from gpulr.datasets import Dataset
from gpulr.device import Device


@dataclass(frozen=True)
class Timing:
    """What was measured of a contestant; seconds are medians of the repeats, a range is their [least, greatest].

    Attributes:
        name, device, space: whose time it is.
        clock: "host", or on a GPU "GPU events"; see `gpulr.bench.clock`.
        iteration_seconds, iteration_range: one forward and backward pass.
        iteration_extrapolated: timed on a share of the rows.
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
    clock: str | None = None
    iteration_seconds: float | None = None
    iteration_range: list[float] | None = None
    iteration_extrapolated: bool = False
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
    progress: clock.Progress = clock.silent,
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
        JSON values: data, n_samples, n_features, iterations, learning_rate, dtype, repeats, environment, results, a list
        of `Timing`, the loop's first, and steps, see `steps`.
    """
    setting = Setting(iterations, learning_rate)
    return measured(dataset, setting, repeats, budget, progress) | {"environment": environment()}


def measured(
    dataset: Dataset, setting: Setting, repeats: int, budget: float, progress: clock.Progress
) -> dict[str, Any]:
    """`speedup` in any setting, without the environment."""
    cpu, gpu = devices.choose("cpu"), devices.choose("auto")

    def on(*places: Device) -> list[Timing]:
        contestants: list[Contestant] = []
        for place in places:
            progress(f"preparing the data, {place.name}")
            contestants += on_device(dataset, place, setting)
        return _race(contestants, setting.iterations, repeats, budget, progress)

    timings: list[Timing] = []
    why_not = gpu.reason
    if gpu.index is not None:
        try:
            timings = on(cpu, gpu)
        except MemoryError as error:  # of the GPU: what the CPU does is worth its time all the same
            why_not = str(error)
    if not timings:
        timings = on(cpu)
        timings += _absent(timings, gpu, why_not)
    m, n = dataset.X_train.shape
    results = [asdict(timing) for timing in timings]
    return {
        "data": dataset.name,
        "n_samples": m,
        "n_features": n,
        "stored_as": str(dataset.X_train.dtype),
        "iterations": setting.iterations,
        "learning_rate": setting.learning_rate,
        "dtype": setting.dtype,
        "repeats": repeats,
        "results": results,
        "steps": steps(results),
    }


def steps(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each step from the loop to gpulr on a GPU brings to the training: from, to, what, and factor.

    Vectorization is the lesson's NumPy against the loop; "code" gpulr in the same algebra against the lesson; "algebra"
    Gram space against the features, on the same device; "GPU" gpulr there against gpulr on the CPU. A step that was not
    measured has the factor None.
    """
    seconds = {(each["name"], each["device"]): each["training_seconds"] for each in results}
    found = []
    for device in dict.fromkeys(each["device"] for each in results):
        lesson = ("lesson, NumPy" if device == "cpu" else "lesson, CuPy", device)
        plain, best = ("gpulr, vectorized pass", device), ("gpulr", device)
        code = plain if plain in seconds else best
        pairs = [((LOOP, "cpu"), lesson, "vectorization" if device == "cpu" else "vectorization and GPU")]
        pairs += [(lesson, code, "code")] + [(plain, best, "algebra (Gram space)")] * (code == plain)
        pairs += [(("gpulr", "cpu"), best, "GPU")] * (device != "cpu")
        for slow, fast, what in pairs:
            known = seconds[slow] and seconds[fast]
            factor = seconds[slow] / seconds[fast] if known else None
            found.append({"from": _who(slow), "to": _who(fast), "what": what, "factor": factor})
    return found


def _who(contestant: tuple[str, str]) -> str:
    return contestant[0] if contestant[0] == LOOP else f"{contestant[0]} on {contestant[1]}"


def _absent(on_cpu: Sequence[Timing], gpu: Device, why_not: str) -> list[Timing]:
    """Those who would race on a GPU, with the reason why they do not."""
    missing = [timing.name.replace("NumPy", "CuPy") for timing in on_cpu if timing.name != LOOP]
    return [Timing(name, "cuda" if gpu.index is None else gpu.name, unavailable=why_not) for name in missing]


def _race(
    contestants: list[Contestant], iterations: int, repeats: int, budget: float, progress: clock.Progress
) -> list[Timing]:
    """The times of the contestants, of whom the loop is the first; arguments as in `speedup`."""
    repeated = partial(clock.interleaved, repeats=repeats, budget=budget, progress=progress)
    # The iterations first: they tell how much of a training is within the budget.
    passes = repeated("one iteration", [partial(_iteration_seconds, c) for c in contestants])
    one = [statistics.median(seconds) for seconds in passes]
    lengths = [max(1, min(iterations, int(budget * c.factor / one[i]))) for i, c in enumerate(contestants)]
    finite, samplers = [], []
    for i, contestant in enumerate(contestants):
        if contestant.space == "gram":
            lengths[i] = iterations  # it takes most of its time to get there, and a short training would not go there
        training = partial(contestant.training, lengths[i])
        samplers.append(partial(_training_seconds, contestant, training))
        progress(f"warming up: {contestant.name}, {contestant.device.name}")
        with contestant.device.current():
            finite.append(all(map(isfinite, training())))
    trainings = repeated("training", samplers)
    rest = [iterations - length for length in lengths]
    total = [statistics.median(sample) + rest[i] * one[i] for i, sample in enumerate(trainings)]
    transfers = repeated("transfer", [partial(clock.seconds, c.transfer, c.device) for c in contestants])

    return [
        Timing(
            name=contestant.name,
            device=contestant.device.name,
            space=contestant.space,
            clock=clock.name_of(contestant.device),
            iteration_seconds=one[i],
            iteration_range=[min(passes[i]), max(passes[i])],
            iteration_extrapolated=contestant.factor > 1,
            training_seconds=total[i],
            training_range=[extreme(trainings[i]) + rest[i] * extreme(passes[i]) for extreme in (min, max)],
            extrapolated=rest[i] > 0 or contestant.factor > 1,
            transfer_seconds=None if contestant.device.index is None else statistics.median(transfers[i]),
            iteration_speedup=one[0] / one[i],
            training_speedup=total[0] / total[i],
            finite_costs=finite[i],
        )
        for i, contestant in enumerate(contestants)
    ]


def _iteration_seconds(contestant: Contestant) -> float:
    with contestant.scope():
        measured = clock.steady_seconds(contestant.iteration, contestant.device, contestant.name)
    return measured * contestant.factor


def _training_seconds(contestant: Contestant, training: clock.Work) -> float:
    return clock.seconds(training, contestant.device) * contestant.factor
