"""The pictures, in SVG by matplotlib, of a width that fits a phone.

Text is drawn as outlines, so that no font is missing anywhere. Series differ by colour (Okabe and Ito's, which the colour
blind can tell apart), by marker and by line.
"""

from __future__ import annotations

import io
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from benchmarks.report.records import Records, slug, title
from gpulr.bench.contestants import LOOP
from gpulr.bench.tables import size_of

WIDTH = 4.3
"""Inches: 413 pixels, about those of a phone."""

COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8B7500")
MARKERS = "osD^vP*X<>"
OURS = ("gpulr", "gpulr-compiled", "gpulr-cuda")
"""Competitors that are gpulr: drawn thick, in the first colours."""


def all_of(records: Records) -> dict[str, str]:
    """The pictures of a machine by name, as SVG elements."""
    return {name: draw() for name, draw in to_draw(records).items()}


def to_draw(records: Records) -> dict[str, Callable[[], str]]:
    """What draws each of them; of records of one kind the newest has the name without a number."""
    pictures: dict[str, Callable[[], str]] = {}
    # A GPU's record has a training, but no sweep.
    sweeps = [run["sweep"] for run in records.of("speedup") if run["sweep"]["points"]]
    for number, sweep in enumerate(reversed(sweeps)):
        for dtype in dict.fromkeys(point["stored_as"] for point in sweep["points"]):
            pictures[_name("speedup", dtype, number)] = partial(speedup, sweep, dtype)
    for number, run in enumerate(reversed(records.passes())):
        pictures[_name("roofline", "", number)] = partial(roofline, run)
    races = records.races()
    names = sorted({entry["competitor"] for race in races for entry in race["entries"]})
    names.sort(key=lambda name: name not in OURS)
    for race in races:
        pictures[f"convergence-{slug(race['problem'])}"] = partial(convergence, race, names)
    return pictures


def _name(kind: str, variant: str, number: int) -> str:
    return "-".join(part for part in (kind, variant, str(number + 1) if number else "") if part)


def speedup(sweep: dict[str, Any], dtype: str) -> str:
    """How many times faster than the loop an iteration is, over the number of entries."""
    points = [point for point in sweep["points"] if point["stored_as"] == dtype and "results" in point]
    lines: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        for each in point["results"]:
            if each["iteration_speedup"] is not None and each["name"] != "gpulr, vectorized pass":
                on = "" if each["name"] == LOOP or "," in each["name"] else f" on {each['device']}"
                lines.setdefault(each["name"] + on, []).append((point["entries"], each["iteration_speedup"]))
    with _figure(3.4) as (figure, finished):
        axes = figure.subplots()
        for number, (name, line) in enumerate(lines.items()):
            axes.loglog(*zip(*line, strict=True), label=name, **_style(number, 1.6))
        axes.set(xlabel=f"entries of X ({dtype})", ylabel="times faster than the loop")
        _below(figure, [axes], columns=2)
    return finished[0]


def roofline(run: dict[str, Any]) -> str:
    """GB/s of each pass by dtype, with the speed of plain reads as the roof; a panel for each number of columns, since the
    rows may differ by dtype.
    """
    timings = [timing for timing in run["timings"] if timing["why_not"] is None]
    widths = list(dict.fromkeys(timing["columns"] for timing in timings))
    dtypes = list(dict.fromkeys(timing["dtype"] for timing in timings))
    kinds = list(dict.fromkeys((timing["device"], timing["one_pass"]) for timing in timings))
    names = [name for _, name in kinds]
    labels = {kind: kind[1] if names.count(kind[1]) == 1 else f"{kind[1]}, {kind[0]}" for kind in kinds}
    with _figure(0.8 + 2.0 * len(widths)) as (figure, finished):
        panels = figure.subplots(len(widths), sharex=True, squeeze=False)[:, 0]
        for panel, width in zip(panels, widths, strict=True):
            here = [timing for timing in timings if timing["columns"] == width]
            for number, kind in enumerate(kinds):
                rates = [
                    (dtypes.index(timing["dtype"]), _rate(timing, "seconds"))
                    for timing in here
                    if (timing["device"], timing["one_pass"]) == kind
                ]
                if rates:
                    panel.semilogy(*zip(*rates, strict=True), label=labels[kind], **_style(number, 0.7))
            for device in dict.fromkeys(timing["device"] for timing in here):
                of_device = [timing for timing in here if timing["device"] == device and timing["read_seconds"]]
                roof = sorted({(dtypes.index(timing["dtype"]), _rate(timing, "read_seconds")) for timing in of_device})
                if roof:
                    label = f"read, {device}"
                    panel.semilogy(*zip(*roof, strict=True), color="#555555", linewidth=2.5, label=label)
            rows = sorted({timing["rows"] for timing in here})
            extent = " to ".join(f"{number:,}" for number in dict.fromkeys((rows[0], rows[-1])))
            panel.set_title(f"{extent} × {width:,}", fontsize=9)
            panel.set(ylabel="GB/s", xticks=range(len(dtypes)), xticklabels=dtypes, xlim=(-0.3, len(dtypes) - 0.7))
        _below(figure, panels, columns=3 if max(map(len, labels.values()), default=0) < 16 else 2)
    return finished[0]


