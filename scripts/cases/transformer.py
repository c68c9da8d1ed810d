"""Cases of what transformers are made of beside products: norms, gated units, dropout."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

import jaxfn
from scripts.cases.case import Case, make_case

_partial = functools.partial
_SHAPE = ((4, 6), True)
_FEATURES = ((6,), False)
_X = (2048, 1024)
_RATE = 0.375


def rms_norm_reference(x: jax.Array, scale: jax.Array | None = None) -> jax.Array:
    """Each row over √(Σ x²/n + ε)."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    size = jnp.sum(wide**2, axis=-1, keepdims=True) / x.shape[-1]
    y = wide / jnp.sqrt(size + 1e-6)
    return (y if scale is None else y * scale).astype(x.dtype)


def layer_norm_reference(
    x: jax.Array, scale: jax.Array | None = None, bias: jax.Array | None = None
) -> jax.Array:
    """(x − mean)/√(variance + ε), the two by JAX."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    variance = jnp.var(wide, axis=-1, keepdims=True)
    y = (wide - jnp.mean(wide, axis=-1, keepdims=True)) / jnp.sqrt(variance + 1e-6)
    y = y if scale is None else y * scale
    return (y if bias is None else y + bias).astype(x.dtype)


def silu_reference(x: jax.Array) -> jax.Array:
    """x/(1 + e⁻ˣ)."""
    return x / (1 + jnp.exp(-x))


def gelu_reference(x: jax.Array, *, approximate: bool = True) -> jax.Array:
    """x·(1 + tanh z)/2, or with erf(x/√2) in place of tanh z."""
    if approximate:
        return x * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
    return x * (1 + jax.scipy.special.erf(x / math.sqrt(2))) / 2


def swiglu_reference(gate: jax.Array, up: jax.Array) -> jax.Array:
    return silu_reference(gate) * up


def geglu_reference(gate: jax.Array, up: jax.Array, *, approximate: bool = True) -> jax.Array:
    return gelu_reference(gate, approximate=approximate) * up


def _dropout_of_each_example(x: jax.Array) -> jax.Array:
    """The same elements of each example, so that a batch may be cut in two."""
    key = jax.random.key(0)
    return jax.vmap(lambda example: jaxfn.dropout(key, example, _RATE))(x)


def dropout_reference(x: jax.Array) -> jax.Array:
    """A mask of 0 and 1/(1 − rate) times x."""
    bits = jax.random.bits(jax.random.key(0), x.shape[1:], "uint32")
    mask = jnp.sign(jnp.floor(bits / (_RATE * 2.0**32))) / (1 - _RATE)
    return x * mask.astype(x.dtype)


_case = _partial(make_case, timed_shapes=(_X,))
_variant = _partial(make_case, every_transformation=False)

CASES: tuple[Case, ...] = (
    _case(
        "rms_norm",
        jaxfn.rms_norm,
        rms_norm_reference,
        _SHAPE,
        _FEATURES,
        timed_shapes=(_X, (1024,)),
    ),
    _variant("rms_norm_no_scale", jaxfn.rms_norm, rms_norm_reference, _SHAPE, timed_shapes=(_X,)),
    _case(
        "layer_norm",
        jaxfn.layer_norm,
        layer_norm_reference,
        _SHAPE,
        _FEATURES,
        _FEATURES,
        timed_shapes=(_X, (1024,), (1024,)),
    ),
    _variant(
        "layer_norm_no_bias",
        jaxfn.layer_norm,
        layer_norm_reference,
        _SHAPE,
        _FEATURES,
        timed_shapes=(_X, (1024,)),
    ),
    _variant(
        "layer_norm_alone", jaxfn.layer_norm, layer_norm_reference, _SHAPE, timed_shapes=(_X,)
    ),
    _case("silu", jaxfn.silu, silu_reference, _SHAPE),
    _variant("gelu", jaxfn.gelu, gelu_reference, _SHAPE, timed_shapes=(_X,)),
    _variant(
        "gelu_exact",
        _partial(jaxfn.gelu, approximate=False),
        _partial(gelu_reference, approximate=False),
        _SHAPE,
        timed_shapes=(_X,),
    ),
    _case("swiglu", jaxfn.swiglu, swiglu_reference, _SHAPE, _SHAPE, timed_shapes=(_X, _X)),
    _variant("geglu", jaxfn.geglu, geglu_reference, _SHAPE, _SHAPE, timed_shapes=(_X, _X)),
    _variant(
        "geglu_exact",
        _partial(jaxfn.geglu, approximate=False),
        _partial(geglu_reference, approximate=False),
        _SHAPE,
        _SHAPE,
        timed_shapes=(_X, _X),
    ),
    _case("dropout", _dropout_of_each_example, dropout_reference, _SHAPE),
)
