"""The benchmarks: that the judge is right, that everyone is timed at the same goal, and that nobody is dropped."""

from __future__ import annotations

import importlib
import io
import json
import re
import sys
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from urllib.error import URLError

import click
import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from benchmarks import __main__ as commands
from benchmarks import competitors, evaluate, problems, race, reference, solvers, table
from benchmarks.__main__ import main
from benchmarks.competitors import COMPETITORS, ON_DEVICE
from benchmarks.competitors.jax_lbfgs_cpu import JaxLbfgsCpu
from benchmarks.competitors.sklearn_torch import SklearnTorch
from benchmarks.competitors.torch_lbfgs_cuda import TorchLbfgsCuda
from benchmarks.evaluate import objective
from benchmarks.memory import TooLargeError
from benchmarks.messages import Fit
from benchmarks.peers import AMOUNTS, _fitting, _prepared
from benchmarks.problem import load, save
from benchmarks.race import Rules
from benchmarks.remote import CompetitorError, Remote
from benchmarks.report import figures
from gpulr import device
from gpulr.bench import EFFORTS, Effort

SMALL = 0.0003
SYNTHETIC = ["tall", "square", "wide", "square_correlated", "images", "multinomial", "sparse", "elastic_net"]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """The problems are too small for more, and on a busy machine BLAS threads wait long for one another."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tall():
    return problems.make("tall", size=SMALL)


def some_solution(problem, seed=0):
    rng = np.random.default_rng(seed)
    n = problem.X.shape[1]
    coef = rng.standard_normal((problem.outputs, n)) / np.sqrt(n)
    return coef, rng.standard_normal(problem.outputs) * problem.intercept


# Problems.


@pytest.mark.parametrize("name", [*SYNTHETIC, "digits", "breast_cancer"])
def test_a_problem_is_as_described_and_the_same_again(name, tmp_path):
    problem = problems.make(name, size=SMALL, seed=3)
    assert problem.X.shape[0] == len(problem.y)
    assert problem.X.dtype == (np.uint8 if name == "images" else np.float32)
    assert set(problem.y) == set(range(problem.classes))
    save(problem, tmp_path)
    for other in (problems.make(name, size=SMALL, seed=3), load(tmp_path)):
        assert other.describe() == problem.describe()
        np.testing.assert_array_equal(other.y, problem.y)
        assert (other.X != problem.X).sum() == 0
    small = problem.small()
    assert small.classes == problem.classes
    json.dumps(small.describe())


@pytest.mark.parametrize("name", ["gpulr", "gpulr-compiled"])
@pytest.mark.parametrize("kind", ["tall", "sparse"])
def test_gpulr_is_timed_on_the_cpu_where_there_is_a_gpu(name, kind, monkeypatch):
    competitor, problem, chosen = COMPETITORS[name], problems.make(kind, size=1e-4), []
    why_not = competitor.missing() or competitor.unsupported(problem)
    if why_not:  # no numba, or sparse rows, which it has no pass for
        pytest.skip(why_not)
    choose = device.choose
    monkeypatch.setattr(device, "choose", lambda name="auto": chosen.append(name) or choose("cpu"))
    model = competitor.model(problem, 0.1)
    assert set(chosen) <= {"cpu"}
    assert model.get_params()["device"] == "cpu"


def test_size_keeps_the_shape_in_proportion():
    assert problems.make("tall", size=0.01).X.shape == (100_000, 10)
    assert problems.make("wide", size=0.01).X.shape == (200, 2_000)


def test_the_strength_of_the_penalty():
    assert problems.make("breast_cancer", C="1/m").C == 1 / 569
    assert problems.make("breast_cancer", C=3).C == 3


def test_data_that_are_not_at_hand_say_what_to_do(monkeypatch):
    monkeypatch.delenv("GPULR_DATA", raising=False)
    with pytest.raises(problems.UnavailableError, match="GPULR_DATA"):
        problems.make("cats")


def test_neighbours_are_as_correlated_as_they_say():
    X = problems.make("square_correlated", size=0.03).X.astype(float)
    np.testing.assert_allclose(X.var(axis=0), 1, atol=0.05)
    assert np.mean(X[:, 1:] * X[:, :-1]) == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize(("module", "fetcher"), [("covtype", "fetch_covtype"), ("mnist", "fetch_openml")])
def test_without_a_network_real_data_are_not_available(module, fetcher, monkeypatch):
    def no_network(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr(importlib.import_module(f"benchmarks.problems.{module}"), fetcher, no_network)
    with pytest.raises(problems.UnavailableError, match=r"cannot be fetched, URLError: .*no network"):
        problems.make(module)


def test_fetched_pictures_stay_bytes(monkeypatch):
    pixels, labels = np.full((20, 784), 255.0), np.array(list("0123456789") * 2, object)
    module = importlib.import_module("benchmarks.problems.mnist")
    monkeypatch.setattr(module, "fetch_openml", lambda *_, **__: (pixels, labels))
    problem = problems.make("mnist")
    assert problem.X.dtype == np.uint8
    assert problem.classes == 10
    assert problem.features().max() == 1


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes a package of one module, and gives its paths and name."""

    def make(name, source):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "another.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        return [str(tmp_path / name)], name

    return make


