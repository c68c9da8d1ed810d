"""The report says which structures and which integers alone the points had."""

import jax.numpy as jnp
import numpy as np

from jaxfn.verification import gradcheck


def test_a_symmetric_matrix_and_the_range_of_integers():
    matrix = np.array([[2, 1], [1, 3]], np.float32)
    report = gradcheck(lambda a, i: (a @ a)[i], (matrix, np.array([0, 1, 0])), layers=("autodiff",))
    unseen = report.check("autodiff").does_not_show
    assert "any a that is not symmetric and positive definite" in unseen
    assert "integers in i other than 0 to 1" in unseen


def test_nothing_is_added_without_them():
    report = gradcheck(jnp.sin, (np.array([0.5, -1], np.float32),), layers=("autodiff",))
    assert report.check("autodiff").does_not_show == "points that were not visited"
