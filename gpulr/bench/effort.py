"""How much is measured: what takes a minute or two, what takes minutes, and everything."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """The size of the benchmarks.

    Attributes:
        repeats: interleaved rounds, at least 1.
        budget: seconds that one training may take before it is extrapolated.
        largest: the most entries of X in the sweep over sizes.
        dtypes: of X in the sweep.
        pass_entries: of X in the race of the passes.
        pass_shapes: how many of `gpulr.bench.roofline.SHAPES`.
        pass_bytes: of X in the race of the passes at least, so that bytes, too, have to come from memory.
    """

    repeats: int
    budget: float
    largest: int
    dtypes: tuple[str, ...]
    pass_entries: int
    pass_shapes: int
    pass_bytes: int = 0


EFFORTS = {
    "quick": Effort(3, 0.2, 10**7, ("float32",), 10**7, 1, 10**8),
    "normal": Effort(5, 1.0, 10**8, ("float32", "float64"), 10**8, 3),
    "full": Effort(7, 2.0, 10**8, ("float32", "float64", "uint8", "float16"), 10**8, 5),
}
