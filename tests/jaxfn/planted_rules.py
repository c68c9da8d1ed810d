"""What the tests of `autodiff` share: rules that are wrong on purpose, and places to put them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


def body(x):
    """What the functions under test compute, elementwise."""
    return jnp.sin(x) * x


def with_custom_vjp(fun):
    """`fun` with a wrong reverse rule."""
    decorated = jax.custom_vjp(fun)
    decorated.defvjp(
        lambda *args: (fun(*args), args),
        lambda args, g: jax.tree.map(lambda x: jnp.full_like(x, 99.0), args),
    )
    return decorated


def with_custom_jvp(fun):
    """`fun` with a wrong forward rule."""
    decorated = jax.custom_jvp(fun)
    decorated.defjvp(lambda primals, tangents: (fun(*primals), 99.0 * tangents[0]))
    return decorated


def with_custom_gradient(fun):
    return jax.custom_gradient(lambda x: (fun(x), lambda g: 99.0 * g))


def two_devices():
    return jax.make_mesh((2,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))


def in_shard_map(op):
    spec = jax.sharding.PartitionSpec("i")

    def local(x):
        return op(x) * jax.lax.psum(op(x).sum(), "i")

    return jax.shard_map(local, mesh=two_devices(), in_specs=spec, out_specs=spec)


def in_linear_solve(op):
    def solve(x):
        diagonal = 2.0 + op(x) ** 2
        return jax.lax.custom_linear_solve(
            lambda v: diagonal * v, x, lambda matvec, b: b / diagonal, symmetric=True
        )

    return solve


def in_root(op):
    # Newton's method for y + y³ = op(x).
    def solve(f, y):
        return jax.lax.fori_loop(0, 20, lambda _, y: y - f(y) / (1.0 + 3.0 * y**2), y)

    def tangent_solve(g, y):
        return y / g(jnp.ones_like(y))

    def root(x):
        target = op(x)
        return jax.lax.custom_root(lambda y: y + y**3 - target, x, solve, tangent_solve)

    return root


PLACES = {
    "alone": lambda op: op,
    "jit": jax.jit,
    "jit in jit": lambda op: jax.jit(lambda x: jax.jit(op, inline=True)(x) + jax.jit(op)(x)),
    "partial in twice": lambda op: lambda x: functools.partial(op)(op(x)),
    "scan": lambda op: lambda x: jax.lax.scan(lambda c, v: (op(c) + v, op(v)), x[0], x)[1],
    "scan carry": lambda op: lambda x: jax.lax.scan(lambda c, v: (op(c) * v, c), x[0], x)[1],
    "map": lambda op: lambda x: jax.lax.map(op, x),
    "fori_loop": lambda op: lambda x: jax.lax.fori_loop(0, 3, lambda _, c: op(c), x),
    "cond": lambda op: lambda x: jax.lax.cond(x.sum() > 0, op, jnp.cos, x),
    "switch": lambda op: lambda x: jax.lax.switch(jnp.int32(x[0]), [jnp.cos, op, jnp.sin], x),
    "associative_scan": lambda op: lambda x: jax.lax.associative_scan(lambda a, b: op(a) + b, x),
    "checkpoint": jax.checkpoint,
    "checkpoint with policy": lambda op: jax.checkpoint(
        lambda x: jnp.outer(op(x), x) @ op(x), policy=jax.checkpoint_policies.dots_saveable
    ),
    "scan of checkpoint": lambda op: (
        lambda x: jax.lax.scan(jax.checkpoint(lambda c, _: (op(c), None)), x, None, length=2)[0]
    ),
    "vmap": jax.vmap,
    "vmap of scan": lambda op: jax.vmap(
        lambda x: jax.lax.scan(lambda c, _: (op(c), None), x, None, length=2)[0]
    ),
    "jit in cond in scan": lambda op: (
        lambda x: jax.lax.scan(
            lambda c, v: (jax.lax.cond(v > 1, jax.jit(op), jnp.cos, c), v), x, x
        )[0]
    ),
    "shard_map": in_shard_map,
    "jit of shard_map": lambda op: jax.jit(in_shard_map(op)),
    "custom_linear_solve": in_linear_solve,
    "custom_root": in_root,
    "while_loop": lambda op: (
        lambda x: jax.lax.while_loop(lambda c: c.sum() < 50, lambda c: op(c) + 2 * c, x)
    ),
}


X = jnp.array([1.2, 0.7, 1.9, 2.3])


def total(fun):
    return lambda x: jnp.sum(fun(x))


def assert_close(got, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), got, expected)
