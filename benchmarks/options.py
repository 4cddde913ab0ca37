"""What the commands have in common: options, where they print, and the file of a record."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


threads = click.option(
    "--threads", type=click.IntRange(1, cores()), default=cores(), show_default="all cores", help="Of everyone alike."
)
repeats = click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Interleaved rounds.")
as_json = click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, writable=True, path_type=Path), metavar="FILE",
    help="Write a record of everything that was measured.",
)  # fmt: skip


def output() -> Console:
    """Standard output; wide enough for a table where it is a file."""
    return Console(width=None if sys.stdout.isatty() else 120)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A function that says on standard error what is done next. It draws only then: no thread that disturbs a race."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as lines:
        task = lines.add_task("")
        yield lambda text: lines.update(task, description=text, refresh=True)


def write(record: dict[str, Any], file: Path | None) -> None:
    """Write a record as JSON, if a file was asked for."""
    if file is not None:
        file.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