def test_a_problem_is_found_by_its_file_and_comes_twice_where_it_can_be_correlated(package):
    draw = "def draw(rng, size, dtype{}): return {}"
    found = problems.discovered(*package("plain", draw.format("", "dtype")))
    assert {name: make(None, 1.0, "float32") for name, make in found.items()} == {"another": "float32"}
    found = problems.discovered(*package("both", draw.format(", correlation=0.0", "correlation")))
    made = {name: make(None, 1.0, "float32") for name, make in found.items()}
    assert made == {"another": 0.0, "another_correlated": 0.9}
    assert problems.discovered(*package("neither", "def shape(): pass")) == {}


ANOTHER = """
from benchmarks.competitors.gpulr import Gpulr
from benchmarks.competitors.base import Competitor

class Common(Competitor):
    module = distribution = "numpy"

    def fit(self, problem, tol):
        raise NotImplementedError

class Another(Common):
    name = "another"

class First(Gpulr):
    name = "gpulr-first"
"""


def test_a_competitor_is_found_by_its_file(package):
    found = competitors.discovered(*package("some_competitors", ANOTHER))
    assert list(found) == ["gpulr-first", "another"]  # gpulr's own first; neither what is imported nor what has no name
    assert found["another"].distribution == "numpy"
    with pytest.raises(ValueError, match=r"'another' is the name of two competitors, one is in .*another\.py"):
        competitors.discovered(*package("doubled", ANOTHER.replace("gpulr-first", "another")))


def test_what_is_raced_first_and_by_quick_exists():
    assert list(COMPETITORS)[:3] == list(figures.OURS)
    assert set(AMOUNTS["quick"].competitors) <= set(COMPETITORS)
    assert set(AMOUNTS["quick"].problems) <= set(problems.PROBLEMS)


@pytest.mark.parametrize("name", [*SYNTHETIC, "multinomial_correlated"])
def test_what_there_is_no_memory_to_draw_is_not_drawn(name, monkeypatch):
    monkeypatch.setattr("gpulr.device.host_memory", lambda: (10_000, 10**12))
    with pytest.raises(TooLargeError, match=r"drawing .* would take .* GB of memory, 0\.0 GB are free"):
        problems.PROBLEMS[name](None, SMALL, "float32")  # there is nothing to draw with


def test_a_race_has_room_for_the_data_in_each_process(tall, monkeypatch):
    stored = tall.X.nbytes  # float32
    free = 3 * stored + 3 * 2 * stored
    monkeypatch.setattr("gpulr.device.host_memory", lambda: (free, 10**12))
    two = [COMPETITORS["gpulr"], COMPETITORS["sklearn-lbfgs"]]
    monkeypatch.setattr("gpulr.device.why_no_gpu", lambda: "a stand-in for the reason")
    race.require_memory(tall, [*two, COMPETITORS["gpulr-cuda"]])  # who cannot race needs none
    with pytest.raises(TooLargeError, match="a race of 3 on 17,321 × 2") as error:
        race.require_memory(tall, [*two, COMPETITORS["sklearn-saga"]])
    assert error.value.share == pytest.approx(0.9)


