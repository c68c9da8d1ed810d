"""The steps of the regression."""

import jax
import numpy as np
import pytest

from scripts.training.regression import Config, make_problem, train

TINY = Config(samples=8, inputs=5, hidden=4, outputs=3, learning_rate=1e-3, steps=30)


def numpy_training(params, x, y, learning_rate, steps):
    """The original, in NumPy."""
    w1, w2 = (np.asarray(params[layer]["kernel"]) for layer in ("fc1", "fc2"))
    losses = []
    for _ in range(steps):
        h = x @ w1
        r = np.maximum(h, 0)
        d = r @ w2 - y
        losses.append(np.sum(d * d))
        h_bar = (2 * d @ w2.T) * (h >= 0)
        w2 = w2 - learning_rate * r.T @ (2 * d)
        w1 = w1 - learning_rate * x.T @ h_bar
    return w1, w2, np.array(losses)


@pytest.mark.parametrize("rules", ["custom", "autodiff"])
def test_agrees_with_numpy_in_float64(rules):
    with jax.enable_x64(True):
        graphdef, params, x, y = jax.tree.map(lambda leaf: leaf, make_problem(TINY))
        params, x, y = jax.tree.map(lambda a: a.astype("float64"), (params, x, y))
        end, losses = train(graphdef, params, x, y, 1e-3, 30, rules)
        assert losses.dtype == np.float64
        w1, w2, expected = numpy_training(params, np.asarray(x), np.asarray(y), 1e-3, 30)
        np.testing.assert_allclose(losses, expected, rtol=1e-12)
        np.testing.assert_allclose(end["fc1"]["kernel"], w1, rtol=1e-12)
        np.testing.assert_allclose(end["fc2"]["kernel"], w2, rtol=1e-12)
