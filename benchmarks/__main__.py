"""`python -m benchmarks`: one command a benchmark; without one, all three races."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchmarks import options
from benchmarks.compare import compare
from benchmarks.gpu import gpu
from benchmarks.passes import one_pass
from benchmarks.peers import peers
from benchmarks.report.page import report
from benchmarks.report.readme import readme
from benchmarks.roofline import roofline
from benchmarks.solvers import solvers
from benchmarks.speedup import speedup_command

RACES = {"speedup": speedup_command, "pass": one_pass, "peers": peers}


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@options.amount
@options.as_json
@click.pass_context
def main(context: click.Context, effort: str, json_file: Path | None) -> None:
    """Measure gpulr on this machine. Run it in a checkout, on a machine that does nothing else.

    Without a COMMAND: speedup, pass and peers, one after the other.
    """
    if context.invoked_subcommand is not None:
        if effort != "normal" or json_file is not None:
            raise click.UsageError(f"options of a command come after its name, {context.invoked_subcommand}")
        return
    records: list[dict[str, Any]] = []
    for race in RACES.values():
        records.append(context.invoke(race, effort=effort))
        options.write({"benchmark": "all", "records": records}, json_file)  # now, so that it is not lost


for command in (*RACES.values(), solvers, gpu, roofline, report, readme, compare):
    main.add_command(command)

if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
