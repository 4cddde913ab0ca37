"""What comes in through the estimator: any kind of samples, labels and weights, checked and put into rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import device as device_of
from array_api_compat import is_array_api_obj, is_cupy_array, is_numpy_array, is_torch_array
from scipy import sparse
from sklearn import get_config
from sklearn.utils._array_api import check_same_namespace
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, column_or_1d, validate_data

from gpulr.device import Array, Device, array_namespace, choose, to_host
from gpulr.rows import MemoryRows, Rows, SparseRows

# Larger samples are not searched for NaN before a fit: its first pass finds them at no cost, see `explained_by_samples`.
CHECKED_AT_ONCE = 32 << 20


@dataclass(frozen=True)
class Labels:
    """Encoded labels.

    Attributes:
        codes: (m,) int64, the index of each label in `classes`, in host memory.
        classes: (k,) sorted, NumPy.
        own_classes: the same in the library that the labels came in.
    """

    codes: np.ndarray
    classes: np.ndarray
    own_classes: Array


def is_sparse(X: object) -> bool:
    """A sparse matrix of SciPy, or of CuPy."""
    return bool(sparse.issparse(X)) or type(X).__module__.startswith("cupyx.scipy.sparse")


def check_features(estimator: Any, X: Array, device: str, *, reset: bool) -> tuple[Array, Device]:
    """Samples (m, n) that are numbers and finite, in their own dtype and memory, and the device to compute on.

    scikit-learn validates what it can. It would copy arrays of other libraries to the host unless its array API dispatch
    is on, so these are validated here.

    Args:
        estimator: gets `n_features_in_` and `feature_names_in_`, or has them compared.
        X: array, frame, list or CSR matrix.
        device: see `gpulr.device.choose`; for an array that is on a device already only "auto" or that one.
        reset: fitting, not predicting.

    Raises:
        ValueError, TypeError: what is wrong with X, in scikit-learn's words where it says it.
    """
    if isinstance(X, np.ma.MaskedArray):
        raise ValueError("X is a masked array, whose mask would be ignored: fill it, or drop the masked rows")
    if is_torch_array(X) and str(X.layout) != "torch.strided":
        raise TypeError(f"X is a {str(X.layout).removeprefix('torch.')} tensor: use a dense one, or a SciPy CSR matrix")
    foreign = (is_array_api_obj(X) and not is_numpy_array(X)) or (is_sparse(X) and not sparse.issparse(X))
    if foreign and not (get_config()["array_api_dispatch"] and not is_sparse(X)):
        _check_foreign(estimator, X, reset)
    else:
        later = reset and is_numpy_array(X) and X.nbytes > CHECKED_AT_ONCE
        X = validate_data(estimator, X, accept_sparse="csr", dtype="numeric", reset=reset, ensure_all_finite=not later)
    if not foreign and X.dtype.kind not in "biuf":
        raise ValueError(f"X has dtype {X.dtype}: numbers (integers, floats, bool) are needed")
    if not foreign and X.dtype.kind == "f" and X.dtype.itemsize > 8:
        X = X.astype(np.float64)
    if not foreign:
        return X, choose(device)
    if is_torch_array(X):
        X = X.detach()  # no graph of the whole fit, or of all predictions
    place = f"cuda:{X.device.id}" if is_cupy_array(X) or is_sparse(X) else str(device_of(X))
    if device not in ("auto", place, place.partition(":")[0]):
        raise ValueError(f"device={device!r}, but X is on {place}: use 'auto', or move X yourself")
    library = "cupy" if is_cupy_array(X) or is_sparse(X) else type(X).__module__.partition(".")[0]
    return X, Device(place, "the samples are there", library)


@contextmanager
def explained_by_samples(estimator: Any, X: Array) -> Iterator[None]:
    """Within this, numbers that overflow are a ValueError, in scikit-learn's words, if NaN or infinity in X is the cause."""
    try:
        yield
    except (FloatingPointError, np.linalg.LinAlgError):
        if is_numpy_array(X):
            assert_all_finite(X, input_name="X", estimator_name=type(estimator).__name__)
        raise


