"""The command line: gpulr train, predict, bench, info, data.

Every command prints a table for people, or with --json one JSON object on stdout and nothing else there; progress and
warnings go to stderr. Exit code 0 on success, 2 on wrong usage, 1 on any other error, with one line on stderr.
"""

from __future__ import annotations

import functools
import json
import math
import platform
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from gpulr import __version__, bench, data_files, datasets, device, images, training
from gpulr.bench import tables
from gpulr.model_file import Model, load_model, save_model
from gpulr.passes import PASSES
from gpulr.solvers import Look

stdout = Console()
stderr = Console(stderr=True)

P = ParamSpec("P")
R = TypeVar("R")


class LearningRate(click.ParamType[Any]):
    """A positive number or "auto"."""

    name = "NUMBER|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "auto":
            return value
        try:
            rate = float(value)
        except ValueError:
            rate = math.nan
        if not (math.isfinite(rate) and rate > 0):
            self.fail(f"{value!r} is neither a positive number nor 'auto'", param, ctx)
        return rate


class Number(click.FloatRange):
    """A number in a range; click lets nan through any."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


class DeviceName(click.ParamType[str]):
    """auto, cpu, cuda or cuda:N; whether it is there is found out later."""

    name = "auto|cpu|cuda|cuda:N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            self.fail(f"{value!r} is none of auto, cpu, cuda, cuda:0, cuda:1, ...", param, ctx)
        return str(value)


def reports(function: Callable[P, R]) -> Callable[P, R]:
    """Add --json and --debug to a command and turn its warnings and errors into one line each on stderr."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else there.")
    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(function)
    def wrapper(*args: Any, debug: bool, **kwargs: Any) -> R:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", UserWarning)
                warnings.showwarning = _show_warning
                return function(*args, **kwargs)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:  # the outermost place: whatever it is, it is shown here
            if debug:
                raise
            message = " ".join(str(error).split()) or type(error).__name__
            stderr.print(f"[bold red]Error:[/] {escape(message)}", soft_wrap=True, highlight=False)
            sys.exit(1)

    return wrapper  # type: ignore[return-value]


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    stderr.print(f"[yellow]Warning:[/] {escape(str(message))}", soft_wrap=True, highlight=False)


def data_options(function: Callable[P, R]) -> Callable[P, R]:
    """Which data, for the commands that train."""
    for option in (
        click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True,
                     help="Of the held-out split and of whatever else is random."),
        # No defaults here: what is given without effect is refused.
        click.option("--image-size", type=click.IntRange(1),
                     help="Pictures of a folder are resized to so many pixels a side.  [default: 64]"),
        click.option("--test-size", type=click.FloatRange(0, 1, max_open=True),
                     help="Held-out share, for data that are not split already.  [default: 0.2]"),
        click.option("--y", "y_name", metavar="NAME", help="Name of the labels in an HDF5 or npz file."),
        click.option("--x", "x_name", metavar="NAME", help="Name of the samples in an HDF5 or npz file."),
        click.argument("data", default="digits"),
    ):  # fmt: skip
        function = option(function)
    return function


