"""What only the record of a GPU has: the speed of its memory, and what was to be shown against what was found."""

from __future__ import annotations

from typing import Any

from benchmarks import gpu_table
from benchmarks.report.tables import Table
from benchmarks.table import NOT_MEASURED

BANDWIDTHS = {
    "read": "a plain read",
    "copy": "a copy within the memory, read and written",
    "put": "from the host, by gpulr's pinned buffers",
    "asarray": "from the host, by CuPy",
    "host_read": "the host's own memory, by one core",
}


def memory(run: dict[str, Any]) -> Table:
    """GB/s of a GPU's memory; the parts of the record that could not be measured say why."""
    part = run["parts"].get("bandwidth", {})
    rows = [[text, f"{part[name] / 1e9:,.1f}" if name in part else NOT_MEASURED] for name, text in BANDWIDTHS.items()]
    notes = [f"{name}: {each['why_not']}" for name, each in run["parts"].items() if "why_not" in each]
    return Table("The memory of the GPU", ["", "GB/s"], rows, notes)


def goals(run: dict[str, Any]) -> Table:
    """What the project wants of a GPU."""
    rows = [[goal, found, "yes" if met else "no"] for goal, found, met in gpu_table.goals(run)]
    return Table("What was to be shown", ["goal", "found", "met"], rows)
