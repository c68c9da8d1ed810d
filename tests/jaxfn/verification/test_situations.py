"""Situations known from public reports on other checkers and rules: what is said of each."""

import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxfn
from jaxfn.verification import gradcheck
from tests.jaxfn.verification.layers.test_transformations import mapped
from tests.jaxfn.verification.test_gradcheck import ruled


@dataclass(frozen=True)
class Situation:
    """A call, the verdict that it is to have, and words of the report."""

    fun: Any
    args: tuple[Any, ...]
    verdict: str
    words: str
    options: dict[str, Any] = field(default_factory=dict)


class Shown(jaxfn.Function):
    """A value beside its doubled self; eagerly both outputs may be one object."""

    @staticmethod
    def forward(ctx, x):
        y = 2 * x
        z = jax.lax.stop_gradient(y)
        ctx.mark_non_differentiable(z)
        return z, y

    @staticmethod
    def backward(ctx, gz, gy):
        return 2 * gy


softplus_wrong_at_zero = ruled(
    jax.nn.softplus, lambda x, g: (g * jnp.where(x == 0, 3.0, jax.nn.sigmoid(x)),)
)
take = ruled(lambda x, i: x[i], lambda x, i, g: (jnp.zeros(3).at[i].set(g), None))

double_without_nan = jax.custom_jvp(lambda x: 2 * x)
double_without_nan.defjvp(lambda p, t: (double_without_nan(*p), jnp.nan_to_num(2 * t[0])))

masked = functools.partial(jax.custom_vjp, nondiff_argnums=(1,))(lambda a, m: a * m)
masked.defvjp(lambda a, m: (a * m, None), lambda m, _, g: (g * m,))


def off_by(share):
    """A sine whose gradient comes from the host, and is larger by the share now and then."""
    random = np.random.RandomState(0)

    def host(x, g):
        y = np.cos(x) * g
        return (y * (1 + share * random.choice([0, 1], y.shape))).astype(y.dtype)

    def backward(x, g):
        return (jax.pure_callback(host, jax.typeof(x), x, g, vmap_method="sequential"),)

    return ruled(jnp.sin, backward)


double_that_writes = jax.custom_vjp(lambda x, seen: 2 * x)


def _written(seen, g):
    seen[...] = g
    return 2 * g, None


double_that_writes.defvjp(lambda x, seen: (2 * x, seen), _written)

SITUATIONS = {
    "A, outputs that are one object": Situation(
        lambda x: Shown.apply(x)[1], (np.array([3.0, -1], np.float32),), "pass", "PASS"
    ),
    "B, autodiff at a kink of parts": Situation(
        lambda x: jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x))),
        (jnp.zeros(3),),
        "fail",
        "slope 0 by the rule, between 0.5 and 0.5 by differences",
    ),
    "C, wrong at zero, which is not given": Situation(
        softplus_wrong_at_zero,
        (jnp.array([0.7, -1.5]),),
        "fail",
        "the gradient of x is wrong where x == 0: 6 times the expected value there",
    ),
    "D, clipping at second order": Situation(
        lambda x: jaxfn.clip_gradient(x, -1.0, 1.0),
        (jnp.array([1.0, -0.5]),),
        "pass",
        "second order     pass",
        {"linear_in_cotangent": False},
    ),
    "E, an operation that vmap breaks": Situation(
        mapped(None),
        (jnp.ones(2),),
        "fail",
        "the rule raises, where the function without it works, under vmap",
    ),
    "F, set for add of a permutation": Situation(
        take,
        (jnp.array([1.0, 5, 2]), jnp.arange(3)),
        "fail",
        "integers repeated in i",
    ),
    "G, a tangent rule that is not linear": Situation(
        double_without_nan,
        (jnp.ones(2),),
        "fail",
        "the tangent rule is not linear in the tangents",
    ),
    "H, a static argument": Situation(
        masked,
        (jnp.ones(2), jnp.array([True, False])),
        "pass",
        "m goes to nondiff_argnums of a rule",
    ),
    "I, one rounding from call to call": Situation(
        off_by(2e-16),
        (jnp.ones(3),),
        "pass",
        "warning: not deterministic: two calls with the same arguments differ",
    ),
    "I, one percent from call to call": Situation(
        off_by(1e-2), (jnp.ones(3),), "fail", "two calls with the same arguments differ"
    ),
    "J, a reference as an argument": Situation(
        double_that_writes, (jnp.ones(2), jax.new_ref(jnp.zeros(2))), "pass", "PASS"
    ),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_situation(name):
    one = SITUATIONS[name]
    report = gradcheck(one.fun, one.args, raise_exception=False, **one.options)
    text = report.text(verbose=True)
    assert report.verdict == one.verdict, text
    assert one.words in text


def test_the_gradient_of_outputs_that_are_one_object():
    gradient = jax.grad(lambda x: Shown.apply(x)[1])
    assert float(gradient(3.0)) == float(jax.jit(gradient)(3.0)) == 2.0
