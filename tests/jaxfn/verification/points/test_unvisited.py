"""The report says which structures and which integers alone the points had."""

import jax.numpy as jnp
import numpy as np

from jaxfn.verification import gradcheck

MATRIX = np.array([[2, 1], [1, 3]], np.float32)


def test_a_symmetric_matrix_that_is_factorised_and_the_range_of_integers():
    args = MATRIX, np.array([0, 1, 0])
    report = gradcheck(lambda a, i: jnp.linalg.cholesky(a)[i], args, layers=("autodiff",))
    matrix = "any a that is not symmetric and positive definite, as the given one is"
    assert report.scope == (matrix, "integers in i other than 0 to 1")
    assert all(said in report.check("autodiff").does_not_show for said in report.scope)
    assert "PASS, but not shown for any a that is not symmetric" in str(report)


def test_a_symmetric_matrix_that_nothing_rests_on():
    """A matrix that is not symmetric was tried."""
    assert gradcheck(lambda a: a @ a, (MATRIX,), layers=("autodiff",)).scope == ()


def test_a_permutation():
    """By a sort, which inverts permutations alone; without one, repeated indices were tried."""
    args = np.array([0.5, -1, 2], np.float32), np.array([2, 0, 1])
    report = gradcheck(lambda x, i: x[jnp.argsort(i)], args, layers=("autodiff",))
    assert report.scope == ("any i that is no permutation, as the given one is",)
    report = gradcheck(lambda x, i: x[i], args, layers=("autodiff",))
    assert report.scope == ("integers in i other than 0 to 2",)


def test_nothing_is_added_without_them():
    report = gradcheck(jnp.sin, (np.array([0.5, -1], np.float32),), layers=("autodiff",))
    assert report.check("autodiff").does_not_show == "points that were not visited"
    assert report.scope == ()
    assert "not shown" not in str(report)
