"""The report: that the page and the README say what the records say, and ask nothing of any other place."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ET
from dataclasses import asdict

import pytest
from click.testing import CliRunner

from benchmarks import gpu_place
from benchmarks.__main__ import main
from benchmarks.report import figures, readme, records, tables
from benchmarks.report import gpu as report_gpu
from benchmarks.report.page import page
from gpulr import bench
from gpulr.bench import sizes

MACHINE = {
    "processor": "a processor", "cores": 2, "python": "3.11", "numpy": "2", "thread_pools": [], "gpus": [], "load": 0.1,
    "memory_bytes": 10**9, "threads": 2, "read_bandwidth": 1e10, "commit": "0123456789abcdef", "modified": False,
    "date": "2026-01-01T00:00:00+00:00",
}  # fmt: skip


def peers_record(seconds=(0.5, 0.25)):
    """gpulr, and another library that does not reach the smaller gap."""

    def result(gap, time, why_not=None):
        known = {"least": time, "median": time, "greatest": time} if why_not is None else dict.fromkeys(
            ("least", "median", "greatest")
        )  # fmt: skip
        return {"gap": gap, "why_not": why_not, "reached": [gap / 2], "extra_bytes": 10**6, **known}

    def ready(version):
        return {"version": version, "thread_pools": [], "transfer_seconds": None}

    def trial(gap, time):
        return {"tol": 1.0, "seconds": time, "gap": gap}

    entries = [
        {"competitor": "gpulr", "clock": "host", "ready": ready("1"), "trials": [trial(1e-2, 0.1), trial(1e-7, 0.5)],
         "results": [result(1e-3, seconds[0]), result(1e-6, seconds[0])]},
        {"competitor": "other", "ready": ready("2"), "trials": [trial(1e-2, 0.1), trial(1e-4, 0.5)],
         "results": [result(1e-3, seconds[1]), result(1e-6, 0, "comes to 1e-4 <only>")]},
    ]  # fmt: skip
    problem = {"name": "tall_correlated", "rows": 1_000_000, "columns": 100, "dtype": "float32", "C": 1.0,
               "intercept": False}  # fmt: skip
    return {"benchmark": "peers", "machine": MACHINE, "races": [
        {"problem": problem, "threads": 2, "reference": {"complaint": None}, "entries": entries}
    ]}  # fmt: skip


def gpu_record():
    """As `python -m benchmarks gpu` writes it, with figures that are made up."""
    gpu = {"device": "cuda:0", "name": "NVIDIA X1", "driver_cuda": "12.4"}
    machine = MACHINE | {"gpus": [gpu], "processor": "a host", "date": "2026-03-01T00:00:00+00:00"}

    def pass_timing(name, seconds, why_not=None, extrapolated=False):
        times, clock = [seconds] * 3 if seconds else [], "host" if name == "for loops" else "GPU events"
        timing = gpu_place.Timing(name, times, 4, 1e-7, extrapolated, why_not, clock)
        return asdict(timing) | {"median": timing.median}

    passes = [pass_timing("gpulr, fused", 1e-4), pass_timing("CuPy, two products", 2e-4),
              pass_timing("PyTorch, two products", 2e-4, "computes something else: 0.5 off"),
              pass_timing("JAX, jitted", None, "not installed: pip install jax"),
              pass_timing("for loops", 40.0, extrapolated=True)]  # fmt: skip
    X = {"rows": 1000, "columns": 100, "dtype": "float32", "bytes": 400_000}
    no_room = {"rows": 1000, "columns": 100, "dtype": "bfloat16", "why_not": "TypeError: no bfloat16", "timings": []}

    def cats(name, device, iteration, training):
        absent = dict.fromkeys(("transfer_seconds", "unavailable"))
        ranges = {"iteration_range": [iteration] * 2, "training_range": [training] * 2}
        return {"name": name, "device": device, "space": "gram", "iteration_seconds": iteration, "extrapolated": False,
                "training_seconds": training, "iteration_speedup": 1.0, "training_speedup": 2.0,
                "finite_costs": True, **absent, **ranges}  # fmt: skip

    training = {"data": "cats", "n_samples": 209, "n_features": 12288, "stored_as": "uint8", "iterations": 2000,
                "dtype": "float64", "steps": [],
                "results": [cats("gpulr", "cpu", 1e-4, 0.05), cats("gpulr", "cuda:0", 1e-6, 0.0125)]}  # fmt: skip
    (fit,) = peers_record((0.02, 0.4))["races"]
    fit["entries"] = [{**entry, "competitor": name, "results": entry["results"][1:]}
                      for entry, name in zip(fit["entries"], ("gpulr-cuda", "cuml"), strict=True)]  # fmt: skip
    fit |= {"loop": {"pass_seconds": 30.0, "passes": 6.0, "seconds": 180.0, "extrapolated": True}}
    fit["problem"] = fit["problem"] | {"name": "tall"}
    bandwidth = {"bytes": 1 << 30, "read": 4e12, "copy": 3e12, "put": 5e10, "asarray": 1e10, "host_read": 1e10}
    return {"benchmark": "gpu", "rehearsal": False, "machine": machine, "settings": {}, "parts": {
        "bandwidth": {**bandwidth, "seconds": 1.0},
        "pass": {"races": [X | {"timings": passes}, no_room], "seconds": 1.0},
        "cats": {**training, "seconds": 1.0},
        "fit": {"races": [fit, {"problem": {"name": "wide"}, "why_not": "no time left"}], "seconds": 1.0},
    }}  # fmt: skip


@pytest.fixture
def both(results, tmp_path):
    """The records of a machine without a GPU, and made up ones of a machine with one."""
    shutil.copytree(results / "a-machine", tmp_path / "results" / "a-machine", ignore=shutil.ignore_patterns("*.svg"))
    (tmp_path / "results" / "nvidia-x1").mkdir()
    (tmp_path / "results" / "nvidia-x1" / "gpu.json").write_text(json.dumps(gpu_record()))
    return tmp_path / "results"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A folder of records, those of the speed-up and the passes being measured here."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "a-machine").mkdir()
    effort = bench.Effort(1, 0.001, 10_000, ("float32",), 10_000, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gpulr.device.why_no_gpu", lambda: "a stand-in for the reason")
        training = bench.speedup(sizes.synthetic(100, "uint8"), iterations=3, repeats=1, budget=0.001)
        swept, passed = bench.sweep(effort, iterations=2), bench.passes(effort, dtypes=("float32", "uint8"), threads=1)
    speedup = {"benchmark": "speedup", "machine": MACHINE, "trainings": [training], "sweep": swept}
    both = {"benchmark": "all", "records": [speedup, {"benchmark": "pass", "machine": MACHINE, **passed}]}
    (folder / "a-machine" / "all.json").write_text(json.dumps(both))
    (folder / "a-machine" / "peers.json").write_text(json.dumps(peers_record()))
    return folder


@pytest.fixture(scope="module")
def machine(results):
    return records.load(results)[0]


def test_records_that_were_put_together_are_several(machine):
    assert [run["benchmark"] for run in machine.runs] == ["speedup", "pass", "peers"]


def test_of_the_same_race_the_latest_is_shown():
    old, new = peers_record((1.0, 1.0)), peers_record((2.0, 2.0))
    new["machine"] = MACHINE | {"date": "2026-02-01T00:00:00+00:00"}
    (race,) = records.Records("x", [new, old]).races()
    assert race["entries"][0]["results"][0]["median"] == 2.0


def test_what_is_no_record_is_named(tmp_path):
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(ValueError, match=r"x\.json is no record"):
        records.read(tmp_path / "x.json")


def test_times_and_gaps_for_people():
    shown = [records.short(seconds) for seconds in (7200.0, 90.0, 1.5, 0.0123456, 2e-6, 3e-9)]
    assert shown == ["2 h", "1.5 min", "1.5 s", "12.3 ms", "2 µs", "3 ns"]
    assert [records.power(gap) for gap in (1e-3, 1e-12)] == ["1e-3", "1e-12"]


def test_the_fastest_other_is_compared_with_the_fastest_of_ours(machine):
    (row,) = tables.best(machine.races(), 1e-3).rows
    assert row == ["tall_correlated, 1,000,000 × 100, float32", "500 ms", "–", "not measured", "250 ms, other", "0.50"]
    (row,) = tables.best(machine.races(), 1e-6).rows
    assert row[-2:] == ["none of 1", "–"]
    assert tables.best(machine.races(), 1e-9).rows == []


def test_the_limit_of_the_fits_is_told_with_the_number_of_those_who_raced():
    def told(**changes):
        return tables.best(records.Records("x", [peers_record() | changes]).races(), 1e-3).notes

    assert told() == []
    assert told(rules={"limit": 6.0}) == ["Fits of over 6 s were given up; beside gpulr raced 1 other."]
    (race,) = peers_record()["races"]
    several = [{**race, "limit": 90.0}, {**race, "limit": 6.0, "threads": 1, "entries": race["entries"][:1]}]
    assert told(races=several) == ["Fits of over 6 s or 1.5 min were given up; beside gpulr raced 0 to 1 others."]


def test_races_that_differ_in_their_penalty_are_apart(machine):
    (race,) = machine.races()
    weak = race["problem"] | {"C": 100.0}
    strong = race["problem"] | {"C": 1e-6, "intercept": True}
    others = [{**race, "problem": weak}, {**race, "problem": strong}, {**race, "threads": 1}]
    runs = [{**machine.of("peers")[0], "races": [other]} for other in others]
    all_of_them = records.Records("a machine", [*machine.runs, *runs])
    titles = [row[0] for row in tables.best(all_of_them.races(), 1e-3).rows]
    name = "tall_correlated, 1,000,000 × 100, float32"
    assert titles == [
        f"{name}, 2 threads",
        f"{name}, C = 100, 2 threads",
        f"{name}, C = 1/m, intercept, 2 threads",
        f"{name}, 1 thread",
    ]
    assert records.slug(strong) == "tall_correlated-1000000x100-float32-C-1-m-intercept"


def test_a_gap_that_not_every_round_reached_is_marked(machine):
    (race,) = machine.races()
    entries = [
        {**entry, "results": [{**result, "reached": [1e-2]} for result in entry["results"]]}
        for entry in race["entries"]
    ]
    table = tables.best([{**race, "entries": entries}], 1e-3)
    assert table.rows[0][1] == "500 ms!"
    assert table.notes == [tables.MISSED]
    assert tables.MISSED in tables.peers({**race, "entries": entries}).notes
    assert tables.MISSED not in tables.peers(race).notes
    complaint = {"reference": {"complaint": "below the minimum"}}
    assert "below the minimum" in tables.peers(race | complaint).notes


def test_who_does_not_reach_a_gap_is_shown_with_the_reason(machine):
    table = tables.peers(machine.races()[0])
    assert table.rows[1][3] == "–"
    assert table.notes == ["other, from 1e-6 on: comes to 1e-4 <only>"]
    assert "&lt;only&gt;" in table.html()


def test_without_a_gpu_its_cells_say_not_measured(machine):
    (run,) = machine.of("speedup")
    cells = {(row[0], row[1]): row[2:] for row in tables.training(run["trainings"][0]).rows}
    assert cells["gpulr", "GPU"] == ["not measured", "", "not measured", ""]
    assert {row[2] for row in tables.crossovers(run["sweep"]).rows} == {"not measured"}
    assert "not measured" in {row[3] for row in tables.passes(machine.of("pass")[0]).rows}


def test_the_record_of_a_gpu_is_shown_as_those_of_the_races(both):
    without, gpu = records.load(both)
    assert [run["benchmark"] for run in gpu.runs] == ["gpu", "speedup", "pass", "peers"]
    assert (without.has_gpu(), gpu.has_gpu()) == (False, True)
    (row,) = tables.best(gpu.races(), 1e-6).rows
    assert row == ["tall, 1,000,000 × 100, float32", "–", "–", "20 ms", "none of 1", "–"]
    assert "For loops, extrapolated from a few rows: 3 min for the 6 passes" in tables.peers(gpu.races()[0]).notes[-1]
    passes = tables.passes(gpu.of("pass")[0])
    assert passes.rows[0] == ["1,000 × 100 float32", "cuda:0", "gpulr, fused", "100 µs", "1000.00", "4", ""]
    assert [row[1:4] for row in passes.rows[2:]] == [
        ["cuda:0", "PyTorch, two products", "not measured"],
        ["cuda:0", "JAX, jitted", "not measured"],
        ["cpu", "for loops*", "40 s"],
        ["cuda:0", "all", "not measured"],
    ]
    assert "all: TypeError: no bfloat16" in passes.notes
    assert "PyTorch, two products: computes something else: 0.5 off" in passes.notes
    assert passes.notes[-1] == "Timed by GPU events: gpulr, fused; CuPy, two products."
    assert ["a plain read", "4,000.0"] in report_gpu.memory(gpu.runs[0]).rows
    assert ["the cats' 2000 iterations < 20 ms", "12.5 ms", "yes"] in report_gpu.goals(gpu.runs[0]).rows


def test_the_page_shows_the_gpu(both):
    pytest.importorskip("matplotlib")
    text = page(records.load(both))
    assert text.index("<h2>nvidia-x1") < text.index("<h2>a-machine")  # measured later
    for part in (
        "NVIDIA X1, driver for CUDA 12.4",
        "The memory of the GPU",
        "wide was not raced: no time left",
        "cuml 2",
    ):
        assert part in text
    assert set(figures.all_of(records.load(both)[1])) == {"roofline", "convergence-tall-1000000x100-float32"}


def test_the_readme_shows_the_gpu_beside_the_cpu(both, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    blocks = "".join(f"<!-- benchmarks: {name} -->\n<!-- end -->\n" for name in ("speedup", "peers", "pictures"))
    (tmp_path / "README.md").write_text(blocks)
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    monkeypatch.setattr(records, "RESULTS", both)
    assert CliRunner().invoke(main, ["readme"]).exit_code == 0
    assert CliRunner().invoke(main, ["readme", "--check"]).exit_code == 0
    made = (tmp_path / "README.md").read_text()
    assert made.count("On a processor, 2 cores (GPU: not measured):") == 3
    assert made.count("On a host, 2 cores (NVIDIA X1):") == 3
    assert "| gpulr | cuda:0 | 1 µs | 1 | 12.5 ms | 2 |" in made
    assert "(benchmarks/results/nvidia-x1/convergence-tall-1000000x100-float32.svg)" in made


def test_a_rehearsal_is_no_record_of_a_gpu(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "gpu.json").write_text(json.dumps(gpu_record() | {"rehearsal": True}))
    with pytest.raises(ValueError, match=r"gpu\.json is of a rehearsal"):
        records.load(tmp_path)


def test_parts_of_a_gpus_record_that_could_not_be_measured_say_why(tmp_path):
    record = gpu_record()
    record["parts"] = {"bandwidth": {"why_not": "no room"}, "cats": {"why_not": "no cats"}, "fit": {"races": []}}
    assert list(records.parts(record)) == []
    memory = report_gpu.memory(record)
    assert memory.notes == ["bandwidth: no room", "cats: no cats"]
    assert {row[1] for row in memory.rows} == {"not measured"}


def later(record, date, processor):
    return record | {"machine": record["machine"] | {"date": f"{date}T00:00:00+00:00", "processor": processor}}


def test_of_several_machines_the_readme_shows_the_one_that_was_measured_last(both, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    text = "<!-- benchmarks: speedup -->\n<!-- end -->\n<!-- benchmarks: peers -->\n<!-- end -->\n"
    (tmp_path / "README.md").write_text(f"{text}<!-- benchmarks: pictures -->\n<!-- end -->\n")
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    monkeypatch.setattr(records, "RESULTS", both)
    invoke = CliRunner().invoke
    assert invoke(main, ["readme"]).exit_code == 0
    assert (both / "a-machine" / "convergence-tall_correlated-1000000x100-float32.svg").is_file()

    (both / "b-machine").mkdir()
    (both / "b-machine" / "peers.json").write_text(json.dumps(later(peers_record(), "2026-02-01", "a newer one")))
    check = invoke(main, ["readme", "--check"])
    assert check.exit_code == 1
    curve = "convergence-tall_correlated-1000000x100-float32.svg"
    for name in ("README.md", f"b-machine/{curve}", f"a-machine/{curve}"):  # to be written, to be made, to be deleted
        assert name in check.output
    assert invoke(main, ["readme"]).exit_code == 0
    assert invoke(main, ["readme", "--check"]).exit_code == 0
    made = (tmp_path / "README.md").read_text()
    # What the newer machine has not measured is that of the older one.
    assert made.count("On a newer one, 2 cores") == 2
    assert made.count("On a processor, 2 cores") == 2
    assert [file.name for file in sorted((both / "a-machine").glob("*.svg"))] == ["roofline.svg", "speedup-float32.svg"]
    assert [file.name for file in (both / "b-machine").glob("*.svg")] == [curve]
    for name in ("a-machine", "b-machine"):
        assert name in page(records.load(both))

    shutil.rmtree(both / "b-machine")
    (both / "gone").mkdir()
    (both / "gone" / curve).touch()
    assert "gone" in invoke(main, ["readme", "--check"]).output


def test_the_front_of_trials_falls():
    trials = [{"seconds": 2.0, "gap": 1e-3}, {"seconds": 1.0, "gap": 1e-1}, {"seconds": 3.0, "gap": 1e-2}]
    assert figures.front([*trials, {"seconds": 4.0, "gap": 0.0}]) == [(1.0, 1e-1), (2.0, 1e-3), (4.0, 1e-16)]


def test_the_pictures(machine):
    pytest.importorskip("matplotlib")
    pictures = figures.all_of(machine)
    assert list(pictures) == ["speedup-float32", "roofline", "convergence-tall_correlated-1000000x100-float32"]
    for name, svg in pictures.items():
        ET.fromstring(figures.described(figures.prefixed(svg, name), "what it shows"))
        assert figures.all_of(machine)[name] == svg  # to the byte
        assert "<image" not in svg


def test_the_page_is_complete_and_asks_nothing_of_any_other_place(results, tmp_path):
    pytest.importorskip("matplotlib")
    result = CliRunner().invoke(main, ["report", "-o", str(tmp_path / "r.html"), "--results", str(results)])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "r.html").read_text()
    assert text.count("<svg") == 3
    assert "a-machine" in text
    # Attributes that make a browser load something: all within the page.
    for attribute in re.findall(r'(?:(?<![-\w])src=|href=|\burl\()\s*"?([^"\s)>]+)', text):
        assert attribute.startswith(("#", "data:,")), attribute
    assert not re.search(r"<(script|iframe|object|embed|audio|video|img)\b|@import", text)
    identifiers = re.findall(r'\bid="([^"]+)"', text)
    assert len(identifiers) == len(set(identifiers))


def test_a_page_without_records():
    assert "There are no records" in page([])


def test_the_readme_is_made_of_the_records_and_known_to_be_stale(results, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    text = "a\n<!-- benchmarks: speedup -->\n<!-- end -->\nb\n<!-- benchmarks: peers -->\nold\n<!-- end -->\nc\n"
    (tmp_path / "README.md").write_text(text + "<!-- benchmarks: pictures -->\n<!-- end -->\n")
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    monkeypatch.setattr(records, "RESULTS", results)
    svg = "a-machine/speedup-float32.svg"
    assert readme.stale(tmp_path / "README.md", results)[:2] == ["README.md", svg]
    check = CliRunner().invoke(main, ["readme", "--check"])
    assert check.exit_code == 1
    assert "stale, run python -m benchmarks readme: README.md" in check.output

    assert CliRunner().invoke(main, ["readme"]).exit_code == 0
    assert CliRunner().invoke(main, ["readme", "--check"]).exit_code == 0
    made = (tmp_path / "README.md").read_text()
    assert "| gpulr | GPU | not measured |  | not measured |  |" in made
    assert "old" not in made
    assert f"(benchmarks/results/{svg})" in made

    (results / svg).write_text((results / svg).read_text().replace("records: ", "records: 0"))
    assert readme.stale(tmp_path / "README.md", results) == [svg]
    (results / "a-machine" / "peers.json").write_text(json.dumps(peers_record((0.1, 0.2))))
    assert "README.md" in readme.stale(tmp_path / "README.md", results)


def test_of_two_records_of_one_race_the_newest_is_shown_but_not_before_a_fuller_one(results, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    folder = tmp_path / "results" / "a-machine"
    folder.mkdir(parents=True)
    (old,) = [run for run in records.read(results / "a-machine" / "all.json") if run["benchmark"] == "speedup"]
    new, quick = (json.loads(json.dumps(later(old, f"2026-0{month}-01", "x"))) for month in (2, 3))
    new["trainings"][0]["data"], quick["trainings"][0]["data"] = "newer", "quick"
    for point in new["sweep"]["points"]:
        point["stored_as"] = "float64"
    (folder / "1.json").write_text(json.dumps(old))
    (folder / "2.json").write_text(json.dumps(new))
    (folder / "3.json").write_text(json.dumps(quick | {"effort": "quick"}))
    (machine,) = records.load(tmp_path / "results")
    assert list(figures.to_draw(machine)) == ["speedup-float64", "speedup-float32-2"]
    (tmp_path / "README.md").write_text(
        "<!-- benchmarks: speedup -->\n<!-- end -->\n<!-- benchmarks: pictures -->\n<!-- end -->\n"
    )
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    assert CliRunner().invoke(main, ["readme"]).exit_code == 0
    made = (tmp_path / "README.md").read_text()
    assert "newer, 10 × 10" in made
    assert "quick" not in made
    assert "speedup-float32" not in made  # a picture of the older one beside the table of the newer one
    # A machine where it was measured by --quick only does not take the place of this one.
    other = tmp_path / "results" / "b-machine"
    other.mkdir()
    (other / "1.json").write_text(json.dumps(quick | {"effort": "quick"}))
    assert [each.name for each in readme.shown(records.load(tmp_path / "results"), "speedup")] == ["a-machine"]
    shutil.rmtree(folder)
    assert [each.name for each in readme.shown(records.load(tmp_path / "results"), "speedup")] == ["b-machine"]


def test_a_panel_has_all_dtypes_and_the_legend_everyone(monkeypatch):
    pytest.importorskip("matplotlib")
    below, seen = figures._below, []

    def spy(figure, panels, columns):
        seen.append((figure, panels))
        below(figure, panels, columns)

    monkeypatch.setattr(figures, "_below", spy)

    def timing(rows, columns, dtype, name):
        return {"rows": rows, "columns": columns, "dtype": dtype, "device": "cpu", "one_pass": name, "seconds": [1e-3],
                "read_seconds": [1e-4], "why_not": None}  # fmt: skip

    # As --quick has it: as many bytes of each dtype; and a pass that is not there in the last panel.
    timings = [timing(1000, 100, "float32", "a"), timing(4000, 100, "uint8", "b"), timing(10, 1000, "uint8", "b")]
    figures.roofline({"timings": timings})
    ((figure, panels),) = seen
    assert [panel.get_title() for panel in panels] == ["1,000 to 4,000 × 100", "10 × 1,000"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "read, cpu"]


def test_a_block_that_there_is_none_of_is_named():
    with pytest.raises(ValueError, match="benchmarks: peer -->: there are speedup, peers, pictures"):
        readme.rendered("<!-- benchmarks: peer -->\n<!-- end -->", [])


def test_the_committed_readme_is_not_stale():
    assert readme.stale(readme.README, records.RESULTS) == [], "run python -m benchmarks readme"
