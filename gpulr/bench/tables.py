"""The benchmarks' records as tables for a terminal of 80 columns."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from gpulr.bench.contestants import LOOP


def show_training(record: dict[str, Any], out: Console) -> None:
    """Print a record of `gpulr.bench.speedup`."""
    shape = f"{record['n_samples']} samples, {record['n_features']} features"
    title = f"{record['data']}: {shape}, {record['dtype']}, training of {record['iterations']} iterations"
    names = ("", "device", "space", "iteration", "× loop", "training", "× loop")
    columns = [Column(name, justify="right" if place > 2 else "left", no_wrap=True) for place, name in enumerate(names)]
    table = Table(*columns, box=box.SIMPLE_HEAD, padding=0)  # so narrow that it fits 80 columns
    timed = [timing for timing in record["results"] if not timing["unavailable"]]
    for timing in record["results"]:
        if timing["unavailable"]:
            absent = "no GPU" if timing["device"] == "cuda" else "–"
            table.add_row(timing["name"], timing["device"], "", absent, "", absent, "")
            continue
        table.add_row(
            timing["name"], timing["device"], timing["space"],
            f"{timing['iteration_seconds'] * 1e3:.3f} ms", f"{timing['iteration_speedup']:.1f}",
            "*" * timing["extrapolated"] + f"{timing['training_seconds']:.3f} s", f"{timing['training_speedup']:.1f}",
        )  # fmt: skip
    out.print(escape(title), soft_wrap=True, highlight=False)
    out.print(table)
    for note in _notes(record, timed):
        out.print(escape(note), soft_wrap=True, highlight=False)


def _notes(record: dict[str, Any], timed: Sequence[dict[str, Any]]) -> list[str]:
    """What the reader should know beside the figures, each once."""
    notes = []
    if any(timing["extrapolated"] for timing in timed):
        notes.append("* extrapolated: cut short, and the other iterations added at the time of one")
    for timing in record["results"]:
        who = f"{timing['name']} on {timing['device']}"
        if timing["unavailable"]:
            notes.append(timing["unavailable"])
        elif timing["transfer_seconds"] is not None:
            notes.append(
                f"{who}: X moves to the GPU in {timing['transfer_seconds'] * 1e3:.3f} ms, a part of the training"
            )
        if timing["finite_costs"] is False:
            notes.append(f"{who}: its cost is not a finite number, for its formula takes log(0)")
    known = [step for step in record["steps"] if step["factor"] is not None]
    notes += [f"{step['what']}: × {step['factor']:.3g} from {step['from']} to {step['to']}" for step in known]
    ranges = [timing[key] for timing in timed for key in ("iteration_range", "training_range")]
    if any(greatest > 2 * least for least, greatest in ranges):
        notes.append("repeats differ more than twofold: the machine was busy (--json has the range of each time)")
    return list(dict.fromkeys(notes))


def show_sweep(record: dict[str, Any], out: Console) -> None:
    """Print a record of `gpulr.bench.sweep`: milliseconds of an iteration for each size and dtype."""
    heads: list[tuple[str, str]] = []
    for point in record["points"]:
        heads += [key for each in point.get("results", ()) if (key := (each["name"], each["device"])) not in heads]
    heads = [head for head in heads if "vectorized" not in head[0]]  # beside Gram space, in one or two sizes at most
    names = [f"{name if name != LOOP else 'loop'}\n{device}" for name, device in heads]
    table = Table(
        "entries", "dtype", *(Column(name, justify="right") for name in names), box=box.SIMPLE_HEAD, padding=0
    )
    left_out = []
    for point in record["points"]:
        if "why_not" in point:
            left_out.append(f"{point['entries']:.0e} {point['stored_as']}: {point['why_not']}")
            continue
        times = {(each["name"], each["device"]): each for each in point["results"]}
        table.add_row(f"{point['entries']:.0e}", point["stored_as"], *(_cell(times.get(head)) for head in heads))
    out.print("Milliseconds of one iteration", highlight=False)
    out.print(table)
    notes = ["* extrapolated from some of the rows", *left_out]
    notes += [
        each["unavailable"] for point in record["points"] for each in point.get("results", ()) if each["unavailable"]
    ]
    for crossing in record["crossovers"]:
        if crossing["measured"]:
            where = f"from {crossing['entries']:.0e} entries on" if crossing["entries"] else "at none of these sizes"
            notes.append(f"{crossing['dtype']}, {crossing['what']}: gpulr is faster on the GPU {where}")
    for note in dict.fromkeys(notes):
        out.print(escape(note), soft_wrap=True, highlight=False)


def _cell(timing: dict[str, Any] | None) -> str:
    if timing is None or timing["iteration_seconds"] is None:
        return "–"
    return f"{'*' * timing['iteration_extrapolated']}{timing['iteration_seconds'] * 1e3:.3g}"


def show_passes(record: dict[str, Any], out: Console) -> None:
    """Print a record of `gpulr.bench.passes`."""
    columns = [Column(head, justify="right") for head in ("ms", "reads of X", "GB/s", "MB more")]
    table = Table("X", "device", "pass", *columns, box=box.SIMPLE_HEAD, padding=0)
    notes = ["Medians; a read of X is one by all cores on the CPU. * is extrapolated from a few rows."]
    before = ""
    for timing in record["timings"]:
        X = samples(timing)
        cells = ["no GPU"] if timing["device"] == "cuda" else ["–"]
        if timing["why_not"] is None:
            cells = _figures(timing)
        else:
            who = "" if timing["device"] == "cuda" else f"{timing['one_pass']} on {timing['device']}: "
            notes.append(who + timing["why_not"])
        table.add_row(
            "" if before == X else X, timing["device"], timing["one_pass"] + "*" * timing["extrapolated"], *cells
        )
        before = X
        if timing["transfer_seconds"]:
            moved = statistics.median(timing["transfer_seconds"])
            rate = f"{moved * 1e3:.3g} ms, {size_of(timing) / moved / 1e9:.3g} GB/s"
            notes.append(f"{X} moves to {timing['device']} in {rate}, which is not in these times")
    out.print(table)
    for note in dict.fromkeys([*notes, *about_sizes(record), *copies(record)]):
        out.print(escape(note), soft_wrap=True, highlight=False)


def about_sizes(record: dict[str, Any]) -> list[str]:
    """What is to be said of the sizes of X: that memory was short, or that a cache may hold it."""
    cache = record.get("cache_bytes") or 0
    within = [timing for timing in record["timings"] if timing["device"] == "cpu" and size_of(timing) < cache]
    notes = list(record.get("notes", ()))
    if within:
        most = max(map(size_of, within))
        notes.append(
            f"X of up to {most / 1e6:,.0f} MB may stay in the processor's cache of {cache / 1e6:,.0f} MB: its reads are "
            "then none of memory"
        )
    return notes


def copies(record: dict[str, Any]) -> list[str]:
    """How fast the GPU copies X within its memory, a line for each X: bytes read and bytes written count."""
    lines = []
    for timing in record["timings"]:
        if timing["copy_seconds"]:
            rate = 2 * size_of(timing) / statistics.median(timing["copy_seconds"]) / 1e9
            lines.append(
                f"{timing['device']} copies {samples(timing)} within its memory at {rate:.3g} GB/s, read and written"
            )
    return list(dict.fromkeys(lines))


def samples(timing: dict[str, Any]) -> str:
    """X, in a word: "1,000 × 10 float32"."""
    return f"{timing['rows']:,} × {timing['columns']:,} {timing['dtype']}"


def size_of(timing: dict[str, Any]) -> int:
    """Bytes of X."""
    # NumPy has no bfloat16 of its own.
    itemsize = 2 if timing["dtype"] == "bfloat16" else np.dtype(timing["dtype"]).itemsize
    return int(timing["rows"] * timing["columns"] * itemsize)


def _figures(timing: dict[str, Any]) -> list[str]:
    seconds, read = statistics.median(timing["seconds"]), statistics.median(timing["read_seconds"])
    more = "" if timing["extra_bytes"] is None else f"{timing['extra_bytes'] / 1e6:.0f}"
    return [f"{1e3 * seconds:.3g}", f"{seconds / read:.2f}", f"{size_of(timing) / seconds / 1e9:.3g}", more]
