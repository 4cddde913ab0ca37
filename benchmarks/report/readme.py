"""`python -m benchmarks readme`: the README's figures and pictures from the committed records; whether they are stale."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from benchmarks.report import figures, records, tables
from benchmarks.report.page import gaps
from benchmarks.report.records import Records

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- benchmarks: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
STAMP = re.compile(r"<!-- records: (\w+) -->")

SHOWN = {
    "speedup": ("speedup-float32",),
    "pass": ("roofline",),
    "peers": (
        "convergence-tall_correlated-1000000x100-float32",
        "convergence-wide_correlated-2000x20000-float32",
    ),
}
"""The pictures in the README by what they are made of, where there are any."""

SHOWN_OF_A_GPU = SHOWN | {"peers": ("convergence-tall-1000000x100-float32",)}

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


def shown(machines: list[Records], benchmark: str) -> list[Records]:
    """Whose records of a benchmark the README shows: of the machines without a GPU and of those with one, the one where it
    was measured last, but by --quick only where nothing else was. The page shows all.
    """
    found = []
    for gpu in (False, True):
        measured = [each for each in machines if each.has_gpu() == gpu and each.of(benchmark)]
        found += [max(measured, key=lambda each: each.rank(benchmark))] if measured else []
    return found


def pictures(each: Records, machines: list[Records]) -> dict[str, str]:
    """The pictures of a machine that the README shows, with a stamp of what they were made of: SVG files by name."""
    draw = figures.to_draw(each)
    return {
        name: f"<!-- records: {stamp(each)} -->\n{draw[name.removesuffix('.svg')]()}\n"
        for name in _names(each, machines)
    }


def stamp(each: Records) -> str:
    """Changes when the records change or the code that draws."""
    return records.digest(each.runs, Path(figures.__file__).read_text(encoding="utf-8"))


def stale(readme: Path, results: Path) -> list[str]:
    """What was not made of the records that are there now: names of files. Needs nothing that draws."""
    machines = records.load(results)
    text = readme.read_text(encoding="utf-8")
    found = [readme.name] if rendered(text, machines) != text else []
    for each in machines:
        for name in _names(each, machines):
            file = results / each.name / name
            stamped = STAMP.match(file.read_text(encoding="utf-8")) if file.is_file() else None
            if stamped is None or stamped[1] != stamp(each):
                found.append(f"{each.name}/{name}")
    return found + [str(file.relative_to(results)) for file in _left_over(machines, results)]


def _left_over(machines: list[Records], results: Path) -> list[Path]:
    """Pictures of what is not shown any more, of machines without records, too."""
    wanted = {results / each.name / name for each in machines for name in _names(each, machines)}
    return sorted(set(results.glob("*/*.svg")) - wanted)


def _names(each: Records, machines: list[Records]) -> list[str]:
    """The files of `pictures`, without drawing them."""
    has = figures.to_draw(each)
    wanted = SHOWN_OF_A_GPU if each.has_gpu() else SHOWN
    kinds = [kind for kind in wanted if each in shown(machines, kind)]
    return [f"{name}.svg" for kind in kinds for name in wanted[kind] if name in has]


def _speedup(machines: list[Records]) -> Iterator[str]:
    for each in shown(machines, "speedup"):
        yield _on(each)
        for training in each.of("speedup")[-1]["trainings"]:
            yield tables.training(training).markdown() + "\n"


def _peers(machines: list[Records]) -> Iterator[str]:
    for each in shown(machines, "peers"):
        races = each.races()
        if races:
            yield _on(each)
            yield from (tables.best(races, gap).markdown() + "\n" for gap in gaps(races))


def _pictures(machines: list[Records]) -> Iterator[str]:
    for each in machines:
        names = _names(each, machines)
        if names:
            yield _on(each)
        for name in names:
            yield f"![{name.removesuffix('.svg').replace('-', ' ')}](benchmarks/results/{each.name}/{name})\n"


def _on(each: Records) -> str:
    facts: dict[str, Any] = max((run["machine"] for run in each.runs), key=lambda facts: str(facts["date"]))
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
        for name, text in pictures(each, machines).items():
            (results / each.name / name).write_text(text, encoding="utf-8")
    for file in _left_over(machines, results):
        file.unlink()
    README.write_text(rendered(README.read_text(encoding="utf-8"), machines), encoding="utf-8")