def check_labels(y: Array, X: Array, classes: np.ndarray | None = None) -> Labels:
    """Labels of any type that sorts, encoded.

    Args:
        y: (m,) or (m, 1).
        X: the samples they belong to.
        classes: what labels there can be; by default those there are.

    Raises:
        ValueError: another length, missing or mixed labels, fewer than two classes, or ones that are not in `classes`.
    """
    if y is None:
        raise ValueError("This LogisticRegression estimator requires y to be passed, but the target y is None")
    if isinstance(y, list | tuple) and len({isinstance(label, str | bytes) for label in y}) > 1:
        # NumPy would quietly make strings of the numbers.
        raise ValueError("the labels in y are of several types, strings and others: make them all one")
    foreign = is_array_api_obj(y) and not is_numpy_array(y)
    if isinstance(y, np.ma.MaskedArray):
        raise ValueError("y is a masked array, whose mask would be ignored: drop the masked rows")
    host = to_host(y) if foreign else y
    host = column_or_1d(host, warn=True)
    if len(host) != X.shape[0]:
        raise ValueError(f"Found input variables with inconsistent numbers of samples: {[X.shape[0], len(host)]}")
    if host.dtype.kind in "mM":
        raise ValueError(f"y has dtype {host.dtype}: dates are not labels; make them strings or numbers")
    if host.dtype.kind == "c":
        raise ValueError("Complex data not supported: y holds complex numbers")
    if host.dtype.kind == "f" and not np.isfinite(host).all():
        raise ValueError("Input y contains NaN or infinity; remove those rows")
    try:
        # Integers are always classes. Bytes are as good as strings, but scikit-learn does not let them through.
        if host.dtype.kind not in "biuS":
            check_classification_targets(host)
        found, codes = _distinct(host)
    except TypeError as error:
        kinds = sorted({type(label).__name__ for label in host.tolist()})
        raise ValueError(f"the labels in y are of several types ({', '.join(kinds)}): make them all one") from error
    if classes is None:
        classes = found
    else:
        unknown = np.setdiff1d(found, classes)
        if len(unknown):
            raise ValueError(f"y has labels that are not among the classes {classes}: {unknown}")
        codes = np.searchsorted(classes, found)[codes]
    if len(classes) < 2:
        raise ValueError(
            "This solver needs samples of at least 2 classes in the data, but the data contains only one class: "
            f"{classes[0]!r}"
        )
    own = array_namespace(y).asarray(classes, device=device_of(y)) if foreign else classes
    return Labels(codes.astype(np.int64, copy=False), classes, own)


