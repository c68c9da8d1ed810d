"""The programs that are compiled and timed."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from jaxfn.comparison.figures.problem import make_problem
from jaxfn.comparison.figures.regimes import STEPS, programs


def test_steps_change_the_arguments_by_a_millionth_of_the_gradient():
    problem = make_problem(jnp.negative, (jnp.zeros(3),), (0,), 0)
    run, args = programs(problem.flatten(jnp.negative), problem, 4)[STEPS]
    (moved,), (last,) = run(*args)
    np.testing.assert_allclose(moved, 4e-6 * problem.cotangents[0], rtol=1e-5)
    np.testing.assert_allclose(last, -3e-6 * problem.cotangents[0], rtol=1e-5)
