"""Array libraries as fixtures: CuPy and PyTorch on a GPU, and stand-ins on the CPU, so that every test runs somewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from conftest import BACKENDS, Backend, gpu

from gpulr import device
from gpulr.device import array_namespace
from gpulr.passes import HOST_ONLY, PASSES

# A GPU's own, which no stand-in can run, and what runs on NumPy here.
FOR_CUPY = [name for name in PASSES if name not in ("loop", "vectorized", *HOST_ONLY)]
ON_HOST = [name for name in HOST_ONLY if name != "compiled" or find_spec("numba")]

# What brings a number or an array to the host: CuPy and PyTorch wait for their device in all of them. array-api-strict
# has nothing but `__dlpack__` for arrays, by which the others only share memory.
READS = ("__float__", "__bool__", "__int__", "__index__", "item", "tolist", "get", "cpu", "numpy", "__array__")


@dataclass(frozen=True)
class Library(Backend):
    """An array library on one device.

    Attributes:
        elements: how large the arrays of a test of size may be.
    """

    elements: int = 1 << 22

    @property
    def on_gpu(self) -> bool:
        return self.name in ("cupy", "torch-cuda")

    def stored(self, X: np.ndarray, dtype: str) -> Any:
        """X in a storage dtype, which it holds exactly; skips where the library has no such dtype."""
        if dtype == "bfloat16" and self.name.startswith("torch"):
            import torch

            return self.put(X.astype("float32")).to(torch.bfloat16)
        if self.name == "array-api-strict" and dtype in ("float16", "bfloat16"):
            pytest.skip("the array API standard has no half precision")
        if dtype == "bfloat16":
            ml_dtypes = pytest.importorskip("ml_dtypes")
            try:
                return self.put(X.astype(ml_dtypes.bfloat16))
            except (TypeError, ValueError) as error:  # CuPy before 14
                pytest.skip(f"{self.name} has no bfloat16: {error}")
        return self.put(X.astype(dtype))

    @contextmanager
    def counting_reads(self) -> Iterator[list[str]]:
        """Names of what brought something from the device to the host, one an event."""
        kind, seen = type(self.put(np.zeros(1))), list[str]()
        candidates = (*READS, "__dlpack__") if self.name == "array-api-strict" else READS
        names = [name for name in candidates if hasattr(kind, name)]
        depth = 0

        def counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(method)
            def call(*args: Any, **options: Any) -> Any:
                nonlocal depth
                if depth == 0:  # __float__ is made of item or get
                    seen.append(name)
                depth += 1
                try:
                    return method(*args, **options)
                finally:
                    depth -= 1

            return call

        with pytest.MonkeyPatch.context() as patch:
            for name in names:
                patch.setattr(kind, name, counted(name, getattr(kind, name)))
            yield seen


def _torch_cuda(request: pytest.FixtureRequest) -> Backend:
    torch = pytest.importorskip("torch")
    gpu(request)
    if not torch.cuda.is_available():  # a wheel for the CPU is nobody's mistake
        pytest.skip("this PyTorch has no CUDA")
    return Backend("torch-cuda", lambda array: torch.asarray(np.array(array), device="cuda"))


LIBRARIES = {**BACKENDS, "torch-cuda": _torch_cuda}


def marked(name: str, *more: object) -> Any:
    """A parameter that is marked where it needs a GPU."""
    return pytest.param(name, *more, marks=pytest.mark.gpu if name in ("cupy", "torch-cuda") else ())


def library_named(name: str, request: pytest.FixtureRequest) -> Library:
    made = LIBRARIES[name](request)
    # Just above 2³¹ where there is a GPU: indices of 32 bits fail there.
    return Library(name, made.put, (1 << 31) + (1 << 21) if name in ("cupy", "torch-cuda") else Library.elements)


@pytest.fixture(params=[marked(name) for name in LIBRARIES])
def library(request: pytest.FixtureRequest) -> Library:
    """Each in turn, or the one whose name is given indirectly."""
    return library_named(request.param, request)


# Which pass runs on which library: for `parametrize(("library", "one_pass"), PAIRS, indirect=["library"])`.
PAIRS = [marked(name, one_pass) for name in LIBRARIES for one_pass in PASSES
         if one_pass == "vectorized"
         or (one_pass == "loop" and name != "array-api-strict")  # which has no tolist
         or (one_pass in ON_HOST and name == "numpy")
         or (one_pass in FOR_CUPY and name == "cupy")]  # fmt: skip


@pytest.fixture
def one_gpu(request: pytest.FixtureRequest) -> Any:
    """CuPy, where it has a GPU; its pool is without a limit again afterwards."""
    gpu(request)
    import cupy

    yield cupy
    pool = cupy.get_default_memory_pool()
    pool.set_limit(0)
    pool.free_all_blocks()


def same_place(one: Any, other: Any) -> bool:
    """Two arrays of one library on one device."""
    return array_namespace(one) is array_namespace(other) and device.device(one) == device.device(other)
