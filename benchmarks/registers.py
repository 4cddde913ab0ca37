"""Registers and spills of the kernels: `python -m benchmarks.registers`, which needs no GPU.

NVRTC compiles `gpulr/passes/fused.cu` and `gpulr/margin_descent.cu` as CuPy would on the spot, and its assembler says what
each kernel takes. It comes from the package nvidia-cuda-nvrtc-cu12 (the extra `dev`) and is called through ctypes: CuPy,
which could do it too, is a second package of the same size, and neither needs a driver for it.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from gpulr import margin_descent_kernel
from gpulr.cuda import OPTIONS, Gpu, source
from gpulr.passes import fused
from gpulr.passes.fused_plan import REAL, STORED, Plan, WidePlan, plan

# What CuPy 14.2 adds by itself (cupy/cuda/compiler.py): the least numbers count as zero, and no function is the host's.
CUPY_OPTIONS = ("-ftz=true", "--device-as-default-execution-space")

RECORD = Path(__file__).parent / "results" / "ptxas" / "registers.md"

# A GPU of each compute capability: Turing T4, Ampere A100, Hopper H100, Blackwell B200.
GPUS = {
    75: Gpu(multiprocessors=40, shared_bytes=64 << 10, cache_bytes=4 << 20, float64_ratio=32),
    80: Gpu(multiprocessors=108, shared_bytes=163 << 10, cache_bytes=40 << 20),
    90: Gpu(multiprocessors=132, shared_bytes=227 << 10, cache_bytes=50 << 20),
    100: Gpu(multiprocessors=148, shared_bytes=227 << 10, cache_bytes=126 << 20),
}

# (dtype stored, bytes of it, outputs) and columns of the kernels that are recorded.
COMMON = (1, 3, 32, 33, 64, 100, 256, 784, 1000, 1001, 1024, 2048, 4096, 4097, 8192, 12288, 16384, 65536)
FEW = (3, 32, 100, 784, 1024, 4096, 16384)
WIDTHS = {
    ("float32", 4, 1): COMMON,
    ("uint8", 1, 1): COMMON,
    ("int8", 1, 1): FEW,
    ("float16", 2, 1): FEW,
    ("bfloat16", 2, 1): FEW,
    ("float64", 8, 1): FEW,
    ("float32", 4, 3): (32, 100, 784, 4096),
    ("float32", 4, 8): (32, 784, 4096),
    ("uint8", 1, 8): (784,),
    ("float64", 8, 8): (32, 784),
}

# The kernel of the other source.
MARGIN_DESCENT = "margin_descent"


@dataclass(frozen=True)
class Kernel:
    """A kernel with what it is for: X's dtype, the outputs and columns."""

    stored: str
    outputs: int
    columns: int
    name: str


@dataclass(frozen=True)
class Usage:
    """Of a thread: registers of 4 bytes, and bytes that do not fit in them and are kept in memory."""

    registers: int
    spilled: int


def kernels(architecture: int, pointwise: str = "CrossEntropy") -> Iterator[Kernel]:
    """The kernels that a GPU of this compute capability (75 for 7.5) would be given for `WIDTHS`, each once."""
    seen = set()
    for (stored, itemsize, outputs), widths in WIDTHS.items():
        real = "float64" if stored == "float64" else "float32"
        real_bytes = 8 if real == "float64" else 4
        for columns in widths:
            sizes = (10**6, columns, columns * itemsize, 0, itemsize, real_bytes, outputs)
            launch = plan(*sizes, GPUS[architecture])
            for template, function, arguments in _templates(launch, pointwise):
                name = f"{template}<{function}<{REAL[real]}, {outputs}>, {STORED[stored]}, {arguments}>"
                if name not in seen:
                    seen.add(name)
                    yield Kernel(stored, outputs, columns, name)
    for stored, real in REAL.items():
        yield Kernel(stored, 1, 0, f"add_blocks<{real}, {real}>")
        yield Kernel(stored, 1, 0, f"add_blocks_and_descend<{real}>")
    yield Kernel("float32", 1, 0, "add_blocks<double, float>")
    yield Kernel("Gram space", 1, 0, MARGIN_DESCENT)


def _templates(launch: Plan | WidePlan, pointwise: str) -> list[tuple[str, str, str]]:
    if isinstance(launch, Plan):
        return [("one_read", pointwise, launch.arguments)]
    backward = [("wide_backward", pointwise, launch.arguments)] if pointwise != "Product" else []
    return [("one_read", "Product", launch.forward.arguments), *backward]


