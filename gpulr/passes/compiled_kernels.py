"""What `gpulr.passes.compiled` has compiled by numba: loops over lines, and the pointwise maths between them.

A *line* is a run of adjacent elements: a row of C-ordered samples, a column of Fortran-ordered ones (`by_column`). Lines
know two products, `dots` (one number a line) and `combine` (a weighted sum of lines). Over rows the forward step is
`dots` and the backward step `combine`; over columns it is the other way round. So each is written once.

The rows come in tiles that stay in a core's own cache between the two steps: X is read from memory once. Its elements are
converted where they are multiplied, in registers, which takes less time than storing them and loading them again.

numba knows neither float16 nor bfloat16. They arrive as records of one field, whose name says what its 16 bits mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import llvmlite.binding
import llvmlite.ir
import numba
import numba.extending
import numpy as np

from gpulr.device import Array

F = TypeVar("F", bound=Callable[..., Any])

_numba: Any = numba  # from its version 0.68 on numba has some types, which have no place for what is compiled
types = _numba.types

# Sums may be reordered, or no loop could add in vector registers. The pointwise maths may not: `exp` and `log1p` live on
# the order of their operations. NaN and infinity keep their meaning in both. NumPy's error model, because a test for
# division by zero is a branch, which no vector has.
_SUMS = {"error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz", "arcp"}}
_POINTWISE = {"error_model": "numpy", "fastmath": {"contract"}}
sums: Callable[[F], F] = _numba.njit(nogil=True, cache=True, **_SUMS)
pointwise: Callable[[F], F] = _numba.njit(nogil=True, cache=True, **_POINTWISE)

# The gradient is summed in w's dtype over this many rows, then added in float64: float32 loses digits in longer sums.
ROWS_A_PARTIAL_SUM = 256

# A long line is used in pieces of this many elements.
PIECE = 2048


def by_type(function: Callable[..., Any]) -> Callable[[F], F]:
    """Decorates what chooses an implementation of `function` from the types of its arguments."""
    decorator: Callable[[F], F] = _numba.extending.overload(function, jit_options=_POINTWISE)
    return decorator


# --- one number ------------------------------------------------------------------------------------------------------


def number(x: Any, like: Any) -> Any:
    """An element of X in the dtype of `like`, float32 or float64."""
    raise NotImplementedError("only within compiled code")


@by_type(number)
def _number(x: Any, like: Any) -> Any:
    real = np.float32 if like == types.float32 else np.float64
    half = half_by_instruction if _has_half_instruction() else half_by_bits
    if not isinstance(x, types.Record):

        def implementation(x: Any, like: Any) -> Any:
            return real(x)

    elif "float16" in x.fields:

        def implementation(x: Any, like: Any) -> Any:
            return real(half(x.float16))

    else:

        def implementation(x: Any, like: Any) -> Any:
            return real(np.int32(np.int32(x.bfloat16) << 16).view(np.float32))

    return implementation


@pointwise
def half_by_bits(h: Any) -> Any:
    """float16 → float32 for bits h in int16: sign and digits move to their places, 2¹¹² mends the exponent."""
    bits = np.int32(np.int32(np.int32(h) << 13) & np.int32(-0x70002000))  # 0x8fffe000, without the copies of the sign
    value = bits.view(np.float32) * np.float32(2.0**112)
    if abs(value) >= np.float32(2.0**16):  # the exponent of infinity and NaN, which has to become float32's
        value = np.int32(bits | np.int32(0x7F800000)).view(np.float32)
    return value


@_numba.extending.intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def half_by_instruction(context: Any, h: Any) -> Any:
    """float16 → float32 by the processor, up to twice as fast as `half_by_bits`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], llvmlite.ir.HalfType()), llvmlite.ir.FloatType())

    return types.float32(types.int16), generate


