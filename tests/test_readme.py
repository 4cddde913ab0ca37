"""The README cannot rot: its Python runs here, and so does every command of it that .ci/run does not run."""

from __future__ import annotations

import re
import shlex
from importlib import resources
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from gpulr.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.S) for line in block.splitlines()]


def test_the_first_two_commands_set_up_all_they_need():
    # .ci/run runs these two as they stand.
    for command in COMMANDS[:2]:
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install")
    assert sum("python3 -m venv" in command for command in COMMANDS) == 2


def test_every_other_command_runs(cats_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPULR_DATA", str(cats_folder))
    flower = resources.files("sklearn.datasets") / "images" / "flower.jpg"
    (tmp_path / "my_picture.jpg").write_bytes(flower.read_bytes())
    with h5py.File("my.h5", "w") as file:
        file["images"] = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3)).astype("uint8")
        file["labels"] = np.arange(20) % 2
    ran = []
    for command in COMMANDS[2:]:
        program, *arguments = shlex.split(command)
        if program != "gpulr":
            assert program == ".venv/bin/pip"
            continue
        if arguments[0] == "bench":
            arguments += ["--race", "training", "--iterations", "2", "--repeats", "1"]  # all races take a minute
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        ran.append(arguments[0])
    assert ran == ["train", "predict", "bench", "train"]


def test_the_gpu_extras_exist():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    # .ci/run tries these without installing anything.
    commands = [line for line in COMMANDS if re.fullmatch(r"\.venv/bin/pip install '\.\[cuda\d+\]'", line)]
    named = {re.search(r"\[(\w+)\]", command)[1] for command in commands}
    assert named == {"cuda12", "cuda13"} <= set(project["optional-dependencies"])


def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len([line for line in example.splitlines() if line]) <= 15
    exec(compile(example, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert "[0, 0.693147" in out
    assert "['3', '3', '3', '8', '3']" in out


@pytest.mark.parametrize("option", re.findall(r"`(--[\w-]+)", README))
def test_every_option_it_mentions_exists(option):
    helps = "".join(CliRunner().invoke(main, [name, "--help"]).output for name in main.commands)
    assert option in helps
