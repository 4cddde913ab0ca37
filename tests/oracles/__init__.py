"""Unpenalised binary logistic regressions with known answers: the yardstick for every solver's accuracy.

Each case is a small data set and its maximum-likelihood fit, computed with 100-digit arithmetic on the exact float64
values stored here (see make.py). Many are ill-scaled on purpose: a column shifted by 1e3, or scaled by 1e6 or 1e-6.

    from oracles import digits, load_cases

    @pytest.mark.parametrize("case", load_cases(), ids=lambda case: case.name)
    def test_newton(case):
        model = LogisticRegression(C=np.inf, solver="newton").fit(case.X, case.y, case.sample_weight)
        assert digits(case, model.coef_, model.intercept_[0]) >= 10

A variant's name is its data set's with what was done after a dash: "beetle-shifted".
"""

from __future__ import annotations

import json
import lzma
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FILE = Path(__file__).with_name("logit.json.xz")


@dataclass(frozen=True, eq=False)
class Case:
    """One data set, and where cost(w, b) = Σ sᵢ·(−yᵢ·log σ(zᵢ) − (1−yᵢ)·log(1−σ(zᵢ))), z = Xw + b, is least.

    The minimum exists and is unique: no case is separable or collinear.

    Attributes:
        name: unique, of letters, digits, _ and -.
        X: (m, n) float64, C-contiguous, without a column of ones.
        y: (m,) int64 in {0, 1}, both present.
        sample_weight: (m,) float64 ≥ 0, zeros included; None means all one.
        coef: (n,) float64, w: each entry the closest float64 to the true value.
        intercept: b, likewise.
        cost: the sum (not the mean) over the rows at the minimum, likewise.
    """

    name: str
    X: NDArray[np.float64]
    y: NDArray[np.int64]
    sample_weight: NDArray[np.float64] | None
    coef: NDArray[np.float64]
    intercept: float
    cost: float


def load_cases() -> list[Case]:
    """All cases, in the file's order: each call makes new arrays, which the caller may change."""
    with lzma.open(FILE, "rt", encoding="ascii") as file:
        return [_case(record) for record in json.load(file)]


def digits(case: Case, coef: NDArray, intercept: float) -> float:
    """Correct decimal digits of the worst of the coefficients and the intercept: −log10 of its relative error.

    Args:
        case: the problem.
        coef: (n,) or (1, n) fitted coefficients.
        intercept: the fitted one.

    Returns:
        at most 16; 0 or less where no digit is right; nan for nan.
    """
    true = np.array([case.intercept, *case.coef])
    error = np.max(np.abs(np.array([intercept, *np.ravel(coef)]) - true) / np.abs(true))
    return float(-np.log10(np.maximum(error, 1e-16)))


def _case(record: dict) -> Case:
    """A case from its JSON record: X as a list of columns, the answers as decimal strings of 50 digits."""
    weight = record["sample_weight"]
    return Case(
        name=record["name"],
        X=np.ascontiguousarray(np.array(record["columns"], dtype=np.float64).T),
        y=np.array(record["y"], dtype=np.int64),
        sample_weight=None if weight is None else np.array(weight, dtype=np.float64),
        coef=np.array([float(text) for text in record["coef"]]),
        intercept=float(record["intercept"]),
        cost=float(record["cost"]),
    )
