"""`python -m benchmarks solvers`: what gpulr's "auto" chooses, against each solver by its name, over many shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import click
import numpy as np
import pooch
from rich.table import Table

from benchmarks import machine, options, reference
from benchmarks.competitors.base import Competitor
from benchmarks.competitors.gpulr import Gpulr
from benchmarks.problem import Dtype, Problem
from benchmarks.problems import drawn
from benchmarks.race import Rules, race

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

    def unsupported(self, problem: Problem) -> str | None:
        m, n = problem.X.shape
        # Where its Hessian is the whole of the work, it takes minutes and is far behind.
        return "its Hessians would take minutes" if m * n * min(m, n) > 3e10 else super().unsupported(problem)


class Sketch(Gpulr):
    name = "sketch"
    options: ClassVar[dict[str, Any]] = {"solver": "sketch"}


CHOICES: tuple[Competitor, ...] = (Auto(), Lbfgs(), Newton(), Sketch())


@click.command()
@click.option("--correlation", type=click.FloatRange(0, 1, max_open=True), default=0.9, show_default=True,
              help="Of each feature with the one before it.")  # fmt: skip
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option("--gap", type=click.FloatRange(1e-11, 0.1), default=1e-6, show_default=True)
@click.option("--largest", type=click.IntRange(1), default=10**8, show_default=True, help="Numbers in X, at most.")
@options.repeats
@options.threads
@options.as_json
def solvers(
    correlation: float, dtype: Dtype, gap: float, largest: int, repeats: int, threads: int, json_file: Path | None
) -> None:
    """Time to a relative gap of the objective by "auto" and by each solver for a ridge penalty, C = 1, no intercept."""
    rules = Rules((gap,), repeats, 20.0, threads)
    record: dict[str, Any] = {"benchmark": "solvers", "machine": machine.describe(threads), "rules": vars(rules)}
    record |= {"settings": {"correlation": correlation, "dtype": dtype}, "races": []}
    out = options.output()
    out.print(machine.summary(record["machine"]))
    table = Table("m", "n", *(competitor.name for competitor in CHOICES), "auto / best", box=None)
    with options.progress() as say:
        for m, n in (shape for shape in SHAPES if shape[0] * shape[1] <= largest):
            X, y = drawn.normal(np.random.default_rng(0), m, n, dtype, correlation=correlation)
            problem = Problem(f"{m} x {n}", X, y, dtype)
            found = reference.find(problem, Path(pooch.os_cache("gpulr")) / "benchmarks")
            result = race(problem, found, CHOICES, rules, say)
            record["races"].append(result)
            table.add_row(str(m), str(n), *_times(result))
            options.write(record, json_file)
    out.print(table)


def _times(result: dict[str, Any]) -> list[str]:
    """The row of one shape: milliseconds of each choice, and how many times the best one's "auto" takes."""
    medians = [entry["results"][0]["median"] for entry in result["entries"]]
    best = min((median for median in medians if median is not None), default=None)
    ratio = "-" if best is None or medians[0] is None else f"{medians[0] / best:.2f}"
    return [*("-" if median is None else f"{1e3 * median:.3g}" for median in medians), ratio]
