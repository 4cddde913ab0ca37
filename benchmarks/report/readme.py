"""`python -m benchmarks readme`: the README's figures and pictures from the committed records; whether they are stale."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from benchmarks.competitors import COMPETITORS
from benchmarks.report import figures, records, tables
from benchmarks.report.page import gaps
from benchmarks.report.records import Records

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- benchmarks: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
STAMP = re.compile(r"<!-- records: (\w+) -->")

SHOWN = (
    "speedup-float32",
    "roofline",
    "convergence-tall_correlated-1000000x100-float32",
    "convergence-wide_correlated-2000x20000-float32",
)
"""The pictures in the README, of those that a machine has."""

NOTHING = "Not measured yet.\n"


def rendered(text: str, machines: list[Records]) -> str:
    """A README with its blocks made anew.

    Raises:
        ValueError: a block has a name that there is none of.
    """
    blocks = {"speedup": _speedup, "peers": _peers, "pictures": _pictures}

    def block(found: re.Match[str]) -> str:
        if found[2] not in blocks:
            raise ValueError(f"<!-- benchmarks: {found[2]} -->: there are {', '.join(blocks)}")
        return found[1] + ("\n".join(blocks[found[2]](machines)) or NOTHING) + found[4]

    return BLOCK.sub(block, text)


def pictures(each: Records) -> dict[str, str]:
    """The pictures of a machine that the README shows, with a stamp of what they were made of: SVG files by name."""
    made = {name: svg for name, svg in figures.all_of(each).items() if name in SHOWN}
    return {f"{name}.svg": f"<!-- records: {stamp(each)} -->\n{svg}\n" for name, svg in made.items()}


def stamp(each: Records) -> str:
    """Changes when the records change, the code that draws, or the competitors, whose order gives them their colours."""
    return records.digest(each.runs, Path(figures.__file__).read_text(encoding="utf-8"), list(COMPETITORS))


def stale(readme: Path, results: Path) -> list[str]:
    """What was not made of the records that are there now: names of files. Needs nothing that draws."""
    machines = records.load(results)
    text = readme.read_text(encoding="utf-8")
    found = [readme.name] if rendered(text, machines) != text else []
    for each in machines:
        for name in _names(each):
            file = results / each.name / name
            stamped = STAMP.match(file.read_text(encoding="utf-8")) if file.is_file() else None
            if stamped is None or stamped[1] != stamp(each):
                found.append(f"{each.name}/{name}")
        found += [f"{each.name}/{file.name}" for file in _left_over(each, results)]
    return found


def _left_over(each: Records, results: Path) -> list[Path]:
    """Pictures of what is not shown any more."""
    return sorted(set((results / each.name).glob("*.svg")) - {results / each.name / name for name in _names(each)})


def _names(each: Records) -> list[str]:
    """The files of `pictures`, without drawing them."""
    has = set()
    for run in each.of("speedup")[:1]:
        has |= {f"speedup-{point['stored_as']}" for point in run["sweep"]["points"]}
    has |= {"roofline"} if each.of("pass") else set()
    has |= {f"convergence-{records.slug(race['problem'])}" for race in each.races()}
    return [f"{name}.svg" for name in SHOWN if name in has]


def _speedup(machines: list[Records]) -> Iterator[str]:
    for each in machines:
        for run in each.of("speedup")[:1]:
            yield _on(each)
            for training in run["trainings"]:
                yield tables.training(training).markdown() + "\n"


def _peers(machines: list[Records]) -> Iterator[str]:
    for each in machines:
        races = each.races()
        if races:
            yield _on(each)
            yield from (tables.best(races, gap).markdown() + "\n" for gap in gaps(races))


def _pictures(machines: list[Records]) -> Iterator[str]:
    for each in machines:
        for name in _names(each):
            yield f"![{name.removesuffix('.svg').replace('-', ' ')}](benchmarks/results/{each.name}/{name})\n"


def _on(each: Records) -> str:
    facts: dict[str, Any] = each.runs[-1]["machine"]
    gpus = ", ".join(gpu["name"] for gpu in facts["gpus"]) or "GPU: not measured"
    return f"On {facts['processor']}, {facts['cores']} cores ({gpus}):\n"


@click.command("readme")
@click.option("--check", is_flag=True, help="Write nothing; exit status 1 if something is stale.")
def readme(check: bool) -> None:
    """Write the README's figures and pictures from the committed records."""
    results = records.RESULTS
    if check:
        found = stale(README, results)
        if found:
            raise click.ClickException(f"stale, run python -m benchmarks readme: {', '.join(found)}")
        return
    machines = records.load(results)
    for each in machines:
        for name, text in pictures(each).items():
            (results / each.name / name).write_text(text, encoding="utf-8")
        for file in _left_over(each, results):
            file.unlink()
    README.write_text(rendered(README.read_text(encoding="utf-8"), machines), encoding="utf-8")
