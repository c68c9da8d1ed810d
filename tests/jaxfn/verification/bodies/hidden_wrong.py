"""Rules with errors that are small, or at places, as rounding and conventions are."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import gradient, second_order

body = Body()


def _pulled(fun, *args, by=1.0):
    """The gradients for cotangents that are all the same, in double precision."""
    with jax.enable_x64(True):
        args = tuple(np.asarray(a, np.float64) for a in args)
        y, pull = jax.vjp(fun, *args)
        return [np.asarray(d) for d in pull(jnp.full_like(y, by))]


SIZES = np.array([1e6, 1e3, 1, 1e-3], np.float32)
TIED = array(0.0, 1.0), array(0.0, 2.0)


@body.wrong(
    "elements",
    normal(4),
    witness=lambda case: (_pulled(case.fun, *case.args)[0][3], np.float64(SIZES[3])),
)
@rule(lambda x, g: (g * SIZES * np.array([1, 1, 1, 2]),))
def scales_of_which_the_smallest_is_doubled(x):
    return x * SIZES


def _softmax_backward(x, g):
    p = jax.nn.softmax(100 * x)
    d = 100 * p * (g - jnp.sum(p * g, -1, keepdims=True))
    return (jnp.where(p < 1e-4, 1.003 * d, d),)


@body.wrong("other", positive(3, 4), witness=gradient(at=(array([1, 1.12]),)), tolerance=1e-5)
@rule(_softmax_backward)
def softmax_with_small_weights_off_by_a_little(x):
    return jax.nn.softmax(100 * x)


def _standardised(x, hold=lambda r: r):
    centred = x - x.mean(-1, keepdims=True)
    rate = hold(lax.rsqrt((centred**2).mean(-1, keepdims=True)))
    return centred * rate, rate


def _standardise_backward(x, g, hold=lambda r: r):
    y, rate = _standardised(x, hold)
    return (rate * (g - g.mean(-1, keepdims=True) - y * (g * y).mean(-1, keepdims=True)),)


@body.wrong("second-order", normal(4, 3), witness=second_order())
@rule(lambda x, g: _standardise_backward(x, g, lax.stop_gradient))
def standardised_triples_with_a_rate_that_is_held(x):
    return _standardised(x)[0]


@body.wrong("other", normal(4, 2), witness=gradient(double=True))
@rule(lambda x, g: (_standardise_backward(x, g)[0] + 1e-7 * g * x,))
def standardised_pairs_with_a_little_that_is_no_rounding(x):
    return _standardised(x)[0]


@body.wrong(
    "nonlinear",
    normal(4, 2),
    witness=lambda case: (
        _pulled(case.fun, *case.args, by=2.0)[0],
        2 * _pulled(case.fun, *case.args)[0],
    ),
)
@rule(lambda x, g: (_standardise_backward(x, g)[0] + 1e-9 * g * g * x,))
def standardised_pairs_with_a_square_that_is_no_rounding(x):
    return _standardised(x)[0]


def _transport_backward(x, y, g):
    i, j = jnp.argsort(x), jnp.argsort(y)
    difference = x[i] - y[j]
    ahead, behind = jnp.where(difference >= 0, 1, -1), jnp.where(difference > 0, 1, -1)
    share = g / x.size
    d_x = jnp.zeros_like(x).at[i].set(share * ahead)
    return d_x, jnp.zeros_like(y).at[j].set(-share * behind)


@body.wrong(
    "region",
    normal(5),
    normal(5, seed=1),
    # what both move by alike changes nothing
    witness=lambda case: (sum(g[0] for g in _pulled(case.fun, *TIED)), np.float64(0)),
)
@rule(_transport_backward)
def transport_cost_with_two_signs_at_a_tie(x, y):
    """Each is between the one-sided slopes; together they are the slope of nothing."""
    return jnp.mean(jnp.abs(jnp.sort(x) - jnp.sort(y)))


@body.wrong("zero-region", normal(4), witness=gradient(at=(array(1.0, 1e-20),)))
@rule(lambda x, g: (2 * g * (jnp.abs(x) > 1e-15),))
def doubled_unless_it_is_tiny(x):
    return 2 * x
