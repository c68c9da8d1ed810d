"""Elements of an array in words."""

import numpy as np

from jaxfn.verification.diagnosis.places import listed


def flat(shape, *indices):
    return np.array([np.ravel_multi_index(i, shape) for i in indices])


def test_few_elements_are_listed():
    assert listed((5,), np.array([3])) == "1 of 5 elements: [3]"
    assert listed((9,), np.arange(4)) == "4 of 9 elements: [0], [1], [2] and 1 more"


def test_a_slice_is_named():
    column = flat((3, 4), (0, 1), (1, 1), (2, 1))
    assert listed((3, 4), column).endswith("(index 1 of axis 1)")
    rest = np.setdiff1d(np.arange(24), np.arange(4))
    assert listed((6, 4), rest).endswith("and 17 more (all of axis 0 but index 0)")


def test_a_scalar_and_scattered_elements():
    assert listed((), np.array([0])) == "1 of 1 elements: []"
    scattered = flat((3, 4), (0, 1), (2, 3))
    assert listed((3, 4), scattered) == "2 of 12 elements: [0, 1], [2, 3]"
