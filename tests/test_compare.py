"""The comparison of two records, and that the guard's own tests hold; their times are none of this."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.compare import Measurement, measurements, slower
from gpulr import bench
from gpulr.bench import sizes

ROOT = Path(__file__).parents[1]


def peers_record(median, spread):
    result = {"gap": 1e-6, "median": median, "least": median - spread, "greatest": median + spread}
    entries = [{"competitor": "gpulr", "results": [result, {"gap": 1e-9, "median": None}]}]
    problem = {"name": "tall", "rows": 1000, "columns": 10, "dtype": "float32", "C": 1.0, "intercept": False}
    return {"benchmark": "peers", "races": [{"problem": problem, "entries": entries}]}


def written(folder, name, record):
    (folder / name).write_text(json.dumps(record))
    return folder / name


def compared(*files):
    return CliRunner().invoke(main, ["compare", *map(str, files)])


def test_slower_is_by_more_than_both_spreads():
    assert slower(Measurement(1.0, 0.9, 1.1), Measurement(1.3, 1.2, 1.3))
    assert not slower(Measurement(1.0, 0.9, 1.1), Measurement(1.15, 1.1, 1.2))
    assert not slower(Measurement(2.0, 2.0, 2.0), Measurement(1.0, 1.0, 1.0))


def test_what_got_slower_is_printed_and_is_an_error(tmp_path):
    before = written(tmp_path, "a.json", peers_record(1.0, 0.1))
    after = written(tmp_path, "b.json", peers_record(2.0, 0.1))
    result = compared(before, after)
    assert result.exit_code == 1
    assert "tall, 1,000 × 10, float32, gpulr to 1e-6" in result.output
    assert "2.00" in result.output
    assert "1 are slower and 0 faster" in result.output
    assert compared(before, before).exit_code == 0
    faster = compared(after, before)
    assert faster.exit_code == 0
    assert "0 are slower and 1 faster" in faster.output


def test_records_of_solvers_differ_by_their_correlation(tmp_path):
    record = peers_record(1.0, 0.1) | {"benchmark": "solvers"}
    names = [
        set(measurements(written(tmp_path, "a.json", record | {"settings": {"correlation": correlation}})))
        for correlation in (0.0, 0.9)
    ]
    assert names == [{f"tall, 1,000 × 10, float32, correlation {each}, gpulr to 1e-6"} for each in ("0", "0.9")]


def test_records_of_nothing_in_common_and_other_files_are_refused(tmp_path):
    before = written(tmp_path, "a.json", peers_record(1.0, 0.1))
    empty = written(tmp_path, "b.json", {"benchmark": "peers", "races": []})
    assert "nothing in common" in compared(before, empty).output
    assert "is no record" in compared(before, written(tmp_path, "c.json", [])).output
    assert "is no record" in compared(before, written(tmp_path, "d.json", {})).output


def test_all_kinds_of_records_are_read(tmp_path):
    effort = bench.Effort(2, 0.001, 100, ("float32",), 1_000, 1)
    speedup = {
        "benchmark": "speedup",
        "trainings": [bench.speedup(sizes.synthetic(100, "uint8"), iterations=2, repeats=2, budget=0.001)],
        "sweep": bench.sweep(effort, iterations=2),
    }
    passes = {"benchmark": "pass", **bench.passes(effort, dtypes=("float64",), threads=1)}
    both = written(tmp_path, "all.json", {"benchmark": "all", "records": [speedup, passes, peers_record(1.0, 0.1)]})
    found = measurements(both)
    for name in (
        "1e+02 entries uint8, gpulr on cpu: iteration",
        "1e+02 entries float32, lesson, NumPy on cpu: training",
        "pass over 10 × 100 float64, blocked on cpu",
        "tall, 1,000 × 10, float32, gpulr to 1e-6",
    ):
        assert found[name].least <= found[name].median <= found[name].greatest
    assert compared(both, both).exit_code == 0


def test_the_record_of_a_gpu_is_compared(tmp_path):
    def record(seconds):
        timing = {"name": "gpulr, fused", "seconds": [seconds] * 3, "extrapolated": False, "why_not": None}
        X = {"rows": 10, "columns": 100, "dtype": "uint8", "bytes": 1000, "timings": [timing]}
        parts = {"bandwidth": {"read": 1e9}, "pass": {"races": [X]}, "fit": {"races": peers_record(1.0, 0.1)["races"]}}
        return {"benchmark": "gpu", "machine": {"gpus": [{"device": "cuda:0"}]}, "parts": parts}

    before, after = (written(tmp_path, f"{seconds}.json", record(seconds)) for seconds in (0.5, 0.75))
    assert set(measurements(before)) == {
        "pass over 10 × 100 uint8, gpulr, fused on cuda:0", "tall, 1,000 × 10, float32, gpulr to 1e-6",
    }  # fmt: skip
    result = compared(before, after)
    assert result.exit_code == 1
    assert "1 are slower" in result.output
    assert "1.50" in result.output


def test_the_guard_compares_ratios(tmp_path):
    def guard(ratios):
        stats = {"median": 1.0, "min": 0.9, "max": 1.1}
        return {"benchmarks": [{"name": "a fit", "stats": stats, "extra_info": {"ratios": ratios}}]}

    before, after = (written(tmp_path, f"{r[0]}.json", guard(r)) for r in ([0.5, 0.5, 0.6], [0.8, 0.8, 0.9]))
    assert measurements(before)["a fit"] == Measurement(0.5, 0.5, pytest.approx(0.55), is_ratio=True)
    result = compared(before, after)
    assert result.exit_code == 1
    assert "0.5 ± 0.025" in result.output


def test_the_guard_runs_and_is_not_collected_by_default():
    pytest.importorskip("pytest_benchmark")
    guard = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "benchmarks/guard", "--benchmark-disable"]
    ran = subprocess.run(guard, capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout
    assert "13 passed" in ran.stdout
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert settings["testpaths"] == ["tests"]