def solver_options(function: Callable[P, R]) -> Callable[P, R]:
    """What belongs to one kind of solver. No defaults here: what is given without effect is refused."""
    for option in (
        click.option("--class-weight", type=click.Choice(["balanced"]),
                     help="Not with gd. balanced: both classes weigh as much.  [default: every sample does]"),
        click.option("--tol", type=Number(0, math.inf, max_open=True),
                     help="Not with gd. Tolerance at which the solver stops.  [default: 0.0001]"),
        click.option("--standardize", is_flag=True, default=None,
                     help="Not with gd. Penalize the weights of the features at unit variance."),
        click.option("--l1-ratio", type=Number(0, 1),
                     help="Not with gd. Share of the l1 penalty, 0 (ridge) to 1 (lasso).  [default: 0]"),
        click.option("--C", "C", type=Number(0, min_open=True), metavar="NUMBER|inf",
                     help="Not with gd. Inverse of the strength of the penalty; inf for none.  [default: 1]"),
        click.option("--record-every", type=click.IntRange(1),
                     help="gd only. Iterations between recorded costs.  [default: 100]"),
        click.option("--pass", "pass_name", type=click.Choice(["auto", *PASSES]),
                     help="gd only. How X is read at every iteration: in for loops, or in array operations. auto: in array "
                     "operations too, or not at all, in Gram space, where it pays: more features than samples, and enough "
                     "iterations.  [default: auto]"),
        click.option("--init", type=click.Choice(["zeros", "random"]), help="gd only.  [default: zeros]"),
        click.option("--learning-rate", type=LearningRate(),
                     help="gd only. auto: 1/L from the data, which cannot raise the cost.  [default: 0.005]"),
    ):  # fmt: skip
        function = option(function)
    return function


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Logistic regression as fast as the hardware can read the data, on a GPU or the CPU."""


@main.command()
@data_options
@click.option("--solver", type=click.Choice(training.SOLVER_NAMES), default="gd", show_default=True,
              help="gd: the lesson's gradient descent. The others find the optimum of scikit-learn's penalized objective: "
              "lbfgs, newton, sgd (ridge), prox-newton, fista (l1); auto chooses.")  # fmt: skip
@click.option("--iterations", type=click.IntRange(1),
              help="Steps of gd; the most that another solver makes.  [default: 2000 for gd, 100 for others]")  # fmt: skip
@solver_options
@click.option("--device", "device_name", type=DeviceName(), default="auto", show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float64", show_default=True,
              help="Of the computation; the data stay as they are stored.")  # fmt: skip
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the model to this file.")
@reports
def train(
    data: str, x_name: str | None, y_name: str | None, test_size: float | None, image_size: int | None, seed: int,
    solver: str, iterations: int | None, device_name: str, dtype: str, output: Path | None, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Train on DATA: digits (the default), cats, an HDF5 or npz file, or a folder."""
    try:
        training.check_options(solver, options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if output is not None and not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"--output {output}: there is no folder {output.parent}")
    dataset = datasets.load_dataset(data, x=x_name, y=y_name, test_size=test_size, seed=seed, image_size=image_size)
    iterations = iterations or training.default_iterations(solver)
    with _progress(iterations, show=not as_json) as callback:
        trained = training.train(
            dataset, solver=solver, iterations=iterations, device=device_name, dtype=dtype, seed=seed,
            callback=callback, **options,
        )  # fmt: skip
    if output is not None:
        save_model(trained.model, output)
    summary = {**trained.summary, "model": None if output is None else str(output)}
    if as_json:
        _print_json(summary)
    else:
        _print_training(summary)


@main.command()
@click.argument("model_file", metavar="MODEL", type=click.Path(path_type=Path))
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--x", "x_name", metavar="NAME", help="Name of the samples in an HDF5 or npz file.")
@reports
def predict(model_file: Path, inputs: tuple[Path, ...], x_name: str | None, as_json: bool) -> None:
    """Predict the class of each INPUT with MODEL: pictures, folders of pictures, HDF5 or npz files."""
    model = load_model(model_file)
    if x_name is not None and all(path.exists() and not data_files.is_data_file(path) for path in inputs):
        raise ValueError(f"--x {x_name} names a data set of an HDF5 or npz file, and no INPUT is one; leave it out")
    predictions = [line for path in inputs for line in _predict(model, path, x_name)]
    if as_json:
        _print_json({"model": str(model_file), "predictions": predictions})
        return
    table = Table(Column("input", overflow="fold"), "class", "probability")
    for line in predictions:
        row = "" if line["row"] is None else f" [{line['row']}]"
        table.add_row(escape(line["input"] + row), escape(line["class"]), f"{line['probability']:.4f}")
    stdout.print(table)


RACES = ("training", "sizes", "pass")


