"""What a fit without penalty says about the population: standard errors, tests, intervals and information criteria.

The maximum-likelihood estimate of p = (w, b) is for many samples normally distributed about the true parameters, with the
inverse of the observed Fisher information as covariance (Wasserman, "All of Statistics" (2004), 9.7 and 9.10):

    I = −∂²ℓ/∂p² = Σᵢ sᵢ σ(zᵢ)(1 − σ(zᵢ)) x̃ᵢx̃ᵢᵀ,   x̃ = (x, 1),   std_err = √diag I⁻¹
    z = p / std_err,   P(|Z| ≥ |z|) for a parameter that is zero,   p ± Φ⁻¹(1 − α/2)·std_err

ℓ is the log-likelihood: minus the summed cost that `gpulr.objective` has the mean of, so I is Σs times its Hessian.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from array_api_compat import device as device_of
from scipy.linalg import solve_triangular
from scipy.special import gammaincc, ndtr, ndtri, xlogy
from sklearn.utils.validation import check_is_fitted

from gpulr.device import Array, array_namespace, available_memory, to_host
from gpulr.estimator import LogisticRegression
from gpulr.inputs import check_features, check_labels, check_sample_weight, is_sparse, put_rows
from gpulr.objective import Objective
from gpulr.rows import MemoryRows, Rows
from gpulr.rows.memory import block_bytes
from gpulr.solvers.newton import hessian_bytes

EPS = float(np.finfo(np.float64).eps)
# Of the Hessian with unit diagonal: where its least eigenvalue is below, standard errors have no three digits.
SINGULAR = 1e-12
# How far from the maximum, in standard errors, a model may be. Newton's steps from there on square the distance.
FARTHEST = 0.1
STEPS = 8
# A sparse column whose mean is so many times its deviation is not sparse: 99 % of it are stored.
SHIFTED = 10.0

NO_MAXIMUM = (
    "the likelihood has no maximum for these data: some combination of the features separates the classes, or part of them, "
    "so its coefficient grows for ever and has no standard error. Leave out or join the features that do, or use a penalty, "
    "without standard errors"
)


@dataclass(frozen=True, eq=False, repr=False)
class Summary:
    """Estimates, their precision, and the quality of the fit; `print` it for a table.

    With N parameters, the features' coefficients in their order and the intercept, if there is one, last:

    Attributes:
        names: N names of the parameters: the features' own, or x0, x1, ...; the last is "intercept".
        classes: the two labels; the parameters are those of the log-odds of the second.
        coef: (N,) maximum-likelihood estimates.
        std_err: (N,) standard errors.
        z: (N,) coef / std_err.
        p_value: (N,) two-sided, of the hypothesis that the parameter is zero.
        conf_int: (N, 2) lower and upper end of the confidence intervals of level 1 − alpha.
        covariance: (N, N), the inverse of the observed Fisher information.
        alpha: see `conf_int`.
        n_samples: m, or the sum of the weights, which are counts of samples.
        log_likelihood: at the estimate.
        log_likelihood_null: of the model without features: its intercept only, or P = ½ where there is none.
        lr_statistic: 2 (log_likelihood − log_likelihood_null), of the likelihood-ratio test that all coefficients are zero.
        lr_df: its degrees of freedom, the number of features.
        lr_p_value: P(χ² ≥ lr_statistic).
        aic: 2 N − 2 log_likelihood. Source: Akaike, IEEE Trans. Automatic Control 19 (1974) 716.
        bic: N log(n_samples) − 2 log_likelihood. Source: Schwarz, Annals of Statistics 6 (1978) 461.
        mcfadden_r2: 1 − log_likelihood / log_likelihood_null. Source: McFadden, in Zarembka (ed.), "Frontiers in
            Econometrics" (1974), 105.
    """

    names: tuple[str, ...]
    classes: tuple[Any, Any]
    coef: np.ndarray
    std_err: np.ndarray
    z: np.ndarray
    p_value: np.ndarray
    conf_int: np.ndarray
    covariance: np.ndarray
    alpha: float
    n_samples: float
    log_likelihood: float
    log_likelihood_null: float
    lr_statistic: float
    lr_df: int
    lr_p_value: float
    aic: float
    bic: float
    mcfadden_r2: float

    def __str__(self) -> str:
        """A table in plain text, a row for each parameter."""
        facts = [
            ("samples", f"{self.n_samples:.10g}", "log-likelihood", f"{self.log_likelihood:.6g}"),
            ("parameters", f"{len(self.coef)}", "without features", f"{self.log_likelihood_null:.6g}"),
            ("AIC", f"{self.aic:.6g}", f"likelihood ratio, {self.lr_df} df", f"{self.lr_statistic:.6g}"),
            ("BIC", f"{self.bic:.6g}", "its P(>χ²)", f"{self.lr_p_value:.3g}"),
            ("McFadden's R²", f"{self.mcfadden_r2:.4g}", "", ""),
        ]
        level = f"{100 * (1 - self.alpha):g} %"
        head = ("", "coef", "std err", "z", "P(>|z|)", f"{level} from", "to")
        numbers_of = zip(self.coef, self.std_err, self.z, self.p_value, *self.conf_int.T, strict=True)
        rows = [
            (name, f"{w:.5g}", f"{error:.4g}", f"{z:.3f}", f"{p:.3g}", f"{low:.5g}", f"{high:.5g}")
            for name, (w, error, z, p, low, high) in zip(self.names, numbers_of, strict=True)
        ]
        first = max(len(row[0]) for row in rows)
        widths = [max(11, *(len(row[column]) + 1 for row in (head, *rows))) for column in range(1, 7)]
        table = [
            row[0].ljust(first) + "".join(cell.rjust(width) for cell, width in zip(row[1:], widths, strict=True))
            for row in (head, *rows)
        ]
        line = "─" * len(table[0])
        top = [f"{a:<16}{b:>14}    {c:<22}{d:>12}".rstrip() for a, b, c, d in facts]
        title = f"Logistic regression, maximum likelihood: log-odds of {self.classes[1]} against {self.classes[0]}"
        return "\n".join([title, line, *top, line, table[0], line, *table[1:], line])

    __repr__ = __str__


def summary(
    model: LogisticRegression, X: Array, y: Array, sample_weight: Array | None = None, *, alpha: float = 0.05
) -> Summary:
    """Standard errors, tests and confidence intervals of a model that was fitted to (X, y) without a penalty.

    Everything is computed in float64, whatever the model's dtype. A step or two of Newton's method takes the model's
    parameters to the last digits of the maximum first, so `coef` may differ from `coef_` by a small part of a standard
    error. Standard errors have six digits while the least eigenvalue of the information matrix, taken at unit diagonal, is
    above 1e-9, whatever the units and the origins of the features.

    Args:
        model: fitted, of two classes, with C=np.inf and no class weights.
        X, y, sample_weight: what it was fitted to; see `LogisticRegression.fit`. A weight is how many times the sample was
            observed: all standard errors follow from the sum of them.
        alpha: the confidence intervals miss the true parameter with this probability, between 0 and 1.

    Returns:
        Summary.

    Raises:
        TypeError: the model is no `gpulr.LogisticRegression`.
        sklearn.exceptions.NotFittedError: it is not fitted.
        ValueError: it is penalized, weighs classes or has more than two; it is not the maximum-likelihood fit of these
            data; there is none, for columns depend on each other or separate the classes; the matrix does not fit in memory;
            or an input is not as described. The message says which and what to do.
    """
    _check(model, alpha)
    X, place = check_features(model, X, model.device, reset=False)
    labels = check_labels(y, X, classes=to_host(model.classes_))
    s = check_sample_weight(sample_weight, X.shape[0])
    with place.current():
        rows = put_rows(X, labels, s, place, "float64")
        _require_room(model, rows)
        start = model._start(rows.y, X.shape[1], 2, warm=True)
        objective = model._objective(rows, rows.moments(), *start, precondition=True)
        names = _names(model)
        p, log_likelihood, inverse_root = _maximum(objective, names)
    back = _back(objective)
    # The squares of a column of this are a variance: sums of squares lose no digits, as a product of three matrices would.
    root = inverse_root @ back.T
    coef, std_err = back @ p, np.sqrt(np.sum(root**2, axis=0))
    half = -ndtri(alpha / 2) * std_err
    total, positives = rows.total_weight, float(np.sum(labels.codes if s is None else s * labels.codes))
    null = _null(total, positives) if model.fit_intercept else -total * math.log(2)
    ratio, n = max(0.0, 2 * (log_likelihood - null)), X.shape[1]
    first, second = labels.classes.tolist()
    return Summary(
        names=names,
        classes=(first, second),
        coef=coef,
        std_err=std_err,
        z=coef / std_err,
        p_value=2 * ndtr(-np.abs(coef / std_err)),
        conf_int=np.stack([coef - half, coef + half], axis=1),
        covariance=root.T @ root,
        alpha=float(alpha),
        n_samples=total,
        log_likelihood=log_likelihood,
        log_likelihood_null=null,
        lr_statistic=ratio,
        lr_df=n,
        lr_p_value=float(gammaincc(n / 2, ratio / 2)),
        aic=2 * len(coef) - 2 * log_likelihood,
        bic=len(coef) * math.log(total) - 2 * log_likelihood,
        mcfadden_r2=1 - log_likelihood / null,
    )


def _check(model: Any, alpha: Any) -> None:
    """Refuse what has no standard errors, before any work."""
    if not isinstance(model, LogisticRegression):
        raise TypeError(f"summary needs a gpulr.LogisticRegression; given: {type(model).__name__}")
    check_is_fitted(model)
    if math.inf != model.C:
        raise ValueError(
            f"the model is penalized (C={model.C}): its coefficients are pulled towards zero on purpose, by a bias that "
            "standard errors and p-values know nothing of. Fit with C=np.inf"
        )
    if model.classes_.shape[0] != 2:
        raise ValueError(
            f"the model has {model.classes_.shape[0]} classes; summary is for two: fit each against a reference"
        )
    if model.class_weight is not None:
        raise ValueError(
            f"the model weighs its classes (class_weight={model.class_weight!r}), so the samples count for more or less "
            "than was observed and standard errors would be wrong. Fit with class_weight=None; counts go into sample_weight"
        )
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float, np.floating)) or not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha!r}: use a number between 0 and 1, such as 0.05 for intervals of 95 %")


def _require_room(model: LogisticRegression, rows: Rows) -> None:
    size = model.n_features_in_ + bool(model.fit_intercept)
    needed, free = hessian_bytes(size), available_memory(rows.y)
    if needed > free:
        raise ValueError(
            f"the information matrix of {size} parameters needs {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are "
            "free: use fewer features, or a machine with more memory"
        )


def _names(model: LogisticRegression) -> tuple[str, ...]:
    given = getattr(model, "feature_names_in_", None)
    names = [f"x{j}" for j in range(model.n_features_in_)] if given is None else [str(name) for name in given]
    return (*names, "intercept") if model.fit_intercept else tuple(names)


def _null(total: float, positives: float) -> float:
    """Log-likelihood of the intercept alone, Σs (π log π + (1 − π) log(1 − π)) with π the share of the second class."""
    share = positives / total
    return float(total * (xlogy(share, share) + xlogy(1 - share, 1 - share)))


def _back(objective: Objective) -> np.ndarray:
    """(N, N), the matrix that takes the objective's parameters (u, c) to (w, b): w = scale∘u, b = c − shiftᵀw."""
    back = np.diag(np.append(to_host(objective.scale), [1.0] * objective.fit_intercept))
    if objective.shift is not None:
        back[-1, :-1] = -to_host(objective.shift) * to_host(objective.scale)
    return back


