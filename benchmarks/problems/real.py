"""What the problems on real data have in common. Neither size nor seed changes them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.problem import Dtype

TIMEOUT = 20.0
"""Seconds without an answer after which there is no network."""


class UnavailableError(Exception):
    """The data of a problem are not at hand; the message says what to do."""


def fetched(fetcher: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """X and y of one of scikit-learn's fetchers: from its cache, or from the network if there is one.

    Raises:
        UnavailableError: neither; says why.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # the fetchers wait as long as the system does, which may be minutes
    try:
        X, y = fetcher(*arguments, return_X_y=True, n_retries=0, **options)
    except OSError as error:
        raise UnavailableError(f"it cannot be fetched, {type(error).__name__}: {error}") from error
    finally:
        socket.setdefaulttimeout(before)
    return X, y


def standardized(X: np.ndarray, dtype: Dtype) -> np.ndarray:
    """Each column with mean 0 and variance 1, (m, n) in `dtype`: what every competitor's manual asks for."""
    X = X.astype(np.float64)
    return np.ascontiguousarray((X - X.mean(axis=0)) / X.std(axis=0), dtype=dtype)
