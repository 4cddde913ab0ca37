"""Where the GPU's benchmark measures: one clock for all libraries, the speed of the memory, and NumPy as a stand-in."""

from __future__ import annotations

import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from gpulr import device as devices
from gpulr.bench import clock
from gpulr.bench.clock import EVENTS, HOST
from gpulr.bench.machine import read_bandwidth
from gpulr.device import Array

SAMPLE_SECONDS = 5e-3
"""A sample is as many calls as last so long, beside which the wait at its end is nothing."""

MOST_CALLS = 200

READ = r"""
extern "C" __global__ void read(const uint4* x, size_t count, unsigned* out) {
    // Four loads of 16 bytes in flight a thread; what they are xor-ed to is written only so that none is left out.
    const size_t step = (size_t)gridDim.x * blockDim.x;
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    unsigned sum = 0;
    for (; i + 3 * step < count; i += 4 * step) {
        const uint4 a = x[i], b = x[i + step], c = x[i + 2 * step], d = x[i + 3 * step];
        sum ^= a.x ^ a.y ^ a.z ^ a.w ^ b.x ^ b.y ^ b.z ^ b.w ^ c.x ^ c.y ^ c.z ^ c.w ^ d.x ^ d.y ^ d.z ^ d.w;
    }
    for (; i < count; i += step) sum ^= x[i].x ^ x[i].y ^ x[i].z ^ x[i].w;
    if (sum == 0x9e3779b9u) *out = sum;
}
"""


