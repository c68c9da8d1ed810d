"""Correct rules of trees, integers, keys, complex numbers, and gradients that are zero."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import (
    differences,
)

body = Body()

COMPLEX = np.complex64


def _constant(case):
    """The witness of functions that nothing can change: the gradients are zero."""
    (x,) = case.args
    y, pull = jax.vjp(case.fun, x)
    return pull(jnp.ones_like(y)), (np.zeros_like(x),)


def _float0(x):
    return np.zeros(np.shape(x), jax.dtypes.float0)


# Integers, booleans, keys.


@body.correct(normal(5, 3), np.array([0, 2, 2, 4]))
@rule(lambda table, i, g: (jnp.zeros_like(table).at[i].add(g), None))
def embedding_with_repeated_rows(table, i):
    return table[i]


@body.correct(normal(4), np.array([1, 1, 3]))
@rule(lambda x, i, g: (jnp.zeros_like(x).at[i].add(g), _float0(i)))
def gather_with_a_float0_cotangent(x, i):
    return x[i]


@body.correct(normal(5), normal(5, seed=1), normal(5, seed=2) > 0)
@rule(lambda x, y, mask, g: (jnp.where(mask, g, 0), jnp.where(mask, 0, g), None))
def selection_by_a_boolean_mask(x, y, mask):
    return jnp.where(mask, x, y)


def _noisy(x, key):
    return x * jax.random.bernoulli(key, 0.5, x.shape) / 0.5


@body.correct(normal(4, 3), np.array([0, 42], np.uint32))
@rule(lambda x, key, g: (_noisy(g, key), None))
def dropout_with_a_raw_key(x, key):
    return _noisy(x, key)


@body.correct(normal(3, 2), lambda: jax.random.key(3))
@rule(lambda x, key, g: (_noisy(g, key), None))
def dropout_with_a_key(x, key):
    return _noisy(x, key)


@body.correct(normal(5), 2)
@rule(lambda x, n, g: (g * n * x ** (n - 1), None))
def integer_power_with_a_python_int(x, n):
    return x**n


@body.correct(normal(4, 5))
@rule(lambda x, g: (g[0][:, None] * (jnp.arange(5) == jnp.argmax(x, -1)[:, None]),))
def maximum_and_its_index(x):
    return jnp.max(x, -1), jnp.argmax(x, -1)


@body.correct(normal(6), {"count": np.array(3), "weight": positive(6)})
@rule(
    lambda x, p, g: (
        g * p["weight"] / p["count"],
        {"count": None, "weight": g * x / p["count"]},
    )
)
def weighted_by_a_tree_with_an_integer(x, p):
    return p["weight"] * x / p["count"]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _scaled_sum(x, axis, name):
    return jnp.sum(x, axis) * (2 if name == "double" else 1)


_scaled_sum.defvjp(
    lambda x, axis, name: (_scaled_sum(x, axis, name), x),
    lambda axis, name, x, g: (
        jnp.broadcast_to(jnp.expand_dims(g, axis), x.shape) * (2 if name == "double" else 1),
    ),
)


@body.correct(normal(3, 4))
def sum_with_static_arguments(x):
    return _scaled_sum(x, 1, "double")


# Trees, empty arrays, scalars.


@body.correct({"w": normal(3, 2), "b": None}, normal(4, 3))
@rule(lambda p, x, g: ({"w": x.T @ g, "b": None}, g @ p["w"].T))
def dense_layer_without_a_bias(p, x):
    return x @ p["w"]


@body.correct((normal(2), {"a": normal(3), "b": [normal(2, 2), None]}))
@rule(lambda t, g: (jax.tree.map(lambda x: 2 * g * x, t),))
def squared_norm_of_a_tree(tree):
    return sum(jnp.sum(x**2) for x in jax.tree.leaves(tree))


@body.correct({"z": normal(2, 2), "a": normal(2, 2, seed=1)}, normal(2))
@rule(
    lambda p, x, g: (
        {"a": jnp.outer(p["z"].T @ g, x), "z": jnp.outer(g, p["a"] @ x)},
        p["a"].T @ (p["z"].T @ g),
    )
)
def layers_in_another_order_than_sorted(p, x):
    return p["z"] @ (p["a"] @ x)


@body.correct({"shared": 0.5 * normal(3, 3)}, normal(3))
@rule(
    lambda p, x, g: (
        {"shared": jnp.outer(g, p["shared"] @ x) + jnp.outer(p["shared"].T @ g, x)},
        p["shared"].T @ (p["shared"].T @ g),
    )
)
def weight_used_twice(p, x):
    return p["shared"] @ (p["shared"] @ x)


@body.correct(np.zeros((0, 3), np.float32), normal(3, 2))
@rule(lambda x, w, g: (g @ w.T, x.T @ g))
def matmul_of_an_empty_batch(x, w):
    return x @ w


@body.correct(np.zeros(0, np.float32), normal(2))
@rule(lambda x, y, g: (jnp.full_like(x, jnp.sum(g)), g))
def sum_with_an_empty_array(x, y):
    return jnp.sum(x) + y


@body.correct(np.array(0.7, np.float32))
@rule(lambda x, g: (g * jnp.cos(x),))
def sine_of_a_scalar(x):
    return jnp.sin(x)


@body.correct(0.7, 1.3, witness=differences(at=(np.array(0.7), np.array(1.3))))
@rule(lambda x, y, g: (g * y, g * x))
def product_of_python_floats(x, y):
    return x * y


@body.correct(normal(1, 1, 1))
@rule(lambda x, g: (jnp.reshape(2 * g * jnp.sum(x), x.shape),))
def square_of_a_single_element(x):
    return jnp.sum(x) ** 2


# Gradients that are zero, by nature or at a point.


@body.correct(normal(4), witness=_constant)
@rule(lambda x, g: (jnp.zeros_like(x),))
def constant_function(x):
    return jnp.ones(3)


@body.correct(normal(4), normal(4, seed=1))
@rule(lambda x, y, g: (2 * g * x, None))
def function_of_its_first_argument_only(x, y):
    return x**2


@body.correct(normal(4), witness=_constant, surrogate=lambda x: lax.stop_gradient(x))
@rule(lambda x, g: (jnp.zeros_like(g),))
def detached(x):
    return lax.stop_gradient(x)


@body.correct(array(1.2, 2.3, -0.4), witness=_constant)
@rule(lambda x, g: (jnp.zeros_like(g),))
def ceiling(x):
    return jnp.ceil(x)


# Sizes that are equal, or not, as the given ones are.


def _last_state(x, w):
    h = jnp.zeros(w.shape[0])
    for row in x:  # written out: as many operations as rows
        h = jnp.tanh(row + h @ w)
    return h


@body.correct(normal(9, 3), normal(3, 3, seed=1))
@rule(lambda x, w, g: jax.vjp(_last_state, x, w)[1](g))
def recurrence_written_out(x, w):
    return _last_state(x, w)


@body.correct(normal(6, 6))
@rule(lambda a, g: (g * jnp.eye(len(a), dtype=a.dtype),))
def trace_of_a_square(a):
    return jnp.trace(a)


@body.correct(normal(6, 3))
@rule(lambda a, g: (2 * g * jnp.linalg.pinv(a).T,))
def log_volume_of_columns(a):
    return jnp.linalg.slogdet(a.T @ a)[1]


@body.correct(normal(9, 9), np.arange(9) % 4)
@rule(lambda x, i, g: (jnp.zeros_like(x).at[jnp.arange(len(i)), i].set(g), None))
def one_element_of_each_row(x, i):
    return x[jnp.arange(len(i)), i]


# Complex numbers.


@body.correct(normal(4, dtype=COMPLEX))
@rule(lambda z, g: (g * 2 * z,))
def complex_square(z):
    return z**2


@body.correct(normal(4, dtype=COMPLEX))
@rule(lambda z, g: (2 * g * jnp.conj(z),))
def squared_modulus(z):
    return (z * jnp.conj(z)).real


@body.correct(normal(4, dtype=COMPLEX))
@rule(lambda z, g: (g.astype(z.dtype),))
def real_part(z):
    return z.real


@body.correct(normal(4, dtype=COMPLEX))
@rule(lambda z, g: (jnp.conj(g),))
def conjugate(z):
    return jnp.conj(z)


@body.correct(normal(4))
@rule(lambda x, g: ((1j * jnp.exp(1j * x) * g).real,))
def phase_of_a_real_number(x):
    return jnp.exp(1j * x)


@body.correct(normal(3, dtype=COMPLEX), normal(3))
@rule(lambda z, x, g: (g * x, (g * z).real))
def complex_by_real(z, x):
    return z * x


@body.correct(normal(6, dtype=COMPLEX))
@rule(lambda z, g: (jnp.fft.fft(g),))
def fourier_transform(z):
    return jnp.fft.fft(z)


@body.correct(normal(6))
@rule(lambda x, g: (jnp.fft.fft(jnp.pad(g, (0, len(x) - len(g)))).real.astype(x.dtype),))
def real_fourier_transform(x):
    return jnp.fft.rfft(x)
