"""The GPU's record for the reader: tables, and what was to be shown against what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from benchmarks import table
from benchmarks.gpu_passes import ON_CPU
from gpulr.bench.tables import samples

OURS = "gpulr, fused"
PEERS = ("CuPy, two products", "PyTorch, two products")
LEGEND = "Medians. * is extrapolated from a few rows. 'share' is of the read bandwidth measured in the same run."


def show(record: dict[str, Any], out: Console) -> None:
    """Print all parts that a record has."""
    parts = record["parts"]
    for name, part in parts.items():
        if "why_not" in part:
            out.print(f"\n{name}: {escape(part['why_not'])}")
    if "read" in parts.get("bandwidth", {}):
        out.print("\n" + _bandwidth(parts["bandwidth"]))
    if parts.get("pass", {}).get("races"):
        out.print(_passes(parts["pass"]["races"], parts["bandwidth"].get("read")))
        out.print(LEGEND)
    if parts.get("cats", {}).get("results"):
        out.print(_cats(parts["cats"]))
    for race in parts.get("fit", {}).get("races", []):
        _fit(race, out)
    if parts.get("fit", {}).get("races"):
        out.print(table.LEGEND)
    found = list(goals(record))
    if found:
        goal_table = Table("goal", "found", "", box=box.SIMPLE)
        for text, value, met in found:
            goal_table.add_row(escape(text), escape(value), "yes" if met else "[bold red]no")
        out.print(goal_table)
    if record["rehearsal"]:
        out.print("[bold]A rehearsal on the CPU with small data: nothing here is a figure of a GPU.")


def _bandwidth(part: dict[str, Any]) -> str:
    names = {"read": "read", "copy": "copy", "put": "from the host", "asarray": "from the host by CuPy"}
    of = ", ".join(f"{text} {part[name] / 1e9:.1f}" for name, text in names.items())
    return f"Memory, GB/s: {of}; the host reads its own with one core at {part['host_read'] / 1e9:.1f}"


def _passes(races: list[dict[str, Any]], read: float | None) -> Table:
    columns = [Column(head, justify="right") for head in ("ms", "GB/s", "share", "× fastest peer")]
    result = Table("X", "pass", *columns, box=box.SIMPLE)
    for race in races:
        head = samples(race)
        if "why_not" in race:
            result.add_row(head, escape(race["why_not"]))
        peers = [t["median"] for t in race["timings"] if t["name"] in (*PEERS, "JAX, jitted") and t["median"]]
        for timing in race["timings"]:
            name = timing["name"] + "*" * timing["extrapolated"]
            if timing["median"] is None:
                result.add_row(head, name, escape(timing["why_not"]))
                continue
            speed = race["bytes"] / timing["median"]
            share = f"{speed / read:.0%}" if read and timing["name"] not in ON_CPU else ""
            ratio = f"{min(peers) / timing['median']:.2f}" if peers else ""
            result.add_row(head, name, f"{1e3 * timing['median']:.4g}", f"{speed / 1e9:.4g}", share, ratio)
            head = ""
    return result


def _cats(part: dict[str, Any]) -> Table:
    columns = [
        Column(head, justify="right") for head in ("an iteration, ms", "training, s", "× the loop", "transfer, ms")
    ]
    title = f"{part['data']}: {part['iterations']} iterations"
    result = Table("", "device", *columns, box=box.SIMPLE, title=title, title_justify="left")
    for r in part["results"]:
        name = escape(r["name"]) + "*" * r["extrapolated"]
        if r["unavailable"]:
            result.add_row(name, r["device"], escape(r["unavailable"]))
            continue
        transfer = "" if r["transfer_seconds"] is None else f"{1e3 * r['transfer_seconds']:.3g}"
        result.add_row(
            name, r["device"], f"{1e3 * r['iteration_seconds']:.4g}", f"{r['training_seconds']:.4g}",
            f"{r['training_speedup']:,.0f}", transfer,
        )  # fmt: skip
    return result


def _fit(race: dict[str, Any], out: Console) -> None:
    if "why_not" in race:
        out.print(f"\n{race['problem']['name']}: {escape(race['why_not'])}")
        return
    table.show(race, out)
    if race["loop"]:
        loop = race["loop"]
        out.print(
            f"  for loops, extrapolated from a few rows: {loop['seconds']:.4g} s for the {loop['passes']:.3g} passes of "
            f"gpulr, {loop['pass_seconds']:.4g} s each"
        )


def goals(record: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """(goal, what was found, whether it is met), for what the record has figures of."""
    if record["rehearsal"]:
        return
    parts = record["parts"]
    races = parts.get("pass", {}).get("races", [])
    read = parts.get("bandwidth", {}).get("read")
    full = [r for r in races if r["dtype"] == "float32" and _time(r, OURS)]
    if full and read:
        yield _least(
            "float32 pass ≥ 85 % of the read bandwidth", [r["bytes"] / _time(r, OURS) / read for r in full], 0.85
        )
    for peer in PEERS:
        both = [_time(r, peer) / _time(r, OURS) for r in full if _time(r, peer)]
        if both:
            yield _least(f"float32 pass ≥ 1.8 × {peer.partition(',')[0]}'s", both, 1.8)
    bytes_of = {r["columns"]: _time(r, OURS) for r in races if r["dtype"] == "uint8" and _time(r, OURS)}
    both = [_time(r, OURS) / bytes_of[r["columns"]] for r in full if r["columns"] in bytes_of]
    if both:
        yield _least("uint8 pass ≥ 3 × as fast as float32's", both, 3.0)
    ours = [r for r in parts.get("cats", {}).get("results", []) if r["device"] != "cpu" and r["training_seconds"]]
    if ours:
        best = min(r["training_seconds"] for r in ours if r["name"].startswith("gpulr"))
        yield "the cats' 2000 iterations < 20 ms", f"{1e3 * best:.3g} ms", best < 0.02
    yield from _of_fits([r for r in parts.get("fit", {}).get("races", []) if "entries" in r])


def _of_fits(races: list[dict[str, Any]]) -> Iterator[tuple[str, str, bool]]:
    over_peers, over_loop = [], []
    for race in races:
        # gpulr on the GPU is the first; those of the CPU are gpulr, too.
        mine, *others = [(e["competitor"], e["results"][0]["median"]) for e in race["entries"]]
        peers = [seconds for name, seconds in others if seconds and not name.startswith("gpulr")]
        if mine[1] and peers:
            over_peers.append(min(peers) / mine[1])
        if mine[1] and race["loop"]:
            over_loop.append(race["loop"]["seconds"] / mine[1])
    if over_peers:
        yield _least("time to gap ≥ 3 × faster than the best GPU peer", over_peers, 3.0)
    if over_loop:
        yield _least("time to gap ≥ 10,000 × faster than the loop", over_loop, 1e4)


def _time(race: dict[str, Any], name: str) -> Any:
    """The median of a contestant, None where it has none."""
    return next((t["median"] for t in race["timings"] if t["name"] == name), None)


def _least(goal: str, values: list[float], at_least: float) -> tuple[str, str, bool]:
    text: Callable[[float], str] = (lambda v: f"{v:.0%}") if at_least < 1 else (lambda v: f"{v:,.2f}")
    least = min(values)
    return goal, f"{text(least)} to {text(max(values))}", least >= at_least
