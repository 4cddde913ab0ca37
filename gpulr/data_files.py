"""HDF5 and .npz files: an open one is a mapping from names to data sets, each read when it is asked for."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PIXEL_SCALE = 1 / 255  # uint8 pixels to features in [0, 1]

STORED_DTYPES = ("bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
                 "float16", "float32", "float64")  # fmt: skip

ACCEPTED = (
    "an HDF5 or .npz file with X and y, a folder with train_*.h5 and test_*.h5, "
    "or a folder with two sub-folders of images, one a class"
)

# Names that are recognized without being asked for, in lower case and without their group.
_PLAIN_X, _PLAIN_Y = ("x", "data", "features", "images"), ("y", "label", "labels", "target", "targets")
TRAIN_X, TRAIN_Y = ("train_set_x", "train_x", "x_train"), ("train_set_y", "train_y", "y_train")
TEST_X, TEST_Y = ("test_set_x", "test_x", "x_test"), ("test_set_y", "test_y", "y_test")
ANY_X, ANY_Y = _PLAIN_X + TRAIN_X + TEST_X, _PLAIN_Y + TRAIN_Y + TEST_Y
_CLASS_NAMES = ("list_classes", "classes")

# What h5py, zipfile and NumPy raise on a damaged file.
_DAMAGE = (OSError, EOFError, KeyError, RuntimeError, UnicodeDecodeError, zipfile.BadZipFile, zlib.error)


class Samples(NamedTuple):
    """X (m, n), the shape of a row that could be a picture, or None, and labels (m,), numbers or strings."""

    X: np.ndarray
    image_shape: tuple[int, ...] | None
    labels: np.ndarray


def scale_of(image_shape: tuple[int, ...] | None, *parts: np.ndarray) -> tuple[tuple[int, ...] | None, float]:
    """What a stored value is multiplied with to become a feature, decided on all parts of the data together.

    Pixels become features in [0, 1], so that a picture from a file means the same to a model however its training
    data were stored: black is 0 and white is 1 for bool, 255 for uint8, and else the smallest of 1, 255 and, for
    integers, 65535 that no value exceeds. Rows of another range are no pictures, and stay as they are.

    Args:
        image_shape: of a row that could be a picture, else None.
        parts: arrays (m, n), all of one dtype.

    Returns:
        image_shape, or None when the rows are no pictures after all, and the scale.
    """
    if parts[0].dtype == np.uint8:
        return image_shape, PIXEL_SCALE
    if image_shape is not None:
        low, high = min(X.min() for X in parts), max(X.max() for X in parts)
        for white in (1, 255) if parts[0].dtype.kind == "f" else (1, 255, 65535):
            if low >= 0 and high <= white:
                return image_shape, 1 / white
    return None, 1.0


def load_features(path: str | os.PathLike[str], *, x: str | None = None) -> np.ndarray:
    """X of an HDF5 or .npz file, for prediction: no labels are looked for.

    Args:
        path: the file.
        x: name of the data set in it; by default the only one with one of the usual names.

    Returns:
        X (m, n), as it is stored.

    Raises:
        FileNotFoundError, OSError, ValueError: as `gpulr.load_dataset`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; an HDF5 or .npz file with X is needed")
    with opened(path) as store:
        return _read_features(path, store, x)[0]