def _has_half_instruction() -> bool:
    """Whether code is compiled for a processor with F16C. For another, LLVM would call a function that is not there."""
    as_host = _numba.config.CPU_NAME is None and _numba.config.CPU_FEATURES is None
    return as_host and bool(llvmlite.binding.get_host_cpu_features().get("f16c"))


# --- exp and log1p ---------------------------------------------------------------------------------------------------
# numba would call the C library once a number. These are straight lines that LLVM turns into vector instructions.


def exp(t: Any) -> Any:
    """eᵗ for t ≤ 0, to one unit in the last place; 0 where it underflows, NaN for NaN."""
    raise NotImplementedError("only within compiled code")


def log1p(x: Any) -> Any:
    """log(1 + x) for x ≥ 0, to two units in the last place, however small x is; NaN for NaN."""
    raise NotImplementedError("only within compiled code")


# The integer of the same size, digits of the mantissa, bias of the exponent; ln 2 in two parts, the first with so few digits
# that its multiples are exact (Cephes); how many terms of the series of exp and of log1p count.
_FORMATS: dict[Any, tuple[Any, ...]] = {
    types.float32: (np.float32, np.int32, 23, 127, 0.693359375, -2.12194440e-4, 8, 7),
    types.float64: (np.float64, np.int64, 52, 1023, 6.93145751953125e-1, 1.42860682030941723212e-6, 14, 17),
}


@by_type(exp)
def _exp(t: Any) -> Any:
    """eᵗ = 2ᵏ·eʳ, k = round(t / ln 2), |r| ≤ ln 2 / 2, eʳ = Σ rⁱ/i!."""
    real, integer, digits, bias, ln2_high, ln2_low, n_terms, _ = _FORMATS[t]
    lowest, per_ln2, half = real(-bias * math.log(2)), real(1 / math.log(2)), real(0.5)
    high, low = real(ln2_high), real(ln2_low)
    terms = tuple(real(1 / math.factorial(i)) for i in range(n_terms))

    def implementation(t: Any) -> Any:
        t = lowest if t < lowest else t
        k = np.int32(t * per_ln2 - half)
        r = t - real(k) * high - real(k) * low
        # 2ᵏ by its bits. At the lowest t the exponent field is 0 and so is the power.
        return polynomial(terms, r) * integer((integer(k) + bias) << digits).view(real)

    return implementation


@by_type(log1p)
def _log1p(x: Any) -> Any:
    """1 + x = q·(1 + f) with q = 2ᵏ ≤ 1 + x, so that f = x for x < 1; log(1 + f) = 2·artanh(s), s = f / (2 + f) ≤ 1/3."""
    real, integer, digits, bias, _, _, _, n_terms = _FORMATS[x]
    one, two, ln2 = real(1), real(2), real(math.log(2))
    terms = tuple(real(2 / (2 * i + 1)) for i in range(n_terms))

    def implementation(x: Any) -> Any:
        exponent = integer(real(one + x).view(integer) >> digits)
        q = integer(exponent << digits).view(real)
        f = (x - (q - one)) / q
        s = f / (two + f)
        return real(np.int32(exponent - bias)) * ln2 + s * polynomial(terms, s * s)

    return implementation


def polynomial(terms: tuple[Any, ...], x: Any) -> Any:
    """Σ termsᵢ·xⁱ by Horner's rule, unrolled: LLVM turns no loop around another loop into vector instructions."""
    raise NotImplementedError("only within compiled code")


@by_type(polynomial)
def _polynomial(terms: Any, x: Any) -> Any:
    if len(terms) == 1:

        def implementation(terms: Any, x: Any) -> Any:
            return terms[0]

    else:

        def implementation(terms: Any, x: Any) -> Any:
            return terms[0] + x * polynomial(terms[1:], x)

    return implementation


# --- lines -----------------------------------------------------------------------------------------------------------