@main.command(name="bench")
@data_options
@click.option(
    "--race",
    "races",
    type=click.Choice(RACES),
    multiple=True,
    default=RACES,
    show_default=True,
    help="training: on DATA; sizes: on synthetic data of 100 entries and more; pass: one pass in reads of X. "
    "Repeat for several.",
)
@click.option("--iterations", type=click.IntRange(1), default=2000, show_default=True, help="Of a training.")
@click.option("--repeats", type=click.IntRange(1), help="Interleaved rounds.  [default: 3, or 7 with --full]")
@click.option("--full", is_flag=True, help="Up to 10⁸ entries, and all dtypes: an hour instead of two minutes.")
@reports
def bench_command(
    data: str, x_name: str | None, y_name: str | None, test_size: float | None, image_size: int | None, seed: int,
    races: tuple[str, ...], iterations: int, repeats: int | None, full: bool, as_json: bool,
) -> None:  # fmt: skip
    """Race for loops, the lesson's NumPy and gpulr, on the CPU and the GPU: training on DATA, over sizes, and one pass."""
    effort = bench.EFFORTS["full" if full else "quick"]
    effort = effort if repeats is None else replace(effort, repeats=repeats)
    records: dict[str, Any] = {"environment": bench.environment()}
    # No thread of its own that draws beside what is timed.
    with Progress(TextColumn("{task.description}"), console=stderr, transient=True, auto_refresh=False) as lines:
        task = lines.add_task("")

        def say(text: str) -> None:
            lines.update(task, description=text, refresh=True)

        if "training" in races:
            dataset = datasets.load_dataset(
                data, x=x_name, y=y_name, test_size=test_size, seed=seed, image_size=image_size
            )
            records["training"] = bench.speedup(
                dataset, iterations=iterations, repeats=effort.repeats, budget=effort.budget, progress=say
            )
        if "sizes" in races:
            records["sizes"] = bench.sweep(effort, iterations=iterations, progress=say)
        if "pass" in races:
            records["pass"] = bench.passes(effort, progress=say)
    if as_json:
        _print_json(records)
        return
    for race, show in zip(RACES, (tables.show_training, tables.show_sweep, tables.show_passes), strict=True):
        if race in records:
            show(records[race], stdout)


@main.command()
@reports
def info(as_json: bool) -> None:
    """Print versions, processor, memory, GPUs, and why there is no GPU if there is none."""
    chosen = device.choose("auto")
    free, total = device.host_memory()
    facts: dict[str, Any] = {
        "gpulr": __version__,
        "os": platform.platform(),
        **bench.environment(),
        "packages": _package_versions(),
        "memory_total": total,
        "memory_free": free,
        "device": chosen.name,
        "device_reason": chosen.reason,
    }
    if as_json:
        _print_json(facts)
        return
    table = Table(show_header=False)
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), escape(_text(value, name)))
    stdout.print(table)


@main.command()
@reports
def data(as_json: bool) -> None:
    """List the data sets that are known by name, and where they are."""
    known = datasets.known_datasets()
    if as_json:
        _print_json({"datasets": known})
        return
    table = Table("name", "description", "location", "available")
    for entry in known:
        table.add_row(*(escape(_text(entry[key])) for key in ("name", "description", "location", "available")))
    stdout.print(table)


