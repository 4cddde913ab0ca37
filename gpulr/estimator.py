"""LogisticRegression with scikit-learn's face, conventions and objective, on any array and device.

    C Σᵢ sᵢ·cost(zᵢ, yᵢ) + (1 − l1_ratio)/2 ‖w‖² + l1_ratio ‖w‖₁

This module validates, translates to the variables of `gpulr.objective` and back, and chooses the solver; it computes
nothing itself.
"""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from array_api_compat import device as device_of
from array_api_compat import is_array_api_obj, is_numpy_array
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression
from sklearn.linear_model._base import LinearClassifierMixin, SparseCoefMixin
from sklearn.utils import Tags
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import check_is_fitted, column_or_1d

from gpulr import cost_model, links
from gpulr.coarse_gram import CoarseGram
from gpulr.device import (
    Array,
    Device,
    array_namespace,
    available_memory,
    current_device_of,
    floats,
    is_on_gpu,
    to_host,
)
from gpulr.inputs import (
    Labels,
    check_features,
    check_labels,
    check_same_library,
    check_sample_weight,
    explained_by_samples,
    is_sparse,
    put_rows,
    rows_of,
)
from gpulr.objective import Objective, Point
from gpulr.parallel import one_core_a_block
from gpulr.passes import PASSES, Propagate, named
from gpulr.rows import MemoryRows, Rotation, Rows, SparseRows, gram_fits, rotate
from gpulr.solvers import LBFGS, SGD, SOLVERS, GradientDescent, Result, Sketch, Solver, minimize
from gpulr.solvers.newton import hessian_bytes
from gpulr.solvers.prox import few_in_use

SMOOTH = ("gd", "sgd", "lbfgs", "newton", "sketch")
NON_SMOOTH = ("prox-newton", "fista")

Moments = tuple[Array, Array]

# Columns with a mean of more than so many standard deviations are centred as they are read, which takes a copy of each
# block; nearer ones lose two of float32's seven digits at most.
FAR = 30.0


