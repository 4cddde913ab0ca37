"""What a time depends on: the machine, how fast it reads memory, the libraries, and which commit was measured."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from gpulr.bench import environment
from gpulr.bench.machine import read_bandwidth

BUSY = 0.5
"""Processes that were running on average in the last minute, above which a race is not fair."""

LOAD = os.getloadavg()[0]
"""Of the minute before this process began to measure, so that it is not its own."""

LIBRARIES = (
    "gpulr", "numpy", "scipy", "scikit-learn", "numba", "cupy-cuda12x", "cupy-cuda13x", "torch", "jax",
)  # fmt: skip
"""Whose versions are in every record, where they are installed; competitors tell theirs in the peers race."""


def describe(threads: int) -> dict[str, Any]:
    """JSON values: those of `gpulr.bench.environment` (processor, GPUs with their driver, ...), load, memory_bytes,
    threads, read_bandwidth (bytes a second), versions, commit, modified (there were changes beside it) and date.
    """
    with limited(threads):
        about = environment()
    return {
        **about,
        "load": LOAD,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "threads": threads,
        "read_bandwidth": read_bandwidth(threads),
        "versions": versions(),
        "commit": _git("rev-parse", "HEAD"),
        # Records that were written since say nothing of what is measured.
        "modified": bool(_git("status", "--porcelain", "--", ":/", ":(top,exclude)benchmarks/results")),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Of `LIBRARIES` that are installed."""
    installed = {}
    for name in LIBRARIES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


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


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Within this, BLAS has so many threads in this process, SciPy's own library included."""
    import scipy.linalg  # noqa: F401  # loaded, so that its BLAS is found

    with threadpool_limits(threads, user_api="blas"):
        yield


def _git(*arguments: str) -> str | None:
    """What git says of the checkout; None where there is no git or no checkout."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