@contextmanager
def _progress(iterations: int, show: bool) -> Iterator[Callable[[int, Look], object] | None]:
    """A callback that draws a bar with the cost on stderr; None when it is not wanted or nobody would see it."""
    if not (show and stderr.is_terminal):
        yield None
        return
    columns = (TextColumn("iteration"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
               TextColumn("cost {task.fields[cost]:.6f}"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=stderr, transient=True) as progress:
        task = progress.add_task("", total=iterations, cost=math.nan)
        every = max(1, iterations // 100)  # reading the cost waits for the device, so not at every iteration

        def callback(iteration: int, look: Look) -> None:
            if iteration % every == 0:
                progress.update(task, completed=iteration, cost=float(look.cost))

        yield callback


def _predict(model: Model, path: Path, x_name: str | None) -> list[dict[str, Any]]:
    """The predictions for one input: a picture, the pictures of a folder, or the rows of a data file."""
    if data_files.is_data_file(path):
        X = data_files.load_features(path, x=x_name)
        _require_stored_alike(path, X, model)
        names, rows = [str(path)] * len(X), list[int | None](range(len(X)))
        probabilities = model.predict_proba(X)
    else:
        if model.image_shape is None:
            raise ValueError(f"{path}: the model was not trained on pictures, so it needs an HDF5 or npz file")
        paths = images.find_images(path) if path.is_dir() else [path]
        names, rows = list(map(str, paths)), [None] * len(paths)
        pixels = images.load_images(paths, model.image_shape)
        probabilities = model.predict_proba(pixels.reshape(len(paths), -1), scale=data_files.PIXEL_SCALE)
    return [
        {
            "input": name,
            "row": row,
            "class": model.classes[int(p > model.threshold)],
            "probability": p if p > model.threshold else 1 - p,
            "probabilities": dict(zip(model.classes, (1 - p, p), strict=True)),
        }
        for name, row, p in zip(names, rows, probabilities.tolist(), strict=True)
    ]


def _require_stored_alike(path: Path, X: np.ndarray, model: Model) -> None:
    """Refuse rows whose numbers would mean something else than the training data's, for example white 1 instead of 255.

    Rows are accepted in the type that the training data had. So are other floats for floats and other integers for
    integers, where their range gives the same scale; all zeros have any scale.
    """
    trained_on = np.dtype(model.stored_dtype)
    if X.dtype == trained_on == np.uint8:
        return  # whatever the scale: that of the digits is their own
    if (X.dtype.kind == "f") != (trained_on.kind == "f"):
        raise ValueError(
            f"{path}: the model was trained on {trained_on} rows; given {X.dtype}: store them as at training"
        )
    if X.any() and data_files.scale_of(model.image_shape, X) != (model.image_shape, model.scale):
        raise ValueError(
            f"{path}: the model was trained on {trained_on} rows times {model.scale:.6g}; given {X.dtype} from {X.min()} "
            f"to {X.max()}, which is another scale: store them as at training"
        )


def _package_versions() -> dict[str, str]:
    """What gpulr computes and reads with, as far as it is installed, under the names that pip knows."""
    installed = {str(part.name).lower().replace("_", "-"): part.version for part in metadata.distributions()}
    gpu = sorted(name for name in installed if name.startswith("cupy") or name == "torch")
    names = ("scipy", "scikit-learn", "h5py", "array-api-compat", "safetensors", "pillow", *gpu)
    return {name: installed[name] for name in names if name in installed}


def _print_json(value: dict[str, Any]) -> None:
    click.echo(json.dumps(value, allow_nan=False))


def _print_training(summary: dict[str, Any]) -> None:
    stdout.print(f"{escape(summary['data'])}: {summary['n_samples']} samples, {summary['n_features']} features")
    costs = Table("iteration", "cost")
    # Solvers other than gd record every iteration; about 20 are enough to see.
    every = max(1, len(summary["costs"]) // 20) if "status" in summary else 1
    for iteration, cost in summary["costs"][::every]:
        costs.add_row(str(iteration), f"{cost:.6f}")
    costs.add_row(f"{summary['n_iter']}", f"{summary['final_cost']:.6f}")
    stdout.print(costs)
    lines = {"solver": f"{summary['solver']} ({summary['status']})"} if "status" in summary else {}
    lines |= {
        "train accuracy": _percent(summary["train_accuracy"]),
        "test accuracy": _percent(summary["test_accuracy"]),
        "time": f"{summary['seconds']:.3f} s for {summary['n_iter']} iterations",
        "device": f"{summary['device']} ({summary['device_reason']})",
        "pass": f"{summary['pass']}, in {summary['space']} space, {summary['dtype']}",
        "model": summary["model"] or "not saved (--output FILE saves it)",
    }
    for name, text in lines.items():
        stdout.print(f"[bold]{name}[/]: {escape(text)}", soft_wrap=True, highlight=False)


def _percent(value: float | None) -> str:
    return "no rows held out" if value is None else f"{value:.2f} %"


def _text(value: object, name: str = "") -> str:
    """A JSON value for people: bytes, which go by the name of memory_..., in GiB."""
    if name.startswith("memory_") and isinstance(value, int):
        return f"{value / 2**30:.1f} GiB"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "\n".join(map(_text, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_text(item, key)}" for key, item in value.items())
    return str(value)
