"""The same on a GPU."""

from __future__ import annotations

from benchmarks.competitors.cuda import why_no_gpu
from benchmarks.competitors.torch_lbfgs import TorchLbfgs


class TorchLbfgsCuda(TorchLbfgs):
    name = "torch-lbfgs-cuda"
    device = "cuda"

    def missing(self) -> str | None:
        return super().missing() or why_no_gpu()