class LogisticRegression(LinearClassifierMixin, SparseCoefMixin, BaseEstimator):  # type: ignore[misc]  # untyped bases
    """Logistic regression of two classes, or of more by softmax, with ridge, l1 or elastic-net penalty or none.

    Parameters
    ----------
    C : float, default=1.0
        Inverse of the strength of the penalty, > 0; `np.inf` for none.
    l1_ratio : float, default=0.0
        Share of the l1 penalty, 0 (ridge) to 1 (lasso).
    tol : float, default=1e-4
        Stop when the largest entry of the gradient of the mean objective, taken in standardized features, is at most `tol`,
        and the expected distance of the objective to its minimum at most (tol/100)² of it. So a fit that says it converged
        has four to six correct digits whatever the units of the features are; a smaller `tol` gives more.
    fit_intercept : bool, default=True
        Whether there is an intercept. It is never penalized.
    class_weight : dict, "balanced" or None, default=None
        Factors of the sample weights by class.
    random_state : int or None, default=None
        Seed of the shuffling of `sgd` and of the samples of `sketch`; None is 0.
    solver : str or gpulr.solvers.Solver, default="auto"
        For ridge and no penalty "gd", "sgd", "lbfgs", "newton" or "sketch"; with l1 "prox-newton" or "fista"; or one of
        them with hyperparameters of your own, such as `gpulr.solvers.SGD(batch_size=64)`. "auto" takes, for N parameters,

        - with l1: prox-newton up to N = 1000, and for two classes where few features look like being used; else fista;
        - otherwise the one of newton, sketch and lbfgs that should be fastest for the shape of X, the number of classes and
          the device, among those whose Hessian fits in memory: by the numbers of `gpulr.cost_model`.

        With more features than samples and a ridge penalty or none, a solver works in Gram space (`gpulr.rows.rotated`) if
        that should be faster and its matrix of m × m numbers fits in memory; the result is confirmed on X itself.
    max_iter : int, default=100
        Largest number of iterations; of epochs for sgd.
    verbose : int, default=0
        1 or more prints a line an iteration.
    warm_start : bool, default=False
        Start from the last solution.
    device : str, default="auto"
        "auto", "cpu", "cuda" or "cuda:N" for arrays in host memory; X is then moved once, in its own dtype, and the fitted
        attributes come back to the host. Arrays that are on a device already stay there, and "auto" must be given.
    dtype : "float32", "float64" or None, default=None
        Of the computation. None: float32 for float32, float16, bool and integers of up to 16 bits, which it holds exactly;
        float64 for the others.
    one_pass : {"auto", "vectorized", "blocked", "compiled", "fused", "loop"}, default="auto"
        How dense X is gone through: in array operations, for NumPy also in place (blocked) or by code compiled with numba
        (the extra `fast`; one read of X, and no conversion of its dtype), for CuPy by a kernel that does so (fused), or
        in Python's loops. "auto" takes the compiled pass where a NumPy X is large enough to repay loading it, else
        blocked, and the fused one for CuPy; for sparse X there is only "vectorized".
    standardize : bool, default=False
        Penalize the weights that the features would have at unit variance. `coef_` is for the features as they are.
    callback : callable or None, default=None
        Called as callback(iteration, look) at every iterate; see `gpulr.solvers.minimize`. `look.weights()` gives the
        coefficients and the intercept there.

    Attributes
    ----------
    classes_ : (k,) the labels, sorted.
    coef_ : (1, n) for two classes, (k, n) for more; in the dtype of the computation, but in float64 where a column has a
        mean of more than 30 standard deviations, so that predictions do not lose in its size the digits that differ.
    intercept_ : (1,) or (k,); zeros when `fit_intercept=False`.
    n_iter_ : (1,) int32, iterations made.
    n_features_in_, feature_names_in_ : as in scikit-learn.
    history_ : list of dict, one an iterate: iteration, objective, gradient_norm, seconds, passes (reads of X so far);
        the last has `status` too: "converged", "max_iter", or "precision" (rounding forbade further progress).
    objective_ : float, the objective above at the solution.
    solver_ : str, the solver that was used; it begins with "gram-" in Gram space.
    device_ : str, where it ran.
    pass_ : str, the pass that was used.

    Notes
    -----
    Features are scaled and centred internally by folding both into the weights, which changes neither X nor the objective.
    """

    def __init__(
        self,
        *,
        C: float = 1.0,
        l1_ratio: float = 0.0,
        tol: float = 1e-4,
        fit_intercept: bool = True,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        random_state: int | None = None,
        solver: str | Solver = "auto",
        max_iter: int = 100,
        verbose: int = 0,
        warm_start: bool = False,
        device: str = "auto",
        dtype: Literal["float32", "float64"] | None = None,
        one_pass: str = "auto",
        standardize: bool = False,
        callback: Callable[[int, Any], object] | None = None,
    ) -> None:
        self.C = C
        self.l1_ratio = l1_ratio
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.random_state = random_state
        self.solver = solver
        self.max_iter = max_iter
        self.verbose = verbose
        self.warm_start = warm_start
        self.device = device
        self.dtype = dtype
        self.one_pass = one_pass
        self.standardize = standardize
        self.callback = callback

    def fit(self, X: Array, y: Array, sample_weight: Array | None = None) -> LogisticRegression:
        """Fit to samples.

        Args:
            X: (m, n) dense array, frame or CSR matrix, of any real dtype, finite.
            y: (m,) labels of any type that sorts, at least two different ones.
            sample_weight: (m,) ≥ 0, not all zero; None for all ones.

        Returns:
            self.

        Warns:
            ConvergenceWarning: the tolerance was not reached; says what to change.

        Raises:
            ValueError, TypeError: a parameter or input is not as described; the message says which and what is accepted.
            RuntimeError: a GPU was asked for and there is none.
        """
        self._check_parameters()
        X, place = check_features(self, X, self.device, reset=True)
        labels = check_labels(y, X)
        s = self._sample_weight(sample_weight, labels)
        with place.current(), one_core_a_block(), explained_by_samples(self, X):
            rows = put_rows(X, labels, s, place, self.dtype)
            self._pass(rows, len(labels.classes))  # refuses, before any work
            with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found and explained
                problem = self._problem(rows, len(labels.classes))
            result, objective = self._minimize(problem)
            self._set_solution(problem, result, objective, X, labels, place)
        return self

    def partial_fit(
        self, X: Array, y: Array, classes: Array | None = None, sample_weight: Array | None = None
    ) -> LogisticRegression:
        """One epoch of `sgd` on these samples, from the last solution on; for data that come in portions.

        Args:
            X, sample_weight: see `fit`.
            y: (m,) labels, all among the classes.
            classes: all labels that will ever come; needed at the first call, not allowed to change after.

        Returns:
            self.

        Raises:
            ValueError: no or other classes, an l1 penalty, or another solver than "auto", "sgd" or an `SGD`.
        """
        self._check_parameters()
        solver = SGD(seed=self._seed()) if isinstance(self.solver, str) else self.solver
        if self.solver not in ("auto", "sgd") and not isinstance(self.solver, SGD):
            raise ValueError(f"partial_fit needs solver 'auto', 'sgd' or an SGD; given: {self.solver!r}")
        if self.class_weight == "balanced":
            raise ValueError("partial_fit does not know how often a class will come: give class_weight as a dict")
        if self._l1() > 0:
            raise ValueError("partial_fit does not support an l1 penalty: use l1_ratio=0")
        first = not hasattr(self, "classes_")
        if first and classes is None:
            raise ValueError("the first call of partial_fit needs classes, all the labels that will ever come")
        known = None
        if classes is not None:
            known = np.unique(to_host(classes) if is_array_api_obj(classes) else np.asarray(classes))
        if not first and known is not None and not np.array_equal(known, to_host(self.classes_)):
            raise ValueError(f"classes must stay {to_host(self.classes_)}; given: {known}")
        X, place = check_features(self, X, self.device, reset=first)
        labels = check_labels(y, X, classes=known if first else to_host(self.classes_))
        s = self._sample_weight(sample_weight, labels)
        with place.current(), one_core_a_block(), explained_by_samples(self, X):
            rows = put_rows(X, labels, s, place, self.dtype)
            problem = self._problem(rows, len(labels.classes), start=not first, precondition=False)
            problem = replace(problem, solver=solver, name="sgd", rotation=None)
            result = minimize(problem.objective, solver, max_iter=1)
            self._set_solution(problem, result, problem.objective, X, labels, place)
        return self

    def decision_function(self, X: Array) -> Array:
        """The margins X coef_ᵀ + intercept_: (m,) for two classes, (m, k) for more."""
        return self._margins(X, "decision_function")

    def _margins(self, X: Array, method: str) -> Array:
        check_is_fitted(self)
        check_same_library(self, X, method)
        X, _ = check_features(self, X, self.device, reset=False)
        if is_sparse(self.coef_):  # after `sparsify`
            scores = (X @ self.coef_.T).toarray() if is_sparse(X) else X @ self.coef_.T
            return scores[:, 0] + self.intercept_ if scores.shape[1] == 1 else scores + self.intercept_
        with current_device_of(self.coef_):
            W = self.coef_[0, :] if self.coef_.shape[0] == 1 else self.coef_.T
            b = self.intercept_[0] if self.coef_.shape[0] == 1 else self.intercept_
            return rows_of(X, W[..., 0] * 0 if W.ndim > 1 else W).matmul(W) + b

    def predict(self, X: Array) -> Array:
        """The most probable class of each sample: (m,) labels of the type they were given in."""
        Z = self._margins(X, "predict")
        xp = array_namespace(Z)
        codes = xp.astype(Z > 0, xp.int64) if Z.ndim == 1 else xp.argmax(Z, axis=1)
        labels = to_host(self.classes_)[to_host(codes)]
        # Labels that are numbers come in the library of the samples; it need not have strings.
        return (
            labels if is_numpy_array(Z) or labels.dtype.kind not in "biuf" else xp.asarray(labels, device=device_of(Z))
        )

    def score(self, X: Array, y: Array, sample_weight: Array | None = None) -> float:
        """Accuracy on (X, y): the share, by weight, of samples that are predicted right."""
        arrays = (y, self.predict(X), sample_weight)
        y, predicted, s = (to_host(a) if is_array_api_obj(a) else a for a in arrays)
        # Not accuracy_score: it refuses labels that are bytes.
        return float(np.average(column_or_1d(y) == predicted, weights=s))

    def predict_proba(self, X: Array) -> Array:
        """The probability of each class: (m, k)."""
        Z = self._margins(X, "predict_proba")
        return (
            links.softmax(Z) if Z.ndim == 2 else array_namespace(Z).stack([links.sigmoid(-Z), links.sigmoid(Z)], axis=1)
        )

    def predict_log_proba(self, X: Array) -> Array:
        """The logarithm of the probability of each class: (m, k), finite for finite margins."""
        Z = self._margins(X, "predict_log_proba")
        if Z.ndim == 2:
            return links.log_softmax(Z)
        return array_namespace(Z).stack([links.log_sigmoid(-Z), links.log_sigmoid(Z)], axis=1)

    def to_sklearn(self) -> SklearnLogisticRegression:
        """A fitted scikit-learn LogisticRegression with the same coefficients, in host memory."""
        check_is_fitted(self)
        l1 = self._l1() > 0
        twin = SklearnLogisticRegression(
            C=self.C, l1_ratio=self.l1_ratio, tol=self.tol, fit_intercept=self.fit_intercept,
            class_weight=self.class_weight, random_state=self.random_state, solver="saga" if l1 else "lbfgs",
            max_iter=self.max_iter, verbose=self.verbose, warm_start=self.warm_start,
        )  # fmt: skip
        for name in ("coef_", "intercept_", "classes_", "n_iter_"):
            value = getattr(self, name)
            setattr(twin, name, value if is_sparse(value) else to_host(value).copy())
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self, name):
                setattr(twin, name, getattr(self, name))
        return twin

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Fitted attributes as NumPy, so that a pickle made on a GPU loads without CuPy."""
        state: dict[str, Any] = super().__getstate__()
        return {name: to_host(value) if is_array_api_obj(value) else value for name, value in state.items()}

    def _check_parameters(self) -> None:
        """Refuse what cannot be, before any work."""
        for name, holds, accepted in (
            ("C", _is_real(self.C) and self.C > 0, "a number > 0, or np.inf for no penalty"),
            ("l1_ratio", _is_real(self.l1_ratio) and 0 <= self.l1_ratio <= 1, "a number from 0 (ridge) to 1 (l1)"),
            ("tol", _is_real(self.tol) and 0 <= self.tol < math.inf, "a number ≥ 0"),
            ("max_iter", _is_integer(self.max_iter) and self.max_iter >= 0, "an integer ≥ 0"),
            ("verbose", _is_integer(self.verbose) or isinstance(self.verbose, bool), "an integer"),
            ("fit_intercept", isinstance(self.fit_intercept, bool | np.bool_ | int), "True or False"),
            ("standardize", isinstance(self.standardize, bool | np.bool_ | int), "True or False"),
            ("device", isinstance(self.device, str), "'auto', 'cpu', 'cuda' or 'cuda:N'"),
            ("dtype", self.dtype in (None, "float32", "float64"), "None, 'float32' or 'float64'"),
            ("one_pass", self.one_pass in ("auto", *PASSES), f"'auto' or one of {', '.join(PASSES)}"),
            ("callback", self.callback is None or callable(self.callback), "None or a callable"),
        ):
            if not holds:
                raise ValueError(f"{name}={getattr(self, name)!r}: use {accepted}")
        seeds = numbers.Integral, np.random.RandomState, type(None)
        if not isinstance(self.random_state, seeds) or isinstance(self.random_state, bool):
            raise ValueError(f"random_state={self.random_state!r}: use None, an integer or a RandomState")
        accepted_names = NON_SMOOTH if self._l1() > 0 else SMOOTH
        kind = "l1 or elastic-net penalty" if self._l1() > 0 else "ridge penalty or none"
        if isinstance(self.solver, str):
            named = self.solver in ("auto", *accepted_names)
        else:
            named = isinstance(self.solver, tuple(SOLVERS[name] for name in accepted_names))
        if not named:
            raise ValueError(
                f"solver={self.solver!r} does not support this {kind} (C={self.C}, l1_ratio={self.l1_ratio}): "
                f"use 'auto' or one of {', '.join(accepted_names)}"
            )

    def _l1(self) -> float:
        """Weight of the l1 penalty in the objective divided by C."""
        return 0.0 if math.inf == self.C else float(self.l1_ratio / self.C)

    def _seed(self) -> int:
        if self.random_state is None:
            return 0
        if isinstance(self.random_state, np.random.RandomState):
            return int(self.random_state.randint(2**31))
        return int(self.random_state)

    def _sample_weight(self, sample_weight: Array | None, labels: Labels) -> np.ndarray | None:
        """(m,) float64 weights that include those of the classes; None when all are one."""
        s = check_sample_weight(sample_weight, len(labels.codes))
        if self.class_weight is None:
            return s
        names = labels.classes
        factors = compute_class_weight(self.class_weight, classes=names, y=names[labels.codes], sample_weight=s)
        # "balanced" divides by the weight of a class, which may be zero; such a class stays without weight.
        factors = np.where(np.isinf(factors), 0.0, factors) if isinstance(self.class_weight, str) else factors
        of_each: np.ndarray = factors[labels.codes]
        return check_sample_weight(of_each if s is None else s * of_each, len(labels.codes))

    def _problem(self, rows: Rows, k: int, *, start: bool | None = None, precondition: bool = True) -> Problem:
        """The objective in variables that suit it, and the solver."""
        n = self.n_features_in_
        xp, m = array_namespace(rows.y), rows.y.shape[0]
        w, b = self._start(rows.y, n, k, warm=self.warm_start if start is None else start)
        moments = None
        if self.standardize:  # they are part of the objective then
            moments = rows.moments()
        elif precondition:
            moments = rows.about_moments()
        if moments is not None and isinstance(rows, MemoryRows) and self.fit_intercept and precondition:
            rows, moments = _centred(rows, *moments)
        b = b + rows.at_origin(w)
        w, b = (xp.astype(part, rows.y.dtype, copy=False) for part in (w, b))
        # Only the plain ridge is the same in every orthonormal basis.
        can_rotate = n > m and self._l1() == 0 and not self.standardize and precondition and gram_fits(m, rows.y)
        name, gram = self._plan(rows, 1 if k == 2 else k, can_rotate)
        objective = original = self._objective(rows, moments, w, b, precondition)
        # Without a penalty separable samples have no minimum: nothing to correct.
        rotation = rotate(rows, coarse=name == "lbfgs" and math.inf != self.C) if gram else None
        if rotation is not None:
            objective = self._objective(rotation.rows, rotation.rows.moments(), rotation.forward(w), b, precondition)
        if rotation is not None and rotation.coarse:
            coarseness = float(xp.finfo(xp.float32).eps)
            objective = CoarseGram(
                **(vars(objective) | {"coarseness": coarseness}), rotation=rotation, original=original
            )
        if self.solver == "auto" and name == "fista" and cost_model.working_sets_pay(m, n, 1 if k == 2 else k):
            name = "prox-newton" if few_in_use(objective) else name
        solver = self._solver(name, objective, gram)
        return Problem(objective, solver, f"gram-{name}" if gram else name, rotation, original)

    def _plan(self, rows: Rows, outputs: int, can_rotate: bool) -> tuple[str, bool]:
        """Name of the solver, and whether to work in Gram space; the rule is in the class's docstring."""
        m, n = rows.y.shape[0], self.n_features_in_
        stored = _stored(rows)
        double = bool(array_namespace(rows.y).finfo(rows.y.dtype).bits == 64)
        may_be_coarse, on = double and isinstance(rows, MemoryRows), _machine(rows.y)

        if not isinstance(self.solver, str):
            name = next(name for name, kind in SOLVERS.items() if isinstance(self.solver, kind))
        else:
            name = self.solver
        if name != "auto":
            # Newton's Hessian has n² numbers elsewhere.
            passes = {"newton": 1e9, "gd": 1000, "sgd": 100}.get(name, cost_model.lbfgs_passes(double))
            coarse = may_be_coarse and name == "lbfgs"
            return name, can_rotate and cost_model.gram_pays(m, n, passes, outputs, stored, coarse=coarse, on=on)
        free = available_memory(rows.y)  # asked once: for small samples the files that tell take as long as a pass

        def fits(size: int) -> bool:
            return hessian_bytes(size) < free

        if self._l1() > 0:
            return ("prox-newton" if n * outputs <= 1000 and fits(n * outputs) else "fista"), False
        costs = cost_model.smooth_solvers(m, n, outputs, stored, double=double, on=on)
        plans = {(name, False): cost for name, cost in costs.items()}
        # The fewer iterations there have only been measured on a CPU; on a GPU they have to pay by faster passes.
        if can_rotate and (
            on is cost_model.CPU
            or cost_model.gram_pays(m, n, cost_model.lbfgs_passes(double), outputs, stored, coarse=may_be_coarse, on=on)
        ):
            plans |= {
                (name, True): cost + cost_model.gram_space(m, n, coarse=may_be_coarse and name == "lbfgs", on=on)
                for name, cost in cost_model.gram_solvers(m, outputs, double=double, on=on).items()
            }
        sizes = {("newton", False): n * outputs, ("sketch", False): n, ("newton", True): m * outputs}
        possible = {plan: cost for plan, cost in plans.items() if fits(sizes.get(plan, 0))}
        return min(possible, key=lambda plan: possible[plan])

    def _start(self, like: Array, n: int, k: int, warm: bool) -> tuple[Array, Array]:
        """w (n,) or (n, k) and b () or (k,) in float64 to start from: zeros, or the last solution."""
        xp, place = array_namespace(like), device_of(like)
        outputs = () if k == 2 else (k,)
        if not (warm and hasattr(self, "coef_")):
            return (
                xp.zeros((n, *outputs), dtype=xp.float64, device=place),
                xp.zeros(outputs, dtype=xp.float64, device=place),
            )
        coef = self.coef_.toarray() if is_sparse(self.coef_) else to_host(self.coef_)
        if coef.shape != (1 if k == 2 else k, n):
            raise ValueError(f"warm_start: the last solution has shape {coef.shape}, these data need {(*outputs, n)}")
        w, b = (coef[0], to_host(self.intercept_)[0]) if k == 2 else (coef.T, to_host(self.intercept_))
        return tuple(xp.asarray(np.array(a), dtype=xp.float64, device=place) for a in (w, b))

    def _objective(self, rows: Rows, moments: Moments | None, w: Array, b: Array, precondition: bool) -> Objective:
        """F in standardized variables: unit variance of the feature plus the curvature of its penalty, zero mean.

        `moments` are mean and standard deviation (n,) of the columns of `rows`; None when they are not to be used.
        """
        xp, dtype = array_namespace(rows.y), rows.y.dtype
        strength = 0.0 if math.inf == self.C else 1 / (float(self.C) * rows.total_weight)
        l1, ridge = strength * float(self.l1_ratio), strength * (1 - float(self.l1_ratio))
        ones = xp.ones(w.shape[0], dtype=xp.float64, device=device_of(w))
        mean, spread = (0 * ones, ones) if moments is None else moments
        penalized = spread if self.standardize else ones
        if not precondition:
            mean, size = 0 * ones, ones
        else:
            # σ' ≤ ¼, so the Hessian's diagonal is about σ²/4 + ridge; its root makes all features alike to a solver.
            size = xp.sqrt((spread**2 if self.fit_intercept else spread**2 + mean**2) + 4 * ridge * penalized**2)
        if not bool(xp.all(xp.isfinite(size))) or not bool(xp.all(xp.isfinite(mean))):
            raise FloatingPointError(
                f"the features are too large for {dtype}, their squares overflow: scale them, or use dtype='float64'"
            )
        scale = 1 / xp.where(size > 0, size, xp.ones_like(size))
        if self.fit_intercept and precondition:
            # The intercept does all that a constant column can do, and costs nothing: its weight is held at zero.
            scale = xp.where(spread > 0, scale, xp.zeros_like(scale))
        shift = mean if self.fit_intercept else None
        scale, ridge_u, l1_u = (
            xp.astype(part, dtype, copy=False)
            for part in (scale, ridge * (penalized * scale) ** 2, l1 * penalized * scale)
        )
        shift = None if shift is None else xp.astype(shift, dtype, copy=False)
        one_pass = self._pass(rows, 2 if w.ndim == 1 else w.shape[1])
        objective = Objective(rows, w, scale, shift, ridge_u, l1_u, bool(self.fit_intercept), one_pass)
        return replace(objective, start=objective.params(w, b))

    def _pass(self, rows: Rows, k: int) -> Propagate:
        """The pass that `one_pass` asks for, for k classes."""
        if self.one_pass == "loop" and k > 2:
            raise ValueError(f"one_pass='loop' is for two classes, y has {k}: use 'auto', 'vectorized' or 'blocked'")
        if isinstance(rows, SparseRows) and self.one_pass not in ("auto", "vectorized"):
            raise ValueError(f"one_pass={self.one_pass!r} does not support sparse X: use 'auto' or 'vectorized'")
        return named("vectorized" if isinstance(rows, SparseRows) else self.one_pass, rows.X)[1]

    def _solver(self, name: str, objective: Objective, gram: bool) -> Solver:
        """The solver of this name, with hyperparameters that suit."""
        if not isinstance(self.solver, str):
            return self.solver
        if name in ("sgd", "sketch"):
            kind = SGD if name == "sgd" else Sketch
            return kind(seed=self._seed())
        if name == "gd":
            return GradientDescent("line-search")
        if name == "lbfgs" and gram:
            # Forming Gram space has cost more than its Hessian does. As n > m samples can be told apart, margins become
            # large and curvature small, and the Hessian at the start too large as a whole; so it may be below, too.
            size = math.prod(objective.start.shape)
            fits = hessian_bytes(size) < available_memory(objective.start)
            return LBFGS(hessian_size=size if fits else 0, hessian_trust=2.0)
        if name == "lbfgs" and is_on_gpu(objective.start):
            return LBFGS(
                hessian_size=cost_model.hessian_size(_stored(objective.rows), cost_model.GPU), hessian_trust=2.0
            )
        solver: Solver = SOLVERS[name]()
        return solver

    def _minimize(self, problem: Problem) -> tuple[Result, Objective]:
        """The result and the objective it belongs to, which for Gram space is one on X that confirms it."""
        objective, callback = problem.objective, _callbacks(_with_weights(self.callback, problem), self.verbose)
        result = minimize(objective, problem.solver, max_iter=self.max_iter, tol=self.tol, callback=callback)
        if problem.rotation is not None:
            original, reads, point = problem.original, objective.reads + 1, None  # a read made K
            if isinstance(objective, CoarseGram) and objective.anchor is result.params:
                point = objective.exact
            if point is None:
                w, b = objective.raw(result.params)
                point = original.visit(original.params(problem.rotation.back(w), b))
                reads += 2
            objective = replace(original, start=point.params, reads=reads)
            result = self._confirmed(result, objective, point)
        self._warn_unless_converged(result, problem.name)
        return result, objective

    def _confirmed(self, result: Result, objective: Objective, point: Point) -> Result:
        """The result of Gram space at its point on X itself, where `objective` starts; with more steps if they disagree."""
        xp = array_namespace(point.params)
        norm = xp.astype(xp.max(xp.abs(point.gradient)), xp.float64)
        cost, gradient_norm = floats([point.cost, norm])
        rounding = float(xp.finfo(point.params.dtype).eps) ** (2 / 3)
        agrees = abs(cost - result.cost) <= rounding * abs(cost) and gradient_norm <= self.tol
        if agrees and result.status != "max_iter":
            last = replace(result.last, cost=cost, gradient_norm=gradient_norm, reads=objective.reads)
            return replace(result, params=point.params, last=last)
        left = max(0, self.max_iter - result.n_iter)
        return _appended(result, minimize(objective, LBFGS(), max_iter=left, tol=self.tol))

    def _warn_unless_converged(self, result: Result, name: str) -> None:
        last = result.last
        eps = float(array_namespace(result.params).finfo(result.params.dtype).eps)
        # Where scikit-learn's own rule is met, or asks for more than the dtype has, rounding is a good reason to stop.
        good_enough = result.status == "precision" and (
            last.gradient_norm <= self.tol or (self.tol < 100 * eps and last.decrement <= eps**0.5 * abs(last.cost))
        )
        if result.status == "converged" or good_enough:
            return
        reason = "rounding forbids further progress" if result.status == "precision" else "max_iter is reached"
        warnings.warn(
            f"{name} failed to converge: {reason} after {last.iteration} iterations "
            f"(max_iter={self.max_iter}) with gradient {last.gradient_norm:.3g} and an objective that may fall by "
            f"{last.decrement:.3g} from {last.cost:.3g}, tol={self.tol}. Increase max_iter or tol, try another solver, "
            "use dtype='float64', or, if the classes are separable, a smaller C",
            ConvergenceWarning,
            stacklevel=4,
        )

    def _set_solution(
        self, problem: Problem, result: Result, objective: Objective, X: Array, labels: Labels, place: Device
    ) -> None:
        w, b = _at_zero(objective.rows, *objective.raw(result.params))
        xp = array_namespace(w)
        coef, intercept = (w[None, :], b[None]) if w.ndim == 1 else (w.T, b)
        if is_numpy_array(X) or sparse.issparse(X):
            coef, intercept = (np.ascontiguousarray(to_host(part)) for part in (coef, intercept))
            xp = np
        self.coef_, self.intercept_ = coef, intercept
        self.classes_ = labels.own_classes
        self.n_iter_ = xp.asarray([result.n_iter], dtype=xp.int32, device=device_of(coef))
        total = objective.rows.total_weight * (1.0 if math.inf == self.C else float(self.C))
        history: list[dict[str, Any]] = [
            {
                "iteration": record.iteration,
                "objective": record.cost * total,
                "gradient_norm": record.gradient_norm,
                "seconds": record.seconds,
                "passes": record.reads,
            }
            for record in (*result.history, result.last)
        ]
        history[-1]["status"] = result.status
        self.history_ = history
        self.objective_ = result.cost * total
        self.solver_ = problem.name
        self.device_ = place.name
        self.pass_ = next(name for name, one_pass in PASSES.items() if one_pass is objective.one_pass)


