"""The race: that every contestant computes the same thing and that the record says what was measured."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import gpu

from gpulr import bench, device, load_dataset
from gpulr.bench import clock, contestants, machine, notebook, race, roofline, sizes, tables
from gpulr.bench.contestants import LOOP, Contestant, Setting
from gpulr.cli import main
from gpulr.datasets import Dataset
from gpulr.training import train


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def test_the_lessons_numpy_trains_the_same_model(digits):
    X, Y = (digits.X_train * digits.scale).T, digits.y_train[None, :].astype(float)
    w, b, costs = notebook.lesson_train(X, Y, 0.1, 20)
    model = train(digits, iterations=20, learning_rate=0.1, dtype="float64").model
    np.testing.assert_allclose(w[:, 0], model.w, rtol=1e-10)
    np.testing.assert_allclose(b, model.b, rtol=1e-10)
    assert costs == [pytest.approx(np.log(2))]


def results_of(record):
    json.dumps(record, allow_nan=False)
    return {(timing["name"], timing["device"]): timing for timing in record["results"]}


def wide_data(seed=0, scale=1.0):
    """More features than samples, so that a long training is in Gram space."""
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((20, 200)).astype(np.float32), np.arange(20) % 2
    return Dataset("wide", X, y, X[:0], y[:0], ("a", "b"), None, scale)


def test_the_record(digits):
    record = bench.speedup(digits, iterations=40, repeats=2, budget=0.02)
    results = results_of(record)
    loop, gpulr = results[LOOP, "cpu"], results["gpulr", "cpu"]
    assert loop["extrapolated"]
    assert loop["iteration_speedup"] == loop["training_speedup"] == 1
    for timing in (loop, gpulr, results["lesson, NumPy", "cpu"]):
        assert timing["space"] == "features"
        assert timing["finite_costs"]
        assert timing["transfer_seconds"] is None
        assert timing["training_speedup"] == pytest.approx(loop["training_seconds"] / timing["training_seconds"])
        for what in ("iteration", "training"):
            least, greatest = timing[f"{what}_range"]
            assert 0 < least <= timing[f"{what}_seconds"] <= greatest
    assert record["environment"]["thread_pools"]


def test_what_is_cut_short_is_extrapolated_to_the_whole():
    ran = []

    def training(length):
        ran.append(length)
        time.sleep(0.01 * length)
        return []

    slow = Contestant("slow", device.choose("cpu"), "features", lambda: time.sleep(0.01), training, lambda: None)
    (timing,) = race._race([slow], iterations=100, repeats=1, budget=0.05, progress=clock.silent)
    assert timing.extrapolated
    assert max(ran) <= 5
    assert 1 <= timing.training_seconds < 2


def test_gpulr_is_timed_in_the_space_where_it_trains():
    results = results_of(bench.speedup(wide_data(), iterations=2000, repeats=1, budget=0.01))
    assert results["gpulr", "cpu"]["space"] == "gram"
    assert not results["gpulr", "cpu"]["extrapolated"]
    assert results["gpulr, vectorized pass", "cpu"]["space"] == "features"
    assert results["gpulr, vectorized pass", "cpu"]["extrapolated"]


def test_the_lesson_computes_in_float64_from_the_stored_data(monkeypatch):
    seen = []
    propagate = notebook.lesson_propagate
    monkeypatch.setattr(notebook, "lesson_propagate", lambda w, b, X, Y: seen.append(X.dtype) or propagate(w, b, X, Y))
    lesson = contestants._lesson(wide_data(), device.choose("cpu"), Setting(1, 0.005))
    lesson.training(1)
    assert seen == [np.float64]


def test_a_cost_of_nan_is_told_and_warns_of_nothing():
    # Features so large that the lesson's 1 - A is 0; filterwarnings makes any warning an error.
    results = results_of(bench.speedup(wide_data(scale=100.0), iterations=300, repeats=1, budget=10.0))
    assert not results["lesson, NumPy", "cpu"]["finite_costs"]
    assert results["gpulr", "cpu"]["finite_costs"]


class StandInGpu(device.Device):
    """A "GPU" with NumPy's arrays that knows whether it is the current device."""

    depth = 0

    @contextmanager
    def current(self):
        StandInGpu.depth += 1
        try:
            yield
        finally:
            StandInGpu.depth -= 1

    def put(self, array):
        assert StandInGpu.depth > 0
        return array

    def send(self, array):
        return self.put(array), None

    def synchronize(self):
        pass


