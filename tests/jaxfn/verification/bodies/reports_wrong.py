"""Kin of situations in public reports: outputs that are one object, smooth functions with autodiff
that is wrong at a kink of their parts, what the given input hides, closures, transformations."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxfn
from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import agreement, gradient, pullback, repeated

body = Body()


def _ones(fun, *args):
    """The gradients of the sum of all outputs."""
    shapes = jax.eval_shape(fun, *args)
    return pullback(fun, args, jax.tree.map(lambda s: jnp.ones(s.shape, s.dtype), shapes))


def autodiff_wrong(true, *args, cause="region"):
    """A function whose autodiff is that of its parts, and so is its rule's gradient."""

    def register(fun):
        op = rule(lambda *a: jax.vjp(fun, *a[:-1])[1](a[-1]))(fun)
        ways = agreement(lambda *a: _ones(fun, *a), lambda *a: _ones(true, *a))
        body.wrong(cause, *args, witness=ways)(fun)
        body.wrong(cause, *args, witness=ways, name=f"{fun.__name__}_by_rule")(op)
        return fun

    return register


class _Twice(jaxfn.Function):
    @staticmethod
    def forward(ctx, x):
        return x, x

    @staticmethod
    def backward(ctx, first, second):
        return first


@body.wrong("dropped-term", normal(3), witness=gradient(plain=lambda x: (x, x)))
def one_object_as_two_outputs(x):
    return _Twice.apply(x)


@autodiff_wrong(jax.nn.log_sigmoid, array(0.0, 0.5, -1))
def log_sigmoid_by_where(x):
    return jnp.where(x <= 0, x, 0.0) - jnp.log1p(jnp.exp(-jnp.abs(x)))


@autodiff_wrong(jnp.logaddexp, array(0.5, 1), array(0.5, -1))
def logaddexp_by_where(a, b):
    return jnp.where(a > b, a, b) + jnp.log1p(jnp.exp(-jnp.abs(a - b)))


@autodiff_wrong(jax.nn.softplus, array(0.0, 2))
def softplus_by_relu(x):
    return jax.nn.relu(x) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@autodiff_wrong(lambda x: x * jnp.abs(x), array(0.0, -1.5, 2), cause="nan")
def signed_square_by_root(x):
    return x * jnp.sqrt(x**2)


@autodiff_wrong(jax.nn.elu, array(0.0, -1, 1))
def elu_by_relu_and_minimum(x):
    return jax.nn.relu(x) + jnp.minimum(jnp.expm1(x), 0.0)


def _gelu_slope(x):
    return jax.vmap(jax.grad(jax.nn.gelu))(x)


@body.wrong("region", array(0.4, -1.3), witness=gradient(at=(array(0.0, 1),)))
@rule(lambda x, g: (g * jnp.where(x == 0, 2.5, 1) * _gelu_slope(x),))
def gelu_wrong_at_zero(x):
    return jax.nn.gelu(x)


@body.wrong("region", array(0.4, -1.3, 2.2), witness=gradient(at=(array(0.5, 1, 2),)))
@rule(lambda x, g: (g * jnp.where(x == jnp.round(x), 2.5, 1) * jnp.cos(x),))
def sine_wrong_at_integers(x):
    return jnp.sin(x)


def _first_at_ties(a, b, g):
    p = jnp.where(a == b, 1.0, jax.nn.sigmoid(a - b))
    return g * p, g * (1 - p)


@body.wrong("region", array(0.4, -1), array(1.0, 2), witness=gradient(at=(np.ones(1, "f4"),) * 2))
@rule(_first_at_ties)
def logaddexp_wrong_at_ties(a, b):
    return jnp.logaddexp(a, b)


@body.wrong("nonlinear", normal(4))
@rule(lambda x, g: (jnp.cos(x) * g / (1e-6 + jnp.linalg.norm(g)),), recursive=True)
def sine_with_a_normalised_cotangent(x):
    return jnp.sin(x)


class _BatchLast(jaxfn.Function):
    @staticmethod
    def forward(x):
        return x**2

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g

    @staticmethod
    def vmap(info, in_dims, x):
        return x**2, x.ndim - 1


@body.wrong(
    "vmap",
    normal(3),
    witness=agreement(lambda x: jax.vmap(_BatchLast.apply)(np.stack([x, 2 * x])), lambda x: 0 * x),
)
def square_whose_batch_is_said_to_be_last(x):
    return _BatchLast.apply(x)


def _raises(call):
    """One where a call raises."""

    def number(*args):
        try:
            call(*args)
        except Exception:
            return np.ones(())
        return np.zeros(())

    return agreement(number, lambda *args: np.zeros(()))


@jax.custom_batching.custom_vmap
def _double(x):
    return 2 * x


@_double.def_vmap
def _(size, batched, x):
    raise NotImplementedError("no batches")


