"""Makes logit.json.xz: unpenalised binary logistic regressions solved in 100-digit arithmetic. Run by hand, in tests/:

    python -m oracles.make              solve all cases and write the file (a minute or two)
    python -m oracles.make --compare    read the file; how close do scikit-learn's defaults come?

It needs numpy, mpmath, statsmodels and scikit-learn, and is quicker where gmpy2 is installed; the tests that use the
file need numpy only. The data and their sources are in tables.py (typed in) and bundled.py.

Of each data set marked `varied` there are four variants, solved afresh on the rounded values that are stored, since
rounding x + 1000 changes the data and with them the answer (by more than float64's last digits):

    -shifted  the first column + 1e3          -large  the first column · 1e6         -small  the first column · 1e-6
    -mixed    (the first column + 1e3) · 1e6, and (the last column, if another, + 1e3) · 1e-6

A fit is accepted if Newton's last step is below 1e-55 of each coefficient, the gradient below 1e-45 of the sum of its
terms' magnitudes, and the Hessian positive definite. On separable data the steps never shrink (each adds about 1 to the
margins), so that the first test fails there. Then it is compared with the printed fit of its source, if there is one,
and with statsmodels'.
"""

from __future__ import annotations

import json
import lzma
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

import mpmath
import numpy as np
import statsmodels.api as sm
from mpmath import mp, mpf
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from . import FILE, digits, load_cases
from .bundled import bundled
from .data import Data
from .tables import tables

WORK, STORE = 100, 50  # decimal digits computed with, and kept: ill-scaled Hessians may cost 30 of them
STEP, GRADIENT = mpf("1e-55"), mpf("1e-45")


@dataclass(frozen=True)
class Fit:
    """A minimum: p of n+1 numbers, the intercept first, and the cost there."""

    p: list[mpf]
    cost: mpf


class Cost:
    """F(p) = Σ sᵢ·log(1 + exp(uᵢ)), uᵢ = (1 − 2yᵢ)·(b + xᵢᵀw), p = (b, w), in multiple precision.

    Args:
        data: its float64 values are taken as exact.
    """

    def __init__(self, data: Data) -> None:
        m = len(data.y)
        columns = [np.ones(m), *data.X.T]
        self.columns = [[mpf(float(value)) for value in column] for column in columns]
        self.sign = [mpf(1 - 2 * int(label)) for label in data.y]
        self.weight = [mpf(1)] * m if data.weight is None else [mpf(float(value)) for value in data.weight]

    def margins(self, p: list[mpf]) -> list[mpf]:
        """u: m numbers, positive on the wrong side."""
        return [sign * mp.fdot(row, p) for sign, row in zip(self.sign, zip(*self.columns, strict=True), strict=True)]

    def value(self, p: list[mpf]) -> mpf:
        return mp.fsum(s * mp.log(1 + mp.exp(u)) for s, u in zip(self.weight, self.margins(p), strict=True))

    def derivatives(self, p: list[mpf]) -> tuple[list[mpf], list[mpf], mpmath.matrix]:
        """The gradient, the sums of its terms' magnitudes, and the Hessian (n+1, n+1)."""
        a = [1 / (1 + mp.exp(-u)) for u in self.margins(p)]
        dz = [s * sign * each for s, sign, each in zip(self.weight, self.sign, a, strict=True)]
        curvature = [s * each * (1 - each) for s, each in zip(self.weight, a, strict=True)]
        gradient = [mp.fdot(column, dz) for column in self.columns]
        size = [mp.fsum((x * d for x, d in zip(column, dz, strict=True)), absolute=True) for column in self.columns]
        H = mp.matrix(len(p))
        for i, left in enumerate(self.columns):
            bent = [c * x for c, x in zip(curvature, left, strict=True)]
            for j, right in enumerate(self.columns[: i + 1]):
                H[i, j] = H[j, i] = mp.fdot(bent, right)
        return gradient, size, H