def usage(kernel: str, architecture: int) -> Usage:
    """What a kernel takes, compiled for this compute capability.

    Raises:
        RuntimeError: NVRTC is not installed, or refuses the source; the message is its log.
    """
    path = margin_descent_kernel.SOURCE if kernel == MARGIN_DESCENT else fused.SOURCE
    log = _compile(path, kernel, architecture)
    # The assembler's report: "ptxas info : Used 128 registers, ..." and "0 bytes spill stores, 0 bytes spill loads".
    registers = re.search(r"Used (\d+) registers", log)
    spilled = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log)
    if registers is None or spilled is None:
        raise RuntimeError(f"NVRTC does not report registers of {kernel}:\n{log}")
    return Usage(int(registers[1]), int(spilled[1]) + int(spilled[2]))


def why_no_nvrtc() -> str | None:
    """Why nothing can be compiled here; None when it can."""
    return None if _library_path() else "NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12"


def architectures() -> list[int]:
    """Those of `GPUS` that the installed NVRTC knows."""
    library, count = _nvrtc(), ctypes.c_int()
    _check(library.nvrtcGetNumSupportedArchs(ctypes.byref(count)), "")
    known = (ctypes.c_int * count.value)()
    _check(library.nvrtcGetSupportedArchs(known), "")
    return [architecture for architecture in GPUS if architecture in set(known)]


def version() -> str:
    """NVRTC's, as 12.9."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_nvrtc().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)), "")
    return f"{major.value}.{minor.value}"


def table() -> str:
    """The record in Markdown: a line a kernel, a column a compute capability."""
    known = architectures()
    names = {architecture: list(kernels(architecture)) for architecture in known}
    jobs = [(kernel.name, architecture) for architecture, of_it in names.items() for kernel in of_it]
    with ThreadPoolExecutor() as pool:
        found = dict(zip(jobs, pool.map(lambda job: usage(*job), jobs), strict=True))
    every = {kernel.name: kernel for of_it in names.values() for kernel in of_it}
    lines = [
        "# Registers of the kernels",
        "",
        f"By `python -m benchmarks.registers` with NVRTC {version()} and what CuPy adds, {' '.join(CUPY_OPTIONS)}:",
        "a thread's registers, after + the bytes it spills.",
        "A dash: the plan for such a GPU has another kernel. Columns: the fewest recorded that have this kernel.",
        "",
        "| X | outputs | columns | kernel | " + " | ".join(f"sm_{architecture}" for architecture in known) + " |",
        "| --- | --- | --- | --- |" + " --- |" * len(known),
    ]
    for name, kernel in every.items():
        cells = [_cell(found.get((name, architecture))) for architecture in known]
        lines.append(
            f"| {kernel.stored} | {kernel.outputs} | {kernel.columns or 'any'} | `{name}` | " + " | ".join(cells) + " |"
        )
    return "\n".join([*lines, ""])


def _cell(found: Usage | None) -> str:
    if found is None:
        return "-"
    return f"{found.registers} + {found.spilled}" if found.spilled else str(found.registers)


def _library_path() -> Path | None:
    try:
        spec = find_spec("nvidia.cuda_nvrtc")
    except ModuleNotFoundError:  # nothing of nvidia's
        return None
    for folder in spec.submodule_search_locations or [] if spec else []:
        for path in sorted(Path(folder, "lib").glob("libnvrtc.so.*")):
            return path
    return None


@cache
def _nvrtc() -> ctypes.CDLL:
    path = _library_path()
    if path is None:
        raise RuntimeError(why_no_nvrtc())
    library = ctypes.CDLL(str(path))
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library


def _check(status: int, log: str) -> None:
    if status:
        raise RuntimeError(f"NVRTC: {_nvrtc().nvrtcGetErrorString(status).decode()}\n{log}")


def _compile(path: str, kernel: str, architecture: int) -> str:
    """Compiles one kernel of a source and returns the log, with the assembler's report."""
    library, program, size = _nvrtc(), ctypes.c_void_p(), ctypes.c_size_t()
    options = [*OPTIONS, *CUPY_OPTIONS, f"--gpu-architecture=sm_{architecture}", "--ptxas-options=-v"]
    raw = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    code = source(path).encode()
    _check(library.nvrtcCreateProgram(ctypes.byref(program), code, path.encode(), 0, None, None), "no program")
    try:
        _check(library.nvrtcAddNameExpression(program, kernel.encode()), kernel)
        status = library.nvrtcCompileProgram(program, len(options), raw)
        _check(library.nvrtcGetProgramLogSize(program, ctypes.byref(size)), "no log")
        log = ctypes.create_string_buffer(size.value)
        _check(library.nvrtcGetProgramLog(program, log), "no log")
        text = log.value.decode()
        _check(status, text)
        return text
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


if __name__ == "__main__":
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(table())
    print(f"wrote {RECORD}")
