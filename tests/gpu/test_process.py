"""Processes: importing gpulr starts nothing on a GPU, and a forked child is told what to do."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from gpulr import LogisticRegression, device

IMPORT = """
import ctypes, sys
import gpulr, gpulr.estimator, gpulr.passes, gpulr.cli
gpulr.LogisticRegression()
assert not {"cupy", "torch", "numba"} & set(sys.modules), "imported"
try:
    driver = ctypes.CDLL("libcuda.so.1")
except OSError:
    print("no driver")
else:
    # 3 is CUDA_ERROR_NOT_INITIALIZED: what the driver says to who has not called cuInit.
    print("status", driver.cuCtxGetCurrent(ctypes.byref(ctypes.c_void_p())))
"""


def test_importing_gpulr_starts_nothing_on_a_gpu():
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("no driver", "status 3")


@pytest.mark.gpu
def test_a_fit_on_the_cpu_starts_nothing_on_a_gpu(one_gpu):
    code = IMPORT.replace(
        "assert not", "gpulr.LogisticRegression(device='cpu').fit([[0.], [1.], [2.]], [0, 1, 1])\nassert not"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "status 3"


def in_a_forked_child(function):
    """What function() prints in a child that was forked here, and its exit status."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(write, function().encode())
            status = 0
        finally:
            os._exit(status)  # without pytest's own end
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    return text, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def choose_both():
    chosen = device.choose("auto")
    try:
        device.choose("cuda")
    except RuntimeError as error:
        return f"{chosen.name}\n{error}"
    return f"{chosen.name}\nno error"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("where", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_forked_child_falls_back_or_is_told_to_be_spawned(where, request):
    X, y = np.array([[0.0], [1.0], [2.0], [1.5]]), [0, 1, 1, 0]
    if where == "cuda":
        request.getfixturevalue("one_gpu")
    LogisticRegression(device=where).fit(X, y)  # so that CUDA is in use
    text, status = in_a_forked_child(choose_both)
    chosen, _, message = text.partition("\n")
    assert (chosen, status) == ("cpu", 0)
    if where == "cuda":
        assert "set_start_method('spawn')" in message
    else:
        assert "there is no GPU to use" in message or device.why_no_gpu() is None


@pytest.mark.gpu
def test_a_spawned_child_uses_the_gpu(one_gpu):
    LogisticRegression(device="cuda").fit([[0.0], [1.0], [2.0], [1.5]], [0, 1, 1, 0])
    code = "from gpulr import device; print(device.choose('auto').name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "cuda:0"


@pytest.mark.gpu
def test_kernels_are_compiled_once_for_all_processes(one_gpu, tmp_path):
    """CuPy 14.2 keeps them in its cache on disk, which is as it was after a second process."""
    code = """
import cupy
from gpulr.passes import fused
X = cupy.ones((10, 7), "float32")
fused.propagate(X, X[:, 0] * 1, X[0] * 1, cupy.zeros((), "float32"))
"""
    environment = os.environ | {"CUPY_CACHE_DIR": str(tmp_path), "CUPY_CACHE_SAVE_CUDA_SOURCE": "1"}

    def kept():
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        return {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}

    first = kept()
    assert any("one_read" in file.read_text() for file in tmp_path.glob("*.cu"))
    assert kept() == first
