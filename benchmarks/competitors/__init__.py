"""The competitors by name: one file each. The first is the one the others are compared with.

They import their libraries when they fit, so that the process of one competitor has only its own.
"""

from __future__ import annotations

from benchmarks.competitors.base import Competitor
from benchmarks.competitors.cuml import Cuml
from benchmarks.competitors.dask_ml import DaskML
from benchmarks.competitors.glum import Glum
from benchmarks.competitors.gpulr import Gpulr
from benchmarks.competitors.gpulr_compiled import GpulrCompiled
from benchmarks.competitors.gpulr_cuda import GpulrCuda
from benchmarks.competitors.intelex import Intelex
from benchmarks.competitors.jax_lbfgs import JaxLbfgs
from benchmarks.competitors.skglm import Skglm
from benchmarks.competitors.sklearn_cupy import SklearnCupy
from benchmarks.competitors.sklearn_lbfgs import SklearnLbfgs
from benchmarks.competitors.sklearn_newton_cg import SklearnNewtonCG
from benchmarks.competitors.sklearn_newton_cholesky import SklearnNewtonCholesky
from benchmarks.competitors.sklearn_saga import SklearnSaga
from benchmarks.competitors.sklearn_torch_cuda import SklearnTorchCuda
from benchmarks.competitors.snapml_dual import SnapMLDual
from benchmarks.competitors.snapml_primal import SnapMLPrimal
from benchmarks.competitors.torch_lbfgs import TorchLbfgs
from benchmarks.competitors.torch_lbfgs_cuda import TorchLbfgsCuda

__all__ = ["COMPETITORS", "Competitor"]

COMPETITORS: dict[str, Competitor] = {
    competitor.name: competitor
    for competitor in (
        Gpulr(),
        GpulrCompiled(),
        GpulrCuda(),
        SklearnLbfgs(),
        SklearnNewtonCholesky(),
        SklearnNewtonCG(),
        SklearnSaga(),
        Intelex(),
        SklearnCupy(),
        SklearnTorchCuda(),
        TorchLbfgs(),
        TorchLbfgsCuda(),
        JaxLbfgs(),
        SnapMLPrimal(),
        SnapMLDual(),
        Glum(),
        Skglm(),
        DaskML(),
        Cuml(),
    )
}
