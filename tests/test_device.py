"""The choice of the device, on machines that this one is not: CuPy is played by a stand-in."""

from __future__ import annotations

import builtins
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import gpu

from gpulr import device


class CUDARuntimeError(RuntimeError):
    pass


def fake_cupy(count=0, driver=12040, runtime=12090, error=None):
    def get_device_count():
        if error:
            raise CUDARuntimeError(error)
        return count

    functions = SimpleNamespace(
        driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: runtime,
        getDeviceCount=get_device_count,
        memGetInfo=get_device_count,
        CUDARuntimeError=CUDARuntimeError,
    )
    return SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: count > 0, runtime=functions))


@pytest.fixture
def machine(monkeypatch):
    def set_up(**facts):
        monkeypatch.setitem(sys.modules, "cupy", fake_cupy(**facts))

    return set_up


@pytest.fixture
def without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # makes `import cupy` raise ImportError

    def no_cupy(name, *args, **kwargs):
        if name == "cupy":
            raise ModuleNotFoundError("No module named 'cupy'", name="cupy")
        return real_import(name, *args, **kwargs)

    real_import = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", no_cupy)


def test_auto_takes_the_gpu_where_there_is_one(machine):
    machine(count=2)
    assert device.choose("auto") == device.Device("cuda:0", "auto: a CUDA GPU is available")
    assert device.choose("cuda").name == "cuda:0"
    assert device.choose("cuda:1").index == 1
    assert device.choose("cpu").index is None
    with pytest.raises(RuntimeError, match="last of 2 GPUs is cuda:1"):
        device.choose("cuda:2")


def test_auto_says_why_there_is_no_gpu(without_cupy):
    chosen = device.choose("auto")
    assert chosen.name == "cpu"
    assert "CuPy is not installed" in chosen.reason
    assert "gpulr[cuda12]" in chosen.reason
    assert device.describe_gpus() == []


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"driver": 0}, "no NVIDIA driver is loaded"),
        ({"driver": 11080}, r"driver is too old: it supports CUDA 11\.8, this CuPy needs 12\.9"),
        ({}, "CUDA sees no device"),
        ({"error": "cudaErrorNoDevice: no CUDA-capable device"}, "CUDA says: cudaErrorNoDevice"),
    ],
)
def test_the_reason_names_what_to_mend(machine, facts, reason):
    machine(**facts)
    with pytest.raises(RuntimeError, match=reason):
        device.choose("cuda")
    assert device.choose("auto").name == "cpu"


def test_a_cupy_that_does_not_load_is_not_called_missing(monkeypatch):
    real_import = builtins.__import__

    def broken(name, *args, **kwargs):
        if name == "cupy":
            raise ImportError("libcublas.so.12: cannot open shared object file")
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", broken)
    assert "does not load (libcublas.so.12" in (device.why_no_gpu() or "")


def test_cuda_without_a_gpu_is_an_error_with_the_install_command(without_cupy):
    with pytest.raises(RuntimeError, match=r"pip install 'cupy-cuda12x\[ctk\]'.*gpulr\[cuda12\].*--device cpu"):
        device.choose("cuda")


def test_a_forked_child_is_told_to_be_spawned(monkeypatch):
    # CuPy remembers that there is a GPU; CUDA itself does not work in the child any more.
    cupy = fake_cupy(count=1, error="cudaErrorInitializationError: initialization error")
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert device.choose("auto").name == "cpu"
    with pytest.raises(
        RuntimeError, match=r"initialization error; if this process was forked.*set_start_method\('spawn'"
    ):
        device.choose("cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-1", "CPU", ""])
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match="use auto, cpu, cuda or cuda:N"):
        device.choose(name)


def test_floats_and_to_host(backend):
    array = backend.put(np.array([1.5, 2.5]))
    assert device.floats([array[0], array[1]]) == [1.5, 2.5]
    np.testing.assert_array_equal(device.to_host(array), [1.5, 2.5])


def test_normal_is_the_same_on_every_backend(backend):
    like = backend.put(np.zeros(1, "float32"))
    numbers = device.normal((3,), 7, like)
    np.testing.assert_array_equal(backend.get(numbers), np.random.default_rng(7).standard_normal(3).astype("float32"))


@pytest.mark.gpu
def test_a_real_gpu_is_found_and_used(request):
    gpu(request)
    chosen = device.choose("auto")
    assert chosen.index == 0
    array = chosen.put(np.arange(3, dtype="uint8"))
    assert array.dtype == "uint8"
    np.testing.assert_array_equal(device.to_host(array), [0, 1, 2])
    assert device.describe_gpus()[0]["memory_total"] > 0