def solve(data: Data) -> Fit:
    """The minimum by damped Newton steps from zero.

    Raises:
        ArithmeticError: not converged after 60 steps: separable data.
        ValueError: the Hessian is not positive definite: collinear columns.
    """
    F = Cost(data)
    p = [mpf(0)] * (data.X.shape[1] + 1)
    value = F.value(p)
    for _ in range(60):
        gradient, _, H = F.derivatives(p)
        step = mp.cholesky_solve(H, mp.matrix(gradient))
        small = all(abs(s) <= STEP * abs(old) for s, old in zip(step, p, strict=True))
        trial = [old - s for s, old in zip(step, p, strict=True)]
        while not small and (new := F.value(trial)) > value:
            step = step / 2
            trial = [old - s for s, old in zip(step, p, strict=True)]
        p, value = trial, value if small else new
        if small:
            gradient, size, _ = F.derivatives(p)
            if any(abs(g) > GRADIENT * s for g, s in zip(gradient, size, strict=True)):
                raise ArithmeticError(f"{data.name}: the steps vanish but the gradient does not")
            return Fit(p, F.value(p))
    raise ArithmeticError(f"{data.name}: no minimum after 60 Newton steps: are the data separable?")


def check(data: Data, fit: Fit) -> None:
    """Compares a fit with the printed one, digit by digit, and with statsmodels' to 1e-6.

    Raises:
        AssertionError: they differ.
    """
    for ours, theirs in zip(fit.p, data.published, strict=bool(data.published)):
        unit = mpf(10) ** Decimal(theirs).as_tuple().exponent
        assert abs(ours - mpf(theirs)) <= mpf("0.51") * unit, f"{data.name}: {mp.nstr(ours, 9)}, printed {theirs}"
    X, family = sm.add_constant(data.X, has_constant="add"), sm.families.Binomial()
    theirs = sm.GLM(data.y, X, family=family, freq_weights=data.weight).fit(tol=1e-12, maxiter=200).params
    ours = np.array([float(each) for each in fit.p])
    np.testing.assert_allclose(theirs, ours, rtol=1e-6, err_msg=data.name)


def variants(data: Data) -> Iterator[Data]:
    """The shifted and scaled variants of the module's docstring."""
    first = np.arange(data.X.shape[1]) == 0
    last = np.roll(first, -1) & ~first
    ends = np.where(first, 1e6, np.where(last, 1e-6, 1.0))
    changed = {
        "shifted": data.X + 1e3 * first,
        "large": data.X * np.where(first, 1e6, 1.0),
        "small": data.X * np.where(first, 1e-6, 1.0),
        "mixed": (data.X + 1e3 * (first | last)) * ends,
    }
    for what, X in changed.items():
        yield replace(data, name=f"{data.name}-{what}", X=X, published=())


def record(data: Data, fit: Fit) -> dict:
    """The JSON record that the package's loader reads. Python writes floats so that they are read back exactly."""
    b, *w = [mp.nstr(each, STORE, strip_zeros=False) for each in fit.p]
    return {
        "name": data.name,
        "source": data.source,
        "columns": data.X.T.tolist(),
        "y": data.y.tolist(),
        "sample_weight": None if data.weight is None else data.weight.tolist(),
        "coef": w,
        "intercept": b,
        "cost": mp.nstr(fit.cost, STORE, strip_zeros=False),
    }


def make() -> None:
    """Solves all cases, checks the unvaried ones and writes the file."""
    mp.dps = WORK
    records = []
    for data in [*tables(), *bundled()]:
        for each in [data, *(variants(data) if data.varied else ())]:
            fit = solve(each)
            if each is data:
                check(each, fit)
            records.append(record(each, fit))
            print(f"{each.name:28}{each.X.shape!s:>12}  cost {mp.nstr(fit.cost, 12)}", flush=True)
    with lzma.open(FILE, "wt", encoding="ascii", preset=9 | lzma.PRESET_EXTREME) as file:
        json.dump(records, file, separators=(",", ":"))
    print(f"{len(records)} cases, {FILE.stat().st_size} bytes")


def compare() -> None:
    """Prints how many digits scikit-learn's LogisticRegression(C=inf) gets right, and where it warns."""
    right = silent = 0
    cases = load_cases()
    for case in cases:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = LogisticRegression(C=np.inf).fit(case.X, case.y, case.sample_weight)
        warned = any(issubclass(each.category, ConvergenceWarning) for each in caught)
        got = digits(case, model.coef_, float(model.intercept_[0]))
        right += got >= 6
        silent += got < 6 and not warned
        verdict = "warned" if warned else "WRONG WITHOUT A WARNING" if got < 6 else ""
        print(f"{case.name:28}{got:6.1f} digits  {verdict}".rstrip())
    print(f"{right} of {len(cases)} right to 6 digits; {silent} wrong without a warning")


if __name__ == "__main__":
    compare() if "--compare" in sys.argv[1:] else make()
