"""The functions of the lesson "Logistic Regression with a Neural Network mindset", with its signatures and layout.

`from gpulr.lesson import *` takes the place of the notebook's own cells. Its layout is X (n, m), one column a sample,
Y (1, m) and w (n, 1); everything else in gpulr has samples as rows, which is `X.T`, a free view. The functions are
thin faces over `gpulr.passes` and `gpulr.solvers`, so the cost cannot overflow and `optimize` is fast. X may be a
NumPy, CuPy or PyTorch array; results are arrays like it. They compute in float32 when X is float32, else in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import device

from gpulr import links
from gpulr.datasets import load_dataset as _load_dataset
from gpulr.device import Array, array_namespace, current_device_of, to_host
from gpulr.objective import descent_from
from gpulr.parallel import one_core_a_block
from gpulr.rows import MemoryRows, gram_pays
from gpulr.solvers import GradientDescent, Look, minimize

__all__ = ["initialize_with_zeros", "load_dataset", "model", "optimize", "predict", "propagate", "sigmoid"]


def load_dataset(source: str = "cats") -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The cat pictures as the lesson's `load_dataset()` gives them.

    Args:
        source: "cats", or a folder with the two files; see `gpulr.load_dataset`.

    Returns:
        train_set_x_orig (m, 64, 64, 3) uint8, train_set_y (1, m) int64, the same two for the test set, and
        classes (2,) bytes.
    """
    data = _load_dataset(source)
    shape = data.image_shape or data.X_train.shape[1:]
    return (
        data.X_train.reshape(-1, *shape),
        data.y_train.reshape(1, -1),
        data.X_test.reshape(-1, *shape),
        data.y_test.reshape(1, -1),
        np.array([name.encode() for name in data.classes]),
    )


def sigmoid(z: Array) -> Array:
    """1 / (1 + e⁻ᶻ) of a number or an array of any shape; no overflow at any z."""
    xp = array_namespace(z) if hasattr(z, "shape") else np
    z = xp.asarray(z)
    if not xp.isdtype(z.dtype, "real floating"):
        z = xp.astype(z, xp.float64)
    return links.sigmoid(z)


def initialize_with_zeros(dim: int) -> tuple[np.ndarray, float]:
    """w: zeros of shape (dim, 1), and b = 0.0."""
    return np.zeros((dim, 1)), 0.0


def propagate(w: Array, b: Array, X: Array, Y: Array) -> tuple[dict[str, Array], Array]:
    """Forward and backward propagation: the cost J and its gradient at (w, b).

    Args:
        w: (n, 1) weights.
        b: number, the intercept.
        X: (n, m) samples as columns.
        Y: (1, m) labels 0 or 1.

    Returns:
        {"dw": (n, 1), "db": ()}, cost (): means over the m samples.

    Raises:
        ValueError: shapes that do not fit, or other labels.
    """
    with current_device_of(X):
        rows, w, b = _rows(w, b, X, Y)
        objective, _ = descent_from(w, b, rows, gram=False)
        point = objective.visit(objective.start)
        dw, db = objective.split(point.gradient)
    return {"dw": _column(dw), "db": db}, point.cost


def optimize(
    w: Array,
    b: Array,
    X: Array,
    Y: Array,
    num_iterations: int = 100,
    learning_rate: float = 0.009,
    print_cost: bool = False,
) -> tuple[dict[str, Array], dict[str, Array], list[float]]:
    """Gradient descent from (w, b).

    Args:
        w, b, X, Y: see `propagate`.
        num_iterations: number of steps.
        learning_rate: a positive number.
        print_cost: print the cost every 100 iterations.

    Returns:
        {"w": (n, 1), "b": ()}, the gradients {"dw", "db"} that the last step used, and the costs before iterations
        0, 100, 200, ...

    Warns, Raises: see `gpulr.solvers.minimize`.
    """

    method = GradientDescent(learning_rate)
    if isinstance(method.learning_rate, str):
        raise ValueError(f"learning_rate={learning_rate!r}: the lesson's is a positive number")

    def report(iteration: int, look: Look) -> None:
        if iteration % 100 == 0:
            print(f"Cost after iteration {iteration}: {float(look.cost):f}")

    with current_device_of(X), one_core_a_block():
        rows, w, b = _rows(w, b, X, Y)
        m, n = rows.X.shape
        gram = gram_pays(m, n, num_iterations, like=w)
        objective, weights = descent_from(w, b, rows, gram=gram)
        # All steps but the last, which is made below, by the gradients that are returned.
        callback = report if print_cost and num_iterations > 0 else None
        result = minimize(objective, method, max_iter=max(num_iterations - 1, 0), record_every=100, callback=callback)
        w, b = weights(result.params)
        w = _column(w)
        grads, _ = propagate(w, b, X, Y)
    if num_iterations == 0:
        return {"w": w, "b": b}, grads, []
    costs = [record.cost for record in (*result.history, result.last) if record.iteration % 100 == 0]
    rate = method.learning_rate
    return {"w": w - rate * grads["dw"], "b": b - rate * grads["db"]}, grads, costs


