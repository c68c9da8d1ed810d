"""Rules of other people's packages."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import jax.scipy.special as special
import optax
import pytest
from flax.linen import fp8_ops
from jax.experimental.ode import odeint

import jaxfn
from jaxfn.comparison.figures.regimes import EXPLANATIONS
from tests.jaxfn.comparison.helpers import normal, quick

X = normal(4, 6)
POSITIVE = jnp.abs(X) + 0.1


def fake_quantize(x):
    return fp8_ops.in_qdq(jnp.float32, jnp.float8_e4m3fn, x, jnp.ones(1), jnp.zeros(4))


CASES = {
    "jax.nn.relu": (jax.nn.relu, (X,)),
    "jax.nn.relu6": (jax.nn.relu6, (4 * X,)),
    "jax.numpy.logaddexp": (jnp.logaddexp, (X, X + 1)),
    "jax.scipy.special.xlogy": (special.xlogy, (POSITIVE, POSITIVE)),
    "jax.scipy.special.xlog1py": (special.xlog1py, (POSITIVE, POSITIVE)),
    "jax.scipy.special.entr": (special.entr, (POSITIVE,)),
    "jax.scipy.special.log_ndtr": (special.log_ndtr, (X,)),
    "jax.scipy.special.kl_div": (special.kl_div, (POSITIVE, POSITIVE + 1)),
    "optax projection_simplex": (optax.projections.projection_simplex, (X[0],)),
    "optax.scale_gradient": (lambda x: optax.scale_gradient(x, 2.0), (X,)),
    "flax in_qdq": (fake_quantize, (X,)),
}
# Rules that mean to give something else than the derivative.
NOT_THE_DERIVATIVE = ("optax.scale_gradient", "flax in_qdq")
# Each has a sibling in the shorter run: one of the same package, or of the same kind.
LONG = (
    *("jax.nn.relu", "jax.numpy.logaddexp", "jax.scipy.special.xlogy", "jax.scipy.special.xlog1py"),
    *("jax.scipy.special.log_ndtr", "jax.scipy.special.kl_div", "optax projection_simplex"),
)
KEEPS_LESS = (
    *("jax.nn.relu6", "jax.numpy.logaddexp", "jax.scipy.special.xlogy"),
    *("jax.scipy.special.xlog1py", "jax.scipy.special.entr", "jax.scipy.special.log_ndtr"),
    "jax.scipy.special.kl_div",
)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.long] * (n in LONG)) for n in CASES]
)
def test_is_compared_with_sensible_figures(name):
    fun, args = CASES[name]
    result = quick(fun, args, reference=jaxfn.autodiff(fun, custom_jvp=True))
    assert result.rules
    figures = result.figures
    assert set(figures.times) == set(EXPLANATIONS)
    for pair in figures.programs.values():
        for side in (pair.rule, pair.reference):
            assert side.fusions >= 0
            assert side.output_bytes > 0
            assert side.flops.total >= 0
    if name not in NOT_THE_DERIVATIVE:
        assert figures.errors_against == "the reference in float64"
        assert max(error.rule.ulps for error in figures.errors.values()) < 20
    new = [side.nbytes("new") for side in (figures.residuals.rule, figures.residuals.reference)]
    if name in KEEPS_LESS:
        assert new[0] < new[1]
    assert str(result)


def test_a_rule_that_is_there_because_autodiff_cannot():
    def decay(x):
        return odeint(lambda y, t: -y, x, jnp.linspace(0.0, 1.0, 3))

    result = quick(decay, (X[0],))
    assert result.rules == ("_odeint",)
    assert result.verdict.startswith("nothing to compare with: autodiff cannot differentiate it")
    assert set(result.figures.times) == set(EXPLANATIONS)
