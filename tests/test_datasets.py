"""Every source gives the same kind of data set, and every bad one an error that names it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pooch
import pytest
import requests
from PIL import Image

from gpulr.data_files import is_data_file, load_features
from gpulr.datasets import CATS_SHA256, CATS_URL, Dataset, known_datasets, load_dataset

Arrays = dict[str, np.ndarray]


def write_h5(path: Path, **arrays: object) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


@pytest.fixture(params=["h5", "npz"])
def save(request, tmp_path):
    """save(X=..., y=...) writes one file, as HDF5 and as .npz."""

    def write(**arrays: np.ndarray) -> Path:
        path = tmp_path / f"data.{request.param}"
        if request.param == "h5":
            return write_h5(path, **arrays)
        np.savez(path, **arrays)
        return path

    return write


def table(m: int = 10, n: int = 3) -> Arrays:
    """Row i is filled with i and labelled i % 2, so that a row keeps its label through any split."""
    return {"X": np.repeat(np.arange(m, dtype=np.float32)[:, None], n, axis=1), "y": np.arange(m) % 2}


def cat_like(prefix: str, m: int, **more: object) -> dict[str, object]:
    X = np.arange(m * 12, dtype=np.uint8).reshape(m, 2, 2, 3)
    return {f"{prefix}_set_x": X, f"{prefix}_set_y": np.arange(m) % 2, **more}


def assert_sound(data: Dataset) -> None:
    for X, y in ((data.X_train, data.y_train), (data.X_test, data.y_test)):
        assert X.ndim == 2
        assert X.flags.c_contiguous
        assert y.shape == (len(X),)
        assert y.dtype == np.int64
        assert set(y.tolist()) <= {0, 1}
    assert set(data.y_train.tolist()) == {0, 1}
    assert data.X_train.shape[1] == data.X_test.shape[1]
    assert data.X_train.dtype == data.X_test.dtype


# Known names.


def test_digits():
    data = load_dataset()
    assert_sound(data)
    assert (data.name, data.classes, data.image_shape, data.scale) == ("digits", ("3", "8"), (8, 8), 1 / 16)
    assert data.X_train.dtype == np.uint8
    assert data.X_train.max() == 16
    assert (len(data.X_train), len(data.X_test)) == (285, 72)
    assert [np.bincount(y).tolist() for y in (data.y_train, data.y_test)] == [[146, 139], [37, 35]]


def test_seed_decides_the_split():
    first, same, other = (load_dataset("digits", seed=seed).X_test for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def test_cats(cats_folder, monkeypatch):
    monkeypatch.setenv("GPULR_DATA", str(cats_folder))
    data = load_dataset("cats")
    assert_sound(data)
    assert data.X_train.dtype == np.uint8
    assert (data.X_train.shape, data.X_test.shape) == ((209, 12288), (50, 12288))
    assert (data.classes, data.image_shape, data.scale) == (("non-cat", "cat"), (64, 64, 3), 1 / 255)
    assert (data.y_train.sum(), data.y_test.sum()) == (72, 33)
    assert known_datasets()[1]["available"]

    same = load_dataset(cats_folder)
    np.testing.assert_array_equal(same.X_train, data.X_train)
    np.testing.assert_array_equal(same.y_test, data.y_test)


def test_one_cat_file_is_a_data_set_too(cats_folder):
    data = load_dataset(cats_folder / "test_catvnoncat.h5", test_size=0)
    assert_sound(data)
    assert (data.X_train.shape, data.X_test.shape) == ((50, 12288), (0, 12288))
    assert data.classes == ("non-cat", "cat")


def test_cats_missing_in_the_folder_named_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("GPULR_DATA", str(tmp_path))
    (tmp_path / "train_catvnoncat.h5").touch()
    with pytest.raises(FileNotFoundError, match=r"GPULR_DATA .* lacks test_catvnoncat.h5; put them there from"):
        load_dataset("cats")
    assert not known_datasets()[1]["available"]


@pytest.mark.parametrize(
    "cause", [requests.ConnectionError("no network"), ValueError("SHA256 hash of downloaded file differs")]
)
def test_cats_that_cannot_be_fetched(cause, tmp_path, monkeypatch):
    def retrieve(*args: object, **kwargs: object) -> str:
        raise cause

    monkeypatch.delenv("GPULR_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / project)
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(OSError, match="the cat data cannot be fetched") as raised:
        load_dataset("cats")
    message = str(raised.value)
    parts = [CATS_URL + file for file in CATS_SHA256] + [str(tmp_path / "gpulr"), "GPULR_DATA", str(cause)]
    assert [part for part in parts if part not in message] == []
    assert raised.value.__cause__ is cause


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """serve(content) lets pooch run with an empty cache and, for its connection, content(file name) -> bytes."""

    def start(content: Callable[[str], bytes]) -> list[str]:
        fetched = []

        class Local:
            def __init__(self, **options: object) -> None:
                pass

            def __call__(self, url: str, output_file: str, pooch: object) -> None:
                fetched.append(url)
                Path(output_file).write_bytes(content(url.rpartition("/")[2]))

        monkeypatch.delenv("GPULR_DATA", raising=False)
        monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / project)
        monkeypatch.setattr("pooch.downloaders.HTTPDownloader", Local)
        return fetched

    return start


def test_cats_with_another_checksum_are_refused(serve):
    serve(lambda file: b"something else")
    with pytest.raises(OSError, match=r"cannot be fetched: .* The cause: SHA256 hash .* does not match"):
        load_dataset("cats")
    assert not known_datasets()[1]["available"]


def test_cats_are_fetched_once(serve, cats_folder, tmp_path):
    fetched = serve(lambda file: (cats_folder / file).read_bytes())
    assert not known_datasets()[1]["available"]
    for _ in range(2):
        assert load_dataset("cats").X_train.shape == (209, 12288)
    assert fetched == [CATS_URL + file for file in CATS_SHA256]
    assert known_datasets()[1] | {"description": ""} == {
        "name": "cats",
        "description": "",
        "location": str(tmp_path / "gpulr"),
        "available": True,
    }


def test_known_datasets_without_network(tmp_path, monkeypatch):
    monkeypatch.setenv("GPULR_DATA", str(tmp_path))
    digits, cats = known_datasets()
    assert (digits["name"], digits["location"], digits["available"]) == (
        "digits",
        "bundled with scikit-learn",
        True,
    )
    assert (cats["name"], cats["location"], cats["available"]) == ("cats", str(tmp_path), False)


def test_unknown_name():
    with pytest.raises(ValueError, match=r"unknown data set 'dogs': known are digits and cats; or give the path of"):
        load_dataset("dogs")


def test_import_is_light():
    code = "import sys, gpulr.datasets; print({'sklearn', 'pooch', 'h5py', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# One file.


def test_rows_keep_their_labels(save):
    data = load_dataset(save(**table(20)), test_size=0.3, seed=3)
    assert_sound(data)
    assert (len(data.X_train), len(data.X_test)) == (14, 6)
    assert (data.y_train == data.X_train[:, 0] % 2).all()
    assert (data.y_test == data.X_test[:, 0] % 2).all()
    assert sorted([*data.X_train[:, 0], *data.X_test[:, 0]]) == list(range(20))
    assert np.bincount(data.y_test).tolist() == [3, 3]


def test_nothing_held_out(save):
    data = load_dataset(save(**table(4)), test_size=0)
    assert_sound(data)
    assert (data.X_train.shape, data.X_test.shape, data.y_test.shape) == ((4, 3), (0, 3), (0,))
    np.testing.assert_array_equal(data.X_train, table(4)["X"])


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        ("uint8", 1 / 255),
        ("int8", 1),
        ("uint16", 1),  # whatever their range: (m, n) is a table
        ("int64", 1),
        ("bool", 1),
        ("float16", 1),
        ("float32", 1),
        ("float64", 1),
    ],
)
def test_dtype_is_kept(save, dtype, scale):
    X = table()["X"].astype(dtype)
    data = load_dataset(save(X=X, y=table()["y"]), test_size=0)
    assert data.X_train.dtype == np.dtype(dtype)
    assert data.scale == scale
    np.testing.assert_array_equal(data.X_train, X)


def test_byte_order_becomes_native_and_rows_contiguous(save):
    X = np.asfortranarray(table()["X"].astype(">f4"))
    data = load_dataset(save(X=X, y=table()["y"]), test_size=0)
    assert_sound(data)
    assert data.X_train.dtype.isnative
    np.testing.assert_array_equal(data.X_train, X)


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [
        ((8, 6), None),
        ((8, 2, 3), (2, 3)),
        ((8, 2, 3, 1), (2, 3, 1)),
        ((8, 2, 3, 3), (2, 3, 3)),
        ((8, 2, 3, 4), (2, 3, 4)),
        ((8, 2, 3, 5), None),
        ((8, 2, 3, 3, 2), None),
    ],
)
def test_rows_of_any_shape_are_flattened(save, shape, image_shape):
    X = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    data = load_dataset(save(X=X, y=np.arange(8) % 2), test_size=0)
    assert data.image_shape == image_shape
    np.testing.assert_array_equal(data.X_train, X.reshape(8, -1))


@pytest.mark.parametrize(
    ("dtype", "low", "high", "white"),
    [
        ("uint8", 0, 1, 255),
        ("uint8", 0, 200, 255),
        ("bool", 0, 1, 1),
        ("int8", 0, 100, 255),
        ("int64", 0, 1, 1),
        ("int64", 0, 255, 255),
        ("int64", 0, 256, 65535),
        ("uint16", 0, 65535, 65535),
        ("int32", 0, 65536, None),
        ("int32", -1, 255, None),
        ("float16", 0, 1, 1),
        ("float32", 0, 255, 255),
        ("float64", 0, 255.5, None),
        ("float64", -0.5, 0.5, None),
    ],
)
@pytest.mark.parametrize("split", [True, False])
def test_pixels_become_features_from_0_to_1(save, dtype, low, high, white, split):
    X = np.zeros((8, 2, 3), dtype)
    X[0, 0, 0], X[1, 1, 1] = low, high
    y = np.arange(8) % 2
    # Of a source that comes split both parts count: here the range is that of the one without the other.
    arrays = {"train_x": X[:1].repeat(2, axis=0), "train_y": y[:2], "test_x": X[1:], "test_y": y[1:]}
    data = load_dataset(save(**arrays)) if split else load_dataset(save(X=X, y=y))
    assert data.X_train.dtype == dtype
    assert (data.image_shape, data.scale) == ((None, 1) if white is None else ((2, 3), 1 / white))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([0, 1], ("0", "1")),
        ([7, -2], ("-2", "7")),
        ([1.0, 3.0], ("1", "3")),
        ([0.5, 2.0], ("0.5", "2")),
        ([True, False], ("False", "True")),
        ([b"dog", b"cat"], ("cat", "dog")),
        (["größer", "kleiner"], ("größer", "kleiner")),
    ],
)
def test_labels_of_any_type(tmp_path, labels, classes):
    values = np.array(labels)
    np.savez(tmp_path / "d.npz", X=table()["X"], y=np.tile(values, 5))
    data = load_dataset(tmp_path / "d.npz", test_size=0)
    assert data.classes == classes
    np.testing.assert_array_equal(data.y_train, np.tile(np.argsort(np.argsort(values)), 5))


def test_hdf5_strings_of_any_length(tmp_path):
    path = write_h5(tmp_path / "d.h5", X=table(4)["X"], y=["zebra", "ant", "ant", "zebra"])
    data = load_dataset(path, test_size=0)
    assert (data.classes, data.y_train.tolist()) == (("ant", "zebra"), [1, 0, 0, 1])


@pytest.mark.parametrize("shape", [(10,), (10, 1), (1, 10)])
def test_labels_as_a_column_or_a_row(save, shape):
    data = load_dataset(save(X=table()["X"], y=table()["y"].reshape(shape)), test_size=0)
    np.testing.assert_array_equal(data.y_train, table()["y"])


def test_class_names_in_the_file(save):
    names = np.array([b"non-cat", b"cat"])
    assert load_dataset(save(**table(), list_classes=names)).classes == ("non-cat", "cat")
    assert load_dataset(save(**table(), classes=names)).classes == ("non-cat", "cat")
    assert load_dataset(save(**table(), classes=np.array([b"three", b"too", b"many"]))).classes == ("0", "1")
    # They name the labels 0 and 1; which of them -1 would be is a guess.
    assert load_dataset(save(X=table()["X"], y=2 * table()["y"] - 1, classes=names)).classes == ("-1", "1")


def test_class_names_must_differ(save):
    path = save(**table(), list_classes=np.array([b"cat", b"cat"]))
    with pytest.raises(ValueError, match=r"list_classes calls both classes 'cat'; give them two different names") as e:
        load_dataset(path)
    assert str(path) in str(e.value)


def test_links_are_followed(tmp_path):
    arrays = table(6)
    path = write_h5(tmp_path / "d.h5", **{"g/a": arrays["X"], "g/b": arrays["y"], "other/X1": arrays["X"] + 1})
    with h5py.File(path, "a") as file:
        file["X"] = h5py.SoftLink("/g/a")
        file["y"] = h5py.SoftLink("/g/b")
        file["nothing"] = h5py.SoftLink("/not/there")
        file["circle"] = h5py.SoftLink("/circle")
        file["g/up"] = h5py.SoftLink("/")
        file["elsewhere"] = h5py.ExternalLink("none.h5", "/X")
    for names in ({}, {"x": "X"}, {"x": "g/a", "y": "/y"}):
        np.testing.assert_array_equal(load_dataset(path, test_size=0, **names).X_train, arrays["X"])
    with pytest.raises(ValueError, match="no data set 'nothing' for x; the file holds X, g/a, g/b, other/X1, y"):
        load_dataset(path, x="nothing")
    with h5py.File(path, "a") as file:
        file["other/X"] = h5py.SoftLink("/g/a")  # one data set still, and no choice to be made
    np.testing.assert_array_equal(load_dataset(path, test_size=0).X_train, arrays["X"])


def test_groups_are_walked_and_names_can_be_given(tmp_path):
    arrays = table(6)
    path = write_h5(tmp_path / "d.h5", **{"a/Features": arrays["X"], "b/c/Labels": arrays["y"], "extra": 1})
    np.testing.assert_array_equal(load_dataset(path, test_size=0).X_train, arrays["X"])

    write_h5(path, **{"a/X": arrays["X"], "b/X": arrays["X"] + 1, "y": arrays["y"], "age": arrays["y"]})
    with pytest.raises(ValueError, match=r"d\.h5: a/X, b/X could each be x; the file holds a/X, age, b/X, y"):
        load_dataset(path)
    data = load_dataset(path, x="/b/X", y="age", test_size=0)
    np.testing.assert_array_equal(data.X_train, arrays["X"] + 1)


def test_file_that_comes_split(save):
    data = load_dataset(save(**cat_like("train", 6), **cat_like("test", 3), classes=np.array([b"no", b"yes"])))
    assert_sound(data)
    assert (data.X_train.shape, data.X_test.shape) == ((6, 12), (3, 12))
    assert (data.classes, data.image_shape, data.y_test.tolist()) == (("no", "yes"), (2, 2, 3), [0, 1, 0])


def test_content_decides_not_the_extension(tmp_path):
    h5 = write_h5(tmp_path / "d.data", **table())
    assert load_dataset(h5).X_train.shape == (8, 3)
    np.savez(tmp_path / "d.npz", **table())
    assert load_dataset((tmp_path / "d.npz").rename(tmp_path / "e.h5")).X_train.shape == (8, 3)


# Folders.


@pytest.mark.parametrize(
    ("train_names", "test_names", "classes"),
    [
        (True, True, ("no", "yes")),
        (False, True, ("no", "yes")),
        (True, False, ("no", "yes")),
        (False, False, ("0", "1")),
    ],
)
def test_folder_of_two_files(tmp_path, train_names, test_names, classes):
    names = {"list_classes": np.array([b"no", b"yes"])}
    write_h5(tmp_path / "train_a.h5", **cat_like("train", 5, **(names if train_names else {})))
    write_h5(tmp_path / "test_a.h5", **cat_like("test", 1, **(names if test_names else {})))
    data = load_dataset(tmp_path)
    assert_sound(data)
    assert (data.name, data.classes, data.image_shape) == (tmp_path.name, classes, (2, 2, 3))
    assert data.y_test.tolist() == [0]  # labelled as in training, though it is the only class here


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ({"X": np.zeros((2, 5), np.float32), "y": [0, 1]}, "train and test differ: 3 float32 .* 5 float32"),
        ({"X": np.zeros((2, 3), np.uint8), "y": [0, 1]}, "train and test differ: 3 float32 .* 3 uint8"),
        ({"X": np.zeros((2, 3), np.float32), "y": [0, 2]}, r"distinct labels is 3 \(0, 1, 2\)"),
        ({"X": np.zeros((2, 3), np.float32)}, "test_a.h5: no data set is named like y; the file holds X"),
    ],
)
def test_folder_of_two_files_that_do_not_fit(tmp_path, test, message):
    write_h5(tmp_path / "train_a.h5", **table())
    write_h5(tmp_path / "test_a.h5", **test)
    with pytest.raises(ValueError, match=message):
        load_dataset(tmp_path)


def test_folder_whose_training_part_has_one_class(tmp_path):
    write_h5(tmp_path / "train_a.h5", X=np.zeros((3, 2)), y=[1, 1, 1])
    write_h5(tmp_path / "test_a.h5", X=np.zeros((3, 2)), y=[0, 1, 1])
    with pytest.raises(ValueError, match="every training label is 1; both classes are needed"):
        load_dataset(tmp_path)


def test_folder_without_its_other_part(tmp_path):
    write_h5(tmp_path / "train_a.h5", **table())
    with pytest.raises(ValueError, match=r"holds 1 train_\*.h5 and 0 test_\*.h5 files; one each is needed"):
        load_dataset(tmp_path)


def save_image(path: Path, value: int) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((5, 9, 3), value, np.uint8)).save(path)


def test_folder_of_images(tmp_path):
    for i in range(5):
        save_image(tmp_path / "dogs" / f"{i}.PNG", 200)
        save_image(tmp_path / "birds" / f"{i}.png", 20)
    (tmp_path / ".hidden").mkdir()
    data = load_dataset(tmp_path, image_size=4)
    assert_sound(data)
    assert (data.classes, data.image_shape, data.scale) == (("birds", "dogs"), (4, 4, 3), 1 / 255)
    assert data.X_train.dtype == np.uint8
    assert (data.X_train.shape, data.X_test.shape) == ((8, 48), (2, 48))
    assert (data.X_train == np.where(data.y_train == 1, 200, 20)[:, None]).all()
    # The rows' order, and with it the split of a seed, must not depend on the file system's.
    assert load_dataset(tmp_path, test_size=0).y_train.tolist() == [0] * 5 + [1] * 5


def test_folder_of_images_that_is_none(tmp_path):
    with pytest.raises(ValueError, match="is a folder with 0 sub-folders; accepted is an HDF5"):
        load_dataset(tmp_path)
    save_image(tmp_path / "a" / "1.png", 1)
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match=r"b holds no image"):
        load_dataset(tmp_path)
    save_image(tmp_path / "b" / "1.png", 1)
    with pytest.raises(ValueError, match=r"image_shape is \(0, 0, 3\)"):
        load_dataset(tmp_path, image_size=0)
    (tmp_path / "c").mkdir()
    with pytest.raises(ValueError, match="3 sub-folders"):
        load_dataset(tmp_path)


# What is refused.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.arange(9) % 2}, "X has 10 rows, but y has 9 labels"),
        ({"y": np.zeros(10, int)}, "only one class, every label is 0"),
        ({"y": np.arange(10)}, r"distinct labels is 10 \(0, 1, 2, 3, 4, \.\.\.\), but gpulr classifies two"),
        ({"y": np.eye(10)}, r"y has shape \(10, 10\); one label a sample"),
        ({"y": np.int64(1)}, r"y has shape \(\); one label a sample"),
        ({"y": np.array([0, 1, np.nan, np.nan] + [0.0] * 6)}, "y holds 2 NaN or infinite labels"),
        ({"y": np.zeros(10, complex)}, "y has type complex128; labels are numbers"),
        ({"X": np.zeros((0, 3)), "y": np.zeros(0)}, r"X is empty, its shape is \(0, 3\)"),
        ({"X": np.zeros((10, 0))}, r"X is empty, its shape is \(10, 0\)"),
        ({"X": np.zeros(10)}, r"X has shape \(10,\); \(m, n\)"),
        ({"X": np.zeros((10, 2), complex)}, "X has type complex128; integers, booleans, float16"),
        ({"X": np.full((10, 2), b"a")}, r"X has type \|S1; integers, booleans, float16"),
    ],
)
def test_bad_content(save, change, message):
    path = save(**(table() | change))
    with pytest.raises(ValueError, match=message) as raised:
        load_dataset(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_values_that_are_not_finite(save, bad, dtype):
    X = np.ones((20, 300_000 // 20), dtype)
    X[7, 11] = X[7, 12] = X[19, 0] = bad
    with pytest.raises(ValueError, match="X holds 3 NaN or infinite values, the first in row 7, column 11"):
        load_dataset(save(X=X, y=np.arange(20) % 2))


def test_finiteness_is_counted_across_blocks(tmp_path):
    X = np.ones((5, 2**20), np.float16)
    X[3, 5] = X[4, 0] = np.nan
    path = write_h5(tmp_path / "d.h5", X=X)
    with pytest.raises(ValueError, match="X holds 2 NaN or infinite values, the first in row 3, column 5"):
        load_features(path)


def test_large_finite_values_are_accepted(save):
    """Their sum overflows, which is no reason to refuse them."""
    X = np.full((10, 3), np.finfo(np.float16).max, np.float16)
    assert load_dataset(save(X=X, y=table()["y"]), test_size=0).X_train.max() == 65504


def test_names_that_are_not_there(save):
    path = save(left=table()["X"], right=table()["y"])
    with pytest.raises(
        ValueError, match=r"no data set is named like x; the file holds left, right\. Recognized are x,"
    ):
        load_dataset(path)
    with pytest.raises(ValueError, match="has no data set 'rigth' for y; the file holds left, right"):
        load_dataset(path, x="left", y="rigth")
    assert load_dataset(path, x="left", y="right").X_train.shape == (8, 3)


def test_hdf5_without_data_sets(tmp_path):
    with pytest.raises(ValueError, match="the file holds no data set"):
        load_dataset(write_h5(tmp_path / "d.h5"))


@pytest.mark.parametrize("y", [[0, 0, 0, 0, 0, 1], [0, 1]])
def test_too_few_of_a_class_to_split(save, y):
    path = save(X=np.ones((len(y), 2)), y=np.array(y))
    with pytest.raises(ValueError, match=rf"{len(y) - 1} of 0 and 1 of 1 are too few samples to hold out"):
        load_dataset(path)
    assert len(load_dataset(path, test_size=0).X_train) == len(y)


@pytest.mark.parametrize("test_size", [-0.1, 1, 5, float("nan")])
def test_test_size_out_of_range(test_size):
    with pytest.raises(ValueError, match=r"test_size is .*: give a share of the samples, 0 <= test_size < 1"):
        load_dataset("digits", test_size=test_size)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seed_out_of_range(seed):
    with pytest.raises(ValueError, match=rf"seed is {seed}: give an integer, 0 <= seed < 2\*\*32"):
        load_dataset("digits", seed=seed)
    with pytest.raises(TypeError, match="integer"):
        load_dataset("digits", seed=seed / 2)


def test_test_size_is_refused_where_the_data_come_split(save, tmp_path):
    path = save(**cat_like("train", 4), **cat_like("test", 2))
    write_h5(tmp_path / "train_a.h5", **table())
    write_h5(tmp_path / "test_a.h5", **table())
    for source in (path, tmp_path, "cats"):
        with pytest.raises(ValueError, match=r"comes split .* test_size=0\.2 has no effect; leave it out") as raised:
            load_dataset(source, test_size=0.2)
        assert str(source) in str(raised.value)


def test_image_size_is_refused_where_there_is_no_folder_of_images(save, tmp_path):
    write_h5(tmp_path / "train_a.h5", **table())
    for source in ("digits", "cats", save(**table()), tmp_path):
        with pytest.raises(ValueError, match="image_size=64 is for a folder of images only; leave it out") as raised:
            load_dataset(source, image_size=64)
        assert str(source) in str(raised.value)


def test_x_and_y_are_for_single_files(tmp_path):
    for source in ("digits", "cats", tmp_path):
        with pytest.raises(ValueError, match=r"x and y name data sets of a single HDF5 or \.npz file"):
            load_dataset(source, x="X")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file or folder: .*none\.h5; give the path of an HDF5"):
        load_dataset(tmp_path / "none.h5")


@pytest.mark.parametrize("keep", [0, 1, 100, 2000])
def test_truncated_file(save, keep):
    path = save(**table(1000))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(OSError, match=r"data\.\w+ is not a readable (HDF5|\.npz) file \(truncated or another"):
        load_dataset(path)


def test_other_content_under_a_known_extension(tmp_path):
    for name, kind in (("d.h5", "HDF5"), ("d.hdf5", "HDF5"), ("d.npz", r"\.npz")):
        (tmp_path / name).write_text("a,b\n1,2\n")
        with pytest.raises(OSError, match=f"is not a readable {kind} file"):
            load_dataset(tmp_path / name)


def test_other_file(tmp_path):
    (tmp_path / "d.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"d\.csv is neither an HDF5 nor an \.npz file; accepted is"):
        load_dataset(tmp_path / "d.csv")


def test_pickled_objects_are_not_loaded(tmp_path):
    np.savez(tmp_path / "d.npz", X=table()["X"], y=np.array(["a", "b"] * 5, dtype=object))
    with pytest.raises(ValueError, match="y cannot be read; save it as numbers or strings: Object arrays"):
        load_dataset(tmp_path / "d.npz")


# For prediction.


def test_features_alone(save):
    X = load_features(save(test_set_x=np.full((4, 2, 2, 3), 9, np.uint8)))
    assert (X.shape, X.dtype) == ((4, 12), np.uint8)
    X = load_features(save(a=table()["X"], X=table()["X"] + 1), x="a")
    np.testing.assert_array_equal(X, table()["X"])


def test_what_is_a_data_file(save, tmp_path):
    path = save(**table())
    assert is_data_file(path)
    assert is_data_file(path.rename(tmp_path / "without_extension"))
    (tmp_path / "damaged.h5").touch()
    assert is_data_file(tmp_path / "damaged.h5")
    save_image(tmp_path / "picture.png", 1)
    assert not any(is_data_file(tmp_path / name) for name in ("picture.png", "none.h5", "."))


def test_features_that_cannot_be_read(save, tmp_path):
    with pytest.raises(ValueError, match="test_set_x, train_set_x could each be x"):
        load_features(save(test_set_x=table()["X"], train_set_x=table()["X"]))
    with pytest.raises(ValueError, match="X holds 1 NaN"):
        load_features(save(X=np.array([[1.0, np.nan]])))
    for path in (tmp_path, tmp_path / "none.h5"):
        with pytest.raises(FileNotFoundError, match=r"is not a file; an HDF5 or \.npz file with X is needed"):
            load_features(path)