@sums
def dots(A: Array, line: int, count: int, start: int, length: int, v: Array, out: Array) -> None:
    """out += the dot products of v with `count` lines of A, each from element `start` on.

    Four lines at a time, which share the loads of v and the time that the last steps of a sum take; in pieces, so that a
    piece of v stays in the first-level cache.
    """
    begin, zero = np.uintp(start), v.dtype.type(0)  # unsigned: numba looks whether other indices count from the end
    fours = count - count % 4
    for first in range(0, length, PIECE):
        size = np.uintp(min(PIECE, length - first))
        at, piece = begin + np.uintp(first), v[first:]
        for i in range(0, fours, 4):
            x, o = A[line + i : line + i + 4], out[i : i + 4]
            x0, x1, x2, x3 = x[0], x[1], x[2], x[3]
            o0 = o1 = o2 = o3 = zero
            for j in range(size):
                o0 += number(x0[at + j], zero) * piece[j]
                o1 += number(x1[at + j], zero) * piece[j]
                o2 += number(x2[at + j], zero) * piece[j]
                o3 += number(x3[at + j], zero) * piece[j]
            o[0], o[1], o[2], o[3] = o[0] + o0, o[1] + o1, o[2] + o2, o[3] + o3
        for i in range(fours, count):
            x0, dot = A[line + i], zero
            for j in range(size):
                dot += number(x0[at + j], zero) * piece[j]
            out[i] += dot


@sums
def combine(A: Array, line: int, count: int, start: int, length: int, v: Array, out: Array) -> None:
    """out += Σ vᵢ·lineᵢ over `count` lines of A, each from element `start` on; out is loaded and stored once for eight."""
    begin, size = np.uintp(start), np.uintp(length)
    eights = count - count % 8
    for i in range(0, eights, 8):
        x, s = A[line + i : line + i + 8], v[i : i + 8]
        x0, x1, x2, x3, x4, x5, x6, x7 = x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
        s0, s1, s2, s3, s4, s5, s6, s7 = s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
        for j in range(size):
            out[j] += (
                (number(x0[begin + j], s0) * s0 + number(x1[begin + j], s1) * s1)
                + (number(x2[begin + j], s2) * s2 + number(x3[begin + j], s3) * s3)
            ) + (
                (number(x4[begin + j], s4) * s4 + number(x5[begin + j], s5) * s5)
                + (number(x6[begin + j], s6) * s6 + number(x7[begin + j], s7) * s7)
            )
    for i in range(eights, count):
        x0, s0 = A[line + i], v[i]
        for j in range(size):
            out[j] += number(x0[begin + j], s0) * s0


@sums
def dots_of_two(
    A: Array, line: int, count: int, start: int, length: int, v: Array, w: Array, out_v: Array, out_w: Array
) -> None:
    """`dots` with two vectors: four lines of A at a time, whose elements are loaded once for both."""
    begin, zero = np.uintp(start), v.dtype.type(0)
    fours = count - count % 4
    for first in range(0, length, PIECE):
        size = np.uintp(min(PIECE, length - first))
        at = begin + np.uintp(first)
        a, b = v[first:], w[first:]
        for i in range(0, fours, 4):
            x = A[line + i : line + i + 4]
            x0, x1, x2, x3 = x[0], x[1], x[2], x[3]
            v0 = v1 = v2 = v3 = w0 = w1 = w2 = w3 = zero
            for j in range(size):
                n0, n1, n2, n3 = (
                    number(x0[at + j], zero), number(x1[at + j], zero), number(x2[at + j], zero), number(x3[at + j], zero)
                )  # fmt: skip
                v0 += n0 * a[j]
                v1 += n1 * a[j]
                v2 += n2 * a[j]
                v3 += n3 * a[j]
                w0 += n0 * b[j]
                w1 += n1 * b[j]
                w2 += n2 * b[j]
                w3 += n3 * b[j]
            o, p = out_v[i : i + 4], out_w[i : i + 4]
            o[0], o[1], o[2], o[3] = o[0] + v0, o[1] + v1, o[2] + v2, o[3] + v3
            p[0], p[1], p[2], p[3] = p[0] + w0, p[1] + w1, p[2] + w2, p[3] + w3
        for i in range(fours, count):
            x0 = A[line + i]
            v0 = w0 = zero
            for j in range(size):
                n0 = number(x0[at + j], zero)
                v0 += n0 * a[j]
                w0 += n0 * b[j]
            out_v[i] += v0
            out_w[i] += w0