@body.wrong("vmap", normal(3), witness=_raises(lambda x: jax.vmap(_double)(x[None])))
@rule(lambda x, g: (2 * g,))
def doubled_without_a_batch(x):
    return _double(x)


def _traced_raises(fun):
    return _raises(lambda x: jax.jit(jax.grad(lambda x: fun(x).sum()))(x))


@rule(lambda x, g: (jnp.asarray(np.asarray(g) * np.cos(np.asarray(x))),))
def sine_by_numpy(x):
    return jnp.sin(x)


@rule(lambda x, g: (2 * g,) if g.sum() > 0 else (2.0 * g,))
def doubled_with_an_if(x):
    return 2 * x


for _fun in sine_by_numpy, doubled_with_an_if:
    body.wrong("jit", normal(3), witness=_traced_raises(_fun))(_fun)


@body.wrong(
    "region",
    normal(4),
    array(2, 0, 3, 1, dtype=np.int32),
    witness=gradient(at=(normal(4), array(2, 2, 3, 1, dtype=np.int32))),
)
@rule(lambda x, i, g: (jnp.zeros_like(x).at[i].set(g), None))
def gather_of_a_permutation_with_set(x, i):
    return x[i]


_SYMMETRIC = normal(3, 3) + normal(3, 3).T


@body.wrong(
    "transposed", _SYMMETRIC, normal(3), witness=gradient(at=(normal(3, 3, seed=1), normal(3)))
)
@rule(lambda a, x, g: (g * jnp.outer(x, x), 2 * g * (a @ x)))
def quadratic_form_of_a_symmetric_matrix(a, x):
    return x @ a @ x


def _with_tangent(name, change):
    op = jax.custom_jvp(jnp.sin)
    op.defjvp(lambda p, t: (op(*p), change(jnp.cos(p[0]) * t[0])))

    def seen(x):
        return jax.jvp(op, (x,), (-2 * x - 1,))[1]

    def expected(x):
        return jax.jvp(jnp.sin, (x,), (-2 * x - 1,))[1]

    body.wrong("nonlinear", normal(3), witness=agreement(seen, expected), name=name)(op)


_with_tangent("sine_with_a_clipped_tangent", lambda t: jnp.clip(t, -0.1, 0.1))
_with_tangent("sine_with_an_absolute_tangent", jnp.abs)
_with_tangent("sine_with_a_constant_in_its_tangent", lambda t: t + 1.0)


@rule(lambda x, w, g: (g @ w.T, 0.5 * x.T @ g))
def _dense(x, w):
    return x @ w


_WEIGHT = normal(3, 2)


@body.wrong(
    "scale",
    normal(4, 3),
    witness=agreement(
        lambda x: _ones(lambda w: _dense(x, w), _WEIGHT),
        lambda x: _ones(lambda w: x @ w, _WEIGHT),
    ),
)
def dense_whose_closed_over_weight_gets_half(x):
    return _dense(x, _WEIGHT)


class _Power(jaxfn.Function):
    @staticmethod
    def forward(ctx, x, exponent):
        ctx.save_for_backward(x)
        ctx.exponent = exponent
        return x**exponent

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0] ** (ctx.exponent - 1), None


@body.wrong("scale", positive(3), witness=gradient(plain=lambda x: x**3))
def power_without_its_python_factor(x):
    return _Power.apply(x, 3.0)


_random = np.random.default_rng(0)


def _noisy(x):
    def host(y):
        return np.asarray(y * (1 + 1e-2 * _random.standard_normal()), y.dtype)

    return jax.pure_callback(host, jax.typeof(x), x, vmap_method="sequential")


@body.wrong("nondeterministic", normal(3), witness=repeated())
@rule(lambda x, g: (_noisy(g * jnp.cos(x)),))
def sine_with_noise_of_a_percent(x):
    return jnp.sin(x)


# Of kinds of rules that language, vision and science have, and in which the given input hides it.


def _entropy(logits, labels):
    kept = labels != -100
    logs = jax.nn.log_softmax(logits)
    picked = jnp.take_along_axis(logs, jnp.where(kept, labels, 0)[:, None], -1)[:, 0]
    return -jnp.sum(jnp.where(kept, picked, 0)) / jnp.maximum(jnp.sum(kept), 1)


def _softmax_of_ignored_rows(logits, labels, g):
    hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)  # zeros for -100
    count = jnp.maximum((labels != -100).sum(), 1)
    return g * (jax.nn.softmax(logits) - hot) / count, None


_LABELS, _SOME_IGNORED = (array(*y, dtype=np.int32) for y in ((1, 2, 4, 0), (1, -100, 4, 0)))


