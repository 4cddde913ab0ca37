"""The notebook runs on gpulr.lesson: its printed numbers, its shapes, its keys."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from gpulr import lesson


@pytest.fixture
def cell(backend):
    """The notebook's example: w, b, X, Y."""
    arrays = [[1.0], [2.0]], [[1.0, 2.0, -1.0], [3.0, 4.0, -3.2]], [[1.0, 0.0, 1.0]]
    w, X, Y = (backend.put(np.array(array)) for array in arrays)
    return w, 2, X, Y


def test_sigmoid():
    np.testing.assert_allclose(lesson.sigmoid(np.array([0, 2])), [0.5, 0.88079708], atol=5e-9)
    assert lesson.sigmoid(0) == 0.5
    assert lesson.sigmoid(-1e4) == 0


def test_initialize_with_zeros():
    w, b = lesson.initialize_with_zeros(2)
    np.testing.assert_array_equal(w, [[0.0], [0.0]])
    assert b == 0


def test_propagate(backend, cell):
    grads, cost = lesson.propagate(*cell)
    np.testing.assert_allclose(backend.get(grads["dw"]), [[0.99845601], [2.39507239]], atol=5e-9)
    assert float(grads["db"]) == pytest.approx(0.00145557813678, abs=5e-15)
    assert float(cost) == pytest.approx(5.801545319394553, rel=1e-14)
    assert cost.shape == ()


def test_optimize_and_predict(backend, cell):
    w, b, X, Y = cell
    params, grads, costs = lesson.optimize(w, b, X, Y, num_iterations=100, learning_rate=0.009, print_cost=False)
    np.testing.assert_allclose(backend.get(params["w"]), [[0.19033591], [0.12259159]], atol=5e-9)
    assert float(params["b"]) == pytest.approx(1.92535983008, abs=5e-12)
    np.testing.assert_allclose(backend.get(grads["dw"]), [[0.67752042], [1.41625495]], atol=5e-9)
    assert float(grads["db"]) == pytest.approx(0.219194504541, abs=5e-13)
    assert costs == [pytest.approx(5.801545319394553)]
    A = lesson.predict(params["w"], params["b"], X)
    np.testing.assert_array_equal(backend.get(A), [[1.0, 1.0, 1.0]])


def test_costs_are_printed_as_the_lesson_does(cell, capsys):
    lesson.optimize(*cell, num_iterations=101, learning_rate=0.009, print_cost=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Cost after iteration 0: 5.801545"
    assert lines[1].startswith("Cost after iteration 100: ")


def test_no_iteration_gives_the_gradient_at_the_start(backend, cell):
    w, b, X, Y = cell
    params, grads, costs = lesson.optimize(w, b, X, Y, num_iterations=0)
    assert costs == []
    at_start, _ = lesson.propagate(w, b, X, Y)
    np.testing.assert_array_equal(backend.get(params["w"]), backend.get(w))
    np.testing.assert_array_equal(backend.get(grads["dw"]), backend.get(at_start["dw"]))


def test_what_does_not_fit_is_refused(cell):
    w, b, X, Y = cell
    with pytest.raises(ValueError, match=r"w must be \(2, 1\) and Y \(1, 3\)"):
        lesson.propagate(w[:, 0], b, X, Y)
    with pytest.raises(ValueError, match="labels Y must all be 0 or 1"):
        lesson.propagate(w, b, X, 2 * Y)


def test_the_notebook_from_top_to_bottom(cats_folder, capsys):
    train_set_x_orig, train_set_y, test_set_x_orig, test_set_y, classes = lesson.load_dataset(str(cats_folder))
    assert train_set_x_orig.shape == (209, 64, 64, 3)
    assert train_set_y.shape == (1, 209)
    assert test_set_x_orig.shape == (50, 64, 64, 3)
    assert test_set_y.shape == (1, 50)
    assert classes[np.squeeze(train_set_y[:, 25])].decode("utf-8") == "cat"
    train_set_x = train_set_x_orig.reshape(209, -1).T / 255.0
    test_set_x = test_set_x_orig.reshape(50, -1).T / 255.0
    d = lesson.model(train_set_x, train_set_y, test_set_x, test_set_y, 2000, learning_rate=0.005, print_cost=True)
    out = capsys.readouterr().out
    assert "Cost after iteration 0: 0.693147\n" in out
    assert "Cost after iteration 1900: 0.140872\n" in out
    assert "train accuracy: 99.04306220095694 %\ntest accuracy: 70.0 %\n" in out
    assert set(d) == {
        "costs", "Y_prediction_test", "Y_prediction_train", "w", "b", "learning_rate", "num_iterations",
    }  # fmt: skip
    assert d["w"].shape == (12288, 1)
    assert d["Y_prediction_train"].shape == (1, 209)
    assert len(d["costs"]) == 20


def test_the_lessons_default_learning_rate_stays_finite(cats_folder):
    train_x, train_y, test_x, test_y, _ = lesson.load_dataset(str(cats_folder))
    X_train, X_test = (x.reshape(len(x), -1).T / 255 for x in (train_x, test_x))
    with pytest.warns(ConvergenceWarning, match="the cost rose"):
        d = lesson.model(X_train, train_y, X_test, test_y)
    assert np.isfinite(d["costs"]).all()
    assert np.mean(d["Y_prediction_train"] == train_y) >= 0.995
