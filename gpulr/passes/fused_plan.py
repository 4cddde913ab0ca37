"""How `fused.cu` goes through an X: which kernel, in how many blocks, with what memory. Plain numbers in, plain numbers out.

A thread's registers hold, for its columns, the weights and its part of the gradient as numbers of the computation, and
each row it works on as stored. That bounds the columns a thread can have, those times the threads of a group the width of
the rows, and the registers in all how many threads an SM runs at once. Short rows take some lanes of a warp, longer ones a
block of 64 or 128 threads; from there on the weights are in shared memory, in blocks of 256 or 512 threads. See `SHAPES`.
Of all that fit, the one is taken that spends the fewest instructions on a row, see `_cost`.

    columns, one output                         float32     float16     uint8       float64
    the next row loads during one's maths, to   16,384      24,576      32,768      7,168
    read once, to                               24,576      32,768      32,768      11,264
    read again from the second-level cache, in tiles of rows, to 65,536 where numbers are shorter than float32

That is where a block may have 160 KB of shared memory (compute capability 8.0, 9.0, 10.0) and rows start at multiples of 16
bytes; with 64 KB (7.5) it is 15,360 (7,680 of float64). K outputs divide the columns by about K.

Rows whose elements are adjacent and whose width, start and distance from row to row are multiples of 16 bytes are loaded 16
bytes at a time, others by the largest power of two that divides them all: a uint8 row of 100 by 4, a float32 row of 1001
by 4, a uint8 row of 1001 by 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import gcd, log2

from gpulr.cuda import Gpu

# What the source calls a dtype.
STORED = {
    "bool": "unsigned char",
    "uint8": "unsigned char",
    "int8": "signed char",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "float32": "float",
    "float64": "double",
}
REAL = {"float32": "float", "float64": "double"}
MAX_COLUMNS, MAX_OUTPUTS = 65536, 8

# A group adds up so many rows in the dtype of the computation before its sums go on in float64: float32 loses digits in
# longer ones.
ROWS_A_PARTIAL_SUM = 1024

# Registers of 4 bytes on an SM of every GPU since 2018, and threads that all of them run at once.
REGISTERS, THREADS = 65536, 1024

# Loads of a row by one thread: more take registers for their addresses. Fewer where the weights are in registers, too.
MAX_LOADS, MAX_LOADS_SHARED = 16, 24

# Threads of an SM that hide each other's waiting for memory; with fewer a row takes a twelfth longer, but not of bytes, for
# which instructions are the limit.
ENOUGH_THREADS = 400

# Words of rows that a thread has under way, of more than four rows: more are no faster, and take the place of other threads.
# Twice as many of fewer rows, to have some together at all.
IN_FLIGHT = 32

# Adjacent numbers that a group should read together: of float32 a line of the cache. Of bytes fewer will do, for they are
# bound by instructions, but not those of fewer lanes.
TOGETHER, LANES_OF_BYTES = 32, 4

# Part of the second-level cache that a tile of wide rows may have: what else passes through it comes and goes.
TILE_SHARE = 0.5

# Numbers of gradient that a thread holds of wide rows. More would be shared by fewer blocks for each slice of the columns,
# which have to read and write their sums, in float64, after every tile: few columns and many rows keep these a part of X.
WIDE_NUMBERS = 8


@dataclass(frozen=True)
class Shape:
    """Threads to a row and to a block; whether the weights are in shared memory; most words of gradient a thread holds."""

    group: int
    threads: int
    shared: bool
    words: int
    registers: int


SHAPES = (
    (*(Shape(group, 128, False, 32, 168) for group in (1, 2, 4, 8, 16, 32, 128)), Shape(64, 64, False, 48, 168)),
    (Shape(256, 256, True, 32, 128),),
    (Shape(512, 512, True, 32, 128),),
    (Shape(512, 512, True, 64, 128),),
)
"""The first of these that have a plan for a row are compared."""


@dataclass(frozen=True)
class Plan:
    """One launch of `one_read` for all rows.

    Attributes:
        arguments: of the template, after the pointwise function and the stored type.
        grid, threads, dynamic_bytes: of the launch.
    """

    arguments: str
    grid: int
    threads: int
    dynamic_bytes: int


@dataclass(frozen=True)
class WidePlan:
    """Tiles of rows, each with two launches: parts of the margins, by slices of columns, then the gradient.

    Attributes:
        tile: rows of a tile.
        slices, width: of `one_read`, and its launch: grid (forward.grid, slices).
        forward: see `Plan`.
        arguments, grid, threads: of `wide_backward`: the first of the grid are shares of the rows, the second slices of its
            own, which are narrower.
    """

    tile: int
    slices: int
    width: int
    forward: Plan
    arguments: str
    grid: tuple[int, int]
    threads: int


def why_not(shape: tuple[int, ...], strides: tuple[int, ...], stored: str, itemsize: int, outputs: int) -> str | None:
    """Why there is no kernel for such an X; None where there is.

    Args:
        shape, strides: (rows, columns), and bytes from one to the next.
        stored, itemsize: X's dtype by its name, and its bytes.
        outputs: 1 for two classes, k for k.
    """
    if stored not in STORED:
        return f"X is {stored}, not {', '.join(STORED)}"
    if shape[1] > 1 and strides[1] != itemsize:
        return "the elements of a row are not adjacent"
    if strides[0] % itemsize:
        return "rows are not a whole number of elements apart"
    if not 1 <= shape[1] <= MAX_COLUMNS:
        return f"X has {shape[1]} columns, not 1 to {MAX_COLUMNS}"
    if not 1 <= outputs <= MAX_OUTPUTS:
        return f"there are {outputs} outputs, more than {MAX_OUTPUTS}"
    return None


@lru_cache(maxsize=1024)
def plan(
    rows: int, columns: int, row_bytes: int, address: int, itemsize: int, real_bytes: int, outputs: int, gpu: Gpu
) -> Plan | WidePlan:
    """The launches for X of `rows` × `columns`.

    Args:
        row_bytes: from one row to the next, of any sign, and zero.
        address: of the first element, or what that leaves when divided by 16, which is all that counts.
        itemsize, real_bytes: bytes of a stored number, and of one of the computation.
        outputs: 1 for two classes, k for k.
    """
    widest = load_bytes(columns, row_bytes if rows > 1 else 0, address, itemsize)
    words = real_bytes // 4  # of a number of the computation
    widths = [widest]
    while widths[-1] > itemsize:
        widths.append(widths[-1] // 2)
    for shapes in SHAPES:
        held = [
            found
            for shape in shapes
            for width in widths
            for found in _held(shape, rows, columns, width, itemsize, words, outputs, gpu)
        ]
        if held:
            return min(held, key=lambda found: found[0])[1]
    return _wide(rows, columns, widest, itemsize, words * outputs, gpu)


def load_bytes(columns: int, row_bytes: int, address: int, itemsize: int) -> int:
    """The most bytes, up to 16, that every row consists of a whole number of, each at a multiple of it."""
    return gcd(16, columns * itemsize, row_bytes, address)


def _held(
    shape: Shape, rows: int, columns: int, width: int, itemsize: int, words: int, outputs: int, gpu: Gpu
) -> Iterator[tuple[tuple[bool, float], Plan]]:
    """The plans for groups of this shape; none where they cannot hold a row.

    With each what the least of is best: whether rows only load when those before them are computed, and the cost.
    """
    per_load, a_number = width // itemsize, words * outputs  # words of gradient for a column
    loads = -(-columns // (per_load * shape.group))
    if loads * per_load * a_number > shape.words or loads > (MAX_LOADS_SHARED if shape.shared else MAX_LOADS):
        return
    together = min(TOGETHER, columns)
    if shape.group < 32 and shape.group * per_load < together and (itemsize > 1 or shape.group < LANES_OF_BYTES):
        return
    gradient, packed = loads * per_load * a_number, loads * max(1, width // 4)
    for several in (16, 8, 4, 2, 1):
        if not _fit_together(several, shape.group, a_number):
            continue
        # Of a stage in registers: the rows, and what is known of those whose pointwise maths is the thread's own.
        own = -(-several // min(shape.group, 32))
        stage = several * packed + own * (outputs + 1) * words
        state = gradient * (1 if shape.shared else 2) + (several + 2 * own) * a_number + 2 * words + several - 1
        state += OVERHEAD + (0 if shape.group > 32 else SUMS)
        for stages in (2, 1):
            used = state + stages * stage
            if used > shape.registers + (SLACK if several == 1 else -RESERVE):
                continue
            if several * packed * stages > (2 if several <= 4 else 1) * IN_FLIGHT and several * stages > 2:
                continue
            # The weights of a block, or the sums of its groups.
            holders = shape.threads if shape.shared else shape.group if shape.group < shape.threads else 0
            dynamic = gradient * 4 * holders
            if dynamic + STATIC_BYTES > gpu.shared_bytes:
                continue
            registers = -(-min(used, shape.registers) // 8) * 8
            # Warps by fours: one more would take as many registers as four.
            fours = max(128, shape.threads)
            blocks = max(1, min(THREADS, REGISTERS // registers) // fours) * (fours // shape.threads)
            groups = shape.threads // shape.group
            at_once = gpu.multiprocessors * blocks
            # Whole waves, so that no multiprocessor waits for another's last block.
            waves = max(1, -(-rows // (at_once * groups * ROWS_A_PARTIAL_SUM)))
            grid = max(1, min(at_once * waves, -(-rows // (groups * several))))
            arguments = (width, loads, shape.group, shape.threads, several, stages, str(shape.shared).lower(), blocks)
            cost = _cost(shape.group, loads, per_load * a_number, itemsize, several)
            if itemsize > 1 and blocks * shape.threads < ENOUGH_THREADS:
                cost *= 1.08
            yield (stages == 1, cost), Plan(", ".join(map(str, arguments)), grid, shape.threads, dynamic)


# What a thread needs beside its numbers: addresses, counters and the pointwise maths; and the sums in float64, which a group
# of several warps has in shared memory.
OVERHEAD, SUMS = 32, 8
# The last words of a tight shape fit all the same, where rows are worked on one by one; several of them need some more.
SLACK, RESERVE = 9, 6
# Shared memory that is not dynamic: sums over warps.
STATIC_BYTES = 4096


def _fit_together(several: int, group: int, a_number: int) -> bool:
    """Whether so many rows can be worked on together: every one has its margins.

    The pointwise maths of a row is one lane's; a group of one lane would have it all at once, in too many registers.
    """
    return several == 1 or (several <= min(16 if group <= 32 else 8, 4 * group) and several * a_number <= 16)


def _cost(group: int, loads: int, words: int, itemsize: int, several: int) -> float:
    """What a row costs: instructions of its threads, in some unit.

    For each word of gradient, where bytes have to become numbers first; each load; the sum over the lanes; the pointwise
    maths, which whole warps wait for, however many of their rows have a share in it; and what is left. Fitted to the times
    of 550 such kernels on an H200, from 32 to 4096 columns of uint8, bfloat16 and float32, which it tells to 9 %.
    """
    number = 0.085 if itemsize == 1 else 0.03
    return group * (loads * (words * number + 0.08) + 0.02 * log2(group) + 1.6 / several + 0.1)


def _wide(rows: int, columns: int, width: int, itemsize: int, a_number: int, gpu: Gpu) -> WidePlan:
    """Rows of `columns` too many to be held: 256 threads take a slice of them, in registers, for all rows of a tile."""
    threads = 256
    while width > itemsize and width // itemsize * a_number > 32:
        width //= 2
    per_load = width // itemsize
    tile = max(1, min(rows, int(gpu.cache_bytes * TILE_SHARE) // (columns * itemsize)))

    def launch(numbers: int) -> tuple[int, int, tuple[int, int]]:
        """Loads for so many numbers a thread, the columns of a slice, and the grid: shares of the rows, and slices."""
        loads = max(1, numbers // (per_load * a_number))
        slices = -(-columns // (loads * per_load * threads))
        return loads, loads * per_load * threads, (max(1, min(tile, 2 * gpu.multiprocessors // slices)), slices)

    loads, slice_columns, (teams, slices) = launch(32)
    forward = Plan(f"{width}, {loads}, {threads}, {threads}, 1, 2, false, 1", teams, threads, 0)
    loads, _, grid = launch(WIDE_NUMBERS)
    return WidePlan(tile, slices, slice_columns, forward, f"{width}, {loads}, {threads}", grid, threads)
