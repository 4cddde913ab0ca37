"""The only module, with `gpulr.transfer`, that chooses a device and moves arrays between host and device.

CuPy is imported when a device is chosen, never when gpulr is: `import gpulr` works on any machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import array_api_compat
import array_api_compat.numpy
import numpy as np
from array_api_compat import device, is_cupy_array, is_numpy_array, is_torch_array

from gpulr import gpu_memory, transfer

# An array of any array-API namespace. There is no common static type for these yet.
Array: TypeAlias = Any

# The packages themselves: unlike gpulr's extras, every index has them, whatever gpulr was installed from.
INSTALL_HINT = (
    "install it with: pip install 'cupy-cuda12x[ctk]' (CUDA 12 driver) or pip install 'cupy-cuda13x[ctk]' (CUDA 13), "
    "which is what the extras gpulr[cuda12] and gpulr[cuda13] bring"
)

LOOK_FOR_GPU = "see that nvidia-smi lists a GPU and that CUDA_VISIBLE_DEVICES does not hide it"

CPU_ONLY = "choose --device cpu (device='cpu'), or auto"


@dataclass(frozen=True)
class Device:
    """Where to compute.

    Attributes:
        name: "cpu" or "cuda:N", or what another library calls its device.
        reason: why it was chosen, a clause for the user to read.
        library: whose arrays live there; only CuPy has to be told which device is current.
    """

    name: str
    reason: str
    library: str = "cupy"

    @property
    def index(self) -> int | None:
        """CuPy's ordinal N, None for the CPU and for other libraries."""
        return int(self.name.removeprefix("cuda:")) if self.library == "cupy" and self.name != "cpu" else None

    def current(self) -> AbstractContextManager[object]:
        """`with device.current():` makes a GPU the one that CuPy allocates and launches on. All work must be inside.

        Where that needs more memory than the GPU has, a MemoryError says what is free and what to do.
        """
        return nullcontext() if self.index is None else _current_gpu(self.index)

    def put(self, array: np.ndarray) -> Array:
        """The host array on this device, in the same dtype and memory order: itself on the CPU, a copy on a GPU.

        Raises:
            MemoryError: it does not fit on the GPU.
        """
        if self.index is None:
            return array
        with self.current():
            return transfer.put(array)

    def send(self, array: np.ndarray) -> tuple[Array, transfer.Arrival | None]:
        """`put` that does not wait for a large array on a GPU, with what has to be asked for its rows then.

        Raises:
            MemoryError: it does not fit on the GPU.
        """
        if self.index is None:
            return array, None
        with self.current():
            return transfer.send(array)

    def synchronize(self) -> None:
        """Wait until the device has done all it was given, so that a clock read next is true. No-op on the CPU."""
        if self.index is not None:
            import cupy

            cupy.cuda.Device(self.index).synchronize()


@contextmanager
def _current_gpu(index: int) -> Iterator[None]:
    import cupy

    with cupy.cuda.Device(index), gpu_memory.explained():
        yield


def array_namespace(*arrays: Array) -> Any:
    """The array-API namespace `xp` of the arrays, as array_api_compat's function, which takes ten times as long.

    A solver's iteration asks some dozen times; most often the arrays are NumPy's, or all of another type that it has seen.
    """
    if all(isinstance(array, np.ndarray | np.generic) for array in arrays):
        return array_api_compat.numpy
    kinds = {type(array) for array in arrays}
    if len(kinds) > 1:
        return array_api_compat.array_namespace(*arrays)
    (kind,) = kinds
    if kind not in _namespaces:
        _namespaces[kind] = array_api_compat.array_namespace(*arrays)
    return _namespaces[kind]


# By types of arrays.
_namespaces: dict[type, Any] = {}


def choose(name: str = "auto") -> Device:
    """The device that `name` asks for.

    Args:
        name: "cpu"; "cuda" (the first GPU) or "cuda:N"; "auto" is the first GPU where there is one, else the CPU.

    Raises:
        ValueError: `name` is none of these.
        RuntimeError: a GPU was asked for by name and cannot be used; the message says why and what to do.
    """
    if name == "cpu":
        return Device("cpu", "asked for")
    asked = re.fullmatch(r"cuda(?::(\d+))?", name)
    if asked is None and name != "auto":
        raise ValueError(f"unknown device {name!r}: use auto, cpu, cuda or cuda:N with N = 0, 1, ...")

    why_not = why_no_gpu()
    if asked is None:
        return Device("cpu", f"no GPU: {why_not}") if why_not else Device("cuda:0", "auto: a CUDA GPU is available")
    if why_not:
        raise RuntimeError(f"device {name!r} was asked for, but there is no GPU to use: {why_not}; or {CPU_ONLY}")
    import cupy

    index, count = int(asked[1] or 0), cupy.cuda.runtime.getDeviceCount()
    if index >= count:
        raise RuntimeError(f"device {name!r} was asked for, but the last of {count} GPUs is cuda:{count - 1}")
    return Device(f"cuda:{index}", "asked for")


def why_no_gpu() -> str | None:
    """Why CUDA cannot be used here, with what to do about it; None when it can."""
    try:
        import cupy
    except ImportError as error:
        if error.name == "cupy":
            return f"CuPy is not installed; {INSTALL_HINT}"
        return f"CuPy is installed but does not load ({_first_line(error)}); {INSTALL_HINT}"
    runtime = cupy.cuda.runtime
    if cupy.cuda.is_available():
        return _why_not_in_this_process(runtime)
    try:
        driver = runtime.driverGetVersion()
        if driver == 0:
            return "no NVIDIA driver is loaded; install one for your GPU and see that nvidia-smi lists it"
        if driver // 1000 < runtime.runtimeGetVersion() // 1000:
            return (
                f"the NVIDIA driver is too old: it supports CUDA {_version(driver)}, this CuPy needs "
                f"{_version(runtime.runtimeGetVersion())}; update the driver or install an older CuPy"
            )
        runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        return f"CUDA says: {_first_line(error)}; {LOOK_FOR_GPU}"
    return f"CUDA sees no device; {LOOK_FOR_GPU}"