def _maximum(objective: Objective, names: tuple[str, ...]) -> tuple[np.ndarray, float, np.ndarray]:
    """The parameters of most likelihood near `objective.start`, by Newton's method: p ← p − I⁻¹g.

    Returns:
        p (N,), the log-likelihood, and A (N, N) with AᵀA = I⁻¹.

    Raises:
        ValueError: the information matrix is singular, or the start is not near the maximum.
    """
    p = to_host(objective.start)
    for step in range(STEPS):
        cost, g, information = _sums(objective, p)
        inverse_root, least = _inverse_root(objective, information)
        if inverse_root is None:
            raise ValueError(_why_singular(objective, names))
        scaled = inverse_root @ g
        distance = float(np.sqrt(scaled @ scaled))  # of the maximum, in standard errors: √(gᵀ I⁻¹ g)
        if step == 0 and not distance <= FARTHEST:
            raise ValueError(
                f"the model is {distance:.2g} standard errors from the maximum of the likelihood of these data, at most "
                f"{FARTHEST} are accepted. Give the X, y and sample_weight it was fitted to; if it was those, it did not "
                "converge: raise max_iter, lower tol, or use solver='newton' and dtype='float64'. If that does not help, "
                "some combination of the features separates the classes, and there is no maximum"
            )
        change = -inverse_root.T @ scaled
        if np.max(np.abs(change)) <= (1e-9 + len(p) * EPS / least) * max(1.0, float(np.max(np.abs(p)))):
            return p, -cost, inverse_root
        p = p + change
    # Where a coefficient is better the larger it is, each step adds about 1 to it and the distance above means nothing.
    raise ValueError(NO_MAXIMUM)


