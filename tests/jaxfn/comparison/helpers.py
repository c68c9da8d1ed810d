"""What the tests of `compare` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.comparison import Comparison, compare
from jaxfn.verification import GradcheckReport

PASSED = GradcheckReport("proved elsewhere", "pass", ())
FAILED = GradcheckReport("refuted elsewhere", "fail", (), "the gradient is something else")


def quick(fun: Callable[..., Any], args: tuple[Any, ...], **options: Any) -> Comparison:
    """A comparison whose rule is taken for proved, and that is timed only once."""
    return compare(fun, args, **{"proof": PASSED, "rounds": 1, "seconds": 0.01} | options)


def normal(*shape: int, dtype: Any = np.float32, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.RandomState(seed).standard_normal(shape), dtype)


def with_rule(
    fun: Callable[..., Any], forward: Callable[..., Any], backward: Callable[..., Any]
) -> Callable[..., Any]:
    decorated = jax.custom_vjp(fun)
    decorated.defvjp(forward, backward)
    return decorated


def newton_s_root(x: jax.Array) -> jax.Array:
    """A while loop, which autodiff cannot differentiate backwards."""
    return jax.lax.while_loop(
        lambda y: jnp.any(y**2 > x * (1 + 1e-5)), lambda y: (y + x / y) / 2, x
    )


def sin_of_numpy(x: jax.Array) -> jax.Array:
    """A callback, which autodiff cannot differentiate at all."""
    result = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.pure_callback(np.sin, result, x, vmap_method="expand_dims")


root = with_rule(newton_s_root, lambda x: (newton_s_root(x),) * 2, lambda y, g: (g / (2 * y),))
called_sin = with_rule(sin_of_numpy, lambda x: (sin_of_numpy(x), x), lambda x, g: (g * jnp.cos(x),))

# sin with the rule that autodiff derives, with one that keeps more, and with a slow one.
plain_sin = with_rule(jnp.sin, lambda x: (jnp.sin(x), jnp.cos(x)), lambda cos, g: (g * cos,))
hoarding_sin = with_rule(
    jnp.sin,
    lambda x: (jnp.sin(x), (jnp.cos(x), jnp.stack([x, x, x]) * 2)),
    lambda kept, g: (g * kept[0] + 0 * kept[1].sum(0),),
)


def _slow_backward(x: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    return (jax.lax.fori_loop(0, 2000, lambda _, y: jnp.tanh(y), x) * 1e-30 + g * jnp.cos(x),)


slow_sin = with_rule(jnp.sin, lambda x: (jnp.sin(x), x), _slow_backward)
wrong_sin = with_rule(jnp.sin, lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.sin(x),))
