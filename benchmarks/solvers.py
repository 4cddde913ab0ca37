"""`python -m benchmarks solvers`: what gpulr's "auto" chooses, against each solver by its name, over many shapes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import click
import numpy as np
import pooch
from rich.table import Table

from benchmarks import machine, options, reference
from benchmarks.competitors.base import Competitor
from benchmarks.competitors.gpulr import Gpulr
from benchmarks.memory import TooLargeError
from benchmarks.problem import Dtype, Problem
from benchmarks.problems import drawn
from benchmarks.race import Rules, race, require_memory

SHAPES = (
    (50, 5), (100, 10), (200, 50), (500, 20), (1_000, 10), (1_000, 100), (2_000, 500), (5_000, 20), (5_000, 200),
    (10_000, 10), (10_000, 100), (10_000, 1_000), (50_000, 50), (100_000, 20), (100_000, 200), (100_000, 1_000),
    (300_000, 30), (1_000_000, 10), (1_000_000, 100),
    (100, 1_000), (200, 5_000), (500, 5_000), (1_000, 2_000), (2_000, 20_000),
)  # fmt: skip


class Auto(Gpulr):
    """As it comes."""

    name = "auto"
    options: ClassVar[dict[str, Any]] = {}


class Lbfgs(Gpulr):
    name = "lbfgs"
    options: ClassVar[dict[str, Any]] = {"solver": "lbfgs"}


class Newton(Gpulr):
    name = "newton"
    options: ClassVar[dict[str, Any]] = {"solver": "newton"}


class Sketch(Gpulr):
    name = "sketch"
    options: ClassVar[dict[str, Any]] = {"solver": "sketch"}


CHOICES: tuple[Competitor, ...] = (Auto(), Lbfgs(), Newton(), Sketch())


ACCEPTED = 1.3
"""How many times the best one's seconds "auto" may take."""

HOPELESS = 3.0
"""Who takes so many times the best's seconds is not timed again: it cannot be what "auto" should have chosen."""

FEW = 1_000_000
"""Numbers in X up to which a fit takes milliseconds, and three times the rounds are timed."""


@click.command()
@click.option("--correlation", type=click.FloatRange(0, 1, max_open=True), default=0.9, show_default=True,
              help="Of each feature with the one before it.")  # fmt: skip
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option("--gap", type=click.FloatRange(1e-11, 0.1), default=1e-6, show_default=True)
@click.option("--largest", type=click.IntRange(1), default=10**8, show_default=True, help="Numbers in X, at most.")
@click.option("--limit", type=click.FloatRange(0, min_open=True), default=20.0, show_default=True,
              help="Seconds for a fit.")  # fmt: skip
@options.repeats
@options.threads
@options.as_json
def solvers(
    correlation: float, dtype: Dtype, gap: float, largest: int, limit: float, repeats: int, threads: int,
    json_file: Path | None,
) -> None:  # fmt: skip
    """Time to a relative gap of the objective by "auto" and by each solver for a ridge penalty, C = 1, no intercept.

    Small shapes have three times the rounds. Who is over 3 times as slow as the best in its first fit to the gap, and
    takes more than half a second, is not timed again.
    """
    rules = Rules((gap,), repeats, limit, threads, hopeless=HOPELESS)
    record: dict[str, Any] = {"benchmark": "solvers", "machine": machine.describe(threads), "rules": vars(rules)}
    record |= {"settings": {"correlation": correlation, "dtype": dtype}, "races": [], "unavailable": {}}
    out = options.output()
    out.print(machine.summary(record["machine"]))
    table = Table("m", "n", *(competitor.name for competitor in CHOICES), "auto / best", box=None)
    shapes = [shape for shape in SHAPES if shape[0] * shape[1] <= largest]
    with options.progress(sum(2 + len(CHOICES) + rounds(*shape, repeats) for shape in shapes)) as say:
        for m, n in shapes:
            say(f"{m} x {n}: making the data")
            try:
                shape = drawn.shape(m, n, 1.0)
                X, y = drawn.normal(np.random.default_rng(0), *shape, dtype, correlation=correlation)
                problem = Problem(f"{m} x {n}", X, y, dtype)
                require_memory(problem, CHOICES)
            except TooLargeError as error:
                record["unavailable"][f"{m} x {n}"] = str(error)
                continue
            say(f"{m} x {n}: finding the minimum")
            found = reference.find(problem, Path(pooch.os_cache("gpulr")) / "benchmarks")
            result = race(problem, found, CHOICES, replace(rules, repeats=rounds(m, n, repeats)), say)
            result["auto_over_best"] = auto_over_best(result)
            record["races"].append(result)
            table.add_row(str(m), str(n), *_cells(result))
            options.write(record, json_file)  # now, so that it is not lost
    options.write(record, json_file)
    out.print(table)
    for name, why in record["unavailable"].items():
        out.print(f"{name} is left out: {why}", highlight=False)
    out.print("Milliseconds, medians; - is not timed: over 3 times the best, over --limit, or short of the gap.")
    out.print(worst(record["races"]), highlight=False)


def rounds(m: int, n: int, repeats: int) -> int:
    return repeats if m * n > FEW else 3 * repeats


def auto_over_best(result: dict[str, Any]) -> float | None:
    """How many times the best solver's median "auto" takes, 1 where it is the best itself; None where it has no time."""
    medians = [entry["results"][0]["median"] for entry in result["entries"]]
    known = [median for median in medians if median is not None]
    return None if medians[0] is None else float(medians[0] / min(known))


def worst(races: list[dict[str, Any]]) -> str:
    """The line below the table."""
    ratios = [(race["auto_over_best"], race["problem"]["name"]) for race in races if race["auto_over_best"] is not None]
    if not ratios:
        return "auto has no time"
    without = f"; without a time at {len(races) - len(ratios)} shapes" if len(ratios) < len(races) else ""
    within = sum(ratio <= ACCEPTED for ratio, _ in ratios)
    ratio, name = max(ratios)
    return f"auto is within {ACCEPTED} of the best at {within} of {len(races)} shapes; worst: {ratio:.2f} at {name}{without}"


def _cells(result: dict[str, Any]) -> list[str]:
    """The row of one shape: milliseconds of each choice, and how many times the best one's "auto" takes."""
    medians = [entry["results"][0]["median"] for entry in result["entries"]]
    ratio = result["auto_over_best"]
    cells = ["-" if median is None else f"{1e3 * median:.3g}" for median in medians]
    return [*cells, "-" if ratio is None else f"{ratio:.2f}"]
