"""gpulr's kernels without a GPU: a source compiled by g++ over `cuda_shim.h`, launched on NumPy arrays."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from gpulr.cuda import Gpu, source
from gpulr.passes import fused

HEADER = Path(__file__).with_name("cuda_shim.h")
COMPILER = shutil.which("g++")
# -O1: more would take longer to compile than it saves. Sums are rounded as they are written, on every CPU.
FLAGS = (
    "-std=c++20",
    "-O1",
    "-ffp-contract=off",
    "-w",
    "-shared",
    "-fPIC",
    "-fno-extern-tls-init",
    "-include",
    str(HEADER),
)

# As small as a GPU gets, so that small problems have several waves, tiles and slices.
SMALL_GPU = Gpu(multiprocessors=2, shared_bytes=160 << 10, cache_bytes=1 << 20)


class Launch(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 2),
        ("threads", ctypes.c_int),
        ("dynamic_bytes", ctypes.c_int64),
        ("order", ctypes.c_int),
    )


def compile_kernels(kernels: list[str], path: str, folder: Path) -> dict[str, ctypes._CFuncPtr]:
    """The kernels of a source, by their C++ names, as functions of (Launch, arguments); compiled once for a folder."""
    lines = [
        source(path),
        f"thread_local __align__(16) double dynamic[{256 << 7}];",
        *(
            f'extern "C" void kernel_{i}(shim::Launch* how, void** arguments) '
            f"{{ shim::launch(&{kernel}, *how, arguments, dynamic); }}"
            for i, kernel in enumerate(kernels)
        ),
    ]
    text = "\n".join(lines)
    key = hashlib.sha256((text + HEADER.read_text() + " ".join(FLAGS)).encode()).hexdigest()[:16]
    library = folder / f"{Path(path).stem}-{key}.so"
    if not library.exists():
        code, unfinished = library.with_suffix(f".{os.getpid()}.cpp"), library.with_suffix(f".{os.getpid()}.so")
        code.write_text(text)
        done = subprocess.run([COMPILER, *FLAGS, str(code), "-o", str(unfinished)], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"g++ refuses {kernels}:\n{done.stderr[:4000]}")
        code.unlink()
        unfinished.rename(library)  # at once, for other processes may want it
    loaded = ctypes.CDLL(str(library))
    return {kernel: getattr(loaded, f"kernel_{i}") for i, kernel in enumerate(kernels)}


@dataclass
class Recorder:
    """Stands in for `gpulr.cuda.CupyRuntime` and launches nothing.

    Attributes:
        launches: what it was asked for: kernel, grid, threads, dynamic bytes and arguments.
        captured: launches of each graph.
        why_no_graph: see `capture`.
    """

    gpu: Gpu = SMALL_GPU
    launches: list = field(default_factory=list)
    captured: list = field(default_factory=list)
    why_no_graph: str | None = None

    def address(self, array):
        return array.ctypes.data

    def empty(self, shape, dtype):
        return np.empty(shape, dtype)

    def launch(self, *how):
        self.launches.append(how)

    def capture(self, work):
        if self.why_no_graph:
            return self.why_no_graph
        launches, self.launches = self.launches, []
        launch, self.launch = self.launch, lambda *how: self.launches.append(how)
        work()
        del self.launch
        graph, self.launches = self.launches, launches
        self.captured.append(graph)
        return lambda: [launch(*how) for how in graph]


@dataclass
class ShimRuntime(Recorder):
    """Runs the kernels on NumPy arrays, in memory that comes full of NaN.

    Attributes:
        folder: for what is compiled.
        path: of the source in gpulr.
        order: of warps and lanes, see `cuda_shim.h`.
        kernels: what is compiled so far.
    """

    folder: Path = Path()
    path: str = fused.SOURCE
    order: int = 0
    kernels: dict = field(default_factory=dict)

    def compile(self, kernels):
        """All at once, which is much faster than one by one."""
        missing = sorted(set(kernels) - set(self.kernels))
        if missing:
            self.kernels |= compile_kernels(missing, self.path, self.folder)

    def empty(self, shape, dtype):
        return np.full(shape, np.nan, dtype)

    def launch(self, kernel, grid, threads, dynamic_bytes, arguments):
        super().launch(kernel, grid, threads, dynamic_bytes, arguments)
        self.compile([kernel])
        cells = [ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else _cell(a) for a in arguments]
        pointers = (ctypes.c_void_p * len(cells))(*(ctypes.addressof(cell) for cell in cells))
        how = Launch(grid, threads, dynamic_bytes, self.order)
        self.kernels[kernel](ctypes.byref(how), pointers)


def _cell(number):
    """A number of C, as wide as NumPy's."""
    return np.ctypeslib.as_ctypes_type(number.dtype)(number.item())


def folder_of_kernels(request):
    """Where compiled kernels are kept from run to run; the test is skipped where nothing compiles them."""
    if COMPILER is None:
        pytest.skip("there is no g++, which compiles the kernels for the CPU")
    return request.config.cache.mkdir("cuda_shim")


def use_stand_in(monkeypatch, module, runtime):
    """Makes a stand-in the device of every array that the module launches kernels for."""
    monkeypatch.setattr(module, "_runtime_of", lambda array: runtime)
    return runtime