@dataclass(frozen=True)
class Problem:
    """What is handed to `minimize`, its name for the user, the way back from Gram space, and the objective outside of it."""

    objective: Objective
    solver: Solver
    name: str
    rotation: Rotation | None
    original: Objective


def _centred(rows: MemoryRows, mean: Array, spread: Array) -> tuple[MemoryRows, Moments]:
    """The rows less their means, with the moments they have then, where a column is so far from zero that it pays."""
    xp = array_namespace(mean)
    if not bool(xp.any((spread > 0) & (xp.abs(mean) > FAR * spread)) & xp.all(xp.isfinite(mean))):
        return rows, (mean, spread)
    # Of so few digits that it is the same number in either dtype of a computation.
    origin = xp.astype(xp.astype(mean, xp.float32), xp.float64)
    return replace(rows, origin=origin), (mean - origin, spread)


def _at_zero(rows: Rows, w: Array, b: Array) -> tuple[Array, Array]:
    """Weights and intercept for x, of those for x − origin. In float64 then: in what they are multiplied with and added to
    there are the large terms that the origin has kept from the fit."""
    if not isinstance(rows, MemoryRows) or rows.origin is None:
        return w, b
    xp = array_namespace(w)
    return xp.astype(w, xp.float64, copy=False), b - rows.at_origin(w)