def _sums(objective: Objective, p: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Summed cost, its gradient (N,) and Hessian (N, N) in float64, at p (N,); in host memory."""
    like = objective.start
    params = array_namespace(like).asarray(p, dtype=like.dtype, device=device_of(like))
    sums: list[Array] = []
    for part in _parts(objective):
        point = part.visit(params)
        of_part = (point.cost, point.gradient, part.hessian(point.margins))
        sums = [one + other for one, other in zip(sums, of_part, strict=True)] if sums else list(of_part)
    cost, g, H = (to_host(total) for total in sums)
    return float(cost), g, H


def _parts(objective: Objective) -> Iterator[Objective]:
    """Objectives in the same parameters that are sums, not means, and add up to Σs times this one.

    They have the scaled and shifted features of a block of rows each. To shift afterwards, as the objective does for a
    solver, costs 1e-16 · (mean/deviation)² of the Hessian, which is too much for standard errors, and one more copy of a
    block does no harm here. Sparse rows stay as they are, unless a column is so far from zero that it is not sparse.
    """
    rows = objective.rows
    if _shifts_afterwards(objective):
        yield replace(objective, rows=replace(rows, given_total=1.0))
        return
    xp, (m, n) = array_namespace(rows.y), rows.X.shape
    step = max(1, block_bytes(rows.y) // (8 * n))
    for start in range(0, m, step):
        block = slice(start, min(start + step, m))
        X = rows.stored(block) if isinstance(rows, MemoryRows) else rows.X[block].toarray()
        X = xp.astype(X, xp.float64, copy=False)
        X = objective.scale * (X if objective.shift is None else X - objective.shift)
        s = None if rows.sample_weight is None else rows.sample_weight[block]
        yield Objective(MemoryRows(X, rows.y[block], s, 1.0), objective.start, fit_intercept=objective.fit_intercept)


def _farthest(objective: Objective) -> float:
    """Largest |mean|/deviation of a column that is shifted."""
    return 0.0 if objective.shift is None else float(np.max(np.abs(to_host(objective.shift * objective.scale))))


def _shifts_afterwards(objective: Objective) -> bool:
    return is_sparse(objective.rows.X) and _farthest(objective) <= SHIFTED


def _unit_diagonal(objective: Objective, information: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """R = D I D with ones on its diagonal, that of D, which columns do not vary, and R's eigenvalue that is no different
    from zero."""
    diagonal = np.diag(information)
    noise = 1 + _farthest(objective) ** 2 if _shifts_afterwards(objective) else 1.0
    constant = ~(diagonal > 16 * EPS * noise * np.max(diagonal))
    root = 1 / np.sqrt(np.where(constant, 1.0, diagonal))
    return information * root * root[:, None], root, constant, SINGULAR * noise


def _inverse_root(objective: Objective, information: np.ndarray) -> tuple[np.ndarray | None, float]:
    """A (N, N) with AᵀA = I⁻¹ and the least eigenvalue of I at unit diagonal; None when it is singular."""
    R, root, constant, singular = _unit_diagonal(objective, information)
    if not np.isfinite(R).all() or constant.any():
        return None, 0.0
    least = float(np.linalg.eigvalsh(R)[0])
    if least <= singular:
        return None, least
    return solve_triangular(np.linalg.cholesky(R), np.diag(root), lower=True), least


def _why_singular(objective: Objective, names: tuple[str, ...]) -> str:
    """Which columns depend on each other; or that none do, in which case it is certainty that leaves no information."""
    R, _, constant, singular = _unit_diagonal(objective, _sums(objective, 0 * to_host(objective.start))[2])
    if constant.any():
        what = "always zero" if objective.shift is None else "constant"
        listed = _listed([name for name, holds in zip(names, constant, strict=True) if holds])
        return f"no standard errors exist, the information matrix is singular: {what}: {listed}. Leave it out"
    values, vectors = np.linalg.eigh(R)
    if values[0] > singular:
        return NO_MAXIMUM
    part = np.abs(vectors[:, 0])
    listed = _listed([name for name, size in zip(names, part, strict=True) if size > 1e-3 * np.max(part)])
    return (
        f"no standard errors exist, the information matrix is singular: the columns {listed} are linearly dependent, so "
        "infinitely many coefficients fit equally well. Leave one of them out"
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names if len(names) <= 10 else [*names[:10], f"{len(names) - 10} more"])