class Place(ABC):
    """Arrays and a clock.

    Attributes:
        name: for the record.
        clock: by which `seconds` goes, for the record.
        xp: the namespace of its arrays.
    """

    name: str
    clock: str = HOST
    xp: Any

    @abstractmethod
    def put(self, array: np.ndarray) -> Array:
        """A host array, there."""

    @abstractmethod
    def wait(self) -> None:
        """Until everything is done, of whatever library and stream."""

    @abstractmethod
    def random(self, shape: tuple[int, int], dtype: str) -> Array:
        """X of bytes from 0 to 255, small integers, or standard normal numbers, made there.

        Raises:
            TypeError: there is no such dtype.
        """

    @abstractmethod
    def reads(self, nbytes: int) -> list[Callable[[], object]]:
        """Plain reads of so many bytes, in several sizes of a grid; the fastest is what the memory gives."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """JSON values: what was measured on."""

    def seconds(self, call: Callable[[], object], calls: int = 1) -> float:
        """Seconds of one of so many calls in a row."""
        self.wait()
        begin = time.perf_counter()
        _in_a_row(call, calls)
        self.wait()
        return (time.perf_counter() - begin) / calls


class Cuda(Place):
    """The first GPU, by CuPy."""

    name = "cuda:0"
    clock = EVENTS

    def __init__(self) -> None:
        import cupy

        self.xp: Any = cupy
        cupy.cuda.Device(0).use()

    def put(self, array: np.ndarray) -> Array:
        return devices.Device(self.name, "the benchmark's").put(array)

    def wait(self) -> None:
        self.xp.cuda.runtime.deviceSynchronize()

    def seconds(self, call: Callable[[], object], calls: int = 1) -> float:
        """Between two events. The second is recorded when the whole GPU is done, so it is a clock for JAX's streams, too."""
        place = devices.Device(self.name, "the benchmark's")
        return clock.seconds(partial(_in_a_row, call, calls), place) / calls

    def random(self, shape: tuple[int, int], dtype: str) -> Array:
        rng = self.xp.random.default_rng(0)
        if dtype in ("uint8", "int8"):
            return rng.integers(0, 256 if dtype == "uint8" else 128, shape, np.uint8).view(dtype)
        if dtype != "bfloat16":
            return rng.standard_normal(shape, np.float64 if dtype == "float64" else np.float32).astype(
                dtype, copy=False
            )
        try:
            from ml_dtypes import bfloat16

            return rng.standard_normal(shape, np.float32).astype(bfloat16)
        except (ImportError, TypeError, ValueError) as error:
            raise TypeError(f"CuPy {self.xp.__version__} has no bfloat16 here: {error}") from error

    def reads(self, nbytes: int) -> list[Callable[[], object]]:
        array, out = self.xp.ones(nbytes // 16 * 16, np.uint8), self.xp.zeros(1, np.uint32)
        kernel = self.xp.RawKernel(READ, "read")
        processors = self.xp.cuda.Device(0).attributes["MultiProcessorCount"]

        def of_grid(blocks: int) -> Callable[[], object]:
            return lambda: kernel((blocks,), (512,), (array, np.uint64(array.size // 16), out))

        return [of_grid(processors * each) for each in (4, 8, 16, 32)]

    def describe(self) -> dict[str, Any]:
        return {"gpus": devices.describe_gpus(), "cupy": self.xp.__version__}


class Host(Place):
    """NumPy: no GPU, but all that is around one. For the tests, and to rehearse."""

    name = "cpu"
    xp = np

    def put(self, array: np.ndarray) -> Array:
        return array.copy()

    def wait(self) -> None:
        pass

    def random(self, shape: tuple[int, int], dtype: str) -> Array:
        rng = np.random.default_rng(0)
        if dtype in ("uint8", "int8"):
            return rng.integers(0, 256 if dtype == "uint8" else 128, shape, np.uint8).view(dtype)
        if dtype == "bfloat16":
            raise TypeError("NumPy has no bfloat16")
        return rng.standard_normal(shape, np.float64 if dtype == "float64" else np.float32).astype(dtype, copy=False)

    def reads(self, nbytes: int) -> list[Callable[[], object]]:
        words = np.ones(nbytes // 8, np.int64)
        return [lambda: np.sum(words)]

    def describe(self) -> dict[str, Any]:
        return {}


def _in_a_row(call: Callable[[], object], calls: int) -> None:
    """So many calls, whose results are let go one after the other, until JAX has done the last one: `Place.wait` would not
    wait for what JAX's own threads have yet to launch.
    """
    result: object = None
    for _ in range(calls):
        result = call()
    for part in result if isinstance(result, tuple) else ():
        if hasattr(part, "block_until_ready"):
            part.block_until_ready()


@dataclass
class Timing:
    """What was measured of a contestant.

    Attributes:
        name: whose.
        seconds: of a call, one a round.
        clock: the place's, see there.
        calls: in a row for a sample.
        off: relative error of the result; None where there is no result to compare.
        extrapolated: timed on some rows, and as many times slower for all.
        why_not: why there are no seconds, or why they do not count.
    """

    name: str
    seconds: list[float] = field(default_factory=list)
    calls: int = 1
    off: float | None = None
    extrapolated: bool = False
    why_not: str | None = None
    clock: str = HOST

    @property
    def median(self) -> float | None:
        return statistics.median(self.seconds) if self.seconds and self.why_not is None else None


def interleaved(
    place: Place, contestants: Mapping[str, Callable[[], object]], rounds: int, limit: float
) -> dict[str, Timing]:
    """Time all contestants in rounds, warmed up.

    Args:
        place: where they compute.
        contestants: by name.
        rounds: how many samples of each.
        limit: seconds that one contestant may take for all its rounds, beyond which it has fewer: one at least.

    Returns:
        a timing for each; who raises an exception is in it with the reason.
    """
    timings = {name: Timing(name, clock=place.clock) for name in contestants}
    for name, call in contestants.items():
        try:
            place.seconds(call)  # compiles
            once = place.seconds(call)
        except Exception as error:  # whatever a library raises is to be shown
            timings[name].why_not = reason(error)
        else:
            timings[name].calls = max(1, min(MOST_CALLS, round(SAMPLE_SECONDS / max(once, 1e-9))))
    for number in range(rounds):
        for name, call in contestants.items():
            timing = timings[name]
            if timing.why_not is None and (number == 0 or sum(timing.seconds) * timing.calls < limit):
                timing.seconds.append(place.seconds(call, timing.calls))
    return timings


def reason(error: Exception) -> str:
    """An exception in one short line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 200 else f"{text[:197]}..."


def bandwidth(place: Place, nbytes: int, rounds: int = 7) -> dict[str, Any]:
    """Bytes a second of a plain read, a copy within the memory, and the way there from the host's.

    Returns:
        JSON values: bytes, read, copy (bytes read and written), put (gpulr's way, pinned buffers), asarray (CuPy's way),
        and host_read, of the host's own memory. The best of a few rounds each, for that is what the memory can give.
    """
    xp = place.xp
    reads = interleaved(place, {str(i): call for i, call in enumerate(place.reads(nbytes))}, rounds, limit=2.0)
    # Of 16-byte numbers, the widest loads there are.
    source = xp.ones(nbytes // 16, np.complex128)
    target = xp.empty_like(source)
    host = np.ones(nbytes, np.uint8)
    ways = {
        "copy": lambda: xp.copyto(target, source),
        "put": lambda: place.put(host),
        "asarray": lambda: xp.array(host),
    }
    found = interleaved(place, ways, rounds, limit=2.0)
    failed = [timing.why_not for timing in (*reads.values(), *found.values()) if timing.why_not]
    if failed:
        raise RuntimeError(f"the memory could not be measured: {failed[0]}")
    best = {name: nbytes / min(timing.seconds) for name, timing in found.items()}
    best["copy"] *= 2
    read = max(nbytes / min(timing.seconds) for timing in reads.values())
    return {"bytes": nbytes, "read": read, **best, "host_read": read_bandwidth(1, min(nbytes, 400_000_000))}
