"""Numbers that no operation can work with are refused where they can be seen, and only there."""

from __future__ import annotations

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxfn

X = jnp.array([[-1.5, 0.25, 3.0]])
INF, NAN = float("inf"), float("nan")

# What an argument refuses, and what it says it expected. (Surrogates: `test_surrogates.py`.)
POSITIVE = ((0.0, -0.5, INF, NAN), "positive and finite")
LIMIT = ((-0.5, NAN), "at least 0")
FINITE = ((INF, -INF, NAN), "finite")
BOUND = ((NAN,), "a number")
ARGUMENTS = [
    ("lsq: expected step_size", lambda s: jaxfn.lsq(X, s), POSITIVE),
    ("fake_quantize: expected scale", lambda s: jaxfn.fake_quantize(X, s), POSITIVE),
    ("pact: expected alpha", lambda a: jaxfn.pact(X, a), POSITIVE),
    ("gumbel_softmax: expected temperature", lambda t: sample(temperature=t), POSITIVE),
    ("swish_sign: expected beta", lambda b: jaxfn.swish_sign(X, b), POSITIVE),
    ("sign_ste: expected clip_value", lambda c: jaxfn.sign_ste(X, c), LIMIT),
    ("ternary_ste: expected threshold", lambda t: jaxfn.ternary_ste(X, t), LIMIT),
    ("ternary_ste: expected clip_value", lambda c: jaxfn.ternary_ste(X, 0.1, c), LIMIT),
    ("clip_gradient_norm: expected max_norm", lambda n: jaxfn.clip_gradient_norm(X, n), LIMIT),
    ("scale_gradient: expected scale", lambda s: jaxfn.scale_gradient(X, s), FINITE),
    ("reverse_gradient: expected scale", lambda s: jaxfn.reverse_gradient(X, s), FINITE),
    ("clip_gradient: expected low", lambda b: jaxfn.clip_gradient(X, b, 1), BOUND),
    ("clip_ste: expected high", lambda b: jaxfn.clip_ste(X, 0, b), BOUND),
]
each_argument = pytest.mark.parametrize(
    ("start", "call", "refused"), ARGUMENTS, ids=[start for start, _, _ in ARGUMENTS]
)


def sample(**options):
    return jaxfn.gumbel_softmax(jax.random.key(0), X, **options)


@each_argument
@pytest.mark.parametrize("kind", [float, np.float32, np.array, jnp.bfloat16, jnp.array])
def test_a_wrong_number_is_refused(start, call, refused, kind):
    wrong, expected = refused
    call(kind(0.5))
    for value in wrong:
        message = f"{start} to be {expected}, got {value:g}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call(kind(value))
        constant = kind(value)
        with pytest.raises(ValueError, match=re.escape(message)):  # a constant is seen within jit
            jax.jit(lambda c=constant: call(c))()


@each_argument
def test_what_is_traced_is_left_alone(start, call, refused):
    del start
    wrong, _ = refused
    expected = jax.eval_shape(call, jnp.float32(1)).shape
    for value in jnp.array(wrong):
        assert jax.jit(call)(value).shape == expected
        assert jax.grad(lambda v: jnp.sum(call(v)))(value).shape == ()
    assert jax.vmap(call)(jnp.array(wrong)).shape == (len(wrong), *expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: jaxfn.lsq(X, a, axis=1), "step_size to be positive and finite, got -2 at [1]"),
        (lambda a: jaxfn.fake_quantize(X, a, axis=1), "scale to be positive and finite, got -2 at"),
    ],
)
def test_of_many_numbers_the_first_wrong_one_is_named(call, message):
    for value in (jnp.array([1.0, -2.0, NAN]), nnx.Param(jnp.array([1.0, -2.0, NAN]))):
        with pytest.raises(ValueError, match=re.escape(message)):
            call(value)


@pytest.mark.parametrize("clip", [jaxfn.clip_ste, jaxfn.clip_gradient])
def test_bounds_are_in_order(clip):
    with pytest.raises(ValueError, match=r"expected low at most high, got low 1 and high 0\.5"):
        clip(X, jnp.float32(1), np.float32(0.5))
    chex.assert_trees_all_equal(clip(X, -INF, INF), X)  # no bounds
    clip(X, jnp.float32(1), 1)
    jax.jit(clip)(X, 1.0, 0.5)


@pytest.mark.parametrize("limit", [0.0, INF])
def test_a_limit_may_be_zero_or_infinite(limit):
    jaxfn.sign_ste(X, limit)
    jaxfn.ternary_ste(X, 0.1, jnp.float32(limit))
    gradient = jax.grad(lambda x: jaxfn.clip_gradient_norm(x, limit).sum())(X)
    chex.assert_trees_all_equal(gradient, jnp.full_like(X, 1.0 if limit else 0.0))
