"""`jaxfn.Function` under every transformation, in both modes, and with a `vmap` rule."""

from __future__ import annotations

import functools

import chex
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import jaxfn
from tests.jaxfn.function.operations import (
    B,
    Pruned,
    Scaled,
    W,
    X,
    assert_close,
    linear,
    normal,
    plain_linear,
    scaled_reference,
    total,
)
from tests.parity.functions_elementwise import (
    Cube,
    Multiply,
    ReverseGradient,
    SinCos,
)

pytestmark = pytest.mark.numbers

GRADS = {
    "eager": lambda fun: jax.grad(fun, (0, 1, 2)),
    "jit": lambda fun: jax.jit(jax.grad(fun, (0, 1, 2))),
    "inner_jit": lambda fun: jax.grad(jax.jit(fun), (0, 1, 2)),
    "checkpoint": lambda fun: jax.jit(jax.grad(jax.checkpoint(fun), (0, 1, 2))),
    "export": lambda fun: (
        lambda *args: (
            jax.export.export(jax.jit(jax.grad(fun, (0, 1, 2))), platforms=("cpu", "cuda", "tpu"))(
                *args
            )
        ).call(*args)
    ),
    "cond": lambda fun: jax.grad(
        lambda *args: jax.lax.cond(args[0].sum() > -99, fun, lambda *a: 0.0, *args), (0, 1, 2)
    ),
}


@pytest.mark.parametrize("grad", GRADS.values(), ids=GRADS)
def test_transformations_of_the_gradient(grad):
    assert_close(grad(total(linear))(X, W, B), jax.grad(total(plain_linear), (0, 1, 2))(X, W, B))


@pytest.mark.parametrize("outer", [True, False], ids=["vmap_of_grad", "grad_of_vmap"])
@pytest.mark.parametrize("batched", [(0, None), (None, 0), (0, 0)], ids=str)
@pytest.mark.parametrize(
    "operation", [Pruned.apply, Scaled.apply, Multiply.apply], ids=lambda f: f.__qualname__
)
def test_vmap(operation, batched, outer):
    x, y = (normal(*[5] * (axis == 0), 3, 3, seed=i) for i, axis in enumerate(batched))
    reference = {Pruned: jnp.matmul, Scaled: lambda x, y: 3 * scaled_reference(x, y)}
    reference = next((r for k, r in reference.items() if k.apply is operation), jnp.multiply)

    def gradients(fun):
        if outer:
            return jax.vmap(jax.grad(lambda *a: jnp.sum(fun(*a)), (0, 1)), batched)(x, y)
        return jax.grad(lambda *a: jnp.sum(jax.vmap(fun, batched)(*a)), (0, 1))(x, y)

    assert_close(*jax.jit(lambda: (gradients(operation), gradients(reference)))())


def test_scan():
    def loss(fun, x, weights):
        return jnp.sum(jax.lax.scan(lambda h, w: (jnp.tanh(fun(h, w)), None), x, weights)[0])

    weights = normal(5, 3, 3)
    for operation in (Pruned.apply, lambda x, w: linear(x, w.T)):
        actual = jax.jit(jax.grad(functools.partial(loss, operation), (0, 1)))(X, weights)
        expected = jax.grad(functools.partial(loss, jnp.matmul), (0, 1))(X, weights)
        assert_close(actual, expected)


def test_reverse_over_reverse_and_forward_over_reverse():
    def second(fun, outer):
        return outer(jax.grad(total(fun), 1), 1)(X, W, B)

    for outer in (jax.jacrev, jax.jacfwd):
        both = jax.jit(lambda outer=outer: (second(linear, outer), second(plain_linear, outer)))
        assert_close(*both())


@pytest.mark.parametrize("grad_inside", [True, False], ids=["grad_inside", "grad_outside"])
@pytest.mark.parametrize("operation", [linear, lambda *a: Scaled.apply(linear(*a), 1 / 6.0)])
def test_shard_map_with_its_default_checks(grad_inside, operation):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    specs = (P("data"), P(), P())
    reference = plain_linear if operation is linear else lambda *a: plain_linear(*a) ** 2 / 2

    def loss(*args):
        return jax.lax.psum(jnp.sum(operation(*args)), "data")

    if grad_inside:
        gradients = jax.shard_map(
            jax.grad(loss, (0, 1, 2)), mesh=mesh, in_specs=specs, out_specs=specs
        )
    else:
        sharded = jax.shard_map(loss, mesh=mesh, in_specs=specs, out_specs=P())
        gradients = jax.grad(sharded, (0, 1, 2))
    expected = jax.grad(lambda *a: jnp.sum(reference(*a)), (0, 1, 2))(X, W, B)
    assert_close(jax.jit(gradients)(X, W, B), expected, 1e-5)