def test_without_a_scale_the_data_are_as_large_as_there_is_memory_for(monkeypatch):
    sizes = []

    def make(size):
        sizes.append(size)
        return problems.make("tall", size=size)

    monkeypatch.setattr("gpulr.device.host_memory", lambda: (4_000_000, 10**12))
    problem, chosen, size, why_smaller = _fitting(make, lambda problem: [COMPETITORS["gpulr"]], 0.01)
    assert sizes[0] == 0.01 > sizes[-1] == size
    assert re.match(r"drawing 100,000 × 10 would take 0\.0 GB .*: made smaller", why_smaller)
    race.require_memory(problem, chosen)
    assert problem.X.nbytes > 200_000
    with pytest.raises(TooLargeError):
        _prepared(make, lambda problem: [COMPETITORS["gpulr"]], 0.01)
    monkeypatch.setattr("gpulr.device.host_memory", lambda: (10_000, 10**12))
    with pytest.raises(TooLargeError, match="a race of 1 on 569 × 30"):  # it cannot be made smaller
        _fitting(lambda size: problems.make("breast_cancer"), lambda problem: [COMPETITORS["gpulr"]], 1.0)


# The judge.


@pytest.mark.parametrize("name", [*SYNTHETIC, "digits"])
@pytest.mark.parametrize("intercept", [False, True])
def test_the_objective_is_that_of_scikit_learn(name, intercept, monkeypatch):
    monkeypatch.setattr(evaluate, "BLOCK", 1000)  # many blocks
    problem = replace(problems.make(name, size=SMALL, C=0.3), intercept=intercept)
    coef, intercepts = some_solution(problem)
    Z = problem.features("float64") @ coef.T + intercepts
    Z = np.hstack([0 * Z, Z]) if problem.outputs == 1 else Z
    P = np.exp(Z - Z.max(axis=1, keepdims=True))
    loss = log_loss(problem.y, P / P.sum(axis=1, keepdims=True), normalize=False, labels=np.arange(problem.classes))
    r = problem.l1_ratio
    penalty = (1 - r) / 2 * np.sum(coef**2) + r * np.abs(coef).sum()
    assert objective(problem, coef, intercepts) == pytest.approx(0.3 * loss + penalty, rel=1e-12)


def test_the_objective_is_finite_where_probabilities_round_to_0(tall):
    n = tall.X.shape[1]
    assert 1e6 < objective(tall, np.full((1, n), 1e6), np.zeros(1)) < 1e15


@pytest.mark.parametrize(
    ("coef", "intercept", "message"),
    [
        (np.zeros(1), np.zeros(1), r"\(1, "),
        (np.full((1, 2), np.nan), np.zeros(1), "not finite"),
        (np.zeros((1, 2)), np.ones(1), "no intercept"),
    ],
)
def test_what_is_no_solution_is_refused(tall, coef, intercept, message):
    with pytest.raises(ValueError, match=message):
        objective(tall, coef, intercept)


@pytest.mark.parametrize("name", [*SYNTHETIC, "digits", "breast_cancer"])
@pytest.mark.parametrize("intercept", [False, True])
def test_the_reference_is_the_minimum(name, intercept, cache):
    problem = problems.make(name, size=SMALL, intercept=intercept)
    found = reference.find(problem, cache)
    assert found.value == objective(problem, found.coef, found.intercept)
    assert 0 <= found.bound <= 1e-14
    # Along a few directions F rises to both sides, by the same amount as far as its third derivative lets it.
    for seed in range(3):
        coef, intercepts = some_solution(problem, seed)
        t = 1e-4 / np.linalg.norm(coef)
        up, down = (objective(problem, found.coef + h * coef, found.intercept + h * intercepts) for h in (t, -t))
        assert min(up, down) >= found.value * (1 - 1e-14)
        if not problem.l1_ratio:
            assert abs(up - down) <= 1e-2 * (up + down - 2 * found.value) + 1e-13 * found.value


