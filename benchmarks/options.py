"""What the commands have in common: options, where they print, and the file of a record."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from gpulr.bench import EFFORTS, Effort
from gpulr.bench.machine import cores

F = TypeVar("F", bound=Callable[..., Any])

threads = click.option(
    "--threads", type=click.IntRange(1, cores()), default=cores(), show_default="all cores", help="Of everyone alike."
)
repeats = click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Interleaved rounds.")
repeats_of_effort = click.option(
    "--repeats", type=click.IntRange(1), default=None,
    help="Interleaved rounds.  [default: 5, with --quick 3, with --full 7]",
)  # fmt: skip
as_json = click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, writable=True, path_type=Path), metavar="FILE",
    help="Write a record of everything that was measured.",
)  # fmt: skip


def amount(function: F) -> F:
    """--quick and --full, which become the argument `effort`, a key of `gpulr.bench.EFFORTS`."""
    for name, text in (("full", "As much as is worth measuring: hours."), ("quick", "Less than two minutes.")):
        function = click.option(f"--{name}", "effort", flag_value=name, help=text)(function)
    return click.option("--normal", "effort", flag_value="normal", default="normal", hidden=True)(function)


def effort_of(name: str, repeats: int | None) -> Effort:
    """One of `gpulr.bench.EFFORTS`, with other repeats where they are given."""
    return EFFORTS[name] if repeats is None else replace(EFFORTS[name], repeats=repeats)


def output() -> Console:
    """Standard output; wide enough for a table where it is a file."""
    return Console(width=None if sys.stdout.isatty() else 120)


class Bar:
    """A progress bar that moves by one each time it is called with what is done next."""

    def __init__(self, lines: Progress, task: TaskID) -> None:
        self._lines, self._task = lines, task

    def __call__(self, text: str) -> None:
        self._lines.update(self._task, description=text, advance=1, refresh=True)


@contextmanager
def progress(total: int | None = None) -> Iterator[Bar]:
    """A bar of `total` steps on standard error; None: their number is not known.

    It draws only when it is called: no thread of its own disturbs a race.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as lines:
        yield Bar(lines, lines.add_task("", total=total))


def write(record: dict[str, Any], file: Path | None) -> None:
    """Write a record as JSON, if a file was asked for."""
    if file is not None:
        file.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
