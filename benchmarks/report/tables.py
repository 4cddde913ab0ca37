"""The records as tables of text, for the page and for the README alike."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.report.figures import OURS
from benchmarks.report.records import Records, median, power, short, title
from benchmarks.table import NOT_MEASURED, megabytes, threads_differ, transfer
from gpulr.bench.tables import about_sizes, copies, samples, size_of

MISSED = "! marks a gap that not every round reached."


@dataclass(frozen=True)
class Table:
    """Cells of plain text, the first row being the head, and what to say below."""

    title: str
    head: Sequence[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """As GitHub renders it; all columns but the first aligned to the right."""
        lines = [self.head, ["---", *["---:"] * (len(self.head) - 1)], *self.rows]
        table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        return "\n\n".join([f"{self.title}:", table, *self.notes])

    def html(self) -> str:
        """A table that scrolls by itself where it is too wide."""

        def row(cells: Sequence[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "\n".join(row(cells, "td") for cells in self.rows)
        notes = "".join(map(note, self.notes))
        caption = f"<caption>{html.escape(self.title)}</caption>"
        return f"<div class=wide><table>{caption}{row(self.head, 'th')}\n{body}</table></div>{notes}"


def note(text: str) -> str:
    """A line of the page in small print."""
    return f"<p class=note>{html.escape(text)}</p>"


def machine(records: Records) -> Table:
    """The processor, its memory and GPUs, and when what was measured there."""
    latest = max((run["machine"] for run in records.runs), key=lambda facts: str(facts["date"]))
    gpus = [f"{gpu['name']}, driver for CUDA {gpu['driver_cuda']}" for gpu in latest["gpus"]]
    versions = latest.get("versions") or {"numpy": latest["numpy"]}
    commits = dict.fromkeys(
        run["machine"]["commit"][:10] + " with changes" * run["machine"]["modified"]
        for run in records.runs
        if run["machine"]["commit"]
    )
    installed = {"Python": latest["python"], **versions}
    pools = [f"{pool['library']} {pool['version'] or ''}, {pool['threads']} threads" for pool in latest["thread_pools"]]
    rows = [
        ["processor", f"{latest['processor']}, {latest['cores']} cores"],
        ["memory", f"{latest['memory_bytes'] / 1e9:.0f} GB, read at {latest['read_bandwidth'] / 1e9:.1f} GB/s"],
        ["GPU", ", ".join(gpus) or NOT_MEASURED],
        ["versions", ", ".join(f"{name} {version}" for name, version in installed.items())],
        ["threads", "; ".join(pools)],
        ["commits", ", ".join(commits)],
        ["last run", latest["date"]],
    ]
    busy = max(run["machine"]["load"] for run in records.runs)
    notes = [
        f"The machine's load was up to {busy:.1f} in the minute before a run, the end of the run before it included."
    ]
    return Table(records.name, ["", ""], rows, notes)


def training(run: dict[str, Any]) -> Table:
    """One record of `gpulr.bench.speedup`."""
    shape = f"{run['n_samples']:,} × {run['n_features']:,}, {run['iterations']:,} iterations in {run['dtype']}"
    rows, reasons = [], []
    for each in run["results"]:
        if each["unavailable"]:
            rows.append([each["name"], "GPU", NOT_MEASURED, "", NOT_MEASURED, ""])
            if each["device"] != "cuda":  # there is a GPU
                reasons.append(f"{each['name']} on {each['device']}: {each['unavailable']}")
            continue
        star = "*" * each["extrapolated"]
        rows.append(
            [each["name"], each["device"], short(each["iteration_seconds"]), f"{each['iteration_speedup']:,.0f}",
             short(each["training_seconds"]) + star, f"{each['training_speedup']:,.0f}"]
        )  # fmt: skip
    steps = [f"{step['what']} × {step['factor']:.3g}" for step in run["steps"] if step["factor"] is not None]
    notes = [
        f"The training, step by step: {', '.join(steps)}.",
        "An asterisk marks what is extrapolated from as many iterations as fit in a few seconds.",
        *reasons,
        *clocks((f"{each['name']} on {each['device']}", each.get("clock")) for each in run["results"]),
    ]
    head = ["", "device", "an iteration", "× loop", "the training", "× loop"]
    return Table(f"{run['data']}, {shape}", head, rows, notes)


def clocks(timed: Iterable[tuple[str, str | None]]) -> list[str]:
    """By which clock whose times are, a line for each but the host's, which is everybody else's."""
    names: dict[str, list[str]] = {}
    for name, clock in dict.fromkeys(timed):
        if clock not in (None, "host"):
            names.setdefault(str(clock), []).append(name)
    return [f"Timed by {clock}: {'; '.join(whose)}." for clock, whose in names.items()]


def crossovers(sweep: dict[str, Any]) -> Table:
    """From where on a GPU is faster."""
    rows = []
    for each in sweep["crossovers"]:
        where = f"{each['entries']:,} entries" if each["entries"] else "none of the sizes"
        rows.append([each["dtype"], each["what"], where if each["measured"] else NOT_MEASURED])
    return Table("gpulr is faster on the GPU than on the CPU from", ["dtype", "what", "from"], rows)


def passes(run: dict[str, Any]) -> Table:
    """One record of `gpulr.bench.passes`."""
    rows: list[list[str]] = []
    reasons: list[str] = []
    before = ""
    for each in run["timings"]:
        X = samples(each)
        X, before = "" if before == X else X, X
        seconds = median(each["seconds"])
        if seconds is None:
            device = "GPU" if each["device"] == "cuda" else each["device"]
            rows.append([X, device, each["one_pass"], NOT_MEASURED, "", "", ""])
            reasons.append(each["why_not"] if device == "GPU" else f"{each['one_pass']}: {each['why_not']}")
            continue
        name = each["one_pass"] + "*" * each["extrapolated"]
        moved, read = median(each["transfer_seconds"]), median(each["read_seconds"])
        rows.append(
            [X, each["device"], name, short(seconds), f"{seconds / read:.2f}" if read else "",
             f"{size_of(each) / seconds / 1e9:.3g}", short(moved) if moved else ""]
        )  # fmt: skip
    head = ["X", "device", "pass", "time", "reads of X", "GB/s", "transfer"]
    notes = ["An asterisk marks what is extrapolated from a few rows.", *dict.fromkeys(reasons)]
    notes += [*about_sizes(run), *copies(run)]
    notes += clocks((each["one_pass"], each.get("clock")) for each in run["timings"] if each["seconds"])
    return Table("One forward and backward pass", head, rows, notes)


def peers(race: dict[str, Any]) -> Table:
    """One race: seconds to each gap."""
    gaps = [result["gap"] for result in race["entries"][0]["results"]]
    base = [result["median"] for result in race["entries"][0]["results"]]
    rows, notes = [], []
    for entry in race["entries"]:
        cells = [entry["competitor"] + (f" {entry['ready']['version']}" if entry["ready"] else "")]
        for result, first in zip(entry["results"], base, strict=True):
            if result["why_not"]:
                cells += ["–", ""]
                continue
            spread = (result["greatest"] - result["least"]) / 2
            cells += [
                f"{short(result['median'])} ± {short(spread)}{_mark(result)}",
                f"{result['median'] / first:.2f}" if first else "",
            ]
        rows.append([*cells, megabytes(entry)])
        reasons = {
            result["why_not"]: power(result["gap"]) for result in reversed(entry["results"]) if result["why_not"]
        }
        notes += [f"{entry['competitor']}, from {gap} on: {why}" for why, gap in reasons.items()]
        notes += [*transfer(entry), *threads_differ(entry, race["threads"])]
    notes += [MISSED] * any("!" in cell for row in rows for cell in row)
    notes += [race["reference"]["complaint"]] * bool(race["reference"]["complaint"])
    notes += clocks((entry["competitor"], entry.get("clock")) for entry in race["entries"] if entry["ready"])
    notes += [race["why_smaller"]] if race.get("why_smaller") else []
    loop = race.get("loop")  # of a GPU's record
    if loop:
        passes = f"the {loop['passes']:.3g} passes of gpulr's fit, {short(loop['pass_seconds'])} each"
        notes.append(f"For loops, extrapolated from a few rows: {short(loop['seconds'])} for {passes}.")
    head = ["", *(cell for gap in gaps for cell in (f"to {power(gap)}", "×")), "MB"]
    return Table(f"{title(race['problem'])}: time to a relative gap", head, rows, notes)


def best(races: Sequence[dict[str, Any]], gap: float) -> Table:
    """gpulr against the fastest of the others, on all problems, to one gap."""
    rows: list[list[str]] = []
    limits: set[float] = set()
    numbers: list[int] = []
    for race in races:
        results = dict(_to(race, gap))
        if not results:
            continue
        limits |= {race["limit"]} if race["limit"] else set()
        numbers.append(sum(bool(entry["ready"]) for entry in race["entries"] if entry["competitor"] not in OURS))
        times = {name: result["median"] for name, result in results.items()}
        texts = {name: short(times[name]) + _mark(result) for name, result in results.items()}
        others = {name: seconds for name, seconds in times.items() if name not in OURS}
        cells = [title(race["problem"]) + _threads(race, races)]
        cells += [texts.get(name, "–") for name in ("gpulr", "gpulr-compiled")]
        cells.append(texts.get("gpulr-cuda", NOT_MEASURED))
        if others:
            name = min(others, key=lambda each: others[each])
            cells += [f"{texts[name]}, {name}"]
            ours = [times[each] for each in OURS if each in times]
            cells.append(f"{others[name] / min(ours):.2f}" if ours else "–")
        else:
            cells += [f"none of {numbers[-1]}", "–"]
        rows.append(cells)
    head = ["problem", "gpulr", "gpulr, compiled", "gpulr, GPU", "fastest other", "other ÷ gpulr"]
    notes = [MISSED] * any("!" in cell for row in rows for cell in row)
    if limits:
        given_up = f"Fits of over {' or '.join(map(short, sorted(limits)))} were given up"
        many = " to ".join(str(number) for number in sorted({min(numbers), max(numbers)}))
        notes.append(f"{given_up}; beside gpulr raced {many} other{'s' * (many != '1')}.")
    return Table(f"Time to a relative gap of {power(gap)}", head, rows, notes)


def _threads(race: dict[str, Any], races: Sequence[dict[str, Any]]) -> str:
    """How many a race had, where they did not all have as many."""
    return (
        f", {race['threads']} thread{'s' * (race['threads'] > 1)}"
        if len({each["threads"] for each in races}) > 1
        else ""
    )


def _mark(result: dict[str, Any]) -> str:
    """See `MISSED`."""
    return "!" * (max(result["reached"]) > result["gap"])


def _to(race: dict[str, Any], gap: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """The results of those who have a time to this gap, by competitor."""
    for entry in race["entries"]:
        for result in entry["results"]:
            if result["gap"] == gap and not result["why_not"]:
                yield entry["competitor"], result
