"""The points that the check moves to keep what the given arguments show of their structure."""

import jax.numpy as jnp
import numpy as np

from jaxfn.verification.points.probes import probes, within
from jaxfn.verification.subject.coordinates import Arguments

RNG = np.random.default_rng(0)


def arrays(value, **options):
    arguments = Arguments((jnp.asarray(value),))
    found = probes(arguments, np.random.default_rng(1), options.get("loops", False))
    return [arguments.array(arguments.leaves[0], p.x) for p in found if arguments.leaves]


def test_structures_are_kept():
    for x in arrays(np.array([-1.0, 0.5, 3.0], np.float32)):
        assert (np.diff(x) > 0).all()
    square = RNG.standard_normal((3, 3))
    for x in arrays((square @ square.T + np.eye(3)).astype(np.float32)):
        assert np.linalg.eigvalsh(x).min() > 0
    for x in arrays(np.array([0.2, 0.3, 0.5], np.float32)):
        np.testing.assert_allclose(x.sum(), 1, atol=1e-5)


def test_the_points_are_many_and_held_by_the_dtype():
    found = arrays(np.array([0.3, -2.0], np.float32))
    assert len(found) > 40
    for x in found:
        np.testing.assert_array_equal(x, x.astype(np.float32))
    assert max(np.abs(x).max() for x in found) > 1e10
    assert any((x == 0).all() for x in found)
    assert any(np.signbit(x).all() and (x == 0).all() for x in found)


def test_iterations_stay_near():
    x = np.array([0.3, -2.0], np.float32)
    for moved in arrays(x, loops=True):
        assert (np.abs(moved - x) <= 0.21 * np.abs(x)).all()


def test_within_folds_into_the_interval():
    arguments = Arguments((jnp.ones(3),))
    x = np.array([-5.0, 0.5, 99.0])
    inside = within(arguments, x, ((0, 1),))
    assert ((inside >= 0) & (inside <= 1)).all()
    assert inside[1] == 0.5
    np.testing.assert_array_equal(within(arguments, x, ((0, None),)), [5, 0.5, 99])
    np.testing.assert_array_equal(within(arguments, x, (None,)), x)