def test_shard_map_with_an_unused_output():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    for operation in (Cube.apply, SinCos.apply):
        grad = jax.grad(lambda x, f=operation: jnp.sum(f(x)[0]))
        sharded = jax.shard_map(grad, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
        assert_close(sharded(X), grad(X))


def test_shard_map_with_a_constant_gradient():
    class Ones(jaxfn.Function):
        @staticmethod
        def forward(ctx, x, weight):
            return x * weight

        @staticmethod
        def backward(ctx, grad):
            return jnp.ones((2, 3)), jnp.ones(3)  # the same on all devices

    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    grad = jax.grad(lambda x, w: jnp.sum(Ones.apply(x, w)), (0, 1))
    specs = (P("data"), P())
    sharded = jax.shard_map(grad, mesh=mesh, in_specs=specs, out_specs=specs)
    # Each device's rows contribute to the gradient of the weight that they share.
    assert_close(sharded(X, W[0]), (jnp.ones((4, 3)), jnp.full(3, 2.0)))


def test_no_tracer_leaks():
    with jax.checking_leaks():
        jax.jit(jax.grad(total(linear), (0, 1)))(X, W, B)
        jax.grad(jax.jit(total(Scaled.apply)))(X, X)
        jax.jit(jax.hessian(total(Multiply.apply)))(X, X)
        jax.vmap(jax.grad(lambda x: ReverseGradient.apply(x, 0.5)))(X[0])


# Forward mode.


def test_both_modes_use_their_own_rule():
    args, dots = (X, X + 3), (X - 1, X)
    _, tangent = jax.jvp(Scaled.apply, args, dots)
    _, expected = jax.jvp(lambda *a: 2 * scaled_reference(*a), args, dots)
    assert_close(tangent, expected)
    assert_close(jax.linearize(Scaled.apply, *args)[1](*dots), expected)
    assert_close(jax.jvp(jax.jit(Scaled.apply), args, dots)[1], expected)
    grads = jax.grad(lambda *a: jnp.sum(Scaled.apply(*a)), (0, 1))(*args)
    assert_close(grads, jax.grad(lambda *a: 3 * jnp.sum(scaled_reference(*a)), (0, 1))(*args))


def test_jacobians_and_hessians_of_every_mode():
    x, y = X[0], X[1]
    for outer in (jax.jacfwd, jax.jacrev):
        for inner, factor in ((jax.jacfwd, 2), (jax.jacrev, 3)):
            actual = outer(inner(lambda x, y: jnp.sum(Scaled.apply(x, y)), 0), 1)
            assert_close(jax.jit(actual)(x, y), factor * np.diag(2 * x))
    both = jax.jit(jax.hessian(lambda *a: jnp.sum(Multiply.apply(*a)), (0, 1)))(x, y)
    assert_close(both, ((np.zeros((3, 3)), np.eye(3)), (np.eye(3), np.zeros((3, 3)))))


def test_without_backward_reverse_mode_is_the_transpose_of_jvp():
    class Sine(jaxfn.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_forward(jnp.cos(x))
            return jnp.sin(x), jnp.argmax(x)

        @staticmethod
        def jvp(ctx, dot):
            (cos,) = ctx.saved_tensors
            return cos * dot, None

    x = jnp.arange(3.0)
    assert_close(jax.grad(lambda x: jnp.sum(Sine.apply(x)[0]))(x), jnp.cos(x))
    assert_close(jax.jacfwd(lambda x: Sine.apply(x)[0])(x), jnp.diag(jnp.cos(x)))
    assert_close(jax.hessian(lambda x: jnp.sum(Sine.apply(x)[0]))(x), jnp.diag(-jnp.sin(x)))


def test_unmoved_arguments_have_zero_tangents_or_none():
    seen = []

    class Sum(jaxfn.Function):
        @staticmethod
        def forward(ctx, x, y, index, materialize):
            ctx.set_materialize_grads(materialize)
            return x + y

        @staticmethod
        def jvp(ctx, x_dot, y_dot, index_dot, materialize_dot):
            assert index_dot is None
            assert materialize_dot is None
            seen.append(y_dot)
            return x_dot if y_dot is None else x_dot + y_dot

    for materialize in (True, False):
        args = (jnp.arange(2), materialize)
        run = lambda x, a=args: Sum.apply(x, jnp.ones(2), *a)  # noqa: E731
        assert_close(jax.jvp(run, (jnp.ones(2),), (jnp.ones(2),))[1], jnp.ones(2))
    chex.assert_trees_all_equal(seen[0], jnp.zeros(2))
    assert seen[1] is None


def test_without_a_jvp_rule_forward_mode_is_an_error():
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(linear, (X, W), (X, W))
    assert_close(jax.jvp(jaxfn.autodiff(linear), (X, W), (X, W))[1], 2 * X @ W.T)


# Batching by a rule.


def test_a_vmap_rule_replaces_the_batching_of_forward():
    calls = []

    class Squares(jaxfn.Function):
        @staticmethod
        def forward(x, scale, name):
            return x**2 * scale, jnp.sum(x)

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs[:2])

        @staticmethod
        def backward(ctx, grad, grad_sum):
            x, scale = ctx.saved_tensors
            return 2 * x * scale * grad + grad_sum, jnp.sum(grad * x**2), None

        @staticmethod
        def vmap(info, in_dims, x, scale, name):
            calls.append((info.batch_size, in_dims, name))
            return ((x**2 * scale).T, x.sum(1)), (1, 0)

    def run(x):
        return Squares.apply(x, jnp.float32(3.0), "name")

    expected = (3 * X**2, X.sum(1))
    assert_close(jax.vmap(run)(X), expected)
    assert calls == [(4, (0, None, None), "name")]
    assert_close(jax.jit(jax.vmap(run, in_axes=1))(X.T), expected)
    grads = jax.vmap(jax.grad(lambda x: jnp.sum(run(x)[0]) + run(x)[1]))(X)
    assert_close(grads, 6 * X + 1)


def test_a_function_with_a_vmap_rule_has_second_derivatives():
    class Square(jaxfn.Function):
        @staticmethod
        def forward(x):
            return x**2

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, grad):
            return 2 * ctx.saved_tensors[0] * grad

        @staticmethod
        def vmap(info, in_dims, x):
            return Square.apply(x), 0

    cubed = lambda x: x * Square.apply(x)  # noqa: E731
    assert_close(jax.vmap(jax.grad(jax.grad(cubed)))(X[0]), 6 * X[0])
