"""Kernels of gpulr's .cu files on CuPy arrays: compiled, launched, captured in a graph. CuPy is imported at the first.

CuPy compiles a source with NVRTC when a kernel of it is first launched, in about a second, and keeps the result on disk,
from 14.2 on, which the extras ask for; older ones compile a kernel that is a template's anew in every process.
Nothing here waits for the device.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

import numpy as np

from gpulr.device import Array

logger = logging.getLogger(__name__)

# NVRTC needs no headers: the sources include none.
OPTIONS = ("-std=c++17",)

# From so many repetitions on a graph is captured: to make one takes as long as some tens of launches.
REPETITIONS_FOR_A_GRAPH = 16


@dataclass(frozen=True)
class Gpu:
    """What a plan has to know of a GPU.

    Attributes:
        multiprocessors: their number.
        shared_bytes: the most shared memory that a block can ask for.
        cache_bytes: of the second-level cache.
        float64_ratio: how many times as many operations it does in float32 as in float64.
    """

    multiprocessors: int
    shared_bytes: int
    cache_bytes: int
    float64_ratio: int = 2


class Runtime(Protocol):
    """What is asked of CuPy, so that the tests can stand in for it."""

    gpu: Gpu

    def address(self, array: Array) -> int:
        """Of the array's first element."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array with whatever is in its memory."""
        ...

    def launch(
        self, kernel: str, grid: tuple[int, int], threads: int, dynamic_bytes: int, arguments: tuple[Any, ...]
    ) -> None:
        """Start a kernel, by its C++ name, on the current stream."""
        ...

    def capture(self, work: Callable[[], None]) -> Callable[[], None] | str:
        """What starts all that `work` launches, at once, on the then current stream; or why there is no such thing.

        `work` is called to see what it launches, and that is not run. It must have run before, so that its kernels are
        loaded, and must allocate nothing.
        """
        ...


class CupyRuntime:
    """Kernels of one source on one GPU, the current one."""

    def __init__(self, index: int, path: str) -> None:
        import cupy

        properties = cupy.cuda.runtime.getDeviceProperties(index)
        self.gpu = Gpu(
            multiprocessors=properties["multiProcessorCount"],
            shared_bytes=properties["sharedMemPerBlockOptin"],
            cache_bytes=properties["l2CacheSize"],
            float64_ratio=cupy.cuda.Device(index).attributes["SingleToDoublePrecisionPerfRatio"],
        )
        self.index, self.path = index, path
        self.empty = cupy.empty

    def address(self, array: Array) -> int:
        return int(array.data.ptr)

    def launch(
        self, kernel: str, grid: tuple[int, int], threads: int, dynamic_bytes: int, arguments: tuple[Any, ...]
    ) -> None:
        function = _function(self.index, self.path, kernel, self.gpu.shared_bytes)
        function(grid, (threads,), arguments, shared_mem=dynamic_bytes)

    def capture(self, work: Callable[[], None]) -> Callable[[], None] | str:
        import cupy

        if not hasattr(cupy.cuda.Stream, "begin_capture"):
            return f"CuPy {cupy.__version__} captures no graphs"
        # The default stream cannot be captured. Nothing runs on this one, so nobody has to wait for it.
        stream = cupy.cuda.Stream(non_blocking=True)
        try:
            with stream:
                stream.begin_capture()
                try:
                    work()
                finally:
                    graph = stream.end_capture()
        except (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError) as error:
            # Streams and memory are refused by the runtime, and kernels, which CuPy launches by the driver, by that.
            return f"CUDA says: {error}"
        launch: Callable[[], None] = graph.launch
        return launch


@cache
def runtime(index: int, path: str) -> Runtime:
    """For the kernels of a source, by its path in gpulr, on the GPU with this number, which is the current one."""
    return CupyRuntime(index, path)


def source(path: str) -> str:
    """CUDA C++, by the file's path in gpulr."""
    return files("gpulr").joinpath(path).read_text()


def repeat(run: Runtime, work: Callable[[], None], times: int) -> None:
    """Do what `work` launches so many times, captured in a graph where they are many and CUDA can.

    Each time must launch the same kernels with the same arguments: what changes is in the arrays. Plain launches otherwise;
    the log says, at its level for debugging, why.
    """
    if times < 1:
        return
    work()  # this compiles and loads the kernels, which must not happen in a capture
    graph: Callable[[], None] | str = f"{times} repetitions repay no graph"
    if times >= REPETITIONS_FOR_A_GRAPH:
        graph = run.capture(work)
    if isinstance(graph, str):
        logger.debug("plain launches: %s", graph)
        graph = work
    for _ in range(times - 1):
        graph()


def or_null(array: Array | None) -> Any:
    """The array as a kernel's argument; a null pointer for None."""
    return np.uint64(0) if array is None else array


@cache
def _function(index: int, path: str, kernel: str, shared_bytes: int) -> Any:
    """The kernel, compiled for the current GPU, which `index` is; a block of it can ask for all of its shared memory."""
    import cupy

    module = cupy.RawModule(code=source(path), options=OPTIONS, name_expressions=(kernel,))
    function = module.get_function(kernel)
    # Without this there are 48 KiB for what a launch asks for and what the kernel has by itself together. Not what a launch
    # asks for: CuPy has one function for all modules of a source, and a smaller launch would take it from a larger one.
    function.max_dynamic_shared_size_bytes = shared_bytes - function.shared_size_bytes
    return function
