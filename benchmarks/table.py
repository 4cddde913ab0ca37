"""A race for the reader: one table a problem, and why what is missing is missing."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

NOT_MEASURED = "not measured"

LEGEND = (
    "Seconds to the relative gap, median ± half the spread of all rounds; × is the ratio to the first row. ! marks a gap "
    "that not every round reached. MB is peak memory above the data, of the host."
)


def show(race: dict[str, Any], console: Console) -> None:
    """Print a record of `benchmarks.race.race`."""
    entries = race["entries"]
    gaps = [result["gap"] for result in entries[0]["results"]]
    columns = [
        column for gap in gaps for column in (Column(f"{gap:.0e}", justify="right"), Column("×", justify="right"))
    ]
    table = Table("", *columns, Column("MB", justify="right"), box=box.SIMPLE, title=_title(race), title_justify="left")
    base = entries[0]["results"]
    reasons = []
    for entry in entries:
        cells: list[str] = []
        for result, other in zip(entry["results"], base, strict=True):
            cells += _cells(result, other)
        version = f" {entry['ready']['version']}" if entry["ready"] else ""
        table.add_row(escape(entry["competitor"] + version), *cells, megabytes(entry))
        reasons += _reasons(entry) + transfer(entry) + threads_differ(entry, race.get("threads"))
    console.print(table)
    if race.get("why_smaller"):
        reasons.append(race["why_smaller"])
    for reason in reasons:
        console.print(f"  {escape(reason)}", highlight=False)
    if race["reference"]["complaint"]:
        console.print(f"[bold red]{escape(race['reference']['complaint'])}")


def _title(race: dict[str, Any]) -> str:
    p, reference = race["problem"], race["reference"]
    penalty = f"l1_ratio {p['l1_ratio']:g}" if p["l1_ratio"] else "ridge"
    stored = "" if p["stored_as"] == p["dtype"] else f" from {p['stored_as']}"
    return (
        f"{p['name']}: {p['rows']:,} × {p['columns']:,}{' CSR' if p['sparse'] else ''}, {p['dtype']}{stored}, "
        f"{p['classes']} classes, {penalty}, C = {p['C']:g}, {'with' if p['intercept'] else 'no'} intercept; "
        f"F* = {reference['lowest_seen']:.10g}, certain to {reference['bound']:.0e}"
    )


def _cells(result: dict[str, Any], base: dict[str, Any]) -> tuple[str, str]:
    """Seconds, and their ratio to the base's."""
    if result["why_not"]:
        return "–", ""
    mark = "!" if max(result["reached"]) > result["gap"] else ""
    ratio = "" if base["why_not"] else f"{result['median'] / base['median']:.2f}"
    return f"{result['median']:.3g} ± {(result['greatest'] - result['least']) / 2:.1g}{mark}", ratio


def megabytes(entry: dict[str, Any]) -> str:
    """The peak memory of all its fits; that of a GPU is not measured."""
    timed = [result["extra_bytes"] for result in entry["results"] if not result["why_not"]]
    known = [size for size in timed if size is not None]
    return f"{max(known) / 1e6:,.0f}" if known else NOT_MEASURED * bool(timed)


def transfer(entry: dict[str, Any]) -> list[str]:
    """How long the data took to where the competitor computes, where that is worth a line."""
    seconds = (entry["ready"] or {}).get("transfer_seconds")
    if seconds is None or seconds < 1e-4:
        return []
    return [f"{entry['competitor']}: its data took {seconds:.3g} s to where it computes, which is not in these times"]


def threads_differ(entry: dict[str, Any], threads: int | None) -> list[str]:
    """A complaint of each BLAS library in the competitor's process that has more or fewer threads than the race allows.

    Not of OpenMP, whose threads a library may set anew at each of its calls.
    """
    if threads is None or not entry["ready"]:
        return []
    pools = entry["ready"]["thread_pools"]
    return [
        f"{entry['competitor']}: {pool['internal_api']} has {pool['num_threads']} threads, the race {threads}"
        for pool in pools
        if pool["user_api"] == "blas" and pool["num_threads"] != threads
    ]


def _reasons(entry: dict[str, Any]) -> list[str]:
    """Why there are no times: one line for all gaps that have the same reason."""
    reasons: dict[str, list[str]] = {}
    for result in entry["results"]:
        if result["why_not"]:
            reasons.setdefault(result["why_not"], []).append(f"{result['gap']:.0e}")
    all_gaps = len(entry["results"])
    return [
        f"{entry['competitor']}{'' if len(gaps) == all_gaps else ', ' + ', '.join(gaps)}: {why}"
        for why, gaps in reasons.items()
    ]
