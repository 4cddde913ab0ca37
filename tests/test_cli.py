"""The command line as a user runs it: exit codes, one line for an error, JSON and nothing else on stdout."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from importlib import resources
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from gpulr import device, load_model
from gpulr.cli import main


def run(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def run_json(*arguments):
    return json.loads(run(*arguments, "--json").stdout)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "digits.model"
    run("train", "--iterations", "300", "--learning-rate", "auto", "--output", path)
    return path


def test_train_on_the_cats(cats_folder):
    arguments = ("train", cats_folder, "--iterations", "2000", "--learning-rate", "0.005", "--dtype", "float64")
    out = run_json(*arguments)
    assert (out["train_accuracy"], out["test_accuracy"]) == (99.04306220095694, 70.0)
    costs = dict(out["costs"])
    expected = {0: 0.693147, 100: 0.584508, 200: 0.466949, 300: 0.376007, 400: 0.331463, 1900: 0.140872}
    assert {i: round(costs[i], 6) for i in expected} == expected
    assert (out["n_iter"], out["n_samples"], out["n_features"]) == (2000, 209, 12288)
    assert (out["solver"], out["pass"], out["dtype"], out["model"]) == ("gd", "vectorized", "float64", None)
    assert out["device"] == device.choose("auto").name
    assert out["seconds"] > 0


def test_a_learning_rate_that_is_too_large_is_warned_of_and_stays_finite(cats_folder):
    result = run("train", cats_folder, "--iterations", "2000", "--learning-rate", "0.5", "--json")
    out = json.loads(result.stdout)
    assert np.isfinite([cost for _, cost in out["costs"]]).all()
    assert out["train_accuracy"] >= 99.5
    assert result.stderr.count("Warning: the cost rose") == 1
    assert "learning_rate=0.5" in result.stderr


def test_the_loop_on_the_cats_has_the_same_costs(cats_folder):
    options = ("--iterations", "2", "--dtype", "float64")
    loop, auto = (run_json("train", cats_folder, "--pass", name, *options) for name in ("loop", "auto"))
    assert loop["pass"] == "loop"
    assert len(loop["costs"]) == 2
    np.testing.assert_allclose(loop["costs"], auto["costs"], rtol=1e-9)


def test_train_prints_a_table_and_the_device():
    out = run("train", "--learning-rate", "auto").stdout
    for text in ("digits: 285 samples, 64 features", "0.693147", "train accuracy: 100.00 %", "test accuracy: 98"):
        assert text in out
    assert f"device: {device.choose('auto').name} (" in out


def test_every_option_arrives(tmp_path):
    out = run_json(
        "train", "digits", "--solver", "gd", "--iterations", 7, "--learning-rate", 0.25, "--init", "random",
        "--seed", 3, "--device", "cpu", "--pass", "vectorized", "--dtype", "float64", "--record-every", 2,
        "--test-size", 0.5, "--output", tmp_path / "m",
    )  # fmt: skip
    assert [i for i, _ in out["costs"]] == [0, 2, 4, 6]
    assert (out["learning_rate"], out["init"], out["seed"], out["dtype"]) == (0.25, "random", 3, "float64")
    assert (out["device"], out["n_samples"]) == ("cpu", 178)
    assert load_model(out["model"]).training["n_iter"] == 7


def test_every_option_of_another_solver_arrives(tmp_path):
    out = run_json(
        "train", "digits", "--solver", "prox-newton", "--C", 0.5, "--l1-ratio", 0.25, "--standardize", "--tol", 1e-6,
        "--class-weight", "balanced", "--iterations", 50, "--seed", 3, "--device", "cpu", "--dtype", "float32",
        "--test-size", 0.5, "--output", tmp_path / "m",
    )  # fmt: skip
    assert (out["solver"], out["C"], out["l1_ratio"], out["standardize"]) == ("prox-newton", 0.5, 0.25, True)
    assert (out["tol"], out["class_weight"]) == (1e-6, "balanced")
    assert out["status"] in ("converged", "precision")
    assert (out["seed"], out["device"], out["dtype"], out["n_samples"]) == (3, "cpu", "float32", 178)
    assert (out["pass"], out["space"], out["learning_rate"]) == ("vectorized", "features", None)
    assert [i for i, _ in out["costs"]] == list(range(out["n_iter"]))
    model = load_model(out["model"])
    assert model.training["C"] == 0.5
    assert 0 < np.count_nonzero(model.w) < len(model.w)


@pytest.mark.parametrize(
    "option", [("--standardize",), ("--class-weight", "balanced"), ("--l1-ratio", 0.5), ("--C", "inf")]
)
def test_each_option_of_another_solver_changes_the_model(option):
    # Few steps, for without a penalty these digits are separable.
    plain, other = (run_json("train", "--solver", "auto", *o, "--iterations", 3) for o in ((), option))
    assert other["final_cost"] != plain["final_cost"]
    assert other["C"] == (None if "inf" in option else 1.0)


def test_the_cats_by_another_solver(cats_folder):
    result = run("train", cats_folder, "--solver", "auto", "--json")
    assert result.stderr == ""
    out = json.loads(result.stdout)
    assert (out["space"], out["train_accuracy"], out["test_accuracy"]) == ("gram", 100, 72)  # as scikit-learn's
    assert out["solver"].startswith("gram-")
    assert out["status"] in ("converged", "precision")


def test_another_solver_that_stops_early_warns_in_one_line():
    result = run("train", "--solver", "lbfgs", "--C", "inf", "--iterations", 100, "--json")
    assert json.loads(result.stdout)["status"] == "max_iter"
    (line,) = result.stderr.splitlines()
    assert line.startswith("Warning: lbfgs failed to converge: max_iter is reached after 100 iterations")


def test_the_table_of_another_solver_is_short_and_names_the_solver_and_why_it_ended():
    out = run("train", "--solver", "fista", "--l1-ratio", 1, "--tol", 1e-6, "--iterations", 10000).stdout
    assert "solver: fista (converged)" in out
    assert 20 < out.count("│ 0.") < 45


def test_what_the_readme_shows_beyond_gradient_descent_runs(cats_folder, tmp_path, monkeypatch, capsys):
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    section = readme.partition("## Beyond gradient descent")[2].partition("\n## ")[0]
    ((command, program),) = re.findall(r"```bash\ngpulr (.*)\n```.*```py\n(.*?)```", section, re.S)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPULR_DATA", str(cats_folder))
    out = run(*shlex.split(command))
    assert "(converged)" in out.stdout
    assert out.stderr == ""
    assert load_model("ridge.model").training["C"] == 0.1
    exec(compile(program, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("newton [")


def test_predict_rows_of_a_file_and_pictures(model, tmp_path):
    data = tmp_path / "some.npz"
    digits = load_digits_3_and_8()
    np.savez(data, X=digits)
    picture = tmp_path / "three.png"
    Image.fromarray((digits[0] * 15).astype("uint8")).save(picture)
    out = run_json("predict", model, data, picture)["predictions"]
    assert [line["class"] for line in out] == ["3", "8", "3"]
    assert [line["row"] for line in out] == [0, 1, None]
    for line in out:
        assert line["probability"] == line["probabilities"][line["class"]] > 0.5
        assert sum(line["probabilities"].values()) == pytest.approx(1)
    text = run("predict", model, tmp_path / "three.png").stdout
    assert "three.png" in text.replace("\n", "")
    folder = run_json("predict", model, picture_folder(tmp_path, digits))["predictions"]
    assert [line["input"].rpartition("/")[2] for line in folder] == ["0.png", "1.png"]


def load_digits_3_and_8():
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.images[[3, 8]].astype("uint8")


def picture_folder(tmp_path, pictures):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray((picture * 15).astype("uint8")).save(folder / f"{i}.png")
    return folder


def test_a_photograph_never_seen(cats_folder, tmp_path):
    path = tmp_path / "cats.model"
    run("train", cats_folder, "--output", path)
    photograph = resources.files("sklearn.datasets") / "images" / "flower.jpg"
    (line,) = run_json("predict", path, photograph)["predictions"]
    assert line["class"] in ("cat", "non-cat")
    assert 0.5 <= line["probability"] <= 1
    assert "flower.jpg" in run("predict", path, photograph).stdout.replace("\n", "")


def test_info_and_data():
    facts = run_json("info")
    assert facts["numpy"] == np.__version__
    assert facts["device_reason"]
    assert {"os", "processor", "cores", "python", "gpus"} <= set(facts)
    assert {"scipy", "scikit-learn", "h5py", "array-api-compat", "safetensors", "pillow"} <= set(facts["packages"])
    assert facts["packages"]["h5py"] == h5py.__version__
    assert 0 < facts["memory_free"] <= facts["memory_total"]
    assert [entry["name"] for entry in run_json("data")["datasets"]] == ["digits", "cats"]
    table = run("info").stdout
    assert "device reason" in table
    assert f"{facts['memory_total'] / 2**30:.1f} GiB" in table
    assert "digits" in run("data").stdout


def test_info_tells_the_memory_of_a_gpu_and_asks_for_the_device_once(monkeypatch):
    gpu = {"device": "cuda:0", "name": "Some GPU", "memory_total": 8 * 2**30, "memory_free": 2**30}
    asked = []

    def choose(name):
        asked.append(name)
        return device.Device("cuda:0", "a stand-in")

    monkeypatch.setattr(device, "choose", choose)
    monkeypatch.setattr(device, "describe_gpus", lambda: [gpu])
    assert run_json("info")["gpus"] == [gpu]
    assert asked == ["auto"]
    table = " ".join(run("info").stdout.replace("│", " ").split())
    for text in ("Some GPU", "memory total 8.0 GiB", "memory free 1.0 GiB", "cuda:0", "a stand-in"):
        assert text in table


def h5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def bad_inputs(folder):
    X, y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2
    yield folder / "missing.h5", "no such file"
    truncated = h5(folder / "truncated.h5", X=X, y=y)
    truncated.write_bytes(truncated.read_bytes()[:1000])
    yield truncated, "not a readable HDF5 file"
    (folder / "text.h5").write_text("hello")
    yield folder / "text.h5", "text.h5"
    yield h5(folder / "no_y.h5", X=X, other=y), "X, other"
    yield h5(folder / "length.h5", X=X, y=y[:-1]), "19"
    yield h5(folder / "one_class.h5", X=X, y=0 * y), "only one class"
    yield h5(folder / "three.h5", X=X, y=np.arange(20) % 3), "3"
    yield h5(folder / "nan.h5", X=np.where(X == 7, np.nan, X), y=y), "NaN"
    yield h5(folder / "empty.h5", X=X[:0], y=y[:0]), "empty"


def test_bad_data_are_one_line_and_exit_code_1(tmp_path):
    for path, message in bad_inputs(tmp_path):
        result = run("train", path, code=1)
        assert result.stdout == ""
        (line,) = result.stderr.splitlines()
        assert line.startswith("Error: ")
        assert path.name in line
        assert message in line


def test_bad_models_and_pictures_are_one_line_and_exit_code_1(model, tmp_path):
    (tmp_path / "not.png").write_text("hello")
    wide = tmp_path / "wide.npz"
    np.savez(wide, X=np.zeros((2, 10), "uint8"))
    for arguments, message in (
        ((model, tmp_path / "not.png"), "not an image"),
        ((model, tmp_path / "missing.png"), "missing.png"),
        ((model, wide), "rows of 64 features (images of 8 × 8)"),
        ((tmp_path / "none.model", wide), "no such model file"),
        ((wide, wide), "not a gpulr model file"),
    ):
        result = run("predict", *arguments, code=1)
        (line,) = result.stderr.splitlines()
        assert message in line


def pictures(m=40, seed=0):
    """Dark ones of class 0 and light ones of class 1: (m, 4, 4) uint8 from 0 to 255, and labels."""
    y = np.arange(m) % 2
    X = np.random.default_rng(seed).integers(0, 100, (m, 4, 4)) + 155 * y[:, None, None]
    X[:2, 0, 0] = 0, 255
    return X.astype("uint8"), y


def train_on_pictures(folder, factor, dtype):
    X, y = pictures()
    data = h5(folder / "data.h5", X=(X * np.float64(factor)).astype(dtype), y=y)
    out = run_json("train", data, "--learning-rate", "auto", "--iterations", 500, "--output", folder / "m")
    assert out["train_accuracy"] == 100
    return folder / "m"


@pytest.mark.parametrize(
    ("factor", "dtype"),
    [(1, "uint8"), (1, "int64"), (1, "float32"), (1 / 255, "float32"), (1 / 255, "float16"), (257, "uint16")],
)
def test_pictures_are_predicted_on_the_scale_of_training_however_that_was_stored(tmp_path, factor, dtype):
    model = train_on_pictures(tmp_path, factor, dtype)
    assert load_model(model).stored_dtype == dtype
    rows = run_json("predict", model, tmp_path / "data.h5")["predictions"][:4]
    files = []
    for i, picture in enumerate(pictures()[0][:4]):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(picture).save(files[-1])
    shown = run_json("predict", model, *files)["predictions"]
    assert [line["class"] for line in shown] == ["0", "1", "0", "1"]
    for row, line in zip(rows, shown, strict=True):
        assert line["probabilities"]["1"] == pytest.approx(row["probabilities"]["1"], abs=1e-2)
        assert line["probability"] > 0.7


@pytest.mark.parametrize(
    ("trained", "given", "message"),
    [
        ((1, "float32"), (1, "uint8"), "was trained on float32 rows; given uint8"),
        ((1, "uint8"), (1, "float64"), "was trained on uint8 rows; given float64"),
        ((1, "uint8"), (257, "uint16"), "trained on uint8 rows times 0.00392157; given uint16 from 0 to 65535"),
        ((1 / 255, "float32"), (1, "float32"), "trained on float32 rows times 1; given float32 from 0.0 to 255.0"),
        ((1, "float64"), (1 / 255, "float64"), "given float64 from 0.0 to 1.0, which is another scale"),
        ((1, "float32"), (-1, "float32"), "which is another scale"),
        ((1, "float32"), (1, "float64"), None),
        ((1, "uint8"), (1, "int64"), None),
        ((1, "int32"), (1, "uint8"), None),
        ((1, "int32"), (0, "uint16"), None),
    ],
)
def test_rows_that_are_stored_otherwise_than_in_training_are_refused(tmp_path, trained, given, message):
    model = train_on_pictures(tmp_path, *trained)
    rows = h5(tmp_path / "rows.h5", X=(pictures()[0] * np.float64(given[0])).astype(given[1]))
    result = run("predict", model, rows, code=0 if message is None else 1)
    if message is not None:
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"Error: {rows}: the model ")
        assert message in line


def test_tables_are_not_taken_for_pictures(tmp_path):
    """Rows of any range and sign, in other types of the same kind."""
    X, y = np.random.default_rng(0).integers(-1000, 1000, (20, 3)), np.arange(20) % 2
    run("train", h5(tmp_path / "i.h5", X=X, y=y), "--iterations", 1, "--output", tmp_path / "m")
    run("predict", tmp_path / "m", h5(tmp_path / "j.h5", X=np.abs(X).astype("int16")))
    result = run("predict", tmp_path / "m", h5(tmp_path / "k.h5", X=X.astype("uint8")), code=1)
    assert "trained on int64 rows times 1; given uint8" in result.stderr


def test_options_without_effect_are_refused(model, tmp_path):
    table = h5(tmp_path / "t.h5", X=np.zeros((4, 2)), y=[0, 1, 0, 1])
    X, y = np.zeros((4, 2)), [0, 1, 0, 1]
    parts = h5(tmp_path / "parts.h5", train_x=X, train_y=y, test_x=X, test_y=y)
    picture = tmp_path / "a.png"
    Image.new("L", (8, 8)).save(picture)
    for arguments, message in (
        (("train", parts, "--test-size", 0.2), "test_size=0.2 has no effect"),
        (("train", table, "--image-size", 64), "image_size=64 is for a folder of images only"),
        (("bench", "digits", "--image-size", 8), "image_size=8 is for a folder of images only"),
        (("predict", model, picture, "--x", "X"), "--x X names a data set"),
    ):
        assert message in run(*arguments, code=1).stderr
    rows = h5(tmp_path / "rows.h5", Z=np.zeros((1, 64), "uint8"))
    assert len(run_json("predict", model, rows, picture, "--x", "Z")["predictions"]) == 2
    assert "missing.h5" in run("predict", model, tmp_path / "missing.h5", "--x", "Z", code=1).stderr


def test_a_model_that_was_not_trained_on_pictures_refuses_them(tmp_path):
    path = h5(tmp_path / "table.h5", X=np.random.default_rng(0).normal(size=(20, 3)), y=np.arange(20) % 2)
    run("train", path, "--iterations", 1, "--output", tmp_path / "m")
    result = run("predict", tmp_path / "m", tmp_path / "picture.png", code=1)
    assert "was not trained on pictures" in result.stderr


def test_an_output_folder_that_is_missing_is_found_out_before_training(tmp_path):
    result = run("train", "--iterations", "1000000000", "--output", tmp_path / "no" / "model", code=1)
    assert "there is no folder" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--solver", "adam"],
        ["--iterations", "0"],
        ["--learning-rate", "nan"],
        ["--learning-rate", "0"],
        ["--learning-rate", "fast"],
        ["--device", "gpu"],
        ["--dtype", "float16"],
        ["--pass", "fast"],
        ["--test-size", "1"],
        ["--seed", "-1"],
        ["--seed", "4294967296"],
        ["--nonsense"],
        *(["--solver", "auto", *option] for option in (
            ["--C", "0"], ["--C", "-1"], ["--C", "nan"], ["--C", "much"], ["--l1-ratio", "1.1"], ["--l1-ratio", "nan"],
            ["--tol", "-1"], ["--tol", "inf"], ["--tol", "nan"], ["--class-weight", "heavy"],
        )),
    ],
)  # fmt: skip
def test_wrong_usage_is_exit_code_2(arguments):
    assert run("train", *arguments, code=2).stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(([*option], "has no effect with solver='gd'") for option in (
            ("--C", "1"), ("--l1-ratio", "0"), ("--standardize",), ("--tol", "1e-4"), ("--class-weight", "balanced"),
        )),
        *((["--solver", solver, *option], f"has no effect with solver={solver!r}")
          for solver in ("auto", "lbfgs", "newton", "sgd", "prox-newton", "fista")
          for option in (
            ("--learning-rate", "0.005"), ("--init", "zeros"), ("--pass", "auto"), ("--record-every", "1"),
        )),
        (["--solver", "auto", "--C", "inf", "--l1-ratio", "1"], "l1_ratio=1.0 has no effect with C=inf"),
        (["--solver", "auto", "--C", "inf", "--standardize"], "standardize=True has no effect with C=inf"),
        (["--solver", "newton", "--l1-ratio", "1"], "use 'auto' or one of prox-newton, fista"),
        (["--solver", "fista"], "use 'auto' or one of gd, sgd, lbfgs, newton"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_solver_is_wrong_usage_and_found_out_first(arguments, message, tmp_path):
    result = run("train", tmp_path / "missing.h5", *arguments, code=2)
    assert result.stdout == ""
    assert message in result.stderr


def test_a_missing_gpu_is_an_error_and_no_fall_back(monkeypatch):
    monkeypatch.setattr(device, "why_no_gpu", lambda: "a stand-in for the reason")
    result = run("train", "--device", "cuda", code=1)
    assert "a stand-in for the reason" in result.stderr


def test_debug_shows_the_traceback(tmp_path):
    result = CliRunner().invoke(main, ["train", str(tmp_path / "missing.h5"), "--debug"])
    assert isinstance(result.exception, FileNotFoundError)


def test_the_installed_command_keeps_stdout_for_json():
    command = [sys.executable, "-c", "from gpulr.cli import main; main()", "train", "--iterations", "5", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["n_iter"] == 5


def test_the_progress_bar_shows_the_cost(monkeypatch):
    import io

    from rich.console import Console

    from gpulr import cli

    screen = io.StringIO()
    monkeypatch.setattr(cli, "stderr", Console(file=screen, force_terminal=True, width=100))
    run("train", "--iterations", "200")
    assert "200" in screen.getvalue()
    assert "cost 0." in screen.getvalue()
