"""`python -m benchmarks speedup`: for loops, vectorized NumPy and CuPy, and gpulr, on the cats and over sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import machine, options
from gpulr import Dataset, load_dataset
from gpulr.bench import speedup, sweep, tables
from gpulr.bench.sizes import SMALLEST
from gpulr.datasets import known_datasets


@click.command("speedup")
@click.option("--data", default=None, help="As of `gpulr train`.  [default: the cats, or bytes like theirs]")
@click.option("--iterations", type=click.IntRange(1), default=2000, show_default=True, help="Of a training.")
@options.amount
@options.repeats_of_effort
@options.threads
@options.as_json
def speedup_command(
    data: str | None, iterations: int, effort: str, repeats: int | None, threads: int, json_file: Path | None
) -> dict[str, Any]:
    """Loops, the lesson's NumPy and CuPy, and gpulr: an iteration and a training, on pictures and over sizes."""
    out = options.output()
    much = options.effort_of(effort, repeats)
    record: dict[str, Any] = {"benchmark": "speedup", "machine": machine.describe(threads), "effort": effort}
    out.print(machine.summary(record["machine"]))
    with machine.limited(threads):
        dataset = load_dataset(data) if data else _pictures()
        with options.progress() as bar:
            training = speedup(dataset, iterations=iterations, repeats=much.repeats, budget=much.budget, progress=bar)
        record["trainings"] = [training]
        options.write(record | {"sweep": {"points": [], "crossovers": []}}, json_file)  # so that it is not lost
        tables.show_training(training, out)
        sizes = len(str(much.largest // SMALLEST))
        with options.progress(sizes * len(much.dtypes)) as bar:
            record["sweep"] = sweep(much, iterations=iterations, progress=bar)
    options.write(record, json_file)
    tables.show_sweep(record["sweep"], out)
    return record


def _pictures() -> Dataset:
    """The cats where they are at hand (nothing is fetched), or else bytes in the same number and shape."""
    available = {known["name"]: known["available"] for known in known_datasets()}
    if available["cats"]:
        return load_dataset("cats")
    X = np.random.default_rng(0).integers(0, 256, (209, 12_288), np.uint8)
    y = np.arange(209) % 2
    return Dataset("bytes like the cats'", X, y, X[:0], y[:0], ("0", "1"), (64, 64, 3), 1 / 255)
