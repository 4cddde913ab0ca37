"""The records of `benchmarks/results`: a folder a machine, a file a run."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from benchmarks.gpu_passes import ON_CPU

RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class Records:
    """What was measured on one machine.

    Attributes:
        name: of the machine, its folder's.
        runs: the records, each as its command wrote it, in the order of their files' names; that of a GPU also as those of
            the races that are its parts, see `parts`.
    """

    name: str
    runs: list[dict[str, Any]]

    def of(self, benchmark: str) -> list[dict[str, Any]]:
        """The records of one benchmark, "speedup", "pass", "peers" or "gpu", the newest last; those of --quick only where
        there are no others.
        """
        runs = [run for run in self.runs if run["benchmark"] == benchmark]
        fuller = [run for run in runs if not _is_quick(run)]
        return sorted(fuller or runs, key=lambda run: str(run["machine"]["date"]))

    def races(self) -> list[dict[str, Any]]:
        """The races of all records of the peers, with the limit of their fits in seconds, None where it is not known; of
        those with one title and as many threads the latest one.
        """
        latest = {}
        for run in self.of("peers"):
            for race in run["races"]:
                # Older records have it in their rules only, those of a GPU not at all.
                limit = {"limit": run.get("rules", {}).get("limit")}
                latest[title(race["problem"]), race["threads"]] = limit | race
        return list(latest.values())

    def passes(self) -> list[dict[str, Any]]:
        """The records of the passes that have any times."""
        return [run for run in self.of("pass") if any(timing["why_not"] is None for timing in run["timings"])]

    def has_gpu(self) -> bool:
        return any(run["machine"]["gpus"] for run in self.runs)

    def rank(self, benchmark: str) -> tuple[bool, str]:
        """Whether that was measured otherwise than with --quick, and when last: the greatest is shown."""
        newest = self.of(benchmark)[-1]
        return not _is_quick(newest), str(newest["machine"]["date"])


def _is_quick(run: dict[str, Any]) -> bool:
    return run.get("effort") == "quick"


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
        ValueError: a file is no record, or that of a rehearsal; names it.
    """
    found = []
    for machine in sorted(path for path in folder.iterdir() if path.is_dir()):
        runs: list[dict[str, Any]] = []
        for file in sorted(machine.glob("*.json")):
            runs += read(file)
            if any(run.get("rehearsal") for run in runs):
                raise ValueError(f"{file} is of a rehearsal without a GPU: it has no place among the records")
        if runs:
            found.append(Records(machine.name, runs))
    return found


def read(file: Path) -> list[dict[str, Any]]:
    """The records in a file: one, or those that `python -m benchmarks --json` put together, with the `parts` of a GPU's.

    Raises:
        ValueError: it has none.
    """
    try:
        record = json.loads(file.read_text())
        runs = record["records"] if record["benchmark"] == "all" else [record]
        return [part for run in runs if isinstance(run["benchmark"], str) for part in (run, *parts(run))]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is no record of python -m benchmarks: {type(error).__name__}: {error}") from error


def parts(run: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts of a record of `python -m benchmarks gpu` as records of the races that they are; of others none."""
    if run["benchmark"] != "gpu":
        return
    found, machine = run["parts"], run["machine"]
    if found.get("cats", {}).get("results"):
        sweep: dict[str, Any] = {"points": [], "crossovers": []}
        yield {"benchmark": "speedup", "machine": machine, "trainings": [found["cats"]], "sweep": sweep}
    passes = found.get("pass", {}).get("races", [])
    if passes:
        read = found.get("bandwidth", {}).get("read")
        device = machine["gpus"][0]["device"] if machine["gpus"] else "cpu"
        timings = [timing for race in passes for timing in _timings(race, device, read)]
        yield {"benchmark": "pass", "machine": machine, "timings": timings}
    fits = found.get("fit", {}).get("races", [])
    if fits:
        unavailable = {race["problem"]["name"]: race["why_not"] for race in fits if "why_not" in race}
        races = [race for race in fits if "entries" in race]
        yield {"benchmark": "peers", "machine": machine, "races": races, "unavailable": unavailable}


def _timings(race: dict[str, Any], device: str, read: float | None) -> Iterator[dict[str, Any]]:
    """The timings of one X, as `gpulr.bench.roofline.Timing` has them; `read` is the GPU's bandwidth in bytes a second."""
    common: dict[str, Any] = {name: race[name] for name in ("rows", "columns", "dtype")}
    common |= {"device": device, "copy_seconds": [], "transfer_seconds": [], "extra_bytes": None}
    if "why_not" in race:
        none = {"one_pass": "all", "seconds": [], "read_seconds": [], "extrapolated": False}
        yield {**common, **none, "why_not": race["why_not"]}
    for timing in race["timings"]:
        on_cpu = timing["name"] in ON_CPU
        yield {
            **common,
            "device": "cpu" if on_cpu else device,
            "one_pass": timing["name"],
            "seconds": timing["seconds"] if timing["why_not"] is None else [],
            "read_seconds": [race["bytes"] / read] if read and not on_cpu else [],
            "extrapolated": timing["extrapolated"],
            "why_not": timing["why_not"],
            "clock": timing.get("clock", "host"),
        }


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
