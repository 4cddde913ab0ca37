"""Backends as fixtures: every xp function and solver is tested on each array library that is at hand."""

from __future__ import annotations

import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # before SciPy is imported: scikit-learn's array API checks need it

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpulr import device

# The cat files: the folder that GPULR_DATA names, or the one beside the checkout.
CATS = Path(os.environ.get("GPULR_DATA") or Path(__file__).parents[2] / "shared" / "data" / "cats")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-gpu", action="store_true", help="fail the GPU tests instead of skipping them")
    parser.addoption("--require-cats", action="store_true", help="fail the tests of the cats instead of skipping them")


@dataclass(frozen=True)
class Backend:
    """An array library. `put` makes one of its arrays from NumPy's, on its device, with the same dtype."""

    name: str
    put: Callable[[np.ndarray], Any]

    def get(self, array: Any) -> np.ndarray:
        return device.to_host(array)


def _numpy(request: pytest.FixtureRequest) -> Backend:
    return Backend("numpy", lambda array: array)


def _strict(request: pytest.FixtureRequest) -> Backend:
    strict = pytest.importorskip("array_api_strict")
    # Not the default device: making a new array without saying where, or reading one as if it were NumPy's, fails.
    other = strict.Device("device1")
    return Backend("array-api-strict", lambda array: strict.asarray(array, device=other))


def _torch(request: pytest.FixtureRequest) -> Backend:
    torch = pytest.importorskip("torch")
    return Backend("torch", lambda array: torch.asarray(np.array(array)))


def _cupy(request: pytest.FixtureRequest) -> Backend:
    gpu(request)
    import cupy

    return Backend("cupy", cupy.asarray)


BACKENDS = {"numpy": _numpy, "array-api-strict": _strict, "torch": _torch, "cupy": _cupy}


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.gpu if name == "cupy" else ()) for name in BACKENDS])
def backend(request: pytest.FixtureRequest) -> Backend:
    return BACKENDS[request.param](request)


def gpu(request: pytest.FixtureRequest) -> None:
    """Skip, or under --require-gpu fail, where there is no GPU."""
    reason = device.why_no_gpu()
    if reason:
        (pytest.fail if request.config.getoption("--require-gpu") else pytest.skip)(f"no GPU: {reason}")


@pytest.fixture
def cats_folder(request: pytest.FixtureRequest) -> Path:
    if not (CATS / "train_catvnoncat.h5").is_file():
        reason = f"the cat files are not in {CATS}: set GPULR_DATA to their folder"
        (pytest.fail if request.config.getoption("--require-cats") else pytest.skip)(reason)
    return CATS


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
