"""The GPU's benchmark where there is no GPU: NumPy stands in for it, so that all but the figures is seen to be right."""

from __future__ import annotations

import io
import json
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from benchmarks import gpu_fits, gpu_passes, gpu_place, gpu_table, race, reference, roofline
from benchmarks.__main__ import main
from benchmarks.competitors import ON_DEVICE
from benchmarks.competitors.gpulr_cuda import GpulrCuda
from benchmarks.evaluate import objective
from benchmarks.gpu import NO_GPU, TimeIsUpError, ended_after, slug
from benchmarks.gpu_place import Host, Timing, interleaved
from benchmarks.race import Rules
from benchmarks.report import records, tables
from gpulr import device
from gpulr.passes import PASSES

SMALL = 0.0003


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def run(*arguments, status=0):
    result = CliRunner().invoke(main, ["gpu", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result.output


# --- the clock


class Clock(Host):
    """A place whose calls tell how long they take."""

    def seconds(self, call, calls=1):
        return call()


def test_contestants_are_timed_in_turn_and_who_fails_is_shown():
    order = []

    def call(name, seconds):
        def once():
            order.append(name)
            if seconds is None:
                raise MemoryError("no\nroom")
            return seconds

        return once

    found = interleaved(
        Clock(), {name: call(name, s) for name, s in (("a", 1e-3), ("b", None), ("c", 0.4), ("d", 0.1))}, 4, limit=0.5
    )
    assert found["a"].seconds == [1e-3] * 4
    assert found["a"].calls == 5  # as many as last a sample
    assert found["b"].why_not == "MemoryError: no room"
    assert found["b"].median is None
    assert found["c"].seconds == [0.4, 0.4]  # and then it has had its time
    assert found["d"].calls == 1
    assert order == ["a", "a", "b", "c", "c", "d", "d", *"acd", *"acd", *"ad", *"ad"]


def test_one_call_is_timed_however_long_it_takes():
    found = interleaved(Clock(), {"slow": lambda: 100.0}, 5, limit=0.5)
    assert found["slow"].seconds == [100.0]


def test_a_sample_is_divided_by_its_calls(monkeypatch):
    ticks = iter([0.0, 6.0])
    monkeypatch.setattr(gpu_place.time, "perf_counter", lambda: next(ticks))
    count = []
    assert Host().seconds(lambda: count.append(1), 3) == 2.0
    assert len(count) == 3


def test_of_calls_in_a_row_only_the_last_one_is_waited_for():
    class Later:
        def __init__(self):
            self.waited = False

        def block_until_ready(self):
            self.waited = True

    results = []

    def call():
        results.append(Later())
        return 0.0, results[-1]

    Host().seconds(call, 3)
    assert [each.waited for each in results] == [False, False, True]


def test_bandwidth_of_the_hosts_memory():
    found = gpu_place.bandwidth(Host(), 1 << 20, rounds=2)
    assert found["bytes"] == 1 << 20
    assert all(found[name] > 1e6 for name in ("read", "copy", "put", "asarray", "host_read"))


# --- the pass


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float16", "float32", "float64"])
def test_everyone_computes_the_same(dtype):
    record = gpu_passes.race(Host(), (300, 21), dtype, rounds=1)
    json.dumps(record, allow_nan=False)
    timings = {timing["name"]: timing for timing in record["timings"]}
    for name in ("gpulr, vectorized", "NumPy, two products"):
        assert timings[name]["why_not"] is None
        assert timings[name]["off"] < (1e-12 if dtype == "float64" else 1e-5)
        assert timings[name]["median"] > 0
    for name in ("PyTorch, two products", "JAX, jitted"):
        assert timings[name]["why_not"] is not None or timings[name]["off"] < 1e-5
    assert record["bytes"] == 300 * 21 * np.dtype(dtype).itemsize
    assert timings["gpulr, fused"]["why_not"]
    assert not timings["for loops"]["extrapolated"]


def test_the_judge_of_a_pass_is_right(rng):
    data = gpu_passes.draw(Host(), (50, 7), "float64")
    cost, dw, _, _ = PASSES["loop"](data.X, data.y, data.w, data.b)
    for entries in (21, 1 << 26):  # of a block: three rows, and all
        found = gpu_passes.reference(np, data, entries)
        assert found[0] == pytest.approx(float(cost), rel=1e-12)
        np.testing.assert_allclose(found[1], dw, rtol=1e-10, atol=1e-12)


def test_a_wrong_pass_has_no_time(monkeypatch):
    monkeypatch.setitem(gpu_passes.PASSES, "vectorized", lambda X, y, w, b, s: (y.sum(), w, b, y))
    record = gpu_passes.race(Host(), (300, 21), "float32", rounds=1)
    timing = record["timings"][0]
    assert timing["name"] == "gpulr, vectorized"
    assert timing["median"] is None
    assert timing["why_not"].startswith("computes something else: ")


def test_a_dtype_that_is_not_there_says_so():
    record = gpu_passes.race(Host(), (30, 2), "bfloat16")
    assert record["why_not"] == "TypeError: NumPy has no bfloat16"
    assert record["timings"] == []


def test_few_rows_stand_for_all(monkeypatch):
    monkeypatch.setattr(gpu_passes, "LOOP_ENTRIES", 200)
    monkeypatch.setattr(gpu_passes, "interleaved", lambda *_: {"": Timing("", [2.0])})
    numpy, loop = gpu_passes._on_the_cpu((1000, 20), "float32")
    assert (numpy.seconds, numpy.extrapolated) == ([2.0], False)
    assert (loop.seconds, loop.extrapolated) == ([200.0], True)  # ten of a thousand rows


def test_what_has_no_time_left_says_so():
    found = list(gpu_passes.races(Host(), 1e-6, ("float32",), time.monotonic() - 1, lambda _: None))
    assert len(found) == len(gpu_passes.SHAPES) == 6
    assert {race["why_not"] for race in found} == {"no time left"}


# --- fits


@pytest.mark.parametrize("kind", ON_DEVICE)
def test_a_competitor_on_a_device_reaches_the_gap(kind, cache):
    competitor = kind("cpu")
    missing = competitor.missing()
    if missing:
        pytest.skip(missing)
    problem = gpu_fits.problem("images", SMALL)
    best = reference.find(problem, cache).value
    if competitor.name.startswith("sklearn"):
        pytest.importorskip("sklearn", "1.8")  # whose lbfgs has an array-API path
    coef, intercept = competitor.fit(competitor.put(problem), 1e-6)
    assert type(coef) is type(intercept) is np.ndarray
    assert (objective(problem, coef, intercept) - best) / best < gpu_fits.GAP


@pytest.mark.parametrize("kind", ON_DEVICE)
def test_without_a_gpu_a_competitor_is_missing(kind, monkeypatch):
    monkeypatch.setattr(device, "why_no_gpu", lambda: "none here")
    why_not = kind().missing()
    assert why_not == "no GPU: none here" or why_not.startswith("not installed: pip install ")


@pytest.mark.parametrize("name", gpu_fits.NAMES)
def test_every_problem_is_made(name):
    problem = gpu_fits.problem(name, SMALL)
    assert problem.name == name
    assert gpu_fits.competitors("cpu")[0].unsupported(problem) is None
    with pytest.raises(KeyError):
        gpu_fits.problem("none", SMALL)


def test_the_loop_takes_as_many_passes_as_gpulr(monkeypatch):
    problem = gpu_fits.problem("tall", SMALL)
    monkeypatch.setattr(gpu_fits, "LOOP_ENTRIES", problem.X.shape[1] * 10)
    monkeypatch.setattr(gpu_fits, "interleaved", lambda *_: {"loop": Timing("loop", [0.5])})
    found = gpu_fits.loop(problem, [{"results": [{"tol": 1e-3}]}])
    assert found["pass_seconds"] == pytest.approx(0.5 * problem.X.shape[0] / 10)
    assert found["seconds"] == found["pass_seconds"] * found["passes"]
    assert found["passes"] >= 2
    assert gpu_fits.loop(problem, [{"results": [{"tol": None}]}]) is None


def test_a_race_that_starts_together(cache):
    problem = gpu_fits.problem("tall", SMALL)
    competitors = [GpulrCuda("cpu"), Unready("cpu"), GpulrCuda("cuda")]
    rules = Rules((gpu_fits.GAP,), 2, limit=20, patience=60, start=60, together=True)
    record = race.race(problem, reference.find(problem, cache), competitors, rules)
    ours, unready, no_gpu = (entry["results"][0] for entry in record["entries"])
    assert ours["why_not"] is None
    assert len(ours["seconds"]) == 2
    assert max(ours["reached"]) <= gpu_fits.GAP
    assert unready["why_not"] == "RuntimeError: not today"
    if device.why_no_gpu():
        assert no_gpu["why_not"].startswith(("no GPU", "not installed"))


class Unready(GpulrCuda):
    name = "unready"

    def put(self, problem):
        raise RuntimeError("not today")


class Slow:
    """A stand-in for `Remote`: every fit takes a minute of a clock of its own, and comes no nearer."""

    now = 0.0

    def __init__(self, *_):
        self.ready = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def start(self):
        Slow.now += 60

    def fit(self, tol, limit):
        Slow.now += 60
        return race_fit(tol)


def race_fit(tol):
    from benchmarks.messages import Fit

    return Fit(60.0, np.array([[tol]]), np.zeros(1), None, ())


def in_slow_time(monkeypatch, goal, **rules):
    problem = gpu_fits.problem("tall", SMALL)
    Slow.now = 0.0
    monkeypatch.setattr(race, "Remote", Slow)
    monkeypatch.setattr(race.time, "monotonic", lambda: Slow.now)
    monkeypatch.setattr(race, "objective", lambda problem, coef, intercept: 1 + coef[0, 0])
    found = reference.Reference(1.0, 0.0, "", np.zeros((1, 1)), np.zeros(1))
    record = race.race(problem, found, [GpulrCuda("cpu"), Unready("cpu")], Rules((goal,), 5, together=True, **rules))
    return [entry["results"][0] for entry in record["entries"]]


def test_one_who_is_slow_does_not_take_the_time_of_others(monkeypatch):
    first, second = in_slow_time(monkeypatch, 1e-9, patience=200.0)
    assert first["why_not"] == second["why_not"] == "no trial reached the gap in 200 s"
    first, second = in_slow_time(monkeypatch, 1e5, patience=200.0)
    assert len(first["seconds"]) == len(second["seconds"]) == 4  # until they have taken more
    first, second = in_slow_time(monkeypatch, 1e5, total=200.0)
    assert len(first["seconds"]) == 1  # the one round that everyone has
    assert second["why_not"] is None or second["why_not"] == "no time left"
    first, second = in_slow_time(monkeypatch, 1e5, total=100.0)
    assert second["why_not"] == first["why_not"] == "no time left"


def test_a_problem_that_cannot_be_raced_says_why(cache, monkeypatch):
    def too_large(*_):
        raise MemoryError("10 GiB")

    monkeypatch.setattr(gpu_fits, "problem", too_large)
    found = list(gpu_fits.races("cpu", ("tall", "wide"), 1.0, cache, 1, time.monotonic() + 60, lambda _: None))
    assert [race["why_not"] for race in found] == ["MemoryError: 10 GiB"] * 2
    monkeypatch.undo()
    monkeypatch.setattr("gpulr.device.host_memory", lambda: (1_000_000, 10**12))
    (full,) = gpu_fits.races("cpu", ("tall",), SMALL, cache, 1, time.monotonic() + 60, lambda _: None)
    assert full["why_not"].startswith("TooLargeError: a race of ")
    late = list(gpu_fits.races("cpu", ("tall",), 1.0, cache, 1, time.monotonic() - 1, lambda _: None))
    assert late == [{"problem": {"name": "tall"}, "why_not": "no time left"}]


# --- the record and its tables


def timing(name, seconds, **other):
    return {"name": name, "median": seconds, "extrapolated": False, "why_not": None} | other


def measured(**changes):
    """A record as of a GPU that reads 4 TB/s; every number in it is made up."""
    fused = timing("gpulr, fused", 1e-3)
    peers = [timing("CuPy, two products", 3e-3), timing("PyTorch, two products", 2e-3)]
    slow = timing("for loops", 50.0, extrapolated=True)
    races = [
        {"rows": 10**7, "columns": 100, "dtype": "float32", "bytes": 4 * 10**9, "timings": [fused, *peers, slow]},
        {"rows": 10**7, "columns": 100, "dtype": "uint8", "bytes": 10**9, "timings": [timing("gpulr, fused", 3e-4)]},
        {"rows": 10, "columns": 1, "dtype": "bfloat16", "why_not": "no time left", "timings": []},
    ]
    cats = {
        "name": "gpulr",
        "device": "cuda:0",
        "training_seconds": 0.015,
        "training_speedup": 5e4,
        "unavailable": None,
    }
    cats |= {"iteration_seconds": 1e-5, "transfer_seconds": 1e-3, "extrapolated": False}
    names = {"gpulr-cuda": 0.01, "torch-lbfgs-cuda": 0.05, "cuml": None, "gpulr": 0.012}
    results = {"why_not": None, "gap": 1e-6, "reached": [1e-7], "extra_bytes": None}
    entries = [
        {"competitor": name, "ready": None, "results": [results | {"median": s, "least": s, "greatest": s}]}
        for name, s in names.items()
    ]
    entries[2]["results"][0]["why_not"] = "not installed"
    problem = {"name": "tall", "rows": 1, "columns": 1, "sparse": False, "dtype": "float32", "stored_as": "float32"}
    problem |= {"classes": 2, "l1_ratio": 0, "C": 1.0, "intercept": False}
    fit = {"problem": problem, "reference": {"lowest_seen": 1.0, "bound": 0.0, "complaint": None}, "entries": entries}
    fit["loop"] = {"seconds": 200.0, "passes": 4, "pass_seconds": 50.0, "extrapolated": True}
    bandwidth = dict.fromkeys(("read", "copy", "put", "asarray", "host_read"), 4e12)
    parts = {"bandwidth": bandwidth, "pass": {"races": races}}
    parts["cats"] = {"results": [cats], "data": "cats", "iterations": 2000}
    parts["fit"] = {"races": [fit, {"problem": {"name": "wide"}, "why_not": "no time left"}]}
    return {"rehearsal": False, "parts": parts} | changes


def test_what_was_to_be_shown_is_compared_with_what_was_found():
    found = {goal: (value, met) for goal, value, met in gpu_table.goals(measured())}
    assert found == {
        "float32 pass ≥ 85 % of the read bandwidth": ("100% to 100%", True),
        "float32 pass ≥ 1.8 × CuPy's": ("3.00 to 3.00", True),
        "float32 pass ≥ 1.8 × PyTorch's": ("2.00 to 2.00", True),
        "uint8 pass ≥ 3 × as fast as float32's": ("3.33 to 3.33", True),
        "the cats' 2000 iterations < 20 ms": ("15 ms", True),
        "time to gap ≥ 3 × faster than the best GPU peer": ("5.00 to 5.00", True),
        "time to gap ≥ 10,000 × faster than the loop": ("20,000.00 to 20,000.00", True),
    }
    slow = measured()
    slow["parts"]["pass"]["races"][0]["timings"][0] = timing("gpulr, fused", 1.5e-3)
    slow["parts"]["fit"]["races"][0]["entries"][1]["results"][0]["median"] = 0.02
    missed = {goal for goal, _, met in gpu_table.goals(slow) if not met}
    assert len(missed) == 3
    assert {goal.partition(" ≥")[0] for goal in missed} == {
        "float32 pass",
        "time to gap",
    }


def test_a_rehearsal_and_an_empty_record_claim_nothing():
    assert list(gpu_table.goals(measured(rehearsal=True))) == []
    assert list(gpu_table.goals({"rehearsal": False, "parts": {"bandwidth": {"why_not": "broken"}}})) == []


def test_the_tables_have_everyone_and_every_reason():
    console = Console(width=140, record=True, file=io.StringIO())
    gpu_table.show(measured(), console)
    text = console.export_text()
    for part in (
        "read 4000.0", "gpulr, fused", "CuPy, two products", "for loops*", "100%", "no time left", "200 s for the 4 passes",
        "torch-lbfgs-cuda", "not installed", "50,000", "yes",
    ):  # fmt: skip
        assert part in text
    assert "rehearsal" not in text


# --- the command


def test_without_a_gpu_the_command_says_why(monkeypatch):
    monkeypatch.setattr(device, "why_no_gpu", lambda: "no NVIDIA driver is loaded")
    assert NO_GPU == 3
    assert "no GPU: no NVIDIA driver is loaded" in run(status=NO_GPU)


def test_rehearsal_end_to_end(cache, tmp_path, monkeypatch):
    monkeypatch.delenv("GPULR_DATA", raising=False)
    file = tmp_path / "gpu.json"
    small = ("--rehearse", "--scale", SMALL, "--cache", cache, "--json", file, "--threads", 1)
    text = run(*small, "--dtype", "uint8", "--problem", "tall", "--minutes", 3)
    record = json.loads(file.read_text())
    assert record["rehearsal"] is True
    assert list(record["parts"]) == ["bandwidth", "pass", "cats", "fit"]
    assert "GPULR_DATA" in record["parts"]["cats"]["why_not"]
    assert len(record["parts"]["pass"]["races"]) == 6
    (fit,) = record["parts"]["fit"]["races"]
    assert fit["entries"][0]["competitor"] == "gpulr-cuda"
    assert fit["entries"][0]["results"][0]["median"] > 0
    assert fit["loop"]["extrapolated"]
    assert "A rehearsal" in text
    assert "goal" not in text
    # The report can read what is written.
    runs = records.read(file)
    assert [run["benchmark"] for run in runs] == ["gpu", "pass", "peers"]
    assert len(tables.passes(runs[1]).rows) == sum(len(race["timings"]) for race in record["parts"]["pass"]["races"])
    assert tables.peers(runs[2]["races"][0]).rows[0][0].startswith("gpulr-cuda")


def test_parts_alone(tmp_path, monkeypatch):
    file = tmp_path / "gpu.json"
    run("--rehearse", "--parts", "pass", "--dtype", "float32", "--scale", 1e-5, "--json", file, "--threads", 1)
    assert list(json.loads(file.read_text())["parts"]) == ["bandwidth", "pass"]

    def broken(*_):
        raise RuntimeError("no nvrtc")

    monkeypatch.setattr("benchmarks.gpu.bandwidth", broken)
    text = run("--rehearse", "--parts", "bandwidth", "--scale", 1e-5, "--json", file, "--threads", 1)
    assert json.loads(file.read_text())["parts"]["bandwidth"]["why_not"] == "RuntimeError: no nvrtc"
    assert "no nvrtc" in text


def test_cats_are_raced_where_they_are(monkeypatch):
    from benchmarks.gpu import cats
    from gpulr import load_dataset

    small = load_dataset("digits")
    small = replace(small, X_train=small.X_train[:20], y_train=(small.y_train[:20] > 4).astype(int))
    monkeypatch.setenv("GPULR_DATA", "somewhere")
    monkeypatch.setattr("gpulr.load_dataset", lambda folder: small)
    found = cats(lambda _: None)
    assert found["iterations"] == 2000
    assert found["results"][0]["extrapolated"] in (True, False)
    assert any(result["name"] == "gpulr" and result["training_seconds"] for result in found["results"])


def test_a_record_lies_by_the_name_of_its_gpu():
    assert slug("NVIDIA H200") == "nvidia-h200"
    assert slug("Tesla T4 (rev. a1)") == "tesla-t4-rev-a1"


# --- the roofline


def test_the_roofline_is_that_of_the_readme():
    text = (Path(roofline.__file__).parent / "README.md").read_text()
    for line in roofline.tables():
        assert line in text
    assert CliRunner().invoke(main, ["roofline"]).stdout.count("|") == sum(
        line.count("|") for line in roofline.tables()
    )


def test_the_roofline_by_hand():
    card = roofline.Card(1e12, 10e12, 1e12)
    memory, arithmetic = roofline.seconds(card, "float32", 1000, 98)
    assert memory == pytest.approx(1000 * 400 / 1e12)
    assert arithmetic == pytest.approx(1000 * (2 * 98 + 100) / 5e12)
    assert roofline.share(card, "float32", 98) == pytest.approx(392 / 400)
    assert roofline.seconds(card, "float64", 1, 10)[0] == pytest.approx(96e-12)
    slow = roofline.Card(1e12, 1e11, 1e11)  # arithmetic is the limit
    assert roofline.share(slow, "uint8, int8", 100) == pytest.approx(100 / 1e12 / (500 / 5e10))


# --- the time


def test_it_ends_when_its_time_is_up_whatever_is_under_way(tmp_path, monkeypatch):
    def races(*arguments):
        yield {"problem": {"name": "first"}, "why_not": "it was quick"}
        try:
            time.sleep(60)
        except Exception:  # as a contestant's failure is shown, and the next one tried
            yield {"problem": {"name": "second"}}

    monkeypatch.setattr(gpu_fits, "races", races)
    monkeypatch.delenv("GPULR_DATA", raising=False)
    begin, file = time.monotonic(), tmp_path / "gpu.json"
    before = signal.getsignal(signal.SIGALRM)
    run("--rehearse", "--parts", "fit", "--parts", "cats", "--minutes", 0.02, "--json", file)
    assert time.monotonic() - begin < 20
    assert signal.getsignal(signal.SIGALRM) is before
    parts = json.loads(file.read_text())["parts"]
    assert parts["fit"]["why_not"] == "no time left"
    assert "GPULR_DATA" in parts["cats"]["why_not"]
    assert parts["fit"]["races"] == [{"problem": {"name": "first"}, "why_not": "it was quick"}]


def test_parts_that_had_no_turn_before_the_time_was_up_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.gpu.bandwidth", lambda *_: time.sleep(60))
    file = tmp_path / "gpu.json"
    run("--rehearse", "--parts", "fit", "--parts", "bandwidth", "--minutes", 0.01, "--json", file, "--threads", 1)
    parts = json.loads(file.read_text())["parts"]
    assert {name: part["why_not"] for name, part in parts.items()} == dict.fromkeys(
        ("bandwidth", "fit"), "no time left"
    )


def test_nobody_waits_for_who_has_yet_to_start_when_the_time_is_up(monkeypatch):
    ended = threading.Event()

    class Stuck(Slow):
        def start(self):
            ended.wait(60)

        def __exit__(self, *_):
            ended.set()

    problem = gpu_fits.problem("tall", SMALL)
    monkeypatch.setattr(race, "Remote", Stuck)
    begin = time.monotonic()
    found = reference.Reference(1.0, 0.0, "", np.zeros((1, 1)), np.zeros(1))
    with pytest.raises(TimeIsUpError), ended_after(0.1):
        race.race(problem, found, [GpulrCuda("cpu")], Rules((1e-3,), together=True))
    assert time.monotonic() - begin < 20


def test_the_minimum_of_a_fit_has_half_of_its_share(tmp_path, monkeypatch):
    given = []

    def find(problem, cache, seconds):
        given.append(seconds)
        raise TimeoutError("no time left to find the minimum")

    monkeypatch.setattr(reference, "find", find)
    until = time.monotonic() + 80
    found = list(gpu_fits.races("cpu", ("tall", "square"), SMALL, tmp_path, 1, until, lambda text: None))
    assert [race["why_not"] for race in found] == ["TimeoutError: no time left to find the minimum"] * 2
    assert given == [pytest.approx(20, abs=2), pytest.approx(40, abs=2)]
