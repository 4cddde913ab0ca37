"""`python -m benchmarks report`: one page with everything in it, which asks nothing of any other place."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import click

from benchmarks.report import figures, gpu, records, tables
from benchmarks.report.records import Records

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; }
body { max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; }
h2 { font-size: 1.3rem; margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
h3 { font-size: 1.1rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
figure { margin: 0; break-inside: avoid; }
figure svg { width: 100%; max-width: 34rem; height: auto; display: block; margin: 0 auto; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.facts td { white-space: normal; text-align: left; }
.note { font-size: .85rem; margin: .2rem 0; color: #444; overflow-wrap: anywhere; }
@media print {
  body { max-width: none; font-size: 10pt; padding: 0; }
  .wide { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: .1rem .3rem; } tr { break-inside: avoid; } h2, h3 { break-after: avoid; }
}
"""

# Nothing may be loaded: a browser that sees this would even refuse to.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(machines: list[Records]) -> str:
    """The whole page, the machine that was measured last first."""
    newest_first = sorted(machines, key=lambda each: max(run["machine"]["date"] for run in each.runs), reverse=True)
    body = "\n".join(_machine(each) for each in newest_first) or "<p>There are no records.</p>"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<link rel="icon" href="data:,">
<title>gpulr: benchmarks</title>
<style>{STYLE}</style>
</head>
<body>
<h1>gpulr: benchmarks</h1>
<p>Made of the committed records by <code>python -m benchmarks report</code>; the method is in benchmarks/README.md. What
has no record is marked as not measured.</p>
{body}
</body>
</html>
"""


def _machine(each: Records) -> str:
    facts = tables.machine(each).html().replace("<table>", '<table class="facts">')
    parts = [f"<h2>{html.escape(each.name)}</h2>", facts]
    pictures = figures.all_of(each)
    for run in each.of("gpu"):
        parts += ["<h3>The GPU</h3>", gpu.memory(run).html()]
        met = gpu.goals(run)
        parts += [met.html()] if met.rows else []
    for run in each.of("speedup"):
        parts.append("<h3>Loops, vectorized code, algebra, hardware</h3>")
        parts += [tables.training(training).html() for training in run["trainings"]]
        parts += [tables.crossovers(run["sweep"]).html()] if run["sweep"]["points"] else []
    parts.append(_pictures(each.name, pictures, "speedup"))
    if each.of("pass"):
        parts += ["<h3>The pass and the memory</h3>", _pictures(each.name, pictures, "roofline")]
    parts += [tables.passes(run).html() for run in each.of("pass")]
    races = each.races()
    if races:
        parts.append("<h3>Other libraries</h3>")
        parts += [tables.best(races, gap).html() for gap in gaps(races)]
        parts.append(_pictures(each.name, pictures, "convergence"))
        parts += [tables.peers(race).html() for race in races]
    unavailable = {name: why for run in each.of("peers") for name, why in run.get("unavailable", {}).items()}
    raced = {race["problem"]["name"] for race in races}
    parts += [tables.note(f"{name} was not raced: {why}") for name, why in unavailable.items() if name not in raced]
    return "\n".join(parts)


def gaps(races: list[dict[str, Any]]) -> list[float]:
    """All that were raced for, falling."""
    found = {result["gap"] for race in races for entry in race["entries"] for result in entry["results"]}
    return sorted(found, reverse=True)


def _pictures(machine: str, pictures: dict[str, str], kind: str) -> str:
    chosen = {name: svg for name, svg in pictures.items() if name.startswith(kind)}
    shown = [
        f"<figure>{figures.described(figures.prefixed(svg, f'{machine}-{name}'), name.replace('-', ' '))}</figure>"
        for name, svg in chosen.items()
    ]
    return f'<div class="pictures">{"".join(shown)}</div>' if shown else ""


@click.command("report")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    default="report.html",
    show_default=True,
    help="The page.",
)
@click.option(
    "--results",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=records.RESULTS,
    help="Folder with one folder of records for each machine.  [default: benchmarks/results]",
)
def report(output: Path, results: Path) -> None:  # fmt: skip
    """Make one self-contained page of the committed records."""
    output.write_text(page(records.load(results)), encoding="utf-8")
    click.echo(f"{output}: {output.stat().st_size / 1e3:.0f} kB")
