"""Memory: what is free before much of it is asked for, and that of this process.

The latter as Linux counts it; elsewhere it is None, since no other system lets a peak be reset.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from gpulr import device as devices

RESET = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")


class TooLargeError(MemoryError):
    """More memory would be needed than is free. Attributes: share, how much of the data there would be room for."""

    def __init__(self, what: str, need: int, free: int) -> None:
        super().__init__(f"{what} would take {need / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free")
        self.share = free / need


def require(need: int, what: str) -> None:
    """See that so many bytes are free.

    Raises:
        TooLargeError: they are not; says what would take them.
    """
    free, _ = devices.host_memory()
    if need > free:
        raise TooLargeError(what, need, free)


def resident_bytes() -> int | None:
    """Bytes of memory now."""
    return _status("VmRSS")


def reset_peak() -> None:
    """Forget the peak so far: ru_maxrss and VmHWM start again at the memory of now."""
    if os.access(RESET, os.W_OK):
        RESET.write_text("5")


def peak_bytes() -> int | None:
    """The most bytes at any time since `reset_peak`."""
    return _status("VmHWM") if os.access(RESET, os.W_OK) else None


def _status(field: str) -> int | None:
    if not STATUS.is_file():
        return None
    found = re.search(rf"{field}:\s+(\d+) kB", STATUS.read_text())
    return int(found.group(1)) * 1024 if found else None
