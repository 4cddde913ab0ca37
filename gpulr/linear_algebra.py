"""Factorizations of symmetric matrices, on the arrays' device; on the host such that Ctrl-C is felt while they last."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from array_api_compat import device, is_cupy_array, is_numpy_array, is_torch_array

from gpulr.device import Array, array_namespace
from gpulr.parallel import interruptible

# What is smaller is done before anybody can press a key, and not worth the way to another thread.
LARGE = 1000
# To solve for fewer columns is not worth it either.
FEW_COLUMNS = 100


def cholesky(H: Array) -> Array | None:
    """The lower triangular L (N, N) with LLᵀ = H, or None when H, with a unit diagonal, is singular to rounding."""
    xp = array_namespace(H)
    try:
        L = _run(lambda: _cholesky(H), H)
    except _not_positive(H):
        return None
    # Not the squares of the pivots: a factor that failed may hold negative ones, or NaN.
    return L if bool(xp.min(xp.linalg.diagonal(L)) > rounding(H) ** 0.5) else None


def _cholesky(H: Array) -> Array:
    if is_numpy_array(H):
        from scipy.linalg import cholesky

        # As the upper factor of the transposed matrix, which LAPACK takes as it lies; NumPy's copies, and takes half as
        # long again for a matrix of 2000.
        return cholesky(H.T, lower=False, check_finite=False).T
    if is_cupy_array(H):
        import cupyx

        # By itself CuPy does not look whether cuSOLVER gave up, and what it leaves then may look like a factor.
        with cupyx.errstate(linalg="raise"):
            return array_namespace(H).linalg.cholesky(H)
    return array_namespace(H).linalg.cholesky(H)


def _not_positive(H: Array) -> type[Exception]:
    """The error by which the library of H says that it has no Cholesky factor."""
    if is_torch_array(H):
        import torch

        error: type[Exception] = torch.linalg.LinAlgError
        return error
    return np.linalg.LinAlgError  # SciPy's and CuPy's, too


def eigh(H: Array) -> tuple[Array, Array]:
    """Eigenvalues (N,), ascending, and eigenvectors (N, N) in columns, of a symmetric H."""
    xp = array_namespace(H)
    values, vectors = _run(lambda: xp.linalg.eigh(H), H)
    return values, vectors


def solve_lower(L: Array, B: Array, *, transposed: bool = False) -> Array:
    """L⁻¹ B, or L⁻ᵀ B, for a lower triangular L (N, N) and B (N,) or (N, k)."""
    if is_numpy_array(L):
        from scipy.linalg import solve_triangular

        def solve() -> Array:
            return solve_triangular(L, B, lower=True, trans=int(transposed), check_finite=False)

        return solve() if B.ndim == 1 or B.shape[1] < FEW_COLUMNS else _run(solve, L)
    if is_cupy_array(L):
        from cupyx.scipy.linalg import solve_triangular

        return solve_triangular(L, B, lower=True, trans=int(transposed))
    xp = array_namespace(L)
    columns = B[:, None] if B.ndim == 1 else B
    if is_torch_array(L):
        import torch

        solution = torch.linalg.solve_triangular(L.mT if transposed else L, columns, upper=transposed)
    else:
        solution = xp.linalg.solve(L.mT if transposed else L, columns)
    return solution[:, 0] if B.ndim == 1 else solution


def cholesky_solve(L: Array, B: Array) -> Array:
    """(LLᵀ)⁻¹ B for B (N,) or (N, k)."""
    return solve_lower(L, solve_lower(L, B), transposed=True)


def unit_diagonal(H: Array) -> tuple[Array, Array]:
    """H / r / rᵀ with ones on its diagonal, and r (N,): what is singular should not depend on units.

    Where H (N, N) has no curvature at all, for a constant column without a penalty, it gets 1, so that the weight stays.
    """
    xp = array_namespace(H)
    diagonal = xp.linalg.diagonal(H)
    missing = xp.where(diagonal > 0, xp.zeros_like(diagonal), xp.ones_like(diagonal))
    root = xp.sqrt(xp.where(diagonal > 0, diagonal, xp.ones_like(diagonal)))
    R = H / root[:, None]
    R /= root  # in place: a new matrix each time would take as long as all else here
    if not is_numpy_array(H) or missing.any():  # a look at the numbers of a device would take longer than the sum
        R += xp.eye(H.shape[0], dtype=H.dtype, device=device(H)) * missing
    return R, root


def rounding(H: Array) -> float:
    """What rounding leaves of a zero pivot or eigenvalue, relative to the largest: a sum of N terms, and some leeway."""
    eps: float = array_namespace(H).finfo(H.dtype).eps
    return 100 * int(H.shape[0]) * float(eps)


def _run(call: Callable[[], Array], H: Array) -> Array:
    return interruptible(call) if is_numpy_array(H) and H.shape[0] >= LARGE else call()
