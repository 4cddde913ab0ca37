"""The lesson's NumPy as its notebook writes it, with its unstable cost: the yardstick of vectorized code."""

from __future__ import annotations

from gpulr.device import Array, array_namespace


def lesson_propagate(w: Array, b: float, X: Array, Y: Array) -> tuple[Array, Array, Array]:
    """Forward and backward propagation.

    X (n, m), w (n, 1), Y (1, m); returns cost (), dw (n, 1), db ().
    """
    xp = array_namespace(X)
    m = X.shape[1]
    A = 1 / (1 + xp.exp(-(w.T @ X + b)))
    cost = -xp.sum(Y * xp.log(A) + (1 - Y) * xp.log(1 - A)) / m
    dZ = A - Y
    return cost, X @ dZ.T / m, xp.sum(dZ) / m


def lesson_train(X: Array, Y: Array, learning_rate: float, iterations: int) -> tuple[Array, Array, list[float]]:
    """Gradient descent from zero weights; X (n, m), Y (1, m); returns w (n, 1), b () and every 100th cost."""
    w, b = X[:, :1] * 0, Y[0, 0] * 0
    costs = []
    for i in range(iterations):
        cost, dw, db = lesson_propagate(w, b, X, Y)
        w = w - learning_rate * dw
        b = b - learning_rate * db
        if i % 100 == 0:
            costs.append(float(cost))
    return w, b, costs