def test_the_gpu_is_the_current_device_and_its_timer_gets_a_name(monkeypatch):
    names = []

    def benchmark(func, *, n_repeat, n_warmup, name=None):  # as CuPy's: a partial has no __name__
        assert StandInGpu.depth > 0
        names.append(name or func.__name__)
        func()
        return SimpleNamespace(gpu_times=np.full((1, n_repeat), 0.25))

    choose = device.choose
    stand_in = StandInGpu("cuda:1", "a stand-in")
    monkeypatch.setattr(clock, "seconds_between_events", lambda function, _: (function(), 0.5)[1])
    monkeypatch.setitem(sys.modules, "cupyx", ModuleType("cupyx"))
    monkeypatch.setitem(sys.modules, "cupyx.profiler", SimpleNamespace(benchmark=benchmark))
    monkeypatch.setattr(device, "choose", lambda name: choose(name) if name == "cpu" else stand_in)
    results = results_of(bench.speedup(wide_data(), iterations=2000, repeats=1, budget=0.01))
    assert names == ["lesson, CuPy", "gpulr", "gpulr, vectorized pass"]
    assert StandInGpu.depth == 0
    assert not any(timing["unavailable"] for timing in results.values())
    for name in names:
        assert results[name, "cuda:1"]["iteration_seconds"] == 0.25
        assert results[name, "cuda:1"]["transfer_seconds"] == 0.5
    assert results["gpulr", "cuda:1"]["training_seconds"] == 0.5
    assert {timing["device"]: timing["clock"] for timing in results.values()} == {"cpu": "host", "cuda:1": "GPU events"}


def test_a_training_on_a_gpu_is_timed_between_two_events_that_see_all_streams(monkeypatch):
    told = []

    class Event:
        def record(self):
            told.append("event")

        def synchronize(self):
            told.append("wait for it")

    class Gpu(StandInGpu):
        def synchronize(self):
            told.append("wait for all")

    cuda = SimpleNamespace(Event=Event, get_elapsed_time=lambda start, end: 250.0)  # milliseconds
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
    assert clock.seconds(lambda: told.append("work"), Gpu("cuda:0", "a stand-in")) == 0.25
    assert told == ["wait for all", "event", "work", "wait for all", "event", "wait for it"]


@pytest.mark.gpu
def test_the_race_on_a_gpu(request):
    gpu(request)
    results = results_of(bench.speedup(wide_data(), iterations=2000, repeats=1, budget=0.1))
    assert not any(timing["unavailable"] for timing in results.values())
    for name in ("lesson, CuPy", "gpulr", "gpulr, vectorized pass"):
        assert results[name, "cuda:0"]["iteration_seconds"] > 0
        assert results[name, "cuda:0"]["training_seconds"] > results[name, "cuda:0"]["transfer_seconds"] > 0


def test_without_a_gpu_the_reason_is_given(digits, monkeypatch):
    monkeypatch.setattr(device, "why_no_gpu", lambda: "a stand-in for the reason")
    record = bench.speedup(digits, iterations=1, repeats=1, budget=0.01)
    missing = [timing for timing in record["results"] if timing["unavailable"]]
    assert [timing["device"] for timing in missing] == ["cuda", "cuda"]
    assert all("a stand-in for the reason" in timing["unavailable"] for timing in missing)
    assert all(timing["iteration_seconds"] is None for timing in missing)


EFFORT = bench.Effort(
    repeats=1, budget=0.01, largest=1000, dtypes=("float32", "uint8"), pass_entries=2000, pass_shapes=1
)


def test_the_sweep(monkeypatch):
    monkeypatch.setattr(sizes, "LOOP_ENTRIES", 300)
    record = bench.sweep(EFFORT, iterations=20)
    json.dumps(record, allow_nan=False)
    assert [(point["entries"], point["stored_as"]) for point in record["points"]] == [
        (100, "float32"), (1000, "float32"), (100, "uint8"), (1000, "uint8"),
    ]  # fmt: skip
    for point in record["points"]:
        assert point["n_samples"] * point["n_features"] == pytest.approx(point["entries"], rel=0.01)
        results = results_of(point)
        assert results[LOOP, "cpu"]["iteration_extrapolated"] == (point["entries"] > 300)
        assert not results["lesson, NumPy", "cpu"]["iteration_extrapolated"]
        assert results["gpulr", "cpu"]["finite_costs"]


