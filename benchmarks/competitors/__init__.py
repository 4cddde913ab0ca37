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
from benchmarks.competitors.jax_lbfgs import JaxLbfgs, JaxLbfgsCpu
from benchmarks.competitors.on_device import OnDevice
from benchmarks.competitors.skglm import Skglm
from benchmarks.competitors.sklearn_arrays import SklearnCupy, SklearnTorch
from benchmarks.competitors.sklearn_lbfgs import SklearnLbfgs
from benchmarks.competitors.sklearn_newton_cg import SklearnNewtonCG
from benchmarks.competitors.sklearn_newton_cholesky import SklearnNewtonCholesky
from benchmarks.competitors.sklearn_saga import SklearnSaga
from benchmarks.competitors.snapml_dual import SnapMLDual
from benchmarks.competitors.snapml_primal import SnapMLPrimal
from benchmarks.competitors.torch_lbfgs import TorchLbfgs
from benchmarks.competitors.torch_lbfgs_cuda import TorchLbfgsCuda

__all__ = ["COMPETITORS", "ON_DEVICE", "Competitor"]

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
        SklearnTorch(),
        TorchLbfgs(),
        TorchLbfgsCuda(),
        JaxLbfgs(),
        JaxLbfgsCpu(),
        SnapMLPrimal(),
        SnapMLDual(),
        Glum(),
        Skglm(),
        DaskML(),
        Cuml(),
    )
}

ON_DEVICE: tuple[type[OnDevice], ...] = (GpulrCuda, SklearnCupy, SklearnTorch, TorchLbfgsCuda, JaxLbfgs, Cuml)
"""Those of a GPU, for `python -m benchmarks gpu`."""
