"""`python -m benchmarks roofline`: what a pass can take at best on a GPU, calculated from its data sheet, not measured.

A pass over X (m, n) that reads X once moves, for each row, n stored numbers, its label and its margin, and does two
multiplications with additions a number: one for z = Xw, one for Xᵀdz. It takes at least as long as the slower of the two,
memory and arithmetic (Williams, Waterman & Patterson, "Roofline", CACM 52 (2009)).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import click
from rich.console import Console

WIDTHS = (32, 100, 784, 4096, 16384)
ENTRIES = 400_000_000
"""Of X in the tables."""

ROW_BYTES = 8
"""A label that is read and a margin that is written, float32; 4 more with weights. Twice as many for float64."""

ROW_INSTRUCTIONS = 100
"""What a row takes beside its products, an estimate: exp, log1p, a division, and the sums over the threads of a row."""


@dataclass(frozen=True)
class Stored:
    """A storage dtype.

    Attributes:
        nbytes: of a number.
        instructions: a number takes so many of one thread: two multiplications with additions, and its conversion, one
            instruction from half precision and two from a byte.
        converted: bytes that a pass in plain array operations moves for each number: it reads X, writes it as float32 unless
            it is float already, and reads that twice.
    """

    nbytes: int
    instructions: int
    converted: int


STORED = {
    "float64": Stored(8, 2, 16),
    "float32": Stored(4, 2, 8),
    "float16, bfloat16": Stored(2, 3, 14),
    "uint8, int8": Stored(1, 4, 13),
}


@dataclass(frozen=True)
class Card:
    """A GPU by NVIDIA's data sheet: bytes a second, and operations a second in float32 and float64, without tensor cores."""

    bandwidth: float
    float32: float
    float64: float


CARDS = {
    "H200 SXM": Card(4.8e12, 67e12, 34e12),
    "H100 SXM": Card(3.35e12, 67e12, 34e12),
    "A100 80 GB": Card(2.039e12, 19.5e12, 9.7e12),
    "RTX 4090": Card(1.008e12, 82.6e12, 1.29e12),
    "L4": Card(0.3e12, 30.3e12, 0.473e12),
    "T4": Card(0.32e12, 8.1e12, 0.253e12),
}


def seconds(card: Card, dtype: str, m: int, n: int) -> tuple[float, float]:
    """Least time of one pass over X (m, n): of the memory, and of the arithmetic. A data sheet counts an FMA as two."""
    stored = STORED[dtype]
    double = dtype == "float64"
    memory = m * (n * stored.nbytes + ROW_BYTES * (2 if double else 1)) / card.bandwidth
    arithmetic = m * (n * stored.instructions + ROW_INSTRUCTIONS) / ((card.float64 if double else card.float32) / 2)
    return memory, arithmetic


def share(card: Card, dtype: str, n: int) -> float:
    """Greatest share of the bandwidth that the bytes of X alone can have at this width."""
    return n * STORED[dtype].nbytes / card.bandwidth / max(seconds(card, dtype, 1, n))


def tables() -> Iterator[str]:
    """Lines of Markdown."""
    h200 = CARDS["H200 SXM"]
    yield "| stored as | bytes | operations | operations a byte | bytes in plain array operations | ratio |"
    yield "|---|--:|--:|--:|--:|--:|"
    for name, stored in STORED.items():
        yield (
            f"| {name} | {stored.nbytes} | 4 | {4 / stored.nbytes:g} | {stored.converted} | "
            f"{stored.converted / stored.nbytes:g} |"
        )
    yield ""
    yield f"| H200: share of the bandwidth at n = | {' | '.join(map(str, WIDTHS))} |"
    yield f"|---|{'--:|' * len(WIDTHS)}"
    for name in STORED:
        yield f"| {name} | {' | '.join(f'{share(h200, name, n):.0%}' for n in WIDTHS)} |"
    yield ""
    yield f"| H200: time of the arithmetic over that of the memory at n = | {' | '.join(map(str, WIDTHS))} |"
    yield f"|---|{'--:|' * len(WIDTHS)}"
    for name in STORED:
        limits = [seconds(h200, name, 1, n) for n in WIDTHS]
        yield f"| {name} | {' | '.join(f'{arithmetic / memory:.0%}' for memory, arithmetic in limits)} |"
    yield ""
    yield f"| ms a pass, 4,000,000 × 100 | {' | '.join(STORED)} |"
    yield f"|---|{'--:|' * len(STORED)}"
    for name, card in CARDS.items():
        times = [1e3 * max(seconds(card, dtype, ENTRIES // 100, 100)) for dtype in STORED]
        yield f"| {name}, {card.bandwidth / 1e12:g} TB/s | {' | '.join(f'{time:.2f}' for time in times)} |"


@click.command()
def roofline() -> None:
    """What a pass can take at best on some GPUs: calculated, not measured."""
    out = Console(width=200)
    for line in tables():
        out.print(line, markup=False, highlight=False)