@pytest.mark.parametrize(
    "name", ["tall", "square", "wide", "square_correlated", "images", "multinomial", "breast_cancer"]
)
def test_the_reference_is_that_of_scikit_learn(name, cache):
    problem = problems.make(name, size=SMALL)
    model = LogisticRegression(C=problem.C, solver="newton-cholesky", tol=1e-12, fit_intercept=problem.intercept)
    model.fit(problem.features("float64"), problem.y)
    found = reference.find(problem, cache)
    assert objective(problem, model.coef_, model.intercept_) == pytest.approx(found.value, rel=1e-13)
    np.testing.assert_allclose(found.coef, model.coef_, atol=1e-6)


def test_the_reference_of_an_elastic_net_has_zeros(cache):
    problem = replace(problems.make("elastic_net", size=0.01), C=0.01)
    coef = reference.find(problem, cache).coef
    assert 0 < np.count_nonzero(coef) < coef.size


def test_a_reference_is_found_once(tall, cache, monkeypatch):
    first = reference.find(tall, cache)
    monkeypatch.setattr(reference.ridge, "solve", lambda problem, until: pytest.fail("computed again"))
    assert reference.find(tall, cache).value == first.value
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        reference.find(replace(tall, C=2.0), cache)


def test_a_reference_that_is_not_certain_is_refused(tall, tmp_path, monkeypatch):
    monkeypatch.setattr(reference.ridge, "solve", lambda problem, until: (*some_solution(problem), 1.0, "a guess"))
    with pytest.raises(RuntimeError, match="only certain to"):
        reference.find(tall, tmp_path)


@pytest.mark.parametrize("name", ["tall", "multinomial", "elastic_net"])
def test_a_reference_that_takes_too_long_is_given_up(name, tmp_path, monkeypatch):
    """In any of its loops, a pass of which takes a second here."""
    problem, clock = problems.make(name, size=SMALL), iter(range(10**9))
    monkeypatch.setattr(reference.newton.time, "monotonic", lambda: next(clock))
    for seconds in range(9):
        with pytest.raises(TimeoutError, match="no time left to find the minimum"):
            reference.find(problem, tmp_path, seconds)
    assert next(clock) < 200
    assert list(tmp_path.iterdir()) == []


def test_a_solution_below_the_reference_is_complained_of(tall, cache):
    found = reference.find(tall, cache)
    judge = race.Judge(tall, replace(found, value=found.value * 1.001))
    assert judge.complaint() is None
    assert judge.gap(judge.value(found.coef, found.intercept)) == 0
    assert "below the reference by 1.0e-03" in judge.complaint()


# Competitors in their workers.


@pytest.mark.parametrize("name", COMPETITORS)
def test_a_competitor_reaches_a_gap(name, cache, tmp_path):
    competitor = COMPETITORS[name]
    if competitor.missing():
        pytest.skip(competitor.missing())
    problem = problems.make("tall", size=0.0001)
    save(problem, tmp_path)
    with Remote(competitor, tmp_path, threads=1) as remote:
        fit = remote.fit(1e-5, limit=60)
        assert remote.ready.version
        assert all(pool["num_threads"] == 1 for pool in remote.ready.thread_pools)
    judge = race.Judge(problem, reference.find(problem, cache))
    assert judge.gap(judge.value(fit.coef, fit.intercept)) <= 1e-3
    assert fit.seconds > 0
    assert fit.extra_bytes is None or 0 <= fit.extra_bytes < 1 << 30


@pytest.mark.parametrize("competitor", [SklearnTorch("cpu"), TorchLbfgsCuda("cpu"), JaxLbfgsCpu()])
@pytest.mark.parametrize("name", ["images", "multinomial", "breast_cancer"])
def test_bytes_classes_and_intercepts_of_those_who_bring_the_data_to_a_device(competitor, name, cache):
    if competitor.missing():
        pytest.skip(competitor.missing())
    problem = problems.make(name, size=SMALL, dtype="float64")
    judge = race.Judge(problem, reference.find(problem, cache))
    coef, intercept = competitor.fit(competitor.put(problem), 1e-7)
    assert judge.gap(judge.value(coef, intercept)) <= 1e-6