@sums
def combine_into_two(
    A: Array, line: int, count: int, start: int, length: int, v: Array, w: Array, out_v: Array, out_w: Array
) -> None:
    """`combine` with two vectors: the elements of A are loaded once for both."""
    begin, size = np.uintp(start), np.uintp(length)
    fours = count - count % 4
    for i in range(0, fours, 4):
        x, s, t = A[line + i : line + i + 4], v[i : i + 4], w[i : i + 4]
        x0, x1, x2, x3, s0, s1, s2, s3 = x[0], x[1], x[2], x[3], s[0], s[1], s[2], s[3]
        t0, t1, t2, t3 = t[0], t[1], t[2], t[3]
        for j in range(size):
            n0, n1, n2, n3 = (
                number(x0[begin + j], s0), number(x1[begin + j], s0), number(x2[begin + j], s0), number(x3[begin + j], s0)
            )  # fmt: skip
            out_v[j] += (n0 * s0 + n1 * s1) + (n2 * s2 + n3 * s3)
            out_w[j] += (n0 * t0 + n1 * t1) + (n2 * t2 + n3 * t3)
    for i in range(fours, count):
        x0, s0, t0 = A[line + i], v[i], w[i]
        for j in range(size):
            n0 = number(x0[begin + j], s0)
            out_v[j] += n0 * s0
            out_w[j] += n0 * t0


@sums
def product(A: Array, by_column: bool, by_dots: bool, row: int, rows: int, V: Array, out: Array, at: int) -> None:
    """One of the two products of rows X[row : row + rows], for each class: each line of V and `out`.

    Forward, by dots where lines are rows: out (k, ≥ rows) += V Xᵀ for V (k, n); the first row's place in `out` is `at`.
    Backward, by dots where lines are columns: out (k, n) += V X for V (k, ≥ rows); the first row's place in V is `at`.
    """
    forward = by_dots != by_column
    n = V.shape[1] if forward else out.shape[1]
    line, count, start, length = (0, n, row, rows) if by_column else (row, rows, 0, n)
    start_v, start_out = (0, at) if forward else (at, 0)
    pairs = V.shape[0] - V.shape[0] % 2
    for c in range(0, pairs, 2):
        v, w = V[c, start_v:], V[c + 1, start_v:]
        out_v, out_w = out[c, start_out:], out[c + 1, start_out:]
        if by_dots:
            dots_of_two(A, line, count, start, length, v, w, out_v, out_w)
        else:
            combine_into_two(A, line, count, start, length, v, w, out_v, out_w)
    if pairs < V.shape[0]:
        v, out_v = V[pairs, start_v:], out[pairs, start_out:]
        if by_dots:
            dots(A, line, count, start, length, v, out_v)
        else:
            combine(A, line, count, start, length, v, out_v)


# --- the links, in the notation of gpulr.links -----------------------------------------------------------------------


@pointwise
def two_classes(z: Array, y: Array, cost: Array, dz: Array) -> None:
    """gpulr.links._two_classes over a tile: z, y -> cost, dz, all (rows,)."""
    zero, one, two = z.dtype.type(0), z.dtype.type(1), z.dtype.type(2)
    for i in range(z.size):
        sign = one - two * y[i]
        u = sign * z[i]
        e = exp(-abs(u))
        cost[i] = (u if u > zero else zero) + log1p(e)
        dz[i] = sign * (one if u >= zero else e) / (one + e)