def _rate(timing: dict[str, Any], what: str) -> float:
    """GB/s of X."""
    return size_of(timing) / statistics.median(timing[what]) / 1e9


def convergence(race: dict[str, Any], names: Sequence[str]) -> str:
    """The least gap that so many seconds of a fit led to, of all tolerances that were tried, a line for each competitor.

    Args:
        names: of the competitors of all races, whose colours go by them: the same in all pictures.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    with _figure(4.4) as (figure, finished):
        axes = figure.subplots()
        entries = sorted(race["entries"], key=lambda entry: entry["competitor"] not in OURS)
        drawn = [entry for entry in entries if entry["trials"]]
        for entry in drawn:
            name, line = entry["competitor"], front(entry["trials"])
            width = 2.6 if name in OURS else 1.1
            axes.loglog(*zip(*line, strict=True), label=name, **_style(names.index(name), width))
        for result in race["entries"][0]["results"]:
            axes.axhline(result["gap"], color="#999999", linewidth=0.6, linestyle=":")
        axes.set_ylim(top=10)
        axes.set_title(title(race["problem"]), fontsize=9)
        axes.set(xlabel="seconds", ylabel="relative gap (F − F*)/F*")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        _below(figure, [axes], columns=2)
    return finished[0]


def front(trials: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """Seconds and gap of the trials that no quicker one was as good as, in order of time.

    A trial is one fit, whose time may be disturbed: so the line need not fall with the tolerance, but this does.
    """
    line: list[tuple[float, float]] = []
    for trial in sorted(trials, key=lambda trial: float(trial["seconds"])):
        # A gap of zero is that of the best solution ever seen; a logarithmic axis has none.
        gap = max(trial["gap"], 1e-16)
        if not line or gap < line[-1][1]:
            line.append((trial["seconds"], gap))
    return line


def _style(number: int, width: float) -> dict[str, Any]:
    lines = ("-", "--", "-.", ":")
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": lines[number // len(COLOURS) % len(lines)],
        "linewidth": width,
        "markersize": 4.5,
    }


def _below(figure: Any, panels: Iterable[Any], columns: int) -> None:
    """One legend of all panels below them, where it covers nothing, with the height it needs."""
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    rows = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + 0.17 * rows)
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        handlelength=2.6,
    )


@contextmanager
def _figure(height: float) -> Iterator[tuple[Any, list[str]]]:
    """A figure, and a list that has its SVG element at the end."""
    import matplotlib
    from matplotlib.figure import Figure

    style = {
        "svg.fonttype": "path",
        "svg.hashsalt": "gpulr",  # the same records give the same file
        "font.family": "DejaVu Sans",  # comes with matplotlib
        "font.size": 8.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#E0E0E0",
        "grid.linewidth": 0.6,
    }
    finished: list[str] = []
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")
        yield figure, finished
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    element = out.getvalue()
    finished.append(
        re.sub(r"\s*<metadata>.*?</metadata>", "", element[element.index("<svg") :], flags=re.DOTALL).strip()
    )


def prefixed(element: str, prefix: str) -> str:
    """An SVG element whose identifiers begin with `prefix`, so that several are on one page."""
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", element)


def described(element: str, text: str) -> str:
    """An SVG element that says what it shows to those who cannot see it."""
    return element.replace("<svg ", f'<svg role="img" aria-label="{text}" ', 1)
