"""`ctx`: what it hands to the rules, and how it may be used."""

from __future__ import annotations

import itertools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxfn
from tests.jaxfn.function.operations import X, assert_close
from tests.parity.functions_arrays import Sort

pytestmark = pytest.mark.numbers


def test_attributes_arrays_become_residuals_and_the_rest_is_static():
    class Kept(jaxfn.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.tree = {"twice": 2 * x, "name": "static", "table": np.arange(3)}
            y, ctx.pullback = jax.vjp(jnp.sin, x)
            return y

        @staticmethod
        def backward(ctx, grad):
            assert isinstance(ctx.tree["table"], np.ndarray)
            assert ctx.tree["name"] == "static"
            (sine,) = ctx.pullback(grad)
            return sine + 0 * ctx.tree["twice"]

    x = jnp.arange(3.0)
    for grad in (jax.grad, lambda f: jax.jit(jax.grad(f)), lambda f: jax.grad(jax.jit(f))):
        assert_close(grad(lambda x: Kept.apply(x).sum())(x), jnp.cos(x))
    kept = [leaf for leaf in jax.tree.leaves(jax.vjp(Kept.apply, x)[1]) if leaf.size]
    assert sorted(np.asarray(leaf).tolist() for leaf in kept) == sorted(
        [[0.0, 2.0, 4.0], jnp.cos(x).tolist()]
    )


def test_materialize_grads():
    seen = {}

    class Pair(jaxfn.Function):
        @staticmethod
        def forward(ctx, x, materialize):
            ctx.set_materialize_grads(materialize)
            return x, 2 * x, jnp.zeros(2, int)

        @staticmethod
        def backward(ctx, one, two, index):
            seen.update(two=two, index=index)
            return one, None

    for materialize in (True, False):
        grad = jax.grad(lambda x, m=materialize: Pair.apply(x, m)[0].sum())(jnp.ones(3))
        chex.assert_trees_all_equal(grad, jnp.ones(3))
        if materialize:
            chex.assert_trees_all_equal(seen, {"two": jnp.zeros(3), "index": jnp.zeros(2, int)})
        else:
            assert seen == {"two": None, "index": None}


def test_no_gradient_flows_through_a_marked_output():
    class Marked(jaxfn.Function):
        @staticmethod
        def forward(ctx, x):
            y = 2 * x
            ctx.mark_non_differentiable(y)
            return x, y

        @staticmethod
        def backward(ctx, one, two):
            return one + two

    def loss(x):
        one, two = Marked.apply(x)
        return jnp.sum(one) + jnp.sum(5 * two)

    for run in (loss, jax.jit(loss)):
        chex.assert_trees_all_equal(jax.grad(run)(jnp.ones(3)), jnp.ones(3))
    values, index = jax.vmap(Sort.apply)(X)
    chex.assert_trees_all_equal(values, jnp.take_along_axis(X, index, -1))


def test_attributes_may_depend_on_what_is_needed():
    class Flagged(jaxfn.Function):
        @staticmethod
        def forward(ctx, x, y):
            ctx.flags = ctx.needs_input_grad
            ctx.save_for_backward(x, y)
            return x * y

        @staticmethod
        def backward(ctx, grad):
            x, y = ctx.saved_tensors
            return grad * y if ctx.flags[0] else None, grad * x if ctx.flags[1] else None

    stop = jax.lax.stop_gradient
    for order in itertools.permutations(range(3)):
        jitted = jax.jit(lambda x, y: Flagged.apply(x, y))  # traced anew

        def loss(x, y, jitted=jitted, order=order):
            calls = [(x, y), (stop(x), y), (x, stop(y))]
            return sum((i + 1) * jitted(*calls[i]) for i in order)

        assert jax.grad(loss, (0, 1))(2.0, 3.0) == (4 * 3.0, 3 * 2.0)
    # One after the other.
    assert jax.grad(jitted, 0)(2.0, 3.0) == 3.0
    assert jax.grad(jitted, 1)(2.0, 3.0) == 2.0


def test_attributes_that_cannot_be_told_apart():
    class Odd(jaxfn.Function):
        @staticmethod
        def forward(ctx, x, y):
            ctx.one_alone = ctx.needs_input_grad in [(True, False), (False, True)]
            ctx.save_for_backward(x, y)
            return x * y

        @staticmethod
        def backward(ctx, grad):
            x, y = ctx.saved_tensors
            return grad * y, grad * x

    jitted, stop = jax.jit(Odd.apply), jax.lax.stop_gradient
    with pytest.raises(ValueError, match=r"Odd: attributes of ctx depend on ctx\.needs_input_grad"):
        jax.grad(lambda x: jitted(x, x) + jitted(stop(x), x))(2.0)
    assert jax.grad(lambda x: Odd.apply(x, x) + Odd.apply(stop(x), x))(2.0) == 6.0


def in_forward(action, backward=lambda ctx, grad: grad):
    class Op(jaxfn.Function):
        @staticmethod
        def forward(ctx, x):
            action(ctx, x)
            return x

    Op.backward = staticmethod(backward)
    return Op.apply


def set_flag(ctx):
    ctx.flag = 3


def delete_mask(ctx):
    del ctx.mask


IN_BACKWARD = [
    (
        lambda ctx: ctx.saved_tensors,
        ValueError,
        "Op.backward asked for ctx.saved_tensors, but nothing was saved: call "
        "ctx.save_for_backward(...) in forward or setup_context",
    ),
    (
        lambda ctx: ctx.maks,
        AttributeError,
        "Op: ctx has no attribute maks; set in forward or setup_context: mask",
    ),
    (
        set_flag,
        AttributeError,
        "Op: on ctx, flag was set after forward; what backward needs is set",
    ),
    (delete_mask, AttributeError, "Op: on ctx, mask was deleted after forward"),
    (
        lambda ctx: ctx.save_for_backward(X),
        AttributeError,
        "Op: on ctx, save_for_backward was called after forward",
    ),
    (
        lambda ctx: ctx.set_materialize_grads(False),
        AttributeError,
        "Op: on ctx, set_materialize_grads was called after forward",
    ),
]


@pytest.mark.parametrize(("action", "error", "message"), IN_BACKWARD)
def test_wrong_uses_of_the_context_in_backward(action, error, message):
    def set_mask(ctx, x):
        ctx.mask = x > 0

    def backward(ctx, grad):
        action(ctx)
        return grad

    with pytest.raises(error, match=re.escape(message)):
        jax.grad(in_forward(set_mask, backward))(1.0)


def save_twice(ctx, x):
    ctx.save_for_backward(x)
    ctx.save_for_backward(x)


def set_reserved(ctx, x):
    ctx.needs_input_grad = (True,)


def set_closure(ctx, x):
    ctx.pullback = lambda grad: grad * x


IN_FORWARD = [
    (
        lambda ctx, x: ctx.save_for_backward(x, "mode"),
        TypeError,
        "Op: ctx.save_for_backward takes arrays, numbers and None, got str at position 1; set it "
        "as an attribute of ctx",
    ),
    (save_twice, ValueError, "Op: ctx.save_for_backward was called twice"),
    (
        lambda ctx, x: ctx.saved_tensors,
        ValueError,
        "Op: ctx.saved_tensors is for backward, not for forward",
    ),
    (set_reserved, AttributeError, "Op: ctx.needs_input_grad is not to be set"),
    (
        lambda ctx, x: ctx.mark_dirty(x),
        TypeError,
        "Op: ctx.mark_dirty has no counterpart, JAX arrays do not change in place; return the new "
        "array instead",
    ),
    (
        lambda ctx, x: ctx.mark_non_differentiable(x + 1),
        ValueError,
        "Op: ctx.mark_non_differentiable got float32[], which is no output of forward",
    ),
    (
        set_closure,
        TypeError,
        "Op: the function ctx.pullback closes over the traced value x; save the value instead",
    ),
]


@pytest.mark.parametrize(("action", "error", "message"), IN_FORWARD)
def test_wrong_uses_of_the_context_in_forward(action, error, message):
    with pytest.raises(error, match=re.escape(message)):
        jax.jit(jax.grad(in_forward(action)))(1.0)


def test_a_context_that_is_kept_is_closed():
    kept = []
    in_forward(lambda ctx, x: kept.append(ctx))(jnp.ones(3))
    with pytest.raises(AttributeError, match="Op: on ctx, flag was set after forward"):
        kept[0].flag = 1
