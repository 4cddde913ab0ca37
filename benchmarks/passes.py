"""`python -m benchmarks pass`: one forward and backward pass against one plain read of X, for every kind of pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchmarks import machine, options
from gpulr.bench import passes, tables
from gpulr.bench.roofline import DTYPES, SHAPES


@click.command("pass")
@click.option(
    "--shape",
    "shapes",
    type=click.Choice(list(SHAPES)),
    multiple=True,
    help="Of X, before --quick; repeat for several.  [default: the first three; with --quick one, with --full all]",
)
@click.option(
    "--dtype",
    "dtypes",
    type=click.Choice(DTYPES),
    multiple=True,
    default=DTYPES,
    show_default=True,
    help="Of X; repeat for several.",
)
@options.amount
@options.repeats_of_effort
@options.threads
@options.as_json
def one_pass(
    shapes: tuple[str, ...], dtypes: tuple[str, ...], effort: str, repeats: int | None, threads: int, json_file: Path | None
) -> dict[str, Any]:  # fmt: skip
    """Speed of one forward and backward pass over X, against one plain read of the same bytes."""
    out = options.output()
    much = options.effort_of(effort, repeats)
    record: dict[str, Any] = {"benchmark": "pass", "machine": machine.describe(threads), "effort": effort}
    out.print(machine.summary(record["machine"]))
    with options.progress((len(shapes) or much.pass_shapes) * len(dtypes)) as bar:
        record |= passes(much, shapes=shapes or None, dtypes=dtypes, threads=threads, progress=bar)
    options.write(record, json_file)
    tables.show_passes(record, out)
    return record