def test_on_a_gpu_fits_are_timed_by_events_where_the_library_has_them(tall, monkeypatch):
    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            pass

        def synchronize(self):
            pass

        def elapsed_time(self, end):
            return 250.0  # milliseconds

    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(Event=Event, synchronize=lambda: 0)))
    monkeypatch.setattr("gpulr.bench.clock.seconds_between_events", lambda function, _: (function(), 0.5)[1])
    monkeypatch.setattr("gpulr.device.choose", lambda name: device.Device("cuda:0", "a stand-in"))
    monkeypatch.setattr(device.Device, "current", lambda _: nullcontext())
    timed = {}
    for competitor in COMPETITORS.values():
        monkeypatch.setattr(type(competitor), "fit", lambda *_: "a solution")
        solution, seconds = competitor.timed(tall, 1e-3)
        assert solution == "a solution"
        timed[competitor.name] = (competitor.clock, seconds if competitor.clock != "host" else None)
    assert {name: found for name, found in timed.items() if found[0] != "host"} == {
        "gpulr-cuda": ("events of cupy", 0.5),
        "cuml": ("events of cupy", 0.5),
        "sklearn-cupy": ("events of cupy", 0.5),
        "sklearn-torch": ("events of torch", 0.25),
        "torch-lbfgs-cuda": ("events of torch", 0.25),
    }


def test_without_a_gpu_competitors_for_one_say_so(monkeypatch):
    monkeypatch.setattr("gpulr.device.why_no_gpu", lambda: "a stand-in for the reason")
    on_gpu = [competitor for competitor in COMPETITORS.values() if competitor.device == "cuda"]
    assert {type(competitor) for competitor in on_gpu} == set(ON_DEVICE)
    for competitor in on_gpu:
        assert re.match("no GPU: a stand-in|not installed", competitor.missing())


def test_the_table_tells_of_threads_and_transfers():
    ready = {"version": "1", "thread_pools": [{"user_api": "blas", "internal_api": "openblas", "num_threads": 8}]}
    ready["transfer_seconds"] = 0.25
    result = {"gap": 1e-3, "why_not": None, "seconds": [1.0], "reached": [1e-4]}
    result |= {"least": 1.0, "median": 1.0, "greatest": 1.0, "extra_bytes": None}
    problem = {"name": "x", "rows": 1, "columns": 1, "classes": 2, "sparse": False, "stored_as": "float32"}
    problem |= {"dtype": "float32", "C": 1.0, "l1_ratio": 0.0, "intercept": False}
    found = {"lowest_seen": 1.0, "bound": 0.0, "complaint": None}
    console = Console(file=io.StringIO(), width=120)
    entry = {"competitor": "x", "results": [result], "ready": ready}
    table.show({"problem": problem, "threads": 2, "reference": found, "entries": [entry]}, console)
    text = console.file.getvalue()
    assert "not measured" in text  # its memory
    assert "x: openblas has 8 threads, the race 2" in text
    assert "x: its data took 0.25 s" in text


FAILING = """
import os, time
import numpy as np
from benchmarks.competitors.base import Competitor

class Raises(Competitor):
    name, module, distribution = "raises", "numpy", "numpy"

    def fit(self, problem, tol):
        if tol < 1e-3:
            raise ArithmeticError("too fine for me")
        return np.zeros((1, problem.X.shape[1])), np.zeros(1)

class Crashes(Raises):
    name = "crashes"

    def fit(self, problem, tol):
        print("no way out", flush=True)
        os._exit(3)

class Hangs(Raises):
    name = "hangs"

    def fit(self, problem, tol):
        if tol < 1e-3:
            time.sleep(100)
        return super().fit(problem, tol)

class Missing(Raises):
    name, module = "missing", "no_such_library"

class GivesNan(Raises):
    name = "gives nan"

    def fit(self, problem, tol):
        return np.full((1, problem.X.shape[1]), np.nan), np.zeros(1)
"""


