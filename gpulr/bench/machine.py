"""What a time depends on: the processor, how fast it reads memory, BLAS and its threads, versions, GPUs."""

from __future__ import annotations

import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from gpulr import device as devices

CHUNK = 1 << 23
"""Bytes that a thread reads at a time: 8 MB."""

CPUS = Path("/sys/devices/system/cpu")

UNITS = {"K": 1 << 10, "M": 1 << 20}
"""In which Linux gives the sizes of caches."""


def environment() -> dict[str, Any]:
    """JSON values: processor, cores, versions, thread pools (of BLAS and OpenMP, with their threads), GPUs."""
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


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_bytes() -> int | None:
    """Of all caches of the last level that the cores of this process have, each once however many cores share it; None
    where the system does not tell.
    """
    caches: dict[int, dict[str, int]] = {}
    for core in os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ():
        for cache in (CPUS / f"cpu{core}" / "cache").glob("index*"):
            files = [cache / name for name in ("level", "shared_cpu_list", "size")]
            if all(file.is_file() for file in files):
                level, cores_of_it, size = (file.read_text().strip() for file in files)
                if size[-1:] in UNITS:
                    caches.setdefault(int(level), {})[cores_of_it] = int(size[:-1]) * UNITS[size[-1]]
    return sum(caches[max(caches)].values()) if caches else None


def words(array: np.ndarray) -> np.ndarray:
    """The bytes of a contiguous array as 64-bit integers, whatever they mean, but for the last few."""
    whole = array.reshape(-1).view(np.uint8)
    return whole[: whole.size // 8 * 8].view(np.int64)


def read_seconds(array: np.ndarray, pool: ThreadPoolExecutor) -> float:
    """Seconds of one plain read of an array by the threads of a pool.

    The bytes are added up as 64-bit integers: the least work that reads them all, at the same speed for all types and
    values.
    """
    numbers = words(array)
    chunks = [numbers[start : start + CHUNK // 8] for start in range(0, len(numbers), CHUNK // 8)]
    begin = time.perf_counter()
    for _ in pool.map(np.sum, chunks):
        pass
    return time.perf_counter() - begin


def read_bandwidth(threads: int, size: int = 400_000_000, repeats: int = 7) -> float:
    """Bytes a second at which so many threads read memory: the best of a few reads of `size` bytes."""
    array = np.ones(size, np.uint8)  # not zeros, which would all be one page
    with ThreadPoolExecutor(threads) as pool:
        return size / min(read_seconds(array, pool) for _ in range(repeats))


def _processor_name() -> str:
    """The model name that Linux gives; empty elsewhere."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        return ""
    return names[0] if names else ""
