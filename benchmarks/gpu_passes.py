"""One forward and backward pass on a GPU: gpulr's, and what one writes in CuPy, PyTorch and JAX."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.gpu_place import Host, Place, Timing, interleaved, reason
from gpulr.device import Array, to_host
from gpulr.passes import HOST_ONLY, PASSES
from gpulr.rows import MemoryRows

# 400 million elements each: a read is long beside a launch, and L2 caches hold no part that matters.
SHAPES = {
    "12.5e6x32": (12_500_000, 32),
    "4e6x100": (4_000_000, 100),
    "510e3x784": (510_000, 784),
    "4e5x1000": (400_000, 1_000),
    "98e3x4096": (98_000, 4_096),
    "24e3x16384": (24_400, 16_384),
}
DTYPES = ("float32", "uint8", "float16", "bfloat16", "int8", "float64")

WRONG = 1e-2
"""A relative error of the gradient above this is no rounding: such a time does not count."""

ON_CPU = ("NumPy on the CPU", "for loops")
"""Who is timed beside a GPU but not on it."""

ON_HOST = 4_000_000
LOOP_ENTRIES = 200_000
"""Entries of X that NumPy's pass and the `for` loops are timed on; all take as many times longer."""

Pass = Callable[[], tuple[Any, Any]]
"""() -> (cost, dw), in whatever library."""


@dataclass(frozen=True)
class Data:
    """X (m, n) on a place in its storage dtype; y (m,), w (n,), b () there in the dtype of the computation."""

    X: Array
    y: Array
    w: Array
    b: Array


def draw(place: Place, shape: tuple[int, int], dtype: str) -> Data:
    """Margins of order 1. Raises TypeError where there is no such dtype."""
    (m, n), rng = shape, np.random.default_rng(0)
    X = place.random(shape, dtype)
    real = np.float64 if dtype == "float64" else np.float32
    size = {"uint8": 150.0, "int8": 75.0}.get(dtype, 1.0)
    w = (rng.standard_normal(n) / np.sqrt(n) / size).astype(real)
    y = (rng.random(m) < 0.5).astype(real)
    return Data(X, place.put(y), place.put(w), place.put(np.array(0.1, real)))


