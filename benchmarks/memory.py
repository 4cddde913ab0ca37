"""Memory of this process as Linux counts it; elsewhere None, since no other system lets a peak be reset."""

from __future__ import annotations

import os
import re
from pathlib import Path

RESET = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")


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