def is_data_file(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a file for `load_features`, HDF5 or .npz by content or name, and not, say, a picture."""
    return Path(path).is_file() and _kind(Path(path)) is not None


def _kind(path: Path) -> str | None:
    """ "HDF5" or ".npz" by the file's content; a file of neither is what its name says, to be called damaged."""
    import h5py

    by_name = {".npz": ".npz", ".h5": "HDF5", ".hdf5": "HDF5", ".hdf": "HDF5"}.get(path.suffix.lower())
    if h5py.is_hdf5(path):
        return "HDF5"
    return ".npz" if _is_zip(path) else by_name


def _is_zip(path: Path) -> bool:
    """Whether np.load will take the file for an .npz; it takes all else for a pickle."""
    with path.open("rb") as stream:
        return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


@contextmanager
def opened(path: Path) -> Iterator[Mapping[str, Any]]:
    """The data sets of a file, those in groups too ("group/X")."""
    import h5py

    kind = _kind(path)
    if kind is None:
        raise ValueError(f"{path} is neither an HDF5 nor an .npz file; accepted is {ACCEPTED}")
    try:
        if kind == "HDF5":
            with h5py.File(path, "r") as file:
                links: dict[str, Any] = {}
                file.visititems_links(links.__setitem__)
                items = {name: _target(file, name, link) for name, link in links.items()}
                yield {name: item for name, item in items.items() if isinstance(item, h5py.Dataset)}
        elif _is_zip(path):
            # A stream of our own: np.load given the path leaves it open when the archive is damaged.
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                yield arrays
        else:
            raise zipfile.BadZipFile("no zip archive")
    except _DAMAGE as error:
        raise OSError(f"{path} is not a readable {kind} file (truncated or another format): {error}") from error


def _target(file: Any, name: str, link: Any) -> Any:
    """What a link in an HDF5 file leads to; None for a soft link to nothing and for one to another file."""
    import h5py

    if isinstance(link, h5py.HardLink):
        return file[name]
    if isinstance(link, h5py.SoftLink):
        with suppress(KeyError, OSError, RuntimeError):  # RuntimeError, OSError: links in a circle
            return file[name]
    return None


def matches(store: Mapping[str, Any], usual: tuple[str, ...]) -> list[str]:
    """The names of the data sets that have a usual name; one name a data set."""
    names = [name for name in store if name.rpartition("/")[2].lower() in usual]
    if isinstance(store, dict):  # HDF5: a link is a second name of a data set, no second data set
        names = sorted({store[name]: name for name in reversed(names)}.values())
    return names


def _find(path: Path, store: Mapping[str, Any], role: str, name: str | None, usual: tuple[str, ...]) -> str:
    """The name of the data set for "x" or "y": the one asked for, else the only one with a usual name."""
    present = f"the file holds {', '.join(store) or 'no data set'}"
    if name is not None:
        if name.strip("/") not in store:
            raise ValueError(f"{path} has no data set {name!r} for {role}; {present}")
        return name.strip("/")
    found = matches(store, usual)
    if len(found) != 1:
        what = f"{', '.join(found)} could each be {role}" if found else f"no data set is named like {role}"
        raise ValueError(
            f"{path}: {what}; {present}. Recognized are {', '.join(usual)}; "
            f"any other name in a single file is given as {role}"
        )
    return found[0]


def _read(path: Path, store: Mapping[str, Any], name: str) -> np.ndarray:
    """The whole data set in one read, in its stored type but this machine's byte order."""
    try:
        array = np.asarray(store[name])
    except ValueError as error:  # NumPy refuses to unpickle objects
        raise ValueError(f"{path}: {name} cannot be read; save it as numbers or strings: {error}") from error
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def read_class_names(path: Path, store: Mapping[str, Any]) -> tuple[str, str] | None:
    for name in matches(store, _CLASS_NAMES):
        names = _read(path, store, name).ravel().tolist()
        if len(names) == 2:
            return label_text(names[0]), label_text(names[1])
    return None


def read_samples(path: Path, store: Mapping[str, Any], x: str | None = None, y: str | None = None) -> Samples:
    """Features and their labels."""
    X, image_shape = _read_features(path, store, x)
    y = _find(path, store, "y", y, ANY_Y)
    labels = _read(path, store, y)
    if labels.size != max(labels.shape, default=0):
        raise ValueError(f"{path}: {y} has shape {labels.shape}; one label a sample, (m,) or (m, 1), is needed")
    labels = labels.ravel()
    if len(labels) != len(X):
        raise ValueError(f"{path}: X has {len(X)} rows, but {y} has {len(labels)} labels")
    if labels.dtype.kind in "SO":  # bytes, or HDF5 strings of any length
        labels = np.array([label_text(label) for label in labels.tolist()])
    if labels.dtype.kind not in "biufU":
        raise ValueError(f"{path}: {y} has type {labels.dtype}; labels are numbers, booleans or strings")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        count = np.count_nonzero(~np.isfinite(labels))
        raise ValueError(f"{path}: {y} holds {count} NaN or infinite labels; remove those rows")
    return Samples(X, image_shape, labels)


def _read_features(path: Path, store: Mapping[str, Any], x: str | None) -> tuple[np.ndarray, tuple[int, ...] | None]:
    """X as (m, n), and the shape of a row when it is that of a picture."""
    x = _find(path, store, "x", x, ANY_X)
    X = _read(path, store, x)
    shape = X.shape
    if X.dtype.name not in STORED_DTYPES:
        raise ValueError(f"{path}: {x} has type {X.dtype}; integers, booleans, float16, 32 or 64 are accepted")
    if X.ndim < 2:
        raise ValueError(f"{path}: {x} has shape {shape}; (m, n), or (m, h, w) or (m, h, w, c) images, is needed")
    if X.size == 0:
        raise ValueError(f"{path}: {x} is empty, its shape is {shape}")
    X = np.ascontiguousarray(X.reshape(len(X), -1))
    _check_finite(f"{path}: {x}", X)
    is_image = len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3, 4))
    return X, shape[1:] if is_image else None


def _check_finite(where: str, X: np.ndarray) -> None:
    """In blocks of rows: the mask of a whole float16 X would be half a copy of it."""
    if X.dtype.kind != "f":
        return
    rows = max(1, 2**20 // X.shape[1])
    count, first = 0, (0, 0)
    for start in range(0, len(X), rows):
        bad = np.argwhere(~np.isfinite(X[start : start + rows]))
        if count == 0 and len(bad):
            first = (start + int(bad[0, 0]), int(bad[0, 1]))
        count += len(bad)
    if count:
        raise ValueError(
            f"{where} holds {count} NaN or infinite values, the first in row {first[0]}, column {first[1]} "
            "(counted from 0); remove or fill them"
        )


def label_text(value: object) -> str:
    """A label for the user to read: bytes decoded, 3.0 as 3."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
