"""`python -m benchmarks compare A.json B.json`: what got slower from one record to another by more than the spread."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.markup import escape
from rich.table import Column, Table

from benchmarks import options
from benchmarks.report.records import power, read, short, title
from gpulr.bench.tables import samples

Measurements = dict[str, "Measurement"]


@dataclass(frozen=True)
class Measurement:
    """Seconds, or a ratio of them: median, and the range of the repeats, or of their middle half where all are known."""

    median: float
    least: float
    greatest: float
    is_ratio: bool = False

    @property
    def spread(self) -> float:
        """Half of it."""
        return (self.greatest - self.least) / 2

    def text(self) -> str:
        if self.is_ratio:
            return f"{self.median:.3g} ± {self.spread:.2g}"
        return f"{short(self.median)} ± {short(self.spread)}"


def slower(before: Measurement, after: Measurement) -> bool:
    """By more than both spreads together: else it may be the machine's doing."""
    return after.median - before.median > before.spread + after.spread


def measurements(file: Path) -> Measurements:
    """All that was measured, by name, in a record of a race or of pytest-benchmark.

    Raises:
        ValueError: it is neither.
    """
    content = json.loads(file.read_text())
    if isinstance(content, dict) and "benchmarks" in content:
        return dict(_of_guard(content))
    kinds = {"speedup": _of_speedup, "pass": _of_passes, "peers": _of_peers, "solvers": _of_peers}
    return {
        name: found for run in read(file) if run["benchmark"] in kinds for name, found in kinds[run["benchmark"]](run)
    }


def _of_list(seconds: list[float], is_ratio: bool = False) -> Measurement:
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else seconds * 3
    return Measurement(middle, low, high, is_ratio)


def _of_speedup(run: dict[str, Any]) -> Iterator[tuple[str, Measurement]]:
    for race in [*run["trainings"], *run["sweep"]["points"]]:
        for each in race.get("results", ()):
            for what in ("iteration", "training"):
                if each[f"{what}_seconds"] is not None:
                    name = f"{race['data']} {race['stored_as']}, {each['name']} on {each['device']}: {what}"
                    yield name, Measurement(each[f"{what}_seconds"], *each[f"{what}_range"])


def _of_passes(run: dict[str, Any]) -> Iterator[tuple[str, Measurement]]:
    for each in run["timings"]:
        if each["seconds"]:
            yield f"pass over {samples(each)}, {each['one_pass']} on {each['device']}", _of_list(each["seconds"])


def _of_peers(run: dict[str, Any]) -> Iterator[tuple[str, Measurement]]:
    # Those of `solvers` have names that do not tell it.
    correlation = run.get("settings", {}).get("correlation")
    suffix = "" if correlation is None else f", correlation {correlation:g}"
    for race in run["races"]:
        name = title(race["problem"]) + suffix
        for entry in race["entries"]:
            for result in entry["results"]:
                if result["median"] is not None:
                    found = Measurement(result["median"], result["least"], result["greatest"])
                    yield f"{name}, {entry['competitor']} to {power(result['gap'])}", found


def _of_guard(content: dict[str, Any]) -> Iterator[tuple[str, Measurement]]:
    """The ratios of `benchmarks/guard`, and the seconds of any other test."""
    for each in content["benchmarks"]:
        ratios = each["extra_info"].get("ratios")
        stats = each["stats"]
        yield (
            each["name"],
            _of_list(ratios, True) if ratios else Measurement(stats["median"], stats["min"], stats["max"]),
        )


@click.command("compare")
@click.argument("before", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="A.json")
@click.argument("after", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="B.json")
def compare(before: Path, after: Path) -> None:
    """Print what got slower from A to B by more than the spread; exit status 1 if anything did.

    A and B are records of this command's races, or those that pytest --benchmark-json writes of benchmarks/guard.
    """
    try:
        first, second = measurements(before), measurements(after)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    common = [name for name in first if name in second]
    if not common:
        raise click.ClickException(f"{before} and {after} have nothing in common")
    worse = [name for name in common if slower(first[name], second[name])]
    out = options.output()
    if worse:
        table = Table("slower", *(Column(head, justify="right") for head in ("A", "B", "B/A")), box=box.SIMPLE)
        for name in sorted(worse, key=lambda name: first[name].median / second[name].median):
            a, b = first[name], second[name]
            table.add_row(escape(name), a.text(), b.text(), f"{b.median / a.median:.2f}")
        out.print(table)
    better = sum(slower(second[name], first[name]) for name in common)
    out.print(
        f"Of {len(common)} times that both have, {len(worse)} are slower and {better} faster by more than the spread."
    )
    for file, names in ((before, first.keys() - second.keys()), (after, second.keys() - first.keys())):
        if names:
            out.print(f"Only in {file}: {len(names)} times.", soft_wrap=True)
    if worse:
        raise SystemExit(1)