def predict(w: Array, b: Array, X: Array) -> Array:
    """1.0 where the probability σ(wᵀx + b) is above 0.5, else 0.0: (1, m).

    Args:
        w: (n, 1) weights.
        b: number, the intercept.
        X: (n, m) samples as columns.
    """
    xp = array_namespace(X)
    with current_device_of(X):
        w = xp.reshape(w, (X.shape[0], 1))  # the lesson's own predict takes w of any shape that fits
        rows, w, b = _rows(w, b, X, xp.zeros((1, X.shape[1]), device=device(X)))
        A = links.sigmoid(rows.matmul(w) + b)
        return xp.reshape(xp.astype(A > 0.5, w.dtype), (1, -1))


def model(
    X_train: Array,
    Y_train: Array,
    X_test: Array,
    Y_test: Array,
    num_iterations: int = 2000,
    learning_rate: float = 0.5,
    print_cost: bool = False,
) -> dict[str, Any]:
    """Train from zero weights and predict both sets.

    The default learning rate is the lesson's own. It is far too large for the cat pictures (use 0.005): the costs then
    go up and down for a while, with a warning, but stay finite.

    Returns:
        dict with "costs", "Y_prediction_test", "Y_prediction_train", "w", "b", "learning_rate", "num_iterations".
    """
    w, b = initialize_with_zeros(X_train.shape[0])
    params, _, costs = optimize(w, b, X_train, Y_train, num_iterations, learning_rate, print_cost)
    predictions = {
        "train": predict(params["w"], params["b"], X_train),
        "test": predict(params["w"], params["b"], X_test),
    }
    if print_cost:
        for name, Y in (("train", Y_train), ("test", Y_test)):
            wrong = np.mean(np.abs(to_host(predictions[name]) - to_host(Y)))
            print(f"{name} accuracy: {100 - 100 * wrong} %")
    return {
        "costs": costs,
        "Y_prediction_test": predictions["test"],
        "Y_prediction_train": predictions["train"],
        "w": params["w"],
        "b": params["b"],
        "learning_rate": learning_rate,
        "num_iterations": num_iterations,
    }


def _rows(w: Array, b: Array, X: Array, Y: Array) -> tuple[MemoryRows, Array, Array]:
    """The lesson's arrays with samples as rows, w (n,) and b (), on X's device, in the dtype of the computation."""
    xp = array_namespace(X)
    n, m = X.shape
    dtype = xp.float32 if X.dtype == xp.float32 else xp.float64
    if tuple(w.shape) != (n, 1) or tuple(Y.shape) != (1, m):
        raise ValueError(f"for X (n, m) = {(n, m)}, w must be ({n}, 1) and Y (1, {m}); given: {w.shape} and {Y.shape}")
    place = device(X)
    y = xp.asarray(Y, dtype=dtype, device=place)[0, :]
    if not bool(xp.all((y == 0) | (y == 1))):
        raise ValueError("the labels Y must all be 0 or 1")
    w = xp.asarray(w, dtype=dtype, device=place)[:, 0]
    return MemoryRows(X.T, y), w, xp.asarray(b, dtype=dtype, device=place)


def _column(vector: Array) -> Array:
    return vector[:, None]
