"""A trained model and its file: safetensors, that is two arrays and a JSON header; no code runs on loading."""

from __future__ import annotations

import json
import math
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gpulr.data_files import STORED_DTYPES
from gpulr.device import Array
from gpulr.links import sigmoid
from gpulr.rows import MemoryRows

FORMAT = "gpulr"
VERSION = 1


@dataclass(frozen=True)
class Model:
    """A trained binary classifier, in host memory.

    Attributes:
        w: (n,) weights of the features, float32 or float64.
        b: () intercept in w's dtype.
        classes: names of class 0 and class 1.
        image_shape: (height, width) or (height, width, channels) when a sample is an image, else None.
        scale: what a stored value of the training data was multiplied with to become a feature (1/255 for pixels).
        stored_dtype: NumPy's name of the type in which the training data were stored, such as "uint8".
        threshold: class 1 is predicted where its probability is above this.
        training: summary of the training, for people to read (JSON values).
    """

    w: np.ndarray
    b: np.ndarray
    classes: tuple[str, str]
    image_shape: tuple[int, ...] | None = None
    scale: float = 1.0
    stored_dtype: str = "float64"
    threshold: float = 0.5
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what could not have been trained. Raises: ValueError, naming the field."""
        if self.w.ndim != 1 or self.w.size == 0 or self.w.dtype not in (np.float32, np.float64):
            raise ValueError(f"w must be (n,) in float32 or float64, not {self.w.shape} in {self.w.dtype}")
        if self.b.shape != () or self.b.dtype != self.w.dtype:
            raise ValueError(f"b must be () in w's {self.w.dtype}, not {self.b.shape} in {self.b.dtype}")
        if not (np.isfinite(self.w).all() and np.isfinite(self.b)):
            raise ValueError("w and b must be finite")
        if len(self.classes) != 2 or not all(isinstance(name, str) for name in self.classes):
            raise ValueError(f"classes must be two names, not {self.classes!r}")
        if self.classes[0] == self.classes[1]:
            raise ValueError(f"classes must be two different names, not {self.classes!r}")
        if self.image_shape is not None and not _is_shape_of(self.image_shape, self.w.size):
            raise ValueError(f"image_shape={self.image_shape!r} is not the shape of {self.w.size} features")
        if not (_is_number(self.scale) and self.scale > 0):
            raise ValueError(f"scale={self.scale!r} must be a positive number")
        if self.stored_dtype not in STORED_DTYPES:
            raise ValueError(f"stored_dtype={self.stored_dtype!r} must be one of {', '.join(STORED_DTYPES)}")
        if not (_is_number(self.threshold) and 0 < self.threshold < 1):
            raise ValueError(f"threshold={self.threshold!r} must be between 0 and 1")
        try:
            json.dumps(self.training)  # now, and not only when hours of training are to be saved
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"training must be JSON values (str, int, float, bool, None, list, dict): {error}"
            ) from error

    def predict_proba(self, X: Array, *, scale: float | None = None) -> np.ndarray:
        """Probability of class 1, σ(wᵀx + b), of each row.

        Args:
            X: (m, n) NumPy array of any real dtype, as stored.
            scale: factor that makes features of the stored values; the training data's by default.

        Returns:
            (m,) in w's dtype.

        Raises:
            ValueError: X has not n columns.
        """
        if X.ndim != 2 or X.shape[1] != self.w.size:
            shape = "" if self.image_shape is None else f" (images of {' × '.join(map(str, self.image_shape))})"
            raise ValueError(
                f"the model needs rows of {self.w.size} features{shape}; given: an array of shape {X.shape}"
            )
        factor = self.w.dtype.type(self.scale if scale is None else scale)
        probability: np.ndarray = sigmoid(MemoryRows(X, self.w).matmul(factor * self.w) + self.b)
        return probability

    def predict(self, X: Array, *, scale: float | None = None) -> np.ndarray:
        """Index into `classes` of each row: (m,) int64. Arguments as for `predict_proba`."""
        return (self.predict_proba(X, scale=scale) > self.threshold).astype(np.int64)


def save_model(model: Model, path: str | os.PathLike[str]) -> None:
    """Write the model. The file appears whole or not at all: it is written beside `path` and then renamed.

    Raises:
        OSError: the folder does not exist or cannot be written.
    """
    from safetensors.numpy import save

    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "classes": json.dumps(model.classes),
        "image_shape": json.dumps(model.image_shape),
        "scale": json.dumps(model.scale),
        "stored_dtype": json.dumps(model.stored_dtype),
        "threshold": json.dumps(model.threshold),
        "training": json.dumps(model.training),
    }
    data = save({"w": np.ascontiguousarray(model.w), "b": np.asarray(model.b)}, metadata=metadata)
    target = Path(path)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read a model file and check every field.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a gpulr model, is damaged, has another version, or a field makes no sense; names which.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such model file")
    try:
        with safe_open(path, framework="numpy") as file:
            return _model(file.metadata() or {}, file)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a gpulr model file, or damaged ({error})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _tensor(file: Any, name: str) -> np.ndarray:
    """Asked for its type first: NumPy lacks some that a file may hold, bfloat16 for one."""
    dtype = file.get_slice(name).get_dtype()
    if dtype not in ("F32", "F64"):
        raise ValueError(f"{name} must be in float32 or float64, not {dtype}")
    tensor: np.ndarray = file.get_tensor(name)
    return tensor


def _model(metadata: dict[str, str], file: Any) -> Model:
    if metadata.get("format") != FORMAT:
        raise ValueError("not a gpulr model file (its header does not say format: gpulr)")
    if metadata.get("version") != str(VERSION):
        raise ValueError(
            f"model file version {metadata.get('version')}; this gpulr reads version {VERSION}: use the gpulr that "
            "wrote it, or train again"
        )
    expected = {"format", "version", "classes", "image_shape", "scale", "stored_dtype", "threshold", "training"}
    different = (set(metadata) ^ expected) | (set(file.keys()) ^ {"w", "b"})
    if different:
        raise ValueError(f"missing or unknown fields: {', '.join(sorted(different))}")
    fields = {name: _json(name, metadata[name]) for name in expected - {"format", "version"}}
    types: dict[str, tuple[type, ...]] = {
        "classes": (list,),
        "image_shape": (list, type(None)),
        "stored_dtype": (str,),
        "training": (dict,),
    }
    for name, accepted in types.items():
        if not isinstance(fields[name], accepted):
            raise ValueError(f"{name} has a wrong type: {metadata[name][:60]}")
    fields["classes"] = tuple(fields["classes"])
    if fields["image_shape"] is not None:
        fields["image_shape"] = tuple(fields["image_shape"])
    return Model(w=_tensor(file, "w"), b=_tensor(file, "b"), **fields)


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # nested too deep, or a number of thousands of digits
        raise ValueError(f"{name} is not JSON that can be read: {text[:60]!r} ({error})") from error


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float
        return False


def _is_shape_of(shape: tuple[object, ...], size: int) -> bool:
    dims = [dim for dim in shape if type(dim) is int and dim > 0]  # True is an int too, but no size
    return len(dims) == len(shape) and len(shape) in (2, 3) and math.prod(dims) == size


def _umask() -> int:
    """The process's umask; it can only be read by setting it. mkstemp makes files private, which a model is not."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