def _appended(first: Result, second: Result) -> Result:
    """One result of two minimizations in a row."""
    n, t = first.last.iteration, first.last.seconds
    later = [replace(record, iteration=record.iteration + n, seconds=record.seconds + t) for record in second.history]
    last = replace(second.last, iteration=second.last.iteration + n, seconds=second.last.seconds + t)
    history = (*first.history, *(() if second.n_iter == 0 else (first.last,)), *later[1:])
    return Result(second.params, second.status, last, history)


def _with_weights(
    callback: Callable[[int, Any], object] | None, problem: Problem
) -> Callable[[int, Any], object] | None:
    """The user's callback, with looks that know the way back from the solver's variables."""
    if callback is None:
        return None

    def weights(params: Array) -> tuple[Array, Array]:
        objective, rotation = problem.objective, problem.rotation
        w, b = objective.raw(params)
        rows = objective.rows
        if rotation is not None:
            w, rows = rotation.back(w), rotation.original
        return _at_zero(rows, w, b)

    return lambda iteration, look: callback(iteration, replace(look, weights=partial(weights, look.params)))


def _stored(rows: Rows) -> int | None:
    """How many numbers a sparse X holds; None for a dense one."""
    return rows.X.nnz if isinstance(rows, SparseRows) else None


def _machine(like: Array) -> cost_model.Machine:
    return cost_model.GPU if is_on_gpu(like) else cost_model.CPU


def _callbacks(callback: Callable[[int, Any], object] | None, verbose: int) -> Callable[[int, Any], object] | None:
    if not verbose:
        return callback

    def report(iteration: int, look: Any) -> None:
        print(f"iteration {iteration}: mean objective {float(look.cost):.10g}")
        if callback is not None:
            callback(iteration, look)

    return report


def _is_real(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, numbers.Real) and not math.isnan(value)


def _is_integer(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, numbers.Integral)
