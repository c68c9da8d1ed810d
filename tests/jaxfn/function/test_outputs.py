"""Wrong results of a forward pass, of a `jvp` and of a `vmap` rule."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import pytest

import jaxfn

pytestmark = pytest.mark.numbers


def with_rule(name, rule):
    class Op(jaxfn.Function):
        @staticmethod
        def forward(x):
            return 2 * x, x

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, one, two):
            return one

    setattr(Op, name, staticmethod(rule))
    return Op.apply


def test_wrong_tangents():
    for returned, error, message in [
        (
            lambda dot: dot,
            ValueError,
            "Op.jvp returned 1 value, expected 2, for output 0, output 1",
        ),
        (
            lambda dot: (dot, dot[:1]),
            ValueError,
            "Op.jvp returned for output 1 a float32[1], expected float32[3]",
        ),
        (
            lambda dot: (dot.astype("float16"), dot),
            TypeError,
            "Op.jvp returned for output 0 a float16[3], expected float32[3]",
        ),
    ]:
        operation = with_rule("jvp", lambda ctx, dot, returned=returned: returned(dot))
        with pytest.raises(error, match=re.escape(message)):
            jax.jvp(operation, (jnp.ones(3),), (jnp.ones(3),))
    operation = with_rule("jvp", lambda ctx, dot: ctx.saved_tensors)
    with pytest.raises(ValueError, match=r"call ctx\.save_for_forward"):
        jax.jvp(operation, (jnp.ones(3),), (jnp.ones(3),))


def test_a_wrong_vmap_rule():
    operation = with_rule("vmap", lambda info, in_dims, x: x)
    with pytest.raises(TypeError, match=r"Op.vmap returned .*, expected \(output, out_dims\)"):
        jax.vmap(operation)(jnp.ones(3))


def test_wrong_results():
    class Op(jaxfn.Function):
        @staticmethod
        def forward(ctx, x):
            return x, "text"

        @staticmethod
        def backward(ctx, grad):
            return grad

    with pytest.raises(TypeError, match=r"Op\.forward returned 'text', expected arrays"):
        Op.apply(1.0)

    single = jaxfn.function(lambda x: 2 * x)
    single.defbackward(lambda _, grad: grad)
    with pytest.raises(TypeError, match="expected a pair: the output and what backward needs"):
        single(jnp.ones(3))