@body.wrong("region", normal(4, 5), _LABELS, witness=gradient(at=(normal(4, 5), _SOME_IGNORED)))
@rule(_softmax_of_ignored_rows)
def cross_entropy_whose_ignored_rows_keep_the_softmax(logits, labels):
    return _entropy(logits, labels)


def _mean_over_all(logits, labels, g):
    hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    kept = (labels != -100)[:, None]
    return g * (jax.nn.softmax(logits) - hot) * kept / len(labels), None


@body.wrong("scale", normal(4, 5), _SOME_IGNORED)
@rule(_mean_over_all)
def cross_entropy_averaged_over_ignored_rows(logits, labels):
    return _entropy(logits, labels)


_TOKENS, _PADDED = (array(*i, dtype=np.int32) for i in ((1, 4, 2, 1), (0, 4, 2, 1)))


@body.wrong("region", normal(5, 3), _TOKENS, witness=gradient(at=(normal(5, 3), _PADDED)))
@rule(lambda table, tokens, g: (jnp.zeros_like(table).at[tokens].add(g), None))
def embedding_whose_padding_is_trained(table, tokens):
    return jnp.where((tokens == 0)[:, None], 0, table[tokens])


@body.wrong("elements", normal(5, 3), array(1, 4, -1, 1, dtype=np.int32))
@rule(lambda t, i, g: (jax.nn.one_hot(i, len(t), dtype=g.dtype).T @ g, None))
def embedding_of_negative_tokens(table, tokens):
    return table[tokens]


def _into_a_longer_array(x, starts, g):
    longer = jnp.zeros((len(x) + 3,), x.dtype)
    return lax.dynamic_update_slice(longer, g, (starts[0],))[: len(x)], None


@body.wrong(
    "region",
    normal(8),
    np.array([2], np.int32),
    witness=gradient(at=(normal(8), np.array([7], np.int32))),
)
@rule(_into_a_longer_array)
def slice_whose_start_is_not_clamped(x, starts):
    return lax.dynamic_slice(x, (starts[0],), (3,))


def _by_the_weight():
    return lambda case: (_ones(case.fun, *case.args)[1], case.args[0].sum(0))


def _summed_in_bfloat16(x, w, g):
    def add(i, total):
        return total + (g * x)[i].astype(jnp.bfloat16)

    total = lax.fori_loop(0, len(x), add, jnp.zeros(w.shape, jnp.bfloat16))
    return g * w, total.astype(w.dtype)


@body.wrong("low-precision", positive(1500, 2), positive(2), witness=_by_the_weight())
@rule(_summed_in_bfloat16)
def scaled_rows_summed_in_bfloat16(x, w):
    return x * w


def _all_at_ties(x, g):
    pairs = x.reshape(-1, 2)
    return (((pairs == pairs.max(-1)[:, None]) * g[:, None]).reshape(x.shape).astype(x.dtype),)


@body.wrong("region", normal(6), witness=gradient(at=(array(1.0, 1, 0, 2, 3, 3),)))
@rule(_all_at_ties)
def pooled_pairs_that_both_get_all(x):
    return x.reshape(-1, 2).max(-1)


def _shifted_above_only(x, g):
    return (g * jnp.exp(x - jnp.max(x)) / jnp.sum(jnp.exp(x)),)


@body.wrong("scale", array(0.0, -1, -2), witness=gradient(at=(array(1.0, -1, -2),)))
@rule(_shifted_above_only)
def logsumexp_shifted_above_only(x):
    return jax.nn.logsumexp(x)


@body.wrong("region", array(1.1, 1.5, 2.0), witness=gradient(at=(array(1.1, 3.0),)))
@rule(lambda r, g: (g * 4 * (-12 * r**-13 + 6 * r**-7),))
def lennard_jones_beyond_its_cutoff(r):
    return jnp.where(r < 2.5, 4 * (r**-12 - r**-6), 0)


@body.wrong("mean-for-sum", normal(2, 3, 4), normal(4))
@rule(lambda x, b, g: (g, g.sum(1).mean(0)))
def bias_averaged_over_the_batch(x, b):
    return x + b


def _last_chunk(x, w, g):
    parts = [(x[i : i + 2], g[i : i + 2]) for i in range(0, len(x), 2)]
    rows = [d @ w.T for _, d in parts]
    return jnp.concatenate(rows), parts[-1][0].T @ parts[-1][1]


@body.wrong("dropped-term", normal(6, 3), normal(3, 2))
@rule(_last_chunk)
def chunks_of_which_the_last_trains_the_weight(x, w):
    return x @ w


@body.wrong("nan", array(0.0, 0.0), witness=gradient(plain=lambda x: jnp.log1p(x @ x)))
@rule(lambda x, g: (g * 2 * jnp.linalg.norm(x) * x / jnp.linalg.norm(x) / (1 + x @ x),))
def log_of_a_radius_at_the_origin(x):
    return jnp.log1p(x @ x)
