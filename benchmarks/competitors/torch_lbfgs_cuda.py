"""PyTorch's L-BFGS on a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.competitors.on_device import OnDevice, features
from benchmarks.competitors.torch_lbfgs import TorchLbfgs
from benchmarks.problem import Problem

if TYPE_CHECKING:
    import torch


class TorchLbfgsCuda(OnDevice, TorchLbfgs):
    name = "torch-lbfgs-cuda"
    library = "torch"

    def tensors(self, problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
        y: Any = problem.y
        return features(problem), y
