"""Outputs: which is which where some are one object; wrong results of `forward` and of rules."""

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


def gradients(operation, output, x=3.0):
    """The gradient of one of the outputs, without jit and with it."""
    gradient = jax.grad(lambda x: operation.apply(x)[output])
    return float(gradient(x)), float(jax.jit(gradient)(x))


def doubled(outputs):
    """An operation of two outputs; those of x, 2x and what `outputs` marks."""

    class Op(jaxfn.Function):
        @staticmethod
        def forward(ctx, x):
            return outputs(ctx, x)

        @staticmethod
        def backward(ctx, first, second):
            return 2 * first + 3 * second

    return Op


@pytest.mark.parametrize("shown", [0, 1])
def test_an_output_and_its_stopped_self(shown):
    """Eagerly `stop_gradient` may return the object that it is given."""

    def outputs(ctx, x):
        y = 2 * x
        stopped = jax.lax.stop_gradient(y)
        ctx.mark_non_differentiable(stopped)
        return (y, stopped) if shown else (stopped, y)

    factors = [2.0, 3.0]
    factors[shown] = 0.0
    for output, factor in enumerate(factors):
        assert gradients(doubled(outputs), output) == (factor, factor)


def test_one_object_as_both_outputs():
    for outputs in (lambda ctx, x: (x, x), lambda ctx, x: (y := 2 * x, y)):
        for output, factor in enumerate([2.0, 3.0]):
            assert gradients(doubled(outputs), output) == (factor, factor)


def test_one_object_as_both_outputs_both_marked():
    def outputs(ctx, x):
        y = 2 * x
        ctx.mark_non_differentiable(y, y)
        return y, y

    for output in range(2):
        assert gradients(doubled(outputs), output) == (0.0, 0.0)


@pytest.mark.parametrize("transform", [lambda fun: fun, jax.jit])
def test_one_object_as_both_outputs_marked_once(transform):
    def outputs(ctx, x):
        y = 2 * x
        ctx.mark_non_differentiable(y)
        return y, y

    message = "is outputs 0 and 1 of forward at once: expected one of them to be another array"
    with pytest.raises(ValueError, match=message):
        transform(jax.grad(lambda x: doubled(outputs).apply(x)[1]))(3.0)


def test_an_input_that_is_returned():
    """With a gradient, or marked: the other output keeps its own."""

    def outputs(ctx, x):
        return x, 2 * x

    def with_mark(ctx, x):
        ctx.mark_non_differentiable(x)
        return x, 2 * x

    assert gradients(doubled(outputs), 0) == (2.0, 2.0)
    assert gradients(doubled(with_mark), 0) == (0.0, 0.0)
    for either in outputs, with_mark:
        assert gradients(doubled(either), 1) == (3.0, 3.0)


def test_a_mark_of_what_is_no_output():
    def outputs(ctx, x):
        ctx.mark_non_differentiable(3 * x)
        return x, 2 * x

    with pytest.raises(ValueError, match="which is no output of forward"):
        doubled(outputs).apply(3.0)