@pointwise
def k_classes(z: Array, y: Array, cost: Array, dz: Array, row: int, rows: int) -> None:
    """gpulr.links._k_classes over the rows from `row` on: z (k, m), y (m,) -> cost (rows,), dz (k, ≥ rows).

    Class by class, so that the loops over rows become vector instructions. A label that is no class picks no margin.
    """
    y, k = y[row : row + rows], z.shape[0]
    zero, one = z.dtype.type(0), z.dtype.type(1)
    own, rest = np.empty(rows, z.dtype), np.empty(rows, z.dtype)
    for i in range(rows):
        own[i] = rest[i] = cost[i] = zero
    for c in range(k):
        label, Z = z.dtype.type(c), z[c, row : row + rows]
        for i in range(rows):
            own[i] += Z[i] if y[i] == label else zero
    for c in range(k):
        Z, D = z[c, row : row + rows], dz[c, :rows]
        for i in range(rows):
            D[i] = Z[i] - own[i]
            cost[i] = D[i] if D[i] > cost[i] else cost[i]  # M = max D
    for c in range(k):
        label, E = z.dtype.type(c), dz[c, :rows]
        for i in range(rows):
            e = exp(E[i] - cost[i])
            E[i] = zero if y[i] == label else e
            rest[i] += E[i]
    share = own
    for i in range(rows):
        least = exp(-cost[i])
        share[i] = one / (rest[i] + least)
        cost[i] += log1p(rest[i] + (least - one))
    for c in range(k):
        label, E = z.dtype.type(c), dz[c, :rows]
        for i in range(rows):
            E[i] = (-rest[i] if y[i] == label else E[i]) * share[i]


# --- whole blocks ----------------------------------------------------------------------------------------------------


@sums
def propagate(
    A: Array,
    by_column: bool,
    y: Array,
    s: Array,
    W: Array,
    b: Array,
    two: bool,
    tile: int,
    z: Array,
    dW: Array,
    db: Array,
) -> float:
    """gpulr.passes, `tile` rows at a time: the cost, and z (k, m), dW (k, n), db (k,) in place, the last two from 0.

    W (k, n), b (k,), s (m,) or (0,) for none.
    """
    (k, m), group = z.shape, max(tile, ROWS_A_PARTIAL_SUM)
    dz, costs, partial = np.empty((k, tile), z.dtype), np.empty(tile, z.dtype), np.empty(W.shape, z.dtype)
    cost = 0.0
    for first in range(0, m, group):
        last = min(first + group, m)
        clear(partial)
        for row in range(first, last, tile):
            rows = min(tile, last - row)
            for c in range(k):
                for i in range(row, row + rows):
                    z[c, i] = b[c]
            product(A, by_column, not by_column, row, rows, W, z, row)
            if two:
                two_classes(z[0, row : row + rows], y[row : row + rows], costs, dz[0, :rows])
            else:
                k_classes(z, y, costs, dz, row, rows)
            if s.size:
                weigh(s[row : row + rows], costs)
                for c in range(k):
                    weigh(s[row : row + rows], dz[c, :rows])
            cost += total(costs[:rows])
            for c in range(k):
                db[c] += total(dz[c, :rows])
            product(A, by_column, by_column, row, rows, dz, partial, 0)
        add(partial, dW)
    return cost


@sums
def total(v: Array) -> Any:
    """Σ v, in v's dtype: of one tile."""
    result = v.dtype.type(0)
    for i in range(v.size):
        result += v[i]
    return result


@sums
def weigh(s: Array, v: Array) -> None:
    for i in range(s.size):
        v[i] *= s[i]


@sums
def clear(table: Array) -> None:
    for c in range(table.shape[0]):
        for j in range(table.shape[1]):
            table[c, j] = 0


@sums
def add(partial: Array, to: Array) -> None:
    for c in range(to.shape[0]):
        for j in range(to.shape[1]):
            to[c, j] += partial[c, j]