def test_the_loop_on_some_rows_is_extrapolated_to_all():
    data = sizes.synthetic(10_000, "float32")
    loop = contestants.on_device(data, device.choose("cpu"), Setting(1, 0.005, "float32", loop_entries=1000))[0]
    assert loop.factor == 10
    assert loop.training(1) == [pytest.approx(np.log(2))]


def test_a_size_that_does_not_fit_in_memory_is_left_out(monkeypatch):
    monkeypatch.setattr(device, "host_memory", lambda: (10_000, 10**12))
    first, second = bench.sweep(bench.Effort(1, 0.01, 1000, ("float32",), 0, 0), iterations=2)["points"]
    assert first["results"]
    assert "0.0 GB are free" in second["why_not"]


class FullGpu(StandInGpu):
    def put(self, array):
        raise MemoryError("80 GB are needed")


def test_where_a_gpu_has_no_room_the_cpu_is_measured_all_the_same(monkeypatch):
    choose, full = device.choose, FullGpu("cuda:1", "a stand-in")
    monkeypatch.setattr(device, "choose", lambda name: choose(name) if name == "cpu" else full)
    (point,) = bench.sweep(bench.Effort(1, 0.01, 100, ("float32",), 0, 0), iterations=2)["points"]
    for record in (point, bench.speedup(wide_data(), iterations=2, repeats=1, budget=0.01)):
        results = results_of(record)
        assert results[LOOP, "cpu"]["training_seconds"] > 0 < results["gpulr", "cpu"]["training_seconds"]
        for name in ("gpulr", "lesson, CuPy"):
            assert results[name, "cuda:1"]["unavailable"] == "80 GB are needed"


def test_a_limit_of_a_container_counts_but_not_for_files_that_were_read(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "CGROUP", tmp_path)
    free, total = device.host_memory()
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 500000\nactive_file 100000\ninactive_file 300000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert device.host_memory()[0] > free / 2
    (tmp_path / "memory.max").write_text("1000000\n")
    assert device.host_memory() == (500_000, total)
    (tmp_path / "memory.max").write_text("10000\n")  # it was lowered below what is in use
    assert device.host_memory() == (0, total)


def test_synthetic_data_have_both_classes():
    for dtype in roofline.DTYPES:
        data = sizes.synthetic(100, dtype)
        assert data.X_train.dtype == dtype
        assert set(data.y_train) == {0, 1}


def raced(entries, cpu, gpu, dtype="float32"):
    one = [{"name": "gpulr", "device": "cpu", "iteration_seconds": cpu, "training_seconds": cpu}]
    one.append({"name": "gpulr", "device": "cuda:0", "iteration_seconds": gpu, "training_seconds": None})
    return {"entries": entries, "stored_as": dtype, "results": one}


def test_the_crossover_is_where_the_gpu_wins_from_then_on():
    left_out = {"entries": 10**5, "stored_as": "float32", "why_not": ""}
    points = [raced(100, 3, 2), raced(1000, 1, 2), raced(10**4, 9, 2), left_out, raced(10**6, 99, 3)]
    iteration, training = bench.crossovers(points)
    assert iteration == {"dtype": "float32", "what": "iteration", "entries": 10**4, "measured": True}
    assert training == {"dtype": "float32", "what": "training", "entries": None, "measured": False}
    assert bench.crossovers([raced(100, 1, 2)])[0] == iteration | {"entries": None}


def test_the_steps_multiply_up_to_the_speedup_of_the_whole():
    record = bench.speedup(wide_data(), iterations=2000, repeats=1, budget=0.01)
    on_cpu = [step for step in record["steps"] if step["factor"] is not None]
    assert [step["what"] for step in on_cpu] == ["vectorization", "code", "algebra (Gram space)"]
    whole = results_of(record)["gpulr", "cpu"]["training_speedup"]
    assert np.prod([step["factor"] for step in on_cpu]) == pytest.approx(whole)
    assert [step["what"] for step in record["steps"] if step["factor"] is None][-1] == "GPU"


