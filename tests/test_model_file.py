"""The model file: what is written is read back, and what is not a model is refused."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gpulr import Model, load_model, save_model


@pytest.fixture
def model(rng):
    w = rng.normal(size=12).astype("float32")
    b = np.array(0.5, "float32")
    return Model(w, b, ("non-cat", "cat"), (2, 2, 3), 1 / 255, "uint8", training={"n_iter": 3})


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(model, path)
    return path


def test_round_trip(model, saved):
    again = load_model(saved)
    np.testing.assert_array_equal(again.w, model.w)
    assert (again.w.dtype, again.b.dtype, again.b) == ("float32", "float32", 0.5)
    for name in ("classes", "image_shape", "scale", "stored_dtype", "threshold", "training"):
        assert getattr(again, name) == getattr(model, name)


def test_prediction_is_the_formula(model, rng):
    X = rng.integers(0, 256, (5, 12)).astype("uint8")
    expected = 1 / (1 + np.exp(-(X / 255 @ model.w.astype(float) + 0.5)))
    np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-5)
    np.testing.assert_allclose(model.predict_proba(X / 255, scale=1), expected, rtol=1e-5)
    np.testing.assert_array_equal(model.predict(X), expected > 0.5)
    with pytest.raises(ValueError, match=r"rows of 12 features \(images of 2 × 2 × 3\); given: .* \(5, 11\)"):
        model.predict_proba(X[:, 1:])


def test_the_file_is_replaced_whole_or_not_at_all(model, saved, monkeypatch):
    before = saved.read_bytes()

    def full_disk(handle):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save_model(model, saved)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]  # nothing half-written is left behind


def test_the_file_is_as_readable_as_any_other(saved):
    umask = os.umask(0o022)
    os.umask(umask)
    assert stat.S_IMODE(saved.stat().st_mode) == 0o666 & ~umask


def rewrite(path, tensors=(), **metadata):
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        header = file.metadata()
    arrays = {**load_file(path), **dict(tensors)}
    header.update({name: text for name, text in metadata.items() if text is not None})
    for name in [name for name, text in metadata.items() if text is None]:
        del header[name]
    save_file({name: array for name, array in arrays.items() if array is not None}, path, header)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "not a gpulr model file"),
        ({"version": "99"}, "version 99; this gpulr reads version 1"),
        ({"scale": None}, "missing or unknown fields: scale"),
        ({"extra": "1"}, "missing or unknown fields: extra"),
        ({"classes": '["a"]'}, "classes must be two names"),
        ({"classes": "[1, 2]"}, "classes must be two names"),
        ({"classes": '["a", "a"]'}, "classes must be two different names"),
        ({"classes": '"ab"'}, "classes has a wrong type"),
        ({"image_shape": "[true, 12]"}, "not the shape of 12 features"),
        ({"scale": "1" + 400 * "0"}, "scale=10+ must be a positive number"),
        ({"scale": "1" + 5000 * "0"}, "scale is not JSON that can be read: '10+'"),
        ({"threshold": "1" + 400 * "0"}, "threshold=10+ must be between 0 and 1"),
        ({"image_shape": f"[1{400 * '0'}, 12]"}, "image_shape=.* is not the shape of 12 features"),
        ({"training": 100_000 * "[" + 100_000 * "]"}, r"training is not JSON that can be read: '\[+' \("),
        ({"stored_dtype": '"complex64"'}, "stored_dtype='complex64' must be one of bool, int8"),
        ({"stored_dtype": "8"}, "stored_dtype has a wrong type: 8"),
        ({"image_shape": "[2, 2, 4]"}, "not the shape of 12 features"),
        ({"image_shape": "[2.0, 6]"}, "not the shape of 12 features"),
        ({"scale": "0"}, "scale=0 must be a positive number"),
        ({"scale": "NaN"}, "scale=nan must be a positive number"),
        ({"scale": '"1"'}, "scale='1' must be a positive number"),
        ({"threshold": "1.5"}, "threshold=1.5 must be between 0 and 1"),
        ({"threshold": "}"}, "threshold is not JSON"),
        ({"tensors": {"w": np.full(12, np.nan, "float32")}}, "w and b must be finite"),
        ({"tensors": {"w": np.zeros((3, 4), "float32")}}, r"w must be \(n,\)"),
        ({"tensors": {"w": np.zeros(12, "int32")}}, "float32 or float64"),
        ({"tensors": {"b": np.zeros(2, "float32")}}, r"b must be \(\)"),
        ({"tensors": {"b": None}}, "missing or unknown fields: b"),
    ],
)
def test_every_field_is_checked(saved, change, message):
    rewrite(saved, **change)
    with pytest.raises(ValueError, match=message) as caught:
        load_model(saved)
    assert str(caught.value).startswith(str(saved))


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F8_E4M3", "I64"])
def test_tensors_of_other_types_are_refused(saved, dtype):
    """Written by hand: NumPy has not all of these types."""
    data = saved.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    size = {"BF16": 2, "F16": 2, "F8_E4M3": 1, "I64": 8}[dtype]
    header["w"] = {"dtype": dtype, "shape": [12], "data_offsets": [0, 12 * size]}
    header["b"]["data_offsets"] = [12 * size, 12 * size + 4]
    text = json.dumps(header).encode()
    saved.write_bytes(len(text).to_bytes(8, "little") + text + bytes(12 * size + 4))
    with pytest.raises(ValueError, match=f"w must be in float32 or float64, not {dtype}") as caught:
        load_model(saved)
    assert str(caught.value).startswith(str(saved))


def test_a_model_that_could_not_be_saved_is_refused(model):
    for training in ({"rate": np.float32(1)}, {"w": model.w}, {("a", "b"): 1}):
        with pytest.raises(ValueError, match="training must be JSON values"):
            replace(model, training=training)
    circle = {}
    circle["self"] = circle
    with pytest.raises(ValueError, match="training must be JSON values"):
        replace(model, training=circle)


def test_damaged_missing_and_foreign_files(saved, tmp_path):
    saved.write_bytes(saved.read_bytes()[:-5])
    with pytest.raises(ValueError, match="not a gpulr model file, or damaged"):
        load_model(saved)
    with pytest.raises(FileNotFoundError, match="no such model file"):
        load_model(tmp_path / "missing")
    other = tmp_path / "other.safetensors"
    save_file({"w": np.zeros(3)}, other)
    with pytest.raises(ValueError, match="not a gpulr model file"):
        load_model(other)
