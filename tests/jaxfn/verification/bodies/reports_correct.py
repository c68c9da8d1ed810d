"""Right kin of situations in public reports: objects returned twice, kinks of parts, clipping."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxfn
from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import agreement, differences, gradient, pullback

body = Body()


def _ones(fun, *args):
    """The gradients of the sum of the output."""
    return pullback(fun, args, jnp.ones(jax.eval_shape(fun, *args).shape, jnp.float32))


def as_by(true):
    return lambda fun: agreement(lambda *a: _ones(fun, *a), lambda *a: _ones(true, *a))


class _InputMarked(jaxfn.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.mark_non_differentiable(x)
        return x, 2 * x

    @staticmethod
    def backward(ctx, first, second):
        return 2 * second


@body.correct(normal(3), witness=differences(plain=lambda x: 2 * x))
def doubled_beside_its_marked_input(x):
    return _InputMarked.apply(x)[1]


class _Shown(jaxfn.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        y = x**2
        shown = jax.lax.stop_gradient(y)
        ctx.mark_non_differentiable(shown)
        return y, shown

    @staticmethod
    def backward(ctx, g, shown):
        return 2 * ctx.saved_tensors[0] * g


@body.correct(normal(3), witness=differences(plain=jnp.square))
def square_beside_its_stopped_self(x):
    return _Shown.apply(x)[0]


class _Product(jaxfn.Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b, a

    @staticmethod
    def backward(ctx, g, h):
        a, b = ctx.saved_tensors
        return b * g + h, a * g


@body.correct(normal(3))
def product_of_one_object_that_is_returned(x):
    return _Product.apply(x, x)


def smooth_in_parts(true, *args):
    """A function with kinks in its parts at which its autodiff is right."""

    def register(fun):
        return body.correct(*args, witness=as_by(true)(fun))(fun)

    return register


@smooth_in_parts(lambda x: jnp.log(jnp.cosh(x)), array(0.0, 0.5, -2))
def log_cosh_by_abs(x):
    return jnp.abs(x) + jnp.log1p(jnp.exp(-2 * jnp.abs(x))) - np.float32(np.log(2))


@smooth_in_parts(jax.nn.elu, array(0.0, 1, -1))
def elu_by_maximum_and_minimum(x):
    return jnp.maximum(x, 0) + jnp.minimum(jnp.expm1(x), 0)


def _huber(x):
    return jnp.where(jnp.abs(x) < 1, x**2 / 2, jnp.abs(x) - 0.5)


@smooth_in_parts(_huber, array(0.0, 1, -1, 3))
def huber_by_minimum(x):
    least = jnp.minimum(jnp.abs(x), 1)
    return least * (jnp.abs(x) - least / 2)


@body.correct(array(0.0, 1, -2), witness=differences(at=(array(1.0, -2),)))
@rule(lambda x, g: (g * jnp.where(x >= 0, 1.0, 0.1),))
def leaky_relu_one_at_zero(x):
    return jnp.where(x > 0, x, x * 0.1)


def _small(fun):
    """The gradients for a small cotangent, which nothing clips."""
    return lambda x: pullback(fun, (x,), 1e-3 * jnp.ones_like(x))


@rule(lambda x, g: (jnp.clip(jnp.cos(x) * g, -1.0, 1.0),), recursive=True)
def sine_with_a_clipped_gradient(x):
    return jnp.sin(x)


body.correct(
    normal(3),
    witness=agreement(_small(sine_with_a_clipped_gradient), _small(jnp.sin)),
    linear_in_cotangent=False,
)(sine_with_a_clipped_gradient)


class _Matmul(jaxfn.Function):
    @staticmethod
    def forward(a, b):
        return a @ b

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        return g @ b.T, a.T @ g

    @staticmethod
    def vmap(info, in_dims, a, b):
        a, b = (
            x if d is None else jnp.moveaxis(x, d, 0) for x, d in zip((a, b), in_dims, strict=True)
        )
        return jnp.matmul(a, b), 0


@body.correct(normal(2, 3), normal(3, 4), witness=gradient(plain=jnp.matmul))
def matmul_with_a_rule_for_batches(a, b):
    return _Matmul.apply(a, b)


def _is_permutation(x, i):
    return np.array_equal(np.sort(np.asarray(i)), np.arange(len(i)))


@body.correct(normal(4), array(2, 0, 3, 1, dtype=np.int32), domain=_is_permutation)
@rule(lambda x, i, g: (g[jnp.argsort(i)], None))
def permutation_that_the_domain_says(x, i):
    return x[i]


@body.correct(normal(4, 2), array(2, 0, 3, 1, dtype=np.int32))
@rule(lambda x, i, g: (jnp.zeros_like(x).at[i].add(g), None))
def rows_whose_repeats_add_up(x, i):
    return x[i]


_MASK = np.array([True, False, True])


@jax.custom_vjp
def _masked(a, mask):
    return jnp.where(mask, a, 0)


_masked.defvjp(lambda a, m: (_masked(a, m), m), lambda m, g: (jnp.where(m, g, 0), None))


@body.correct(normal(3), witness=differences(plain=lambda a: jnp.where(_MASK, a, 0)))
def masked_by_what_is_closed_over(a):
    return _masked(a, _MASK)


_calls = [0]


def _one_ulp(x):
    def host(y):
        _calls[0] += 1
        y = np.asarray(y)
        return np.nextafter(y, np.full_like(y, np.inf)) if _calls[0] % 2 else y

    return jax.pure_callback(host, jax.typeof(x), x, vmap_method="sequential")


@body.correct(normal(3), order=1)
@rule(lambda x, g: (_one_ulp(g * jnp.cos(x)),))
def sine_one_rounding_off_now_and_then(x):
    return jnp.sin(x)


@body.correct(normal(3))
@rule(lambda x, g: (2 * g * x,))
def sum_of_squares_by_a_reference_within(x):
    total = jax.new_ref(jnp.zeros((), x.dtype))
    for i in range(3):
        total[...] += x[i] ** 2
    return total[...]


_WEIGHT = normal(3, 2)


@body.correct(normal(4, 3))
@rule(lambda x, g: (g @ _WEIGHT.T,))
def dense_that_holds_its_weight(x):
    return x @ _WEIGHT


class _Leaky(jaxfn.Function):
    @staticmethod
    def forward(ctx, x, slope):
        ctx.save_for_backward(x)
        ctx.slope = slope
        return jnp.where(x > 0, x, slope * x)

    @staticmethod
    def backward(ctx, g):
        return jnp.where(ctx.saved_tensors[0] > 0, g, ctx.slope * g), None


@body.correct(positive(3), witness=differences(plain=lambda x: jnp.where(x > 0, x, 0.2 * x)))
def leaky_relu_of_a_python_slope(x):
    return _Leaky.apply(x, 0.2)