def test_the_passes_are_timed_and_those_for_a_gpu_say_why_not(monkeypatch):
    monkeypatch.setattr(device, "why_no_gpu", lambda: "a stand-in for the reason")
    monkeypatch.setattr(roofline, "LOOP_ENTRIES", 1000)
    record = bench.passes(EFFORT, dtypes=("uint8",), threads=1)
    json.dumps(record, allow_nan=False)
    timings = {(timing["one_pass"], timing["device"]): timing for timing in record["timings"]}
    assert timings["loop", "cpu"]["extrapolated"]
    for name in ("lesson", "vectorized", "blocked"):
        timing = timings[name, "cpu"]
        assert len(timing["seconds"]) == 1
        assert min(timing["seconds"]) > 0 < min(timing["read_seconds"])
        assert timing["extra_bytes"] > 0
        assert not timing["transfer_seconds"]
    for name in ("lesson", "vectorized"):
        assert "a stand-in for the reason" in timings[name, "cuda"]["why_not"]
    assert ("blocked", "cuda") not in timings


def test_a_pass_takes_no_more_memory_than_is_free(monkeypatch):
    monkeypatch.setattr(roofline, "LOOP_ENTRIES", 1000)
    monkeypatch.setattr(device, "host_memory", lambda: (8_000, 10**12))
    record = bench.passes(EFFORT, dtypes=("uint8", "float64"), threads=1)
    json.dumps(record, allow_nan=False)
    # For bytes there has to be room for a copy in float32, too.
    assert {(timing["rows"], timing["dtype"]) for timing in record["timings"]} == {(10, "uint8"), (5, "float64")}
    assert record["notes"] == [
        "20 × 100 uint8 would take 0.0 GB of memory, 0.0 GB are free: 10 rows in their place",
        "20 × 100 float64 would take 0.0 GB of memory, 0.0 GB are free: 5 rows in their place",
    ]
    assert set(record["notes"]) <= set(tables.about_sizes(record))
    monkeypatch.setattr(device, "host_memory", lambda: (1_000, 10**12))
    (timing,) = bench.passes(EFFORT, dtypes=("float64",), threads=1)["timings"]
    assert (timing["rows"], timing["one_pass"], timing["seconds"]) == (20, "all", [])
    assert "0.0 GB are free" in timing["why_not"]


def test_a_gpu_without_room_for_x_says_so(monkeypatch):
    monkeypatch.setattr(clock, "seconds_between_events", lambda function, _: function())
    timings = roofline.on_gpu(np.zeros((4, 3), np.float32), 1, FullGpu("cuda:0", "a stand-in"))
    assert {timing.why_not for timing in timings} == {"80 GB are needed"}


def test_the_passes_on_a_gpu_take_turns_with_reads(monkeypatch):
    told = []

    def gpu_seconds(function, _, name, repeats):
        if name == "lesson":
            raise RuntimeError("not today")
        told.append(name)
        return [0.25] * repeats

    monkeypatch.setattr(clock, "seconds_between_events", lambda function, _: (function(), 0.5)[1])
    monkeypatch.setattr(clock, "gpu_seconds", gpu_seconds)
    monkeypatch.setattr(roofline, "_pass", lambda *_: None)
    timings = roofline.on_gpu(np.zeros((4, 3), np.float32), 2, StandInGpu("cuda:0", "a stand-in"))
    lesson, *others = timings
    names = [timing.one_pass for timing in others]
    a_round = ["copy", *(name for one in names for name in ("read", one))]
    assert told == [*names, *a_round, *a_round]
    assert (lesson.why_not, lesson.seconds) == ("not today", [])
    for timing in others:
        assert timing.seconds == timing.copy_seconds == [0.25] * 2
        assert timing.read_seconds == [0.25] * 2 * len(names)


def test_x_has_at_least_so_many_bytes_and_one_that_a_cache_may_hold_is_told():
    quick = bench.EFFORTS["quick"]
    for dtype in roofline.DTYPES:
        rows, n = roofline._shape("1e6x100", dtype, quick)
        assert 10**8 <= rows * n * np.dtype(dtype).itemsize < 10**8 + 800
    assert roofline._shape("1e6x100", "float32", bench.EFFORTS["normal"]) == (1_000_000, 100)
    small = {"rows": 10, "columns": 100, "dtype": "bfloat16", "device": "cpu"}
    record = {"timings": [small, small | {"rows": 10**5}, small | {"rows": 10**6}], "cache_bytes": 10**8}
    (note,) = tables.about_sizes(record)
    assert note.startswith("X of up to 20 MB may stay in the processor's cache of 100 MB")
    assert tables.about_sizes(record | {"cache_bytes": None}) == []
    assert machine.cache_bytes() is None or machine.cache_bytes() > 10**5


