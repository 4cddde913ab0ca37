"""The pass: forward and backward propagation over a block of rows, in several speeds of one signature.

    propagate(X, y, w, b, sample_weight=None) -> (cost, dw, db, z)

    X: (m, n) samples as rows, any real dtype; y: (m,) labels 0 or 1; w: (n,) weights; b: () intercept;
    sample_weight: (m,) or None (all ones). y, sample_weight, w and b share one floating dtype.
    cost () = Σᵢ sᵢ·cross-entropy(zᵢ, yᵢ), dw (n,) = Σᵢ sᵢ·(aᵢ − yᵢ)·xᵢ, db () = Σᵢ sᵢ·(aᵢ − yᵢ),
    where zᵢ = wᵀxᵢ + b and aᵢ = σ(zᵢ); z (m,) are these margins, which a pass has anyway and a solver can use.

For k classes y is 0, ..., k−1, w and dw are (n, k), b and db (k,), z (m, k), and softmax takes the place of σ; the loop,
the lesson's own, knows two classes only.

The first three are sums, not means, so that the results of two blocks add up to the result of both: whatever is larger
than one block (a file, a cluster) is a sum of passes. The lesson writes X as (n, m), samples as columns: that is `X.T`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec

from array_api_compat import is_cupy_array, is_numpy_array

from gpulr.device import Array
from gpulr.passes import blocked, loop, vectorized

Propagate = Callable[..., tuple[Array, Array, Array, Array]]


def _compiled(
    X: Array, y: Array, w: Array, b: Array, sample_weight: Array | None = None
) -> tuple[Array, Array, Array, Array]:
    """`gpulr.passes.compiled.propagate`, which is not imported before it is called, for numba takes its time."""
    from gpulr.passes.compiled import propagate

    return propagate(X, y, w, b, sample_weight)


def _fused(
    X: Array, y: Array, w: Array, b: Array, sample_weight: Array | None = None
) -> tuple[Array, Array, Array, Array]:
    """`gpulr.passes.fused.propagate`, which only those who have a GPU need to import."""
    from gpulr.passes.fused import propagate

    return propagate(X, y, w, b, sample_weight)


PASSES: dict[str, Propagate] = {
    "loop": loop.propagate,
    "vectorized": vectorized.propagate,
    "blocked": blocked.propagate,
    "compiled": _compiled,
    "fused": _fused,
}

# Not for devices, and for GPUs by CuPy alone; the loop runs wherever arrays have `tolist`.
HOST_ONLY = ("blocked", "compiled")
CUPY_ONLY = ("fused",)

# These read X in the dtype it is stored in, so that nobody needs to convert it, block by block.
AS_STORED = (PASSES["compiled"], PASSES["fused"])

# What the compiled pass saves in a fit of some ten passes repays loading numba and its code, most of a second, from so
# many bytes of X on; and where they are loaded already, the calls. Half precision is slow to convert in NumPy.
REPAYS_LOADING = 2 << 30
REPAYS_LOADING_HALF = 128 << 20
REPAYS_CALLING = 4 << 20


def named(name: str, X: Array) -> tuple[str, Propagate]:
    """A pass over X by its name, a key of `PASSES`, or by size for "auto", with the name that it has.

    "auto" is "fused" for CuPy arrays with a dtype and memory order that it has a kernel for, and for NumPy arrays "compiled"
    where they are large enough to repay it and numba is installed (the extra `fast`), else "blocked". For all others it is
    "vectorized".

    Raises:
        ValueError: another name, or one for arrays of another library than X's.
        RuntimeError: numba is not installed.
    """
    if name == "auto":
        name = _fastest(X)
    if name not in PASSES:
        raise ValueError(f"pass={name!r}: use auto or {' or '.join(PASSES)}")
    if name in HOST_ONLY and not is_numpy_array(X):
        raise ValueError(
            f"pass={name!r} works on NumPy arrays, and X is a {type(X).__name__}: use 'auto' or 'vectorized'"
        )
    if name in CUPY_ONLY and not is_cupy_array(X):
        raise ValueError(
            f"pass={name!r} works on CuPy arrays, and X is a {type(X).__name__}: use 'auto' or 'vectorized', or choose "
            "the device cuda, where there is a GPU"
        )
    if name == "compiled" and find_spec("numba") is None:
        raise RuntimeError("pass='compiled' needs numba: pip install 'gpulr[fast]', or use 'auto' or 'vectorized'")
    return name, PASSES[name]


def _fastest(X: Array) -> str:
    if is_numpy_array(X):
        return "compiled" if _compiled_pays(X) else "blocked"
    if not is_cupy_array(X):
        return "vectorized"
    from gpulr.passes.fused import why_not

    return "vectorized" if why_not(X) else "fused"


def _compiled_pays(X: Array) -> bool:
    if X.nbytes < REPAYS_CALLING or not X.dtype.isnative:  # numba knows the processor's byte order only
        return False
    half = X.dtype.name == "float16"
    repaid = "numba" in sys.modules or X.nbytes >= (REPAYS_LOADING_HALF if half else REPAYS_LOADING)
    return repaid and find_spec("numba") is not None  # a search of files, which takes longer than a small fit's pass
