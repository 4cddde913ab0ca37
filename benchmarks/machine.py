"""What a time depends on: the machine, how fast it reads memory, the libraries, and which commit was measured."""

from __future__ import annotations

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from gpulr.bench import environment

CHUNK = 1 << 23
"""Bytes that a thread reads at a time: 8 MB."""

BUSY = 0.5
"""Processes that were running on average in the last minute, above which a race is not fair."""


def describe(threads: int) -> dict[str, Any]:
    """JSON values: those of `gpulr.bench.environment`, load, memory_bytes, read_bandwidth (bytes a second), commit, date."""
    return {
        **environment(),
        "load": os.getloadavg()[0],
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "threads": threads,
        "read_bandwidth": read_bandwidth(threads),
        "commit": _git("rev-parse", "HEAD"),
        "modified": bool(_git("status", "--porcelain")),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def summary(machine: dict[str, Any]) -> str:
    """The head of a report: a line on the machine, and another if it is busy."""
    line = (
        f"{machine['processor']}, {machine['threads']} threads, {machine['memory_bytes'] / 1e9:.0f} GB, "
        f"reads {machine['read_bandwidth'] / 1e9:.1f} GB/s"
    )
    if machine["load"] <= BUSY:
        return line
    return (
        f"{line}\nThe machine is busy, its load is {machine['load']:.1f}: threads of a BLAS library that wait for one "
        "another can then take a hundred times as long, so these times are of no use."
    )


def read_seconds(array: np.ndarray, pool: ThreadPoolExecutor) -> float:
    """Seconds of one plain read of an array by the threads of a pool.

    The bytes are added up as 64-bit integers, whatever they mean: the least work that reads them all, at the same speed
    for all types and values.
    """
    whole = array.reshape(-1).view(np.uint8)
    words = whole[: whole.size // 8 * 8].view(np.int64)
    chunks = [words[start : start + CHUNK // 8] for start in range(0, len(words), CHUNK // 8)]
    begin = time.perf_counter()
    for _ in pool.map(np.sum, chunks):
        pass
    return time.perf_counter() - begin


def read_bandwidth(threads: int, size: int = 400_000_000, repeats: int = 7) -> float:
    """Bytes a second at which so many threads read memory: the best of a few reads of `size` bytes."""
    array = np.ones(size, np.uint8)  # not zeros, which would all be one page
    with ThreadPoolExecutor(threads) as pool:
        return size / min(read_seconds(array, pool) for _ in range(repeats))


def _git(*arguments: str) -> str | None:
    """What git says of the checkout; None where there is no git or no checkout."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