def test_the_caches_of_all_cores_count_each_once(tmp_path, monkeypatch):
    cores = {0: "0-1", 1: "0-1", 2: "2-3", 9: "9"}  # the last one is not this process's
    for core, shared in cores.items():
        for level, size in (("2", "512K"), ("3", "32M")):
            cache = tmp_path / f"cpu{core}" / "cache" / f"index{level}"
            cache.mkdir(parents=True)
            for name, text in (("level", level), ("size", size), ("shared_cpu_list", shared)):
                (cache / name).write_text(f"{text}\n")
    monkeypatch.setattr(machine, "CPUS", tmp_path)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert machine.cache_bytes() == 2 * 32 << 20
    monkeypatch.setattr(machine, "CPUS", tmp_path / "none")
    assert machine.cache_bytes() is None


def test_all_passes_of_the_roofline_compute_the_same():
    rng = np.random.default_rng(0)
    X = sizes.random_matrix(rng, (50, 7), "uint8")
    y, w = roofline._labels_and_weights(X)
    cost, dw, db, _ = roofline._pass("vectorized", X, y, w)()
    lesson = roofline._pass("lesson", X, y, w)()
    np.testing.assert_allclose(lesson[0], cost / 50, rtol=1e-5)
    np.testing.assert_allclose(lesson[1][:, 0], dw / 50, rtol=1e-4)
    np.testing.assert_allclose(lesson[2], db / 50, rtol=1e-5)


@pytest.mark.gpu
def test_the_passes_on_a_gpu(request):
    gpu(request)
    record = bench.passes(EFFORT)
    on_gpu = [timing for timing in record["timings"] if timing["device"] == "cuda:0"]
    assert {timing["one_pass"] for timing in on_gpu} >= {"lesson", "vectorized"}
    for timing in on_gpu:
        assert timing["why_not"] is None
        for what in ("seconds", "read_seconds", "copy_seconds", "transfer_seconds"):
            assert min(timing[what]) > 0


def test_the_command(monkeypatch):
    monkeypatch.setattr(device, "why_no_gpu", lambda: "a stand-in for the reason")
    monkeypatch.setitem(bench.EFFORTS, "quick", EFFORT)
    arguments = ["bench", "--iterations", "3", "--repeats", "1"]
    table = CliRunner().invoke(main, arguments).stdout
    assert "loop (pure Python)" in table
    assert "Milliseconds of one iteration" in table
    assert "20 × 100 uint8" in table
    assert table.count("no GPU: a stand-in for the reason") == 3
    record = json.loads(CliRunner().invoke(main, [*arguments, "--race", "training", "--json"]).stdout)
    assert record["training"]["iterations"] == 3
    assert record["environment"]["thread_pools"]
    assert "sizes" not in record


def test_the_table_tells_what_the_reader_should_know(monkeypatch):
    told = {"name": "lesson, CuPy", "device": "cuda:0", "space": "features", "iteration_seconds": 0.001}
    told |= {"iteration_range": [0.001, 0.003], "training_seconds": 2.0, "training_range": [2.0, 2.1]}
    told |= {"iteration_speedup": 1.0, "training_speedup": 1.0, "extrapolated": True, "transfer_seconds": 0.25}
    told |= {"finite_costs": False, "unavailable": None}
    record = {
        "data": "[x]",
        "n_samples": 2,
        "n_features": 3,
        "iterations": 5,
        "dtype": "float64",
        "results": [told],
        "steps": [],
    }
    monkeypatch.setattr(bench, "speedup", lambda *_, **__: record)
    table = CliRunner().invoke(main, ["bench", "--race", "training"]).stdout
    assert table.startswith("[x]: 2 samples, 3 features, float64, training of 5 iterations")
    for note in ("* extrapolated", "in 250.000 ms", "not a finite number", "the machine was busy"):
        assert note in table
