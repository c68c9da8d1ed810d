"""How near jaxfn has to come to PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

RELATIVE = {"float64": 1e-10, "float32": 1e-5}


def assert_agree(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], tolerance: float
) -> None:
    """The same arrays, each within `tolerance` relative to its largest element."""
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        assert ours[name].shape == expected.shape, name
        actual, expected = (np.asarray(a, np.float64) for a in (ours[name], expected))
        error = np.max(np.abs(actual - expected)) / np.max(np.abs(expected))
        assert error <= tolerance, f"{name}: relative error {error:.3g}"


def assert_identical(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> None:
    """Equal to the bit, but for nan's: the sign of a zero counts."""
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        np.testing.assert_array_equal(ours[name], expected, err_msg=name)
        numbers = ~np.isnan(expected)
        signs = np.signbit(ours[name][numbers]), np.signbit(expected[numbers])
        np.testing.assert_array_equal(*signs, err_msg=name)


def assert_losses_agree(
    ours: np.ndarray, theirs: np.ndarray, exact: np.ndarray, dtype: str
) -> None:
    """Each loss within the relative tolerance of `dtype`, besides float32's own rounding.

    The loss of the regression falls by eleven orders of magnitude, and the residuals that it sums
    with it, while each residual is rounded like the large numbers that it is the difference of:
    at step 300 PyTorch's float32 loss is 3e-4 away from its float64 one, in the end 250%. So what
    is compared is the residuals' norm, the root of the loss, and beyond the tolerance it is granted
    twice the largest rounding of PyTorch's norm up to that step. In float64 that is nothing.
    """
    ours, theirs, exact = (np.sqrt(losses.astype(np.float64)) for losses in (ours, theirs, exact))
    rounding = np.maximum.accumulate(np.abs(theirs - exact))
    granted = RELATIVE[dtype] / 2 * theirs + 2 * rounding
    error = np.abs(ours - theirs)
    worst = np.argmax(error / granted)
    assert np.all(error <= granted), f"step {worst}: {ours[worst]}, expected {theirs[worst]}"