def test_who_fails_is_shown_with_the_reason(tall, cache, tmp_path, monkeypatch):
    # A module of their own, which their workers import: this one takes seconds.
    (tmp_path / "failing_competitors.py").write_text(FAILING)
    monkeypatch.syspath_prepend(tmp_path)
    failing = importlib.import_module("failing_competitors")
    competitors = [failing.Raises(), failing.Crashes(), failing.Hangs(), failing.Missing(), failing.GivesNan()]
    rules = Rules(gaps=(1.0, 1e-6), repeats=1, limit=2)
    record = race.race(tall, reference.find(tall, cache), competitors, rules)
    json.dumps(record, allow_nan=False)
    results = {entry["competitor"]: entry["results"] for entry in record["entries"]}
    # At zero weights the gap is less than 1: the one gap that is reached is timed, in a new process where it was ended.
    for name in ("raises", "hangs"):
        assert results[name][0]["why_not"] is None
        assert len(results[name][0]["seconds"]) == 1
    reasons = {name: result[1]["why_not"] for name, result in results.items()}
    assert reasons["raises"] == "ArithmeticError: too fine for me, at tolerance 1e-04"
    assert reasons["hangs"] == "over 2 s, at tolerance 1e-04"
    assert "exit status 3: no way out" in reasons["crashes"]
    assert "pip install numpy" in reasons["missing"]
    assert "not finite" in reasons["gives nan"]


COUNTING = """
import time
import numpy as np
from benchmarks.competitors.base import Competitor

class Counting(Competitor):
    name, module, distribution = "counting", "numpy", "numpy"
    fits = 0

    def fit(self, problem, tol):
        type(self).fits += 1
        if tol < 1e-3:
            time.sleep(100)
        return np.zeros((1, problem.X.shape[1])), np.array([1000.0 * self.fits + tol])
"""


def test_a_process_that_takes_the_place_of_another_is_warmed_up_as_that_one_was(tall, tmp_path, monkeypatch):
    (tmp_path / "counting_competitor.py").write_text(COUNTING)
    monkeypatch.syspath_prepend(tmp_path)
    competitor = importlib.import_module("counting_competitor").Counting()
    save(tall, tmp_path)
    with Remote(competitor, tmp_path, threads=1) as remote:

        def fits_so_far(tol):
            return remote.fit(tol, limit=1).intercept[0] // 1000

        assert fits_so_far(0.1) == 2  # the first is that of the small problem
        assert fits_so_far(0.1) == 3
        with pytest.raises(CompetitorError, match=r"over 1 s$"):
            fits_so_far(1e-4)
        assert fits_so_far(0.1) == 3  # the small problem, the last fit again, and this one


class InProcess:
    """A stand-in for `Remote`, of a competitor whose gap is its tolerance and whose seconds are 1/gap."""

    def __init__(self, competitor, folder, threads, start_seconds):
        self.ready, self.tols = None, []
        InProcess.last = self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def fit(self, tol, limit):
        self.tols.append(tol)
        if tol < 1e-7:
            raise CompetitorError("over 1 s")
        return Fit(1 / tol, np.array([[tol]]), np.zeros(1), None, ())


def test_the_coarsest_tolerance_that_reaches_a_gap_is_timed(tall, monkeypatch):
    monkeypatch.setattr(race, "Remote", InProcess)
    monkeypatch.setattr(race, "objective", lambda problem, coef, intercept: 1 + coef[0, 0])
    found = reference.Reference(1.0, 0.0, "", np.zeros((1, 1)), np.zeros(1))
    record = race.race(tall, found, [COMPETITORS["sklearn-lbfgs"]], Rules(gaps=(2e-3, 4e-5, 1e-9), repeats=3))
    (entry,) = record["entries"]
    coarse, fine, out_of_reach = entry["results"]
    assert coarse["tol"] == 1e-3
    assert fine["tol"] == pytest.approx(10**-4.5)  # half a decade before the first that reached it
    assert coarse["seconds"] == [pytest.approx(1e3)] * 3
    assert coarse["reached"] == [pytest.approx(1e-3)] * 3
    assert coarse["median"] == pytest.approx(1e3)
    assert out_of_reach["why_not"] == "over 1 s, at tolerance 1e-08"
    assert out_of_reach["median"] is None
    # Each round begins with another.
    assert InProcess.last.tols[-6:] == [
        coarse["tol"],
        fine["tol"],
        fine["tol"],
        coarse["tol"],
        coarse["tol"],
        fine["tol"],
    ]