def _distinct(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct labels (k,), sorted, and of each label (m,) its index among them. Close integers need not be sorted."""
    if labels.dtype.kind in "biu" and len(labels) > 0:
        least, greatest = int(labels.min()), int(labels.max())
        if greatest - least < 1000 and greatest < 2**63:
            offset = labels  # 0, 1, ... as they mostly are: indices already
            if least != 0 or labels.dtype != np.int64:
                offset = np.subtract(labels, labels.dtype.type(least), dtype=np.int64, casting="unsafe")
            there = np.full(greatest - least + 1, greatest - least < 2)  # the least and the greatest are
            if not there.all():
                there[offset] = True
            found = (np.flatnonzero(there) + least).astype(labels.dtype)
            return found, offset if there.all() else (np.cumsum(there) - 1)[offset]
    found, codes = np.unique(labels, return_inverse=True)
    return found, codes


def check_sample_weight(sample_weight: Array | None, m: int) -> np.ndarray | None:
    """(m,) float64 weights in host memory, or None.

    Raises:
        ValueError: another length, negative, not finite, or all zero.
    """
    if sample_weight is None:
        return None
    if isinstance(sample_weight, np.ma.MaskedArray):
        raise ValueError("sample_weight is a masked array, whose mask would be ignored: fill it")
    host = to_host(sample_weight) if is_array_api_obj(sample_weight) else np.asarray(sample_weight)
    if host.ndim == 0 and np.isreal(host):
        host = np.full(m, host)
    if host.dtype.kind not in "biuf":
        host = host.astype(np.float64)  # raises for what is no number
    host = host.astype(np.float64, copy=False)
    if host.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {host.ndim}D array.")
    if host.shape != (m,):
        raise ValueError(f"sample_weight.shape == {host.shape}, expected {(m,)}!")
    if not np.isfinite(host).all():
        raise ValueError("Input sample_weight contains NaN or infinity")
    if (host < 0).any():
        raise ValueError(f"sample_weight has {np.count_nonzero(host < 0)} negative entries; weights must be ≥ 0")
    if not (host > 0).any():
        raise ValueError("sample_weight is zero for every sample; at least one weight must be positive")
    return host


def put_rows(X: Array, labels: Labels, sample_weight: np.ndarray | None, device: Device, dtype: str | None) -> Rows:
    """Rows on the device. X keeps its dtype; labels and weights take that of the computation.

    X may be on its way yet. Most fits look first at some rows from all over it, which waits for them all; to look at those
    on the host would take longer than the first pass, which is short beside the way over the bus.
    """
    name = dtype or _compute_dtype(X)
    if sample_weight is not None:
        _require_room(sample_weight, name)
    arrival = None
    if is_numpy_array(X):
        X, arrival = device.send(X)
    elif sparse.issparse(X) and device.index is not None:
        import cupyx.scipy.sparse

        X = cupyx.scipy.sparse.csr_matrix(X.astype(name))  # cuSPARSE knows no integers
    if is_sparse(X):
        put = device.put
        s = None if sample_weight is None else put(sample_weight.astype(name))
        return SparseRows(X, put(labels.codes.astype(name)), s)
    xp, place = array_namespace(X), device_of(X)
    y = xp.asarray(labels.codes, dtype=getattr(xp, name), device=place)
    s = None if sample_weight is None else xp.asarray(sample_weight, dtype=getattr(xp, name), device=place)
    return MemoryRows(X, y, s, arrival=arrival)


def rows_of(X: Array, like: Array) -> Rows:
    """Rows without labels, to be multiplied; `like` is an array of the coefficients' library."""
    return SparseRows(X, like) if is_sparse(X) else MemoryRows(X, like)


def _require_room(sample_weight: np.ndarray, dtype: str) -> None:
    """Raises ValueError where weights overflow, or all vanish, in the dtype of the computation."""
    with np.errstate(over="ignore", under="ignore"):
        cast = sample_weight.astype(dtype)
    if not np.isfinite(cast.sum()) or not (cast > 0).any():
        largest = sample_weight.max()
        raise ValueError(f"sample_weight is too large or small for {dtype} (the largest is {largest:.3g}): scale it")


def _compute_dtype(X: Array) -> str:
    """float32 where it holds every value of X exactly, else float64."""
    name = str(X.dtype).rpartition(".")[2]
    exact = ("float32", "float16", "bfloat16", "bool", "int8", "uint8", "int16", "uint16")
    return "float32" if name in exact else "float64"


def _check_foreign(estimator: Any, X: Array, reset: bool) -> None:
    """The checks of scikit-learn's validate_data, for an array that it would copy to the host."""
    if X.ndim != 2:
        raise ValueError(f"Expected 2D array, got {X.ndim}D array instead: reshape X to (n_samples, n_features)")
    m, n = X.shape
    if m < 1 or n < 1:
        raise ValueError(f"Found array with {m} sample(s) and {n} feature(s) while a minimum of 1 is required")
    values = X.data if is_sparse(X) else X
    xp = array_namespace(values)
    # The standard's questions about dtypes do not know CuPy's bfloat16; NaN in it is found by the first pass of a fit.
    unknown = getattr(values.dtype, "name", "") == "bfloat16"
    if not unknown and xp.isdtype(values.dtype, "complex floating"):
        raise ValueError("Complex data not supported")
    if unknown or not xp.isdtype(values.dtype, "real floating") or bool(xp.isfinite(xp.sum(values))):
        pass
    # A sum is finite unless a value is not, or values overflow: only then is every one looked at.
    elif not bool(xp.all(xp.isfinite(values))):
        raise ValueError("Input X contains NaN or infinity; remove or fill these values")
    if reset:
        estimator.n_features_in_ = n
    elif n != estimator.n_features_in_:
        name = type(estimator).__name__
        raise ValueError(f"X has {n} features, but {name} is expecting {estimator.n_features_in_} features as input")


def check_same_library(estimator: Any, X: Array, method: str) -> None:
    """The samples to predict must be in the library, and on the device, of the fitted coefficients."""
    if get_config()["array_api_dispatch"]:
        check_same_namespace(X, estimator, attribute="coef_", method=method)
        return
    coef = estimator.coef_
    host = is_numpy_array(coef) or sparse.issparse(coef)
    foreign = (is_array_api_obj(X) and not is_numpy_array(X)) or (is_sparse(X) and not sparse.issparse(X))
    if host != (not foreign):
        ours, theirs = (type(a).__module__.partition(".")[0] for a in (coef, X))
        raise ValueError(f"the estimator was fitted with {ours} arrays and X is one of {theirs}: convert X to {ours}")
