"""The records of `benchmarks/results`: a folder a machine, a file a run."""

from __future__ import annotations

import json
import re
import statistics
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class Records:
    """What was measured on one machine.

    Attributes:
        name: of the machine, its folder's.
        runs: the records, each as its command wrote it, in the order of their files' names.
    """

    name: str
    runs: list[dict[str, Any]]

    def of(self, benchmark: str) -> list[dict[str, Any]]:
        """The records of one benchmark: "speedup", "pass" or "peers"."""
        return [run for run in self.runs if run["benchmark"] == benchmark]

    def races(self) -> list[dict[str, Any]]:
        """The races of all records of the peers; of those with one title and as many threads the latest one."""
        latest = {}
        for run in sorted(self.of("peers"), key=lambda run: str(run["machine"]["date"])):
            for race in run["races"]:
                latest[title(race["problem"]), race["threads"]] = race
        return list(latest.values())

    def has_gpu(self) -> bool:
        return any(run["machine"]["gpus"] for run in self.runs)


def title(problem: dict[str, Any]) -> str:
    """What a race was about: problem, size and dtype; the strength of the penalty unless C = 1; whether with intercept."""
    text = f"{problem['name']}, {problem['rows']:,} × {problem['columns']:,}, {problem['dtype']}"
    text += "" if problem["C"] == 1 else f", C = {strength(problem)}"
    return f"{text}, intercept" if problem["intercept"] else text


def slug(problem: dict[str, Any]) -> str:
    """The same for the name of a file."""
    text = f"{problem['name']}-{problem['rows']}x{problem['columns']}-{problem['dtype']}"
    text += "" if problem["C"] == 1 else f"-C-{strength(problem)}".replace("/", "-")
    return f"{text}-intercept" if problem["intercept"] else text


def strength(problem: dict[str, Any]) -> str:
    """C; "1/m" where it is that for m samples."""
    return "1/m" if problem["C"] == 1 / problem["rows"] else f"{problem['C']:g}"


def load(folder: Path = RESULTS) -> list[Records]:
    """The records of all machines that have any.

    Raises:
        ValueError: a file is no record; names it.
    """
    found = []
    for machine in sorted(path for path in folder.iterdir() if path.is_dir()):
        runs = [run for file in sorted(machine.glob("*.json")) for run in read(file)]
        if runs:
            found.append(Records(machine.name, runs))
    return found


def read(file: Path) -> list[dict[str, Any]]:
    """The records in a file: one, or those that `python -m benchmarks --json` put together.

    Raises:
        ValueError: it has none.
    """
    try:
        record = json.loads(file.read_text())
        runs = record["records"] if record["benchmark"] == "all" else [record]
        return [run for run in runs if isinstance(run["benchmark"], str)]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is no record of python -m benchmarks: {type(error).__name__}: {error}") from error


def digest(*values: Any) -> str:
    """Of JSON values: tells whether what is made of them is stale."""
    text = json.dumps(values, sort_keys=True)
    return blake2b(text.encode(), digest_size=8).hexdigest()


def median(seconds: list[float]) -> float | None:
    return statistics.median(seconds) if seconds else None


def power(gap: float) -> str:
    """A gap for people: 1e-6, not 1e-06."""
    return re.sub(r"e-0", "e-", f"{gap:.0e}")


def short(seconds: float) -> str:
    """Seconds for people: three digits and a unit."""
    if seconds >= 3600:
        return f"{seconds / 3600:.3g} h"
    if seconds >= 60:
        return f"{seconds / 60:.3g} min"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