def reference(xp: Any, data: Data, entries: int = 1 << 26) -> tuple[float, np.ndarray]:
    """cost and dw (n,) in float64, by blocks of so many entries of X, by a formula that is nobody's who is timed."""
    cost, dw = 0.0, np.zeros(data.w.shape[0])
    w, b = data.w.astype(np.float64), float(data.b)
    rows = max(1, entries // data.w.shape[0])
    for start in range(0, data.y.shape[0], rows):
        X, y = (part[start : start + rows].astype(np.float64) for part in (data.X, data.y))
        z = X @ w + b
        cost += float(xp.sum(xp.logaddexp(0, z) - y * z))
        dw += to_host((0.5 * (1 + xp.tanh(z / 2)) - y) @ X)
    return cost, dw


def contestants(place: Place, data: Data) -> tuple[dict[str, Pass], dict[str, str]]:
    """Who can run on this place, and why others cannot."""
    calls: dict[str, Pass] = {}
    missing: dict[str, str] = {}
    for name, one_pass in PASSES.items():
        if name == "loop" or (name in HOST_ONLY):
            continue
        if name != "vectorized" and isinstance(place, Host):
            missing[f"gpulr, {name}"] = "made for CuPy"
            continue
        calls[f"gpulr, {name}"] = partial(_gpulr, MemoryRows(data.X, data.y), one_pass, data.w, data.b)
    if "fused" not in PASSES:
        missing["gpulr, fused"] = "this gpulr has no such pass"
    calls["NumPy, two products" if isinstance(place, Host) else "CuPy, two products"] = partial(_plain, place.xp, data)
    for name, module, make in (("PyTorch, two products", "torch", _torch), ("JAX, jitted", "jax", _jax)):
        if find_spec(module) is None:
            missing[name] = f"not installed: pip install {module}"
            continue
        try:
            calls[name] = make(place, data)
        except Exception as error:  # whatever a library raises is to be shown
            missing[name] = reason(error)
    return calls, missing


def _gpulr(rows: MemoryRows, one_pass: Any, w: Array, b: Array) -> tuple[Array, Array]:
    cost, dw, _, _ = rows.propagate(one_pass, w, b)
    return cost, dw


def _plain(xp: Any, data: Data) -> tuple[Array, Array]:
    """As the lesson writes it, but for a cost that is finite; X is converted where it is stored as something else."""
    X = data.X.astype(data.w.dtype, copy=False)
    z = X @ data.w + data.b
    cost = xp.sum(xp.logaddexp(0, z) - data.y * z)
    return cost, X.T @ (1 / (1 + xp.exp(-z)) - data.y)


def _torch(place: Place, data: Data) -> Pass:
    torch = import_module("torch")
    where = "cpu" if isinstance(place, Host) else "cuda"
    if where == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("this PyTorch has no CUDA")
    y, w, b = (torch.from_dlpack(part) for part in (data.y, data.w, data.b))
    if data.X.dtype.name == "bfloat16":  # which DLPack carries, but NumPy's type of it is not CuPy's own
        X = torch.from_dlpack(data.X.view(np.int16)).view(torch.bfloat16)
    else:
        X = torch.from_dlpack(data.X)

    def one_pass() -> tuple[Any, Any]:
        A = X.to(w.dtype)
        z = A @ w + b
        cost = torch.sum(torch.nn.functional.softplus(z) - y * z)
        return cost, A.T @ (torch.sigmoid(z) - y)

    return one_pass


def _jax(place: Place, data: Data) -> Pass:
    jax, jnp = import_module("jax"), import_module("jax.numpy")
    if not isinstance(place, Host) and jax.default_backend() != "gpu":
        raise RuntimeError("this JAX has no CUDA")
    if data.X.dtype == np.float64 or data.w.dtype == np.float64:
        jax.config.update("jax_enable_x64", True)
    if data.X.dtype.name == "bfloat16":
        X = jax.lax.bitcast_convert_type(jnp.from_dlpack(data.X.view(np.int16)), jnp.bfloat16)
    else:
        X = jnp.from_dlpack(data.X)
    y, w, b = (jnp.from_dlpack(part) for part in (data.y, data.w, data.b))

    def value_and_gradient(X: Any, y: Any, w: Any, b: Any) -> Any:
        def cost(w: Any) -> Any:
            z = X.astype(w.dtype) @ w + b
            return jnp.sum(jnp.logaddexp(0, z) - y * z)

        return jax.value_and_grad(cost)(w)

    compiled = jax.jit(value_and_gradient)
    return partial(compiled, X, y, w, b)


def off(result: tuple[Any, Any], expected: tuple[float, np.ndarray]) -> float:
    """The larger relative error of cost and gradient."""
    cost, dw = (_host(part) for part in result)
    of_dw = np.linalg.norm(dw.astype(np.float64) - expected[1]) / np.linalg.norm(expected[1])
    return max(abs(float(cost) - expected[0]) / expected[0], float(of_dw))


def _host(array: Any) -> np.ndarray:
    return np.asarray(array) if type(array).__module__.startswith("jax") else to_host(array)


def race(place: Place, shape: tuple[int, int], dtype: str, *, rounds: int = 7, limit: float = 0.5) -> dict[str, Any]:
    """Time everyone on one X.

    Returns:
        JSON values: rows, columns, dtype, bytes, and timings, a list of `Timing` with medians. Who cannot run or computes
        something else is in it with the reason.
    """
    record: dict[str, Any] = {"rows": shape[0], "columns": shape[1], "dtype": dtype}
    try:
        data = draw(place, shape, dtype)
    except (TypeError, MemoryError) as error:
        return record | {"why_not": reason(error), "timings": []}
    calls, missing = contestants(place, data)
    timings = interleaved(place, calls, rounds, limit)
    expected = reference(place.xp, data)
    for name, timing in timings.items():
        if timing.why_not is None:
            timing.off = off(calls[name](), expected)
            if not timing.off <= WRONG:
                timing.why_not = f"computes something else: {timing.off:.1e} off"
    some = [
        *timings.values(),
        *(Timing(name, why_not=why) for name, why in missing.items()),
        *_on_the_cpu(shape, dtype),
    ]
    nbytes = int(np.prod(shape)) * data.X.dtype.itemsize
    return record | {"bytes": nbytes, "timings": [asdict(t) | {"median": t.median} for t in some]}


def _on_the_cpu(shape: tuple[int, int], dtype: str) -> Iterator[Timing]:
    """NumPy's pass and the loop, on some rows, extrapolated."""
    host = Host()
    if dtype == "bfloat16":
        return
    for name, pass_name, entries in zip(ON_CPU, ("vectorized", "loop"), (ON_HOST, LOOP_ENTRIES), strict=True):
        some = max(1, min(shape[0], entries // shape[1]))
        data = draw(host, (some, shape[1]), dtype)
        call = partial(_gpulr, MemoryRows(data.X, data.y), PASSES[pass_name], data.w, data.b)
        (timing,) = interleaved(host, {name: call}, 1, 0.0).values()
        timing.seconds = [seconds * shape[0] / some for seconds in timing.seconds]
        timing.extrapolated = some < shape[0]
        yield timing


def races(
    place: Place, scale: float, dtypes: tuple[str, ...], until: float, say: Callable[[str], object]
) -> Iterator[dict[str, Any]]:
    """`race` for every shape and dtype, the most important first; what has no time left says so.

    Args:
        scale: share of the rows.
        until: of `time.monotonic`.
    """
    for dtype in dtypes:
        for name, (m, n) in SHAPES.items():
            shape = max(2, round(m * scale)), n
            if time.monotonic() > until:
                yield {"rows": shape[0], "columns": n, "dtype": dtype, "why_not": "no time left", "timings": []}
                continue
            say(f"pass: {name} {dtype}")
            yield race(place, shape, dtype)
