"""Data sets: the bundled digits, the lesson's cats, and the user's own files, checked once at the door.

Whatever the source, out comes a `Dataset`: rows of numbers in the type they are stored in, labels 0 and 1.
Every error names the file and what is wrong with it, so that nothing behind this module has to look again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from operator import index
from pathlib import Path
from typing import Any

import numpy as np

from gpulr.data_files import (
    ACCEPTED,
    TEST_X,
    TEST_Y,
    TRAIN_X,
    TRAIN_Y,
    Samples,
    label_text,
    matches,
    opened,
    read_class_names,
    read_samples,
    scale_of,
)
from gpulr.images import find_images, load_images

KNOWN = {
    "digits": "handwritten 3s against 8s, 8×8 grey",
    "cats": "the lesson's photographs, cat or not, 64×64 RGB; fetched on first use",
}

CATS_URL = "https://raw.githubusercontent.com/Hiren2002/Logistic-Regression/HEAD/datasets/"
CATS_SHA256 = {
    "train_catvnoncat.h5": "fbe56ab67c3ae28d564e3a644189117976d6b31af0a3ce9bb17dbf22908af242",
    "test_catvnoncat.h5": "6a9d39ce52fa85953c5834695b8534a30ed8cfd54971fb2f080b5a24d002b951",
}


@dataclass(frozen=True, eq=False)  # arrays have no one truth value to compare by
class Dataset:
    """Two classes of samples, split into a training and a test part.

    Attributes:
        name: for the user to read.
        X_train, X_test: (m, n) and (m_test, n), C-contiguous, in the stored dtype (uint8 stays uint8). The
            test part has no rows only where test_size=0 was asked for.
        y_train, y_test: (m,) and (m_test,) int64, 0 or 1: the index into `classes`.
        classes: the names of label 0 and label 1.
        image_shape: (h, w) or (h, w, c) of a row that is a picture, else None.
        scale: a stored value times this is a feature: 1/16 for the digits, else see
            `gpulr.data_files.scale_of`: 1/255 for uint8, for example. Never applied here: the pass folds it into w
            instead of widening X.
    """

    name: str
    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    classes: tuple[str, str]
    image_shape: tuple[int, ...] | None
    scale: float


def load_dataset(
    source: str | os.PathLike[str] = "digits",
    *,
    x: str | None = None,
    y: str | None = None,
    test_size: float | None = None,
    seed: int = 0,
    image_size: int | None = None,
) -> Dataset:
    """Two classes of samples from a known name, a file or a folder.

    Args:
        source: "digits", "cats" (write ./cats for a folder of that name), or the path of
            an HDF5 or .npz file with X (m, ...) and y (m,), or split: train_set_x, test_set_x and so on;
            a folder with one train_*.h5 and one test_*.h5, the layout of the cats;
            a folder with two sub-folders of images, one a class.
        x, y: names of the data sets in a single file, such as "group/X"; by default the usual ones.
        test_size: share of each class held out for testing, 0 <= test_size < 1; None is 0.2. A source that comes
            split stays as it is, and takes no test_size.
        seed: of the stratified split, 0 <= seed < 2**32.
        image_size: side in pixels to which a folder's images are stretched, in RGB; None is 64. Other sources take
            none.

    Raises:
        TypeError: the seed is no integer.
        FileNotFoundError: there is no such file or folder.
        OSError: a file cannot be read or fetched.
        ValueError: an argument, or what the source holds, is not as described here; the message says which.
    """
    if test_size is not None and not 0 <= test_size < 1:
        raise ValueError(f"test_size is {test_size}: give a share of the samples, 0 <= test_size < 1")
    if not 0 <= index(seed) < 2**32:
        raise ValueError(f"seed is {seed}: give an integer, 0 <= seed < 2**32")
    path = None if source in KNOWN else _existing(source)
    if (x is not None or y is not None) and (path is None or path.is_dir()):
        raise ValueError(f"{source}: x and y name data sets of a single HDF5 or .npz file; leave them out here")
    train, test = ([] if path is None else sorted(path.glob(f"{part}_*.h5")) for part in ("train", "test"))
    if image_size is not None and (path is None or path.is_file() or train or test):
        raise ValueError(f"{source}: image_size={image_size} is for a folder of images only; leave it out here")

    if source == "digits":
        return _digits(test_size, seed)
    if path is None:
        _refuse_test_size("cats", test_size)
        folder = _cats_folder()
        return _from_two_files("cats", *(folder / file for file in CATS_SHA256))
    if path.is_file():
        return _from_file(path, x, y, test_size, seed)
    if len(train) == len(test) == 1:
        _refuse_test_size(path, test_size)
        return _from_two_files(path.resolve().name, train[0], test[0])
    if train or test:
        raise ValueError(f"{path} holds {len(train)} train_*.h5 and {len(test)} test_*.h5 files; one each is needed")
    return _from_image_folder(path, 64 if image_size is None else image_size, test_size, seed)


def known_datasets() -> list[dict[str, Any]]:
    """The data sets that `load_dataset` knows by name; nothing is fetched.

    Returns:
        one dict a data set: name, description, location (all str), available (bool: can be loaded offline).
    """
    folder = _cats_location()
    have_cats = all((folder / file).is_file() for file in CATS_SHA256)
    places = {"digits": ("bundled with scikit-learn", True), "cats": (str(folder), have_cats)}
    return [
        {"name": name, "description": description, "location": places[name][0], "available": places[name][1]}
        for name, description in KNOWN.items()
    ]


# Sources: each gathers samples; the functions further below check them and make the data set.


def _digits(test_size: float | None, seed: int) -> Dataset:
    from sklearn.datasets import load_digits

    images, digit = load_digits(return_X_y=True)
    chosen = (digit == 3) | (digit == 8)
    X = images[chosen].astype(np.uint8)  # scikit-learn hands out the integers 0 to 16 as float64
    data = _split("digits", "digits", Samples(X, (8, 8), digit[chosen]), None, test_size, seed)
    return replace(data, scale=1 / 16)


def _from_file(path: Path, x: str | None, y: str | None, test_size: float | None, seed: int) -> Dataset:
    with opened(path) as store:
        names = read_class_names(path, store)
        parts = [matches(store, usual) for usual in (TRAIN_X, TRAIN_Y, TEST_X, TEST_Y)]
        if x is None and y is None and all(len(part) == 1 for part in parts):
            _refuse_test_size(path, test_size)
            (train_x,), (train_y,), (test_x,), (test_y,) = parts
            train = read_samples(path, store, train_x, train_y)
            test = read_samples(path, store, test_x, test_y)
            return _join(path.stem, path, train, test, names)
        samples = read_samples(path, store, x, y)
    return _split(path.stem, path, samples, names, test_size, seed)


def _from_two_files(name: str, train_path: Path, test_path: Path) -> Dataset:
    parts, names = [], None
    for path in (train_path, test_path):
        with opened(path) as store:
            parts.append(read_samples(path, store))
            names = names or read_class_names(path, store)
    return _join(name, train_path.parent, parts[0], parts[1], names)


def _from_image_folder(path: Path, image_size: int, test_size: float | None, seed: int) -> Dataset:
    folders = [folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    if len(folders) != 2:
        raise ValueError(f"{path} is a folder with {len(folders)} sub-folders; accepted is {ACCEPTED}")
    images = [image for folder in sorted(folders) for image in find_images(folder)]
    shape = (image_size, image_size, 3)
    X = load_images(images, shape).reshape(len(images), -1)
    labels = np.array([image.parent.name for image in images])
    return _split(path.resolve().name, path, Samples(X, shape, labels), None, test_size, seed)


def _cats_location() -> Path:
    import pooch

    chosen = os.environ.get("GPULR_DATA")
    return Path(chosen).expanduser() if chosen else Path(pooch.os_cache("gpulr"))


def _cats_folder() -> Path:
    """The folder that holds both cat files, fetched if need be."""
    import pooch

    folder = _cats_location()
    if os.environ.get("GPULR_DATA"):
        missing = [file for file in CATS_SHA256 if not (folder / file).is_file()]
        if missing:
            raise FileNotFoundError(
                f"GPULR_DATA names the folder {folder}, which lacks {' and '.join(missing)}; "
                f"put them there from {CATS_URL}, or unset GPULR_DATA to have them fetched"
            )
        return folder
    try:
        for file, sha256 in CATS_SHA256.items():
            pooch.retrieve(CATS_URL + file, known_hash=f"sha256:{sha256}", fname=file, path=folder)
    except (OSError, ValueError) as error:  # no network (requests' errors are OSErrors), or another checksum
        urls = " and ".join(CATS_URL + file for file in CATS_SHA256)
        raise OSError(
            f"the cat data cannot be fetched: download {urls} into {folder}, "
            f"or into any folder and set the environment variable GPULR_DATA to it. The cause: {error}"
        ) from error
    return folder


def _existing(source: str | os.PathLike[str]) -> Path:
    path = Path(source)
    if path.exists():
        return path
    if str(source) == path.name and not path.suffix:  # looks like a name, not like a path
        known = " and ".join(KNOWN)
        raise ValueError(f"unknown data set {str(source)!r}: known are {known}; or give the path of {ACCEPTED}")
    raise FileNotFoundError(f"no such file or folder: {path}; give the path of {ACCEPTED}")


# From samples to a data set.


def _refuse_test_size(where: Path | str, test_size: float | None) -> None:
    if test_size is not None:
        raise ValueError(
            f"{where} comes split into a training and a test part, so test_size={test_size} has no effect; leave it out"
        )


def _encode(where: Path | str, labels: np.ndarray, names: tuple[str, str] | None) -> tuple[np.ndarray, tuple[str, str]]:
    """Labels of two distinct values as int64 0 and 1, in sorted order, and what to call these.

    `names` are list_classes of the file: they name the labels 0 and 1 and no others.
    """
    values, codes = np.unique(labels, return_inverse=True)
    if len(values) != 2:
        if len(values) == 1:
            raise ValueError(
                f"{where}: there is only one class, every label is {label_text(values[0])}; two are needed"
            )
        few = ", ".join(label_text(value) for value in values[:5].tolist()) + (", ..." if len(values) > 5 else "")
        raise ValueError(
            f"{where}: the number of distinct labels is {len(values)} ({few}), but gpulr classifies "
            "two classes: keep the rows of exactly two"
        )
    low, high = values.tolist()
    classes = names if names is not None and (low, high) == (0, 1) else (label_text(low), label_text(high))
    if classes[0] == classes[1]:
        raise ValueError(f"{where}: list_classes calls both classes {classes[0]!r}; give them two different names")
    return codes.astype(np.int64, copy=False), classes


def _join(name: str, where: Path, train: Samples, test: Samples, names: tuple[str, str] | None) -> Dataset:
    """The data set of a source that comes split."""
    kinds = [f"{part.X.shape[1]} {part.X.dtype} features, images {part.image_shape}" for part in (train, test)]
    if kinds[0] != kinds[1]:  # the type matters too: one scale serves both parts
        raise ValueError(f"{where}: train and test differ: {kinds[0]} against {kinds[1]}")
    # Together, so that a test part of one class only is labelled as the training part is.
    codes, classes = _encode(where, np.concatenate([train.labels, test.labels]), names)
    y_train, y_test = np.split(codes, [len(train.labels)])
    if len(np.unique(y_train)) < 2:
        raise ValueError(f"{where}: every training label is {classes[y_train[0]]}; both classes are needed")
    return Dataset(name, train.X, y_train, test.X, y_test, classes, *scale_of(train.image_shape, train.X, test.X))


def _split(
    name: str,
    where: Path | str,
    samples: Samples,
    names: tuple[str, str] | None,
    test_size: float | None,
    seed: int,
) -> Dataset:
    """The data set that holds out `test_size` of each class, a fifth when it is None."""
    from sklearn.model_selection import train_test_split

    X, image_shape, labels = samples
    y, classes = _encode(where, labels, names)
    image_shape, scale = scale_of(image_shape, X)
    test_size = 0.2 if test_size is None else test_size
    if test_size == 0:
        return Dataset(name, X, y, X[:0], y[:0], classes, image_shape, scale)
    try:
        parts = train_test_split(X, y, test_size=test_size, random_state=seed, stratify=y)
    except ValueError as error:
        counts = " and ".join(f"{n} of {label}" for label, n in zip(classes, np.bincount(y), strict=True))
        raise ValueError(
            f"{where}: {counts} are too few samples to hold out test_size={test_size} of each class; {error}"
        ) from error
    X_train, X_test, y_train, y_test = parts
    return Dataset(name, X_train, y_train, X_test, y_test, classes, image_shape, scale)
