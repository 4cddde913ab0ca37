"""Clocks that are true on the CPU and on a GPU, and the order in which things are timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from gpulr.device import Device

Progress = Callable[[str], object]
"""Called with what is done next."""

Work = Callable[[], object]
"""What is timed."""


def silent(_: str) -> None:
    """No progress is shown."""


HOST, EVENTS = "host", "GPU events"
"""The clocks, as records name them."""


def name_of(device: Device) -> str:
    """The clock by which everything on this device is timed."""
    return HOST if device.index is None else EVENTS


def seconds(function: Work, device: Device) -> float:
    """Seconds of one call, until the device has done all of it."""
    with device.current():
        if device.index is not None:
            return seconds_between_events(function, device)
        begin = time.perf_counter()
        function()
        return time.perf_counter() - begin


def seconds_between_events(function: Work, device: Device) -> float:
    """Of one call between two events of the current GPU, what the host does and its waits included.

    The second event is recorded when the whole GPU is done: in its stream alone it would not see the work of other streams,
    those of other libraries among them.
    """
    import cupy

    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    device.synchronize()
    start.record()
    function()
    device.synchronize()
    end.record()
    end.synchronize()
    return float(cupy.cuda.get_elapsed_time(start, end)) / 1e3


def gpu_seconds(function: Work, device: Device, name: str, repeats: int = 20) -> list[float]:
    """Seconds of each call between two events of the GPU, after three calls to warm up: no call from the host is in it."""
    from cupyx.profiler import benchmark

    with device.current():
        times = benchmark(function, n_repeat=repeats, n_warmup=3, name=name)
    return [float(each) for each in np.ravel(times.gpu_times)]


def steady_seconds(function: Work, device: Device, name: str) -> float:
    """Seconds of one short call: the median of 20 on a GPU, the mean of those in a tenth of a second on the CPU."""
    if device.index is not None:
        return float(np.median(gpu_seconds(function, device, name)))
    first = seconds(function, device)
    if first > 0.05:
        return first  # so long that warming up does not matter
    count = int(0.1 / first)

    def in_a_row() -> None:
        for _ in range(count):
            function()

    return seconds(in_a_row, device) / count


def interleaved(
    what: str, samplers: Sequence[Callable[[], float]], repeats: int, budget: float, progress: Progress = silent
) -> list[list[float]]:
    """The seconds that each sampler returns at every repeat, fewer once it has had the budget of all repeats.

    In rounds, so that a disturbance of the machine meets all alike.
    """
    samples: list[list[float]] = [[] for _ in samplers]
    for repeat in range(repeats):
        progress(f"{what}: {repeat + 1} of {repeats}")
        for sample, sampler in zip(samples, samplers, strict=True):
            if sum(sample) < repeats * budget:
                sample.append(sampler())
    return samples
