"""Rules that are right in a plain call and wrong under `vmap`."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import pullback, vmapped

body = Body()


# Wrong under vmap only.


def batched_as(fun, batched):
    """`fun`, which under `vmap` calls `batched` with the batch in the first axis of everything."""
    inner = jax.custom_batching.custom_vmap(fun)

    @inner.def_vmap
    def _(size, in_batched, *args):
        full = [
            arg if has_axis else jnp.broadcast_to(arg, (size, *arg.shape))
            for arg, has_axis in zip(args, in_batched, strict=True)
        ]
        return batched(*full), True

    # custom_vmap has no derivative; this one makes the second derivative right without vmap.
    op = jax.custom_vjp(lambda *args: inner(*args))
    op.defvjp(
        lambda *args: (inner(*args), args), lambda args, g: jax.vjp(lambda *a: fun(*a), *args)[1](g)
    )
    return op


_centre = batched_as(lambda x: x - jnp.mean(x), lambda x: x - jnp.mean(x))


@body.wrong("vmap", normal(5), witness=vmapped())
@rule(lambda x, g: (_centre(g),))
def centring_with_a_mean_over_the_batch(x):
    return x - jnp.mean(x)


def _under_two_vmaps(case):
    """The gradients of four points as two batches of two, and by a loop."""
    (x,) = case.args
    points = x * (1 + 0.25 * np.arange(4, dtype=x.dtype).reshape(2, 2, 1))

    def one(point, cotangent):
        return pullback(case.fun, (point,), cotangent)[0]

    loop = [[one(point, point) for point in row] for row in points]
    return jax.vmap(jax.vmap(one))(points, points), np.array(loop)


_averaged = batched_as(lambda x, g: g * jnp.cos(x), lambda x, g: jnp.mean(g) * jnp.cos(x))
_nested = batched_as(lambda x, g: g * jnp.cos(x), lambda x, g: _averaged(x, g))


@body.wrong("vmap", normal(5), witness=_under_two_vmaps)
@rule(lambda x, g: (_nested(x, g),))
def sine_wrong_under_two_vmaps(x):
    return jnp.sin(x)


_pull_softmax = batched_as(
    lambda y, g: y * (g - jnp.sum(g * y)), lambda y, g: y * (g - jnp.sum(g * y, 0))
)


@body.wrong("vmap", normal(4), witness=vmapped())
@rule(lambda x, g: (_pull_softmax(jax.nn.softmax(x), g),))
def softmax_with_a_sum_over_axis_zero(x):
    return jax.nn.softmax(x)


_spread = batched_as(lambda x, g: 2 * x * g, lambda x, g: 2 * x * g[0])


@body.wrong("vmap", normal(4), witness=vmapped())
@rule(lambda x, g: (_spread(x, g),))
def square_with_the_first_cotangent_of_the_batch(x):
    return x**2


_outer = batched_as(lambda x, g: jnp.outer(x, g), lambda x, g: jnp.einsum("bi,cj->bij", x, g))


@body.wrong("vmap", normal(3), normal(3, 2), witness=vmapped())
@rule(lambda x, w, g: (w @ g, _outer(x, g)))
def vector_matrix_product_with_a_shared_weight_gradient(x, w):
    return x @ w


_cosine = batched_as(jnp.cos, lambda x: jnp.cos(x) if len(x) < 3 else jnp.cos(x)[::-1])


@body.wrong("vmap", normal(5), witness=vmapped())
@rule(lambda x, g: (g * _cosine(x),))
def sine_wrong_for_batches_of_three(x):
    return jnp.sin(x)


_exp = batched_as(jnp.exp, lambda x: jnp.ones_like(x) if len(x) == 1 else jnp.exp(x))


@body.wrong("vmap", normal(5), witness=vmapped(size=1))
@rule(lambda x, g: (g * _exp(x),))
def exp_wrong_for_a_batch_of_one(x):
    return jnp.exp(x)


_weight_gradient = batched_as(
    lambda x, g: x.T @ g, lambda x, g: jnp.broadcast_to(x[0].T @ g[0], (len(x), 3, 2))
)


@body.wrong("vmap", normal(4, 3), normal(3, 2), witness=vmapped((0, None)))
@rule(lambda x, w, g: (g @ w.T, _weight_gradient(x, g)))
def matmul_that_takes_its_input_for_unbatched(x, w):
    return x @ w


def _called_back(fun):
    def call(x, g):
        return jax.pure_callback(fun, jax.typeof(x), x, g, vmap_method="broadcast_all")

    return call


_norm_on_host = _called_back(lambda x, g: np.asarray(g * x / np.sqrt(np.sum(x * x)), x.dtype))


@body.wrong("vmap", positive(4), witness=vmapped(), order=1)
@rule(lambda x, g: (_norm_on_host(x, jnp.full_like(x, g)),))
def norm_on_the_host_over_all_axes(x):
    return jnp.sqrt(jnp.sum(x * x))


_cumulated_on_host = _called_back(lambda x, g: np.cumsum(g[::-1], axis=0, dtype=x.dtype)[::-1])


@body.wrong("vmap", normal(4), witness=vmapped(), order=1)
@rule(lambda x, g: (_cumulated_on_host(x, g),))
def cumulative_sum_on_the_host_over_the_first_axis(x):
    return jnp.cumsum(x)
