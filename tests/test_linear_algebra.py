"""Products are not asked to be coarser than float32, and CuPy, by a stand-in for it, is asked to say when it could not
factorize."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import gpulr
from gpulr import linear_algebra

# By which CuPy and PyTorch are told to multiply float32 in TF32 or bfloat16.
COARSER = ("TF32", "tf32", "matmul_precision", "compute_type", "BF16", "autocast")


def test_nobody_asks_for_coarser_products():
    sources = list(Path(gpulr.__file__).parent.rglob("*.py"))
    assert [(path.name, word) for path in sources for word in COARSER if word in path.read_text()] == []


@pytest.fixture
def cupy(monkeypatch):
    """Its `cholesky` raises as CuPy's does, within `errstate(linalg="raise")` only, and else gives something positive."""
    asked = []

    @contextmanager
    def errstate(*, linalg):
        asked.append(linalg)
        yield
        asked.pop()

    def cholesky(H):
        if np.linalg.eigvalsh(H)[0] > 0:
            return np.linalg.cholesky(H)
        if asked == ["raise"]:
            raise np.linalg.LinAlgError("devInfo = [2]")
        return np.tril(H)

    namespace = SimpleNamespace(
        linalg=SimpleNamespace(cholesky=cholesky, diagonal=np.diagonal), min=np.min, finfo=np.finfo
    )
    monkeypatch.setitem(sys.modules, "cupyx", SimpleNamespace(errstate=errstate))
    monkeypatch.setattr(linear_algebra, "is_cupy_array", lambda array: True)
    monkeypatch.setattr(linear_algebra, "is_numpy_array", lambda array: False)
    monkeypatch.setattr(linear_algebra, "array_namespace", lambda *arrays: namespace)


def test_a_matrix_without_a_factor_is_told_from_one_with(cupy):
    L = linear_algebra.cholesky(np.array([[1.0, 0.5], [0.5, 1.0]]))
    np.testing.assert_allclose(L @ L.T, [[1, 0.5], [0.5, 1]])
    assert linear_algebra.cholesky(np.array([[1.0, 2.0], [2.0, 1.0]])) is None