class Slow(InProcess):
    """The first takes 9 s for any tolerance; the others 1 s, 2 s, 4 s and so on, or are ended by their limit."""

    count = 0

    def __enter__(self):
        self.seconds, self.fits = (9.0, 1.0, 2.0, 4.0)[Slow.count], 0
        Slow.count += 1
        return self

    def fit(self, tol, limit):
        self.fits += 1
        if self.seconds > limit:
            raise CompetitorError(f"over {limit:g} s")
        return Fit(self.seconds, np.array([[tol]]), np.zeros(1), None, ())


@pytest.mark.parametrize(("hopeless", "reason"), [(3.0, "over 3 s, at tolerance 1e+00"), (None, None)])
def test_who_is_hopeless_is_not_timed_again_but_for_the_first(tall, monkeypatch, hopeless, reason):
    monkeypatch.setattr(race, "Remote", Slow)
    monkeypatch.setattr(Slow, "count", 0)
    monkeypatch.setattr(race, "objective", lambda problem, coef, intercept: 1 + coef[0, 0])
    found = reference.Reference(1.0, 0.0, "", np.zeros((1, 1)), np.zeros(1))
    names = ("sklearn-lbfgs", "sklearn-saga", "sklearn-newton-cg", "sklearn-newton-cholesky")
    rules = Rules(gaps=(1e-2,), repeats=5, limit=60, hopeless=hopeless)
    record = race.race(tall, found, [COMPETITORS[name] for name in names], rules)
    medians = [entry["results"][0]["median"] for entry in record["entries"]]
    assert medians == [9.0, 1.0, 2.0, None if reason else 4.0]
    assert record["entries"][3]["results"][0]["why_not"] == reason


def test_who_was_slow_before_anybody_was_fast_is_left_out_of_the_rounds():
    def entry(seconds):
        return race.Entry("x", [race.Result(1e-3, 1.0)], trials=[race.Trial(1.0, seconds, 1.0, 0.0, None, ())])

    entries = [entry(seconds) for seconds in (9.0, 4.0, 1.0)]
    race._leave_out_hopeless(entries, Rules(hopeless=3.0, gaps=(1e-3,)))
    assert [each.results[0].why_not for each in entries] == [None, "took 4 s in its trial, the best 1 s", None]
    brief = [entry(seconds) for seconds in (0.1, 0.45, 0.1)]
    race._leave_out_hopeless(brief, Rules(hopeless=3.0, gaps=(1e-3,)))
    assert [each.results[0].why_not for each in brief] == [None] * 3


# The commands.


def run(*arguments):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("command", ["speedup", "pass", "peers", "gpu"])
def test_the_help(command):
    assert "--threads" in run(command, "--help")


@pytest.mark.parametrize("strength", ["0", "-1", "inf", "nan", "1/n"])
def test_a_strength_that_is_none_is_refused(strength):
    result = CliRunner().invoke(main, ["peers", "--C", strength])
    assert result.exit_code == 2
    assert "neither a number > 0 nor '1/m'" in result.output


def test_peers_end_to_end(tmp_path, monkeypatch):
    monkeypatch.delenv("GPULR_DATA", raising=False)
    names = ["gpulr", "snapml-primal"]
    output = run(
        "peers", "--problem", "breast_cancer", "--problem", "cats", "--competitor", names[0], "--competitor", names[1],
        "--C", "1/m", "--dtype", "float64", "--repeats", "2", "--threads", "1",
        "--cache", str(tmp_path), "--json", str(tmp_path / "r.json"),
    )  # fmt: skip
    assert "breast_cancer: 569 × 30, float64" in output
    assert "cats is not available: set the environment variable GPULR_DATA" in output
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["machine"]["read_bandwidth"] > 1e8
    (the_race,) = record["races"]
    assert (the_race["limit"], the_race["repeats"], the_race["scale"]) == (60, 2, 1)
    assert [entry["competitor"] for entry in the_race["entries"]] == names
    for result in the_race["entries"][0]["results"]:
        assert result["least"] <= result["median"] <= result["greatest"]
        assert len(result["seconds"]) == 2
        assert max(result["reached"]) <= result["gap"]
    assert "snapml-primal: " in output  # it is not installed, or else refuses the intercept


TINY = Effort(repeats=2, budget=0.01, largest=1000, dtypes=("float32",), pass_entries=10**5, pass_shapes=1)


