"""`python -m benchmarks peers`: gpulr against other libraries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import pooch
from rich.markup import escape

from benchmarks import machine, options, problems, reference, table
from benchmarks.competitors import COMPETITORS, Competitor
from benchmarks.memory import TooLargeError
from benchmarks.problem import Dtype, Problem
from benchmarks.race import Rules, race, require_memory


class Strength(click.ParamType[Any]):
    """A number > 0 or "1/m"."""

    name = "NUMBER|1/m"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        if value == "1/m":
            return "1/m"
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            self.fail(f"{value!r} is neither a number > 0 nor '1/m'", param, ctx)
        return number


@dataclass(frozen=True)
class Amount:
    """What is raced if nothing else is asked for.

    Attributes:
        problems: of `PROBLEMS`.
        scale: share of the entries of the synthetic data.
        limit: seconds that a fit may take.
        everyone: those competitors, too, who are rarely fast.
        competitors: of `COMPETITORS`; empty for all that are likely to be fast.
    """

    problems: tuple[str, ...]
    scale: float
    limit: float
    everyone: bool
    competitors: tuple[str, ...] = ()


# Some take many seconds to start, or for the tolerances alone.
QUICK = ("gpulr", "gpulr-compiled", "gpulr-cuda", "sklearn-lbfgs", "sklearn-newton-cholesky", "sklearn-saga",
         "intelex-lbfgs", "torch-lbfgs", "torch-lbfgs-cuda", "glum", "skglm")  # fmt: skip

AMOUNTS = {
    "quick": Amount(("tall", "elastic_net"), 0.01, 1.0, False, QUICK),
    "normal": Amount(tuple(problems.PROBLEMS), 1.0, 60.0, False),
    "full": Amount(tuple(problems.PROBLEMS), 1.0, 300.0, True),
}


@click.command()
@click.option(
    "--problem",
    "problem_names",
    type=click.Choice(list(problems.PROBLEMS)),
    multiple=True,
    help=f"Repeat for several.  [default: all, with --quick {' and '.join(AMOUNTS['quick'].problems)}]",
)
@click.option(
    "--competitor",
    "competitor_names",
    type=click.Choice(list(COMPETITORS)),
    multiple=True,
    help="Repeat for several.  [default: all that are likely to be fast; with --quick fewer]",
)
@click.option("--all", "everyone", is_flag=True, help="The other competitors, too.")
@click.option(
    "--scale",
    type=click.FloatRange(0, 1, min_open=True),
    default=None,
    help="Share of the entries of the synthetic data.  [default: 1, with --quick 0.01, or what there is memory for]",
)
@click.option("--C", "strength", type=Strength(), default=1.0, show_default=True, help="1/m for that of m samples.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option("--intercept/--no-intercept", default=None, help="[default: as each problem has it]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the synthetic data.")
@click.option(
    "--gap",
    "gaps",
    type=click.FloatRange(1e-11, 0.1),
    multiple=True,
    default=Rules.gaps,
    show_default=True,
    help="Repeat for several.",
)
@click.option(
    "--limit",
    type=click.FloatRange(0, min_open=True),
    default=None,
    help="Seconds for a fit.  [default: 60, with --quick 1, with --full 300]",
)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Folder of the reference solutions.  [default: in the user's cache]",
)
@options.amount
@options.repeats_of_effort
@options.threads
@options.as_json
def peers(
    problem_names: tuple[str, ...], competitor_names: tuple[str, ...], everyone: bool, scale: float | None,
    strength: float | str, dtype: Dtype, intercept: bool | None, seed: int, gaps: tuple[float, ...], limit: float | None,
    cache: Path | None, effort: str, repeats: int | None, threads: int, json_file: Path | None,
) -> dict[str, Any]:  # fmt: skip
    """Time to a relative gap of the objective, for gpulr and for other libraries.

    All minimize the same objective on the same data with the same number of threads; a judge that belongs to none of them
    decides which gap a solution has.
    """
    if everyone and competitor_names:
        raise click.UsageError("--all is everyone: leave out --competitor, or --all")
    amount = AMOUNTS[effort]
    cache = cache or Path(pooch.os_cache("gpulr")) / "benchmarks"
    much = options.effort_of(effort, repeats)
    rules = Rules(tuple(sorted(gaps, reverse=True)), much.repeats, limit or amount.limit, threads)
    settings = {"scale": scale or amount.scale, "C": strength, "dtype": dtype, "intercept": intercept, "seed": seed}
    record: dict[str, Any] = {"benchmark": "peers", "machine": machine.describe(threads), "effort": effort}
    record |= {"settings": settings, "rules": vars(rules), "races": [], "unavailable": {}}
    out = options.output()
    out.print(machine.summary(record["machine"]))
    names = problem_names or amount.problems
    for number, name in enumerate(names, 1):
        place = f"{number} of {len(names)}, {name}"
        with options.progress(2 + len(competitor_names or COMPETITORS) + rules.repeats) as bar:
            bar(f"{place}: making the data")
            make = partial(problems.make, name, seed=seed, C=strength, dtype=dtype, intercept=intercept)
            asked = competitor_names or (() if everyone else amount.competitors)
            choose = partial(_chosen, asked, everyone or amount.everyone)
            size, why_smaller = scale, None
            try:
                if scale is None:
                    problem, chosen, size, why_smaller = _fitting(make, choose, amount.scale)
                else:
                    problem, chosen = _prepared(make, choose, scale)
                bar(f"{place}: finding the minimum")
                found = reference.find(problem, cache)
            except (problems.UnavailableError, MemoryError, RuntimeError) as reason:  # or its minimum is not certain
                record["unavailable"][name] = f"{reason}" or type(reason).__name__
                out.print(f"\n{name} is not available: {escape(record['unavailable'][name])}")
                continue
            result = race(problem, found, chosen, rules, bar) | {"scale": size, "why_smaller": why_smaller}
        record["races"].append(result)
        table.show(result, out)
        options.write(record, json_file)  # now: what is measured is not lost when the next problem is stopped
    options.write(record, json_file)
    out.print(table.LEGEND)
    return record


def _prepared(
    make: Callable[..., Problem], choose: Callable[[Problem], list[Competitor]], size: float
) -> tuple[Problem, list[Competitor]]:
    """A problem and who races on it.

    Raises:
        TooLargeError: there is no memory to make it or to race on it.
    """
    problem = make(size=size)
    chosen = choose(problem)
    require_memory(problem, chosen)
    return problem, chosen


def _fitting(
    make: Callable[..., Problem], choose: Callable[[Problem], list[Competitor]], size: float
) -> tuple[Problem, list[Competitor], float, str | None]:
    """The same, as large as there is memory for; its size, and why that is smaller. Real data have one size: they may be too
    large.
    """
    why_smaller = None
    for _ in range(2):  # to draw it, and to race on it
        try:
            return *_prepared(make, choose, size), size, why_smaller
        except TooLargeError as error:
            size *= 0.9 * error.share
            why_smaller = why_smaller or f"{error}: made smaller"
    return *_prepared(make, choose, size), size, why_smaller


def _chosen(names: tuple[str, ...], everyone: bool, problem: Problem) -> list[Competitor]:
    """Those asked for by name, or else by default, in the order of `COMPETITORS`."""
    if names:
        return [competitor for name, competitor in COMPETITORS.items() if name in names]
    return [competitor for competitor in COMPETITORS.values() if everyone or competitor.by_default(problem)]