def _why_not_in_this_process(runtime: Any) -> str | None:
    """Why a GPU that CuPy has seen cannot be used; None when it can. In a forked child CUDA does not go on, which CUDA 13
    says only when something is asked of the GPU itself.
    """
    try:
        runtime.memGetInfo()
    except runtime.CUDARuntimeError as error:
        return (
            f"CUDA says: {_first_line(error)}; if this process was forked by one that had used the GPU already, start it "
            "by spawning: multiprocessing.set_start_method('spawn')"
        )
    return None


def describe_gpus() -> list[dict[str, Any]]:
    """Name, compute capability and memory (bytes) of every usable GPU; empty where there is none."""
    if why_no_gpu():
        return []
    import cupy

    gpus = []
    for index in range(cupy.cuda.runtime.getDeviceCount()):
        properties = cupy.cuda.runtime.getDeviceProperties(index)
        with cupy.cuda.Device(index):
            free, total = cupy.cuda.runtime.memGetInfo()
        gpus.append(
            {
                "device": f"cuda:{index}",
                "name": properties["name"].decode(),
                "compute_capability": f"{properties['major']}.{properties['minor']}",
                "memory_total": total,
                "memory_free": free,
                "driver_cuda": _version(cupy.cuda.runtime.driverGetVersion()),
                "runtime_cuda": _version(cupy.cuda.runtime.runtimeGetVersion()),
            }
        )
    return gpus


def current_device_of(array: Array) -> AbstractContextManager[object]:
    """`with current_device_of(X):` makes the GPU of a CuPy array current, as `Device.current` does; else nothing."""
    return array.device if is_cupy_array(array) else nullcontext()


def to_host(array: Array) -> np.ndarray:
    """The array as NumPy: itself when it is one, else a copy from its device. This waits for the device."""
    if is_numpy_array(array):
        return array
    if is_cupy_array(array):
        array = array.get()
    elif is_torch_array(array):
        array = array.detach().cpu()
    return np.from_dlpack(array)


def floats(values: list[Array]) -> list[float]:
    """0-d arrays as Python floats in a single transfer: the one moment where a solver waits for its device."""
    xp = array_namespace(*values)
    return [float(value) for value in to_host(xp.stack([xp.asarray(value) for value in values]))]


def read(arrays: list[Array]) -> list[np.ndarray]:
    """Arrays of one dtype on the host, in a single transfer; this waits for the device."""
    if all(type(array) is np.ndarray for array in arrays):
        return arrays
    xp, ends = array_namespace(*arrays), np.cumsum([prod(array.shape) for array in arrays])
    together = to_host(xp.concat([xp.reshape(array, (-1,)) for array in arrays]))
    parts = np.split(together, ends[:-1])
    return [part.reshape(array.shape) for part, array in zip(parts, arrays, strict=True)]


def is_on_gpu(array: Array) -> bool:
    """Whether an array is a CuPy array, or a PyTorch tensor on a CUDA device."""
    return is_cupy_array(array) or (is_torch_array(array) and bool(array.is_cuda))


def available_memory(like: Array) -> int:
    """Free bytes where `like` lives: on its GPU, pooled blocks included and within the pool's limit, or in host memory."""
    if is_cupy_array(like):
        with like.device:
            return gpu_memory.room()[0]
    if is_torch_array(like) and like.is_cuda:
        import torch

        return int(torch.cuda.mem_get_info(like.device)[0])
    return host_memory()[0]


CGROUP = Path("/sys/fs/cgroup")
"""Where Linux tells a process in a container of its limits (cgroup v2)."""


def host_memory() -> tuple[int, int]:
    """Free and total bytes of host memory; free is what can be had without swapping and, in a container, within its limit,
    where the system tells.
    """
    page = os.sysconf("SC_PAGE_SIZE")
    total = page * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/proc/meminfo") as file:
            facts = dict(line.split(":", 1) for line in file)
        free = 1024 * int(facts["MemAvailable"].split()[0])
    except (OSError, KeyError):  # not Linux
        free = total // 2
    limit = _within_limit()
    return free if limit is None else min(free, limit), total


def _within_limit() -> int | None:
    """Bytes that a container may still have; None where there is no limit."""
    files = [CGROUP / f"memory.{name}" for name in ("max", "current", "stat")]
    if not all(file.is_file() for file in files):
        return None
    most, used, stat = (file.read_text() for file in files)
    if most.strip() == "max":
        return None
    facts = dict(line.split() for line in stat.splitlines())
    # Files that were read count as used, but they make room, as in MemAvailable.
    cached = int(facts["active_file"]) + int(facts["inactive_file"])
    return max(0, int(most) - int(used) + cached)


def normal(shape: tuple[int, ...], seed: int, like: Array) -> Array:
    """Standard normal numbers on `like`'s device and in its dtype, the same ones on every device."""
    xp = array_namespace(like)
    numbers = np.random.default_rng(seed).standard_normal(shape)
    return xp.asarray(numbers, dtype=like.dtype, device=device(like))


def _version(number: int) -> str:
    """CUDA packs 12.4 as 12040."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