def test_pass_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setitem(EFFORTS, "quick", TINY)
    output = run("pass", "--quick", "--threads", "1", "--dtype", "uint8", "--json", str(tmp_path / "r.json"))
    assert "1,000 × 100 uint8" in output
    record = json.loads((tmp_path / "r.json").read_text())
    timings = {(timing["one_pass"], timing["device"]): timing for timing in record["timings"]}
    loop, vectorized = timings["loop", "cpu"], timings["vectorized", "cpu"]
    assert not loop["extrapolated"]
    assert len(vectorized["seconds"]) == 2
    assert min(vectorized["read_seconds"]) > 0
    assert vectorized["extra_bytes"] > 0


def test_speedup_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setenv("GPULR_DATA", str(tmp_path))  # no cats there
    monkeypatch.setitem(EFFORTS, "quick", TINY)
    output = run("speedup", "--quick", "--repeats", "1", "--threads", "1", "--json", str(tmp_path / "r.json"))
    assert "bytes like the cats': 209 samples, 12288 features" in output
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["machine"]["versions"]["gpulr"]
    (training,) = record["trainings"]
    assert training["repeats"] == 1
    assert {point["entries"] for point in record["sweep"]["points"]} == {100, 1000}


def test_solvers_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(solvers, "SHAPES", ((60, 3), (10**6, 10**6)))
    output = run("solvers", "--largest", "1000", "--repeats", "1", "--threads", "1", "--json", str(tmp_path / "r.json"))
    (the_race,) = json.loads((tmp_path / "r.json").read_text())["races"]
    assert [entry["competitor"] for entry in the_race["entries"]] == ["auto", "lbfgs", "newton", "sketch"]
    assert len(the_race["entries"][0]["results"][0]["seconds"]) == 3
    medians = [entry["results"][0]["median"] for entry in the_race["entries"]]
    assert the_race["auto_over_best"] == medians[0] / min(median for median in medians if median is not None)
    assert the_race["repeats"] == 3
    assert f"of 1 shapes; worst: {the_race['auto_over_best']:.2f} at 60 x 3" in output


def test_solvers_leaves_out_what_there_is_no_memory_for(tmp_path, monkeypatch):
    monkeypatch.setattr("gpulr.device.host_memory", lambda: (10_000, 10**12))
    output = run("solvers", "--largest", "600", "--threads", "1", "--json", str(tmp_path / "r.json"))
    assert "50 x 5 is left out: a race of 4 on 50 × 5 would take" in output
    assert "auto has no time" in output


def test_the_worst_ratio_and_where_there_is_none():
    def of(name, *medians):
        result = {"problem": {"name": name}, "entries": [{"results": [{"median": median}]} for median in medians]}
        return result | {"auto_over_best": solvers.auto_over_best(result)}

    races = [of("a", 1.2, 1.0), of("b", 3.0, None, 2.0), of("c", None, 1.0)]
    assert [each["auto_over_best"] for each in races] == [1.2, 1.5, None]
    assert solvers.worst(races) == (
        "auto is within 1.3 of the best at 1 of 3 shapes; worst: 1.50 at b; without a time at 1 shapes"
    )
    assert solvers.worst(races[2:]) == "auto has no time"


def test_without_a_name_all_races_are_run(tmp_path, monkeypatch):
    ran = []

    def stand_in(name):
        def command(effort, json_file):
            ran.append((name, effort, json_file))
            return {"benchmark": name}

        return click.Command(name, callback=command, params=[click.Option(["--effort"]), click.Option(["--json-file"])])

    monkeypatch.setattr(commands, "RACES", {name: stand_in(name) for name in ("speedup", "pass", "peers")})
    run("--quick", "--json", str(tmp_path / "r.json"))
    assert ran == [(name, "quick", None) for name in ("speedup", "pass", "peers")]
    records = json.loads((tmp_path / "r.json").read_text())["records"]
    assert [record["benchmark"] for record in records] == ["speedup", "pass", "peers"]


def test_an_option_before_the_name_of_a_race_is_refused():
    result = CliRunner().invoke(main, ["--quick", "pass"])
    assert result.exit_code == 2
    assert "come after its name, pass" in result.output
