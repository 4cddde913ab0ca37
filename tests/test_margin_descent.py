"""Gradient descent in Gram space by one kernel, without a GPU: run on the CPU (`cuda_shim`) against NumPy's way, launched on
a recording stand-in, compiled by NVRTC (also in `test_fused`, with the other kernels)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from cuda_shim import SMALL_GPU, Recorder, ShimRuntime, folder_of_kernels, use_stand_in

from benchmarks import registers
from gpulr import margin_descent, margin_descent_kernel
from gpulr.cuda import Gpu
from gpulr.margin_descent_kernel import LARGEST, LARGEST_SLOW_FLOAT64, plan, why_not

SAMPLES = (1, 2, 31, 32, 33, 209, 600)
H200 = registers.GPUS[90]
GPUS = {"small": SMALL_GPU, **{f"sm_{number}": gpu for number, gpu in registers.GPUS.items()}}


@pytest.fixture
def use(monkeypatch):
    return partial(use_stand_in, monkeypatch, margin_descent_kernel)


@pytest.fixture
def run(request, use):
    return use(ShimRuntime(folder=folder_of_kernels(request), path=margin_descent_kernel.SOURCE))


def problem(rng, m, size=3.0):
    """M as gradient descent makes it, with a small step, but not symmetric; and margins of about this size."""
    X, side = rng.normal(size=(m, 20)), rng.choice([-1.0, 1.0], m)
    M = side[:, None] * (X @ X.T + 1) * side * rng.uniform(0.5, 1.5, m) * (0.02 / m)
    return M, rng.normal(size=m) * size


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
@pytest.mark.parametrize("m", SAMPLES)
def test_equals_numpy(m, steps, run, rng):
    M, v = problem(rng, m)
    given = v.copy()
    expected = margin_descent.descend(M, v, steps)
    found = margin_descent_kernel.descend(M, v, steps)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_array_equal(v, given)
    run.order = 1  # of warps and lanes; and once more
    assert margin_descent_kernel.descend(M, v, steps).tobytes() == found.tobytes()
    assert len(run.launches) == 2


@pytest.mark.parametrize("shared_bytes", [48 << 10, 64 << 10, 227 << 10])
def test_numbers_from_registers_shared_memory_and_cache_add_up(shared_bytes, run, rng):
    run.gpu = Gpu(multiprocessors=1, shared_bytes=shared_bytes, cache_bytes=1 << 20)
    for m in (40, 209, 333):
        M, v = problem(rng, m)
        np.testing.assert_allclose(margin_descent_kernel.descend(M, v, 5), margin_descent.descend(M, v, 5), rtol=1e-12)


def test_margins_of_1000(run, rng):
    M, _ = problem(rng, 33)
    v = np.where(np.arange(33) % 2, 1000.0, -1000.0)
    with np.errstate(over="ignore"):
        expected = margin_descent.descend(0 * M, v, 3)
    assert expected.tolist() == [0.0 if margin > 0 else 3.0 for margin in v]
    np.testing.assert_array_equal(margin_descent_kernel.descend(0 * M, v, 3), expected)
    with np.errstate(over="ignore"):
        expected = margin_descent.descend(M, v, 50)
    np.testing.assert_allclose(margin_descent_kernel.descend(M, v, 50), expected, rtol=1e-12)


def test_what_is_no_number_goes_through(run, rng):
    M, v = problem(rng, 40)
    v[3] = np.nan
    assert np.isnan(margin_descent_kernel.descend(M, v, 1)).tolist() == [i == 3 for i in range(40)]
    assert np.isnan(margin_descent_kernel.descend(M, v, 2)).all()


def test_many_steps_are_several_launches_that_make_the_same_numbers(run, rng, monkeypatch):
    M, v = problem(rng, 33)
    at_once = margin_descent_kernel.descend(M, v, 25)
    monkeypatch.setattr(margin_descent_kernel, "STEPS_A_LAUNCH", 10)
    run.launches.clear()
    assert margin_descent_kernel.descend(M, v, 25).tobytes() == at_once.tobytes()
    assert [launch[4][-1] for launch in run.launches] == [10, 10, 5]


def test_other_memory_orders(run, rng):
    M, v = problem(rng, 50)
    expected = margin_descent.descend(M, v, 9)
    for other in (np.asfortranarray(M), np.repeat(M, 2, axis=1)[:, ::2]):
        np.testing.assert_allclose(margin_descent_kernel.descend(other, np.repeat(v, 2)[::2], 9), expected, rtol=1e-12)


# --- the host's part ---------------------------------------------------------------------------------------------------


def test_one_launch(use):
    recorder = use(Recorder(gpu=H200))
    margin_descent_kernel.descend(np.zeros((209, 209)), np.zeros(209), 2000)
    ((kernel, grid, threads, dynamic_bytes, arguments),) = recorder.launches
    assert (kernel, grid, threads) == ("margin_descent", (1, 1), 4 * 224)
    assert dynamic_bytes <= H200.shared_bytes
    transposed, v, total, *numbers = arguments
    assert transposed.flags.c_contiguous
    assert (v.shape, total.tolist()) == ((209,), [0.0] * 209)
    assert numbers == [209, 224, 54, 30, 216, 2000]  # 12 columns of each 54 in registers, 30 in shared memory
    assert [number.dtype for number in numbers] == ["int32"] * 5 + ["int64"]


@pytest.mark.parametrize("gpu", GPUS.values(), ids=GPUS)
def test_every_plan_covers_the_matrix_with_what_a_block_has(gpu):
    for m in range(1, 1025):
        found = plan(m, gpu)
        assert found.rows % 32 == 0
        assert m <= found.rows
        assert found.threads <= 1024
        assert found.groups * found.share >= m
        assert found.share % 2 == found.kept % 2 == found.padded % 2 == 0
        assert found.kept >= 0
        # What the steps read of s without asking.
        reach = (found.groups - 1) * found.share + margin_descent_kernel.HELD + found.kept
        assert found.padded >= max(m, reach)
        assert found.dynamic_bytes <= gpu.shared_bytes


def test_what_has_no_kernel_goes_step_by_step(use, monkeypatch, rng):
    recorder = use(Recorder())
    slow = registers.GPUS[75]
    assert why_not(LARGEST, "float64", H200) is None
    assert why_not(LARGEST + 1, "float64", H200) == "641 samples are more than 640"
    assert why_not(LARGEST_SLOW_FLOAT64, "float64", slow) is None
    assert why_not(LARGEST_SLOW_FLOAT64 + 1, "float64", slow) == "321 samples are more than 320"
    assert why_not(5, "float32", H200) == "the margins are float32, not float64"

    # As if NumPy's arrays were CuPy's.
    monkeypatch.setattr(margin_descent, "is_numpy_array", lambda array: False)
    monkeypatch.setattr(margin_descent, "is_cupy_array", lambda array: True)
    for m, dtype in ((LARGEST + 1, "float64"), (5, "float32")):
        M, v = (part.astype(dtype) for part in problem(rng, m))
        expected = margin_descent._in_place(M, v.copy(), 3)
        np.testing.assert_allclose(margin_descent.descend(M, v, 3), expected, rtol=1e-6)
        assert recorder.launches == []
    margin_descent.descend(*problem(rng, 5), 3)
    assert len(recorder.launches) == 1


@pytest.mark.parametrize("architecture", registers.GPUS)
def test_nvrtc_compiles_without_spills(architecture):
    reason = registers.why_no_nvrtc()
    if reason or architecture not in registers.architectures():
        pytest.skip(reason or f"NVRTC {registers.version()} does not know sm_{architecture}")
    usage = registers.usage(registers.MARGIN_DESCENT, architecture)
    assert usage.spilled == 0
    assert usage.registers <= 64  # 1024 threads have no more
