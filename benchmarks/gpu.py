"""`python -m benchmarks gpu`: everything that is claimed of a GPU, measured by one command in about 8 minutes."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click
import pooch

from benchmarks import gpu_fits, gpu_passes, gpu_table, machine, options
from benchmarks.competitors.on_device import POLITE
from benchmarks.gpu_place import Cuda, Host, Place, bandwidth, reason
from gpulr import device as devices

PARTS = {"bandwidth": 0.03, "pass": 0.35, "cats": 0.12, "fit": 0.5}
"""Each part's share of the time."""

SOFT = 0.93
"""Of the time, what the parts are given; the rest is for what is under way when a part's is up."""

RESULTS = Path(__file__).parent / "results"

NO_GPU = 3
"""Exit status where there is none."""


class NoGpuError(click.ClickException):
    exit_code = NO_GPU

    def format_message(self) -> str:
        return f"no GPU: {self.message}. --rehearse runs everything on the CPU with small data, as a test"


class TimeIsUpError(BaseException):
    """No `Exception`: those are a contestant's, which is shown without a time, and the next has its turn."""


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """Within this, TimeIsUpError is raised after so many seconds, whatever is under way in Python then."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeIsUpError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@click.command()
@click.option(
    "--parts", multiple=True, type=click.Choice(list(PARTS)), default=tuple(PARTS), show_default=True,
    help="Repeat for several. The pass needs the bandwidth and measures it, too.",
)  # fmt: skip
@click.option(
    "--dtype", "dtypes", multiple=True, type=click.Choice(gpu_passes.DTYPES), default=gpu_passes.DTYPES, show_default=True,
    help="Of X in the pass; repeat for several.",
)  # fmt: skip
@click.option(
    "--problem", "names", multiple=True, type=click.Choice(gpu_fits.NAMES), default=gpu_fits.NAMES, show_default=True,
    help="Of the fits; repeat for several.",
)  # fmt: skip
@click.option(
    "--minutes", type=click.FloatRange(0, min_open=True), default=7.5, show_default=True,
    help="For all parts; what is under way then is ended.",
)  # fmt: skip
@click.option(
    "--scale", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True, help="Share of the data."
)
@click.option("--rehearse", is_flag=True, help="Without a GPU, NumPy in its place: shows that all of this runs.")
@click.option(
    "--cache", type=click.Path(file_okay=False, path_type=Path), default=None,
    help="Folder of the reference solutions.  [default: in the user's cache]",
)  # fmt: skip
@options.threads
@options.as_json
def gpu(
    parts: tuple[str, ...], dtypes: tuple[str, ...], names: tuple[str, ...], minutes: float, scale: float, rehearse: bool,
    cache: Path | None, threads: int, json_file: Path | None,
) -> None:  # fmt: skip
    """What a GPU does: bandwidth, the pass, the cats' gradient descent, and the time to a gap against other libraries.

    The record goes to results/<name of the GPU>/gpu.json, or to the file of --json. Without a GPU it ends with status 3.
    """
    why_not = None if rehearse else devices.why_no_gpu()
    if why_not:
        raise NoGpuError(why_not)
    for name, value in POLITE.items():
        os.environ.setdefault(name, value)
    place: Place = Host() if rehearse else Cuda()
    about = machine.describe(threads) | place.describe()
    if json_file is None and not rehearse:
        json_file = RESULTS / slug(about["gpus"][0]["name"]) / "gpu.json"
        json_file.parent.mkdir(parents=True, exist_ok=True)
    chosen = [name for name in PARTS if name in parts or (name == "bandwidth" and "pass" in parts)]
    settings = {"parts": chosen, "dtypes": dtypes, "problems": names, "minutes": minutes, "scale": scale}
    record: dict[str, Any] = {
        "benchmark": "gpu",
        "rehearsal": rehearse,
        "machine": about,
        "settings": settings,
        "parts": {},
    }
    cache = cache or Path(pooch.os_cache("gpulr")) / "benchmarks"
    out = options.output()
    out.print(machine.summary(about) + "".join(f"\n{gpu['name']}, {gpu['device']}" for gpu in about["gpus"]))

    def save() -> None:
        options.write(record, json_file)  # now: what is measured is not lost when the machine goes

    begin = time.monotonic()
    ended: set[str] = set()
    try:
        with options.progress() as say, ended_after(60 * minutes):
            for number, name in enumerate(chosen):
                # What a part leaves is shared by those that follow.
                start = time.monotonic()
                left = SOFT * 60 * minutes - (start - begin)
                until = start + left * PARTS[name] / sum(PARTS[other] for other in chosen[number:])
                part: dict[str, Any] = {}
                record["parts"][name] = part
                try:
                    measure(name, part, place, scale, dtypes, names, cache, threads, until, say, save)
                except Exception as error:  # the other parts are worth their time all the same
                    part["why_not"] = reason(error)
                finally:
                    part["seconds"] = time.monotonic() - start
                ended.add(name)
                save()
    except TimeIsUpError:
        for name in chosen:
            if name not in ended:
                record["parts"].setdefault(name, {}).setdefault("why_not", "no time left")
        save()
    gpu_table.show(record, out)


def measure(
    name: str, part: dict[str, Any], place: Place, scale: float, dtypes: tuple[str, ...], names: tuple[str, ...],
    cache: Path, threads: int, until: float, say: Callable[[str], object], save: Callable[[], None],
) -> None:  # fmt: skip
    """Fill in one part of the record, which is saved whenever there is more."""
    if name == "bandwidth":
        say("bandwidth")
        part |= bandwidth(place, max(1 << 20, round(scale * (1 << 30))))
    elif name == "cats":
        part |= cats(say)
    else:
        device = "cpu" if isinstance(place, Host) else "cuda"
        if name == "pass":
            found = gpu_passes.races(place, scale, dtypes, until, say)
        else:
            found = gpu_fits.races(device, names, scale, cache, threads, until, say)
        part["races"] = []
        for race in found:
            part["races"].append(race)
            save()


def cats(say: Callable[[str], object]) -> dict[str, Any]:
    """`gpulr.bench.speedup` of the lesson's 2000 iterations on the cats; why not, where they are not at hand."""
    from gpulr import load_dataset
    from gpulr.bench import speedup

    folder = os.environ.get("GPULR_DATA")
    if not folder:
        return {"why_not": "set the environment variable GPULR_DATA to the folder of the cat files"}
    return speedup(
        load_dataset(folder), iterations=2000, repeats=3, budget=1.0, progress=lambda text: say(f"cats: {text}")
    )


def slug(name: str) -> str:
    """The name of a GPU as that of a folder: "NVIDIA H200" is nvidia-h200."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
