"""Wrong rules of functions of trees and of functions with several outputs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.jaxfn.verification.bodies.body import Body
from tests.jaxfn.verification.bodies.case import array, normal, positive, rule
from tests.jaxfn.verification.bodies.witnesses import (
    gradient,
    types,
)

body = Body()

SQUARE_LAYERS = {"w": normal(3, 3), "u": normal(3, 3, seed=1)}


@body.wrong("exchanged", {"first": normal(4), "second": normal(4, seed=1)})
@rule(lambda p, g: ({"first": g * p["first"], "second": g * p["second"]},))
def product_of_two_leaves_exchanged(p):
    return p["first"] * p["second"]


def _two_layers(p, x):
    return jnp.tanh(x @ p["w"]) @ p["u"]


def _two_layers_backward(p, x, g):
    gradients, dx = jax.vjp(_two_layers, p, x)[1](g)
    return jax.tree.unflatten(jax.tree.structure(p), [gradients["w"], gradients["u"]]), dx


@body.wrong("exchanged", SQUARE_LAYERS, normal(2, 3))
@rule(_two_layers_backward)
def layers_in_the_order_of_insertion(p, x):
    return _two_layers(p, x)


def _chain(layers, x):
    for w in layers:
        x = jnp.tanh(x @ w)
    return x


def _chain_reversed(layers, x, g):
    gradients, dx = jax.vjp(_chain, layers, x)[1](g)
    return gradients[::-1], dx


@body.wrong("exchanged", [normal(3, 3), normal(3, 3, seed=1), normal(3, 3, seed=2)], normal(2, 3))
@rule(_chain_reversed)
def list_of_layers_in_backward_order(layers, x):
    return _chain(layers, x)


class Gaussian(NamedTuple):
    mean: np.ndarray
    scale: np.ndarray


def _log_density(p, x):
    return jnp.sum(-0.5 * ((x - p.mean) / p.scale) ** 2 - jnp.log(p.scale))


def _log_density_exchanged(p, x, g):
    gradients, dx = jax.vjp(_log_density, p, x)[1](g)
    return Gaussian(gradients.scale, gradients.mean), dx


@body.wrong("exchanged", Gaussian(normal(4), positive(4)), normal(4, seed=2))
@rule(_log_density_exchanged)
def log_density_with_exchanged_fields(p, x):
    return _log_density(p, x)


def _log_density_signed(p, x, g):
    gradients, dx = jax.vjp(_log_density, p, x)[1](g)
    return gradients._replace(mean=-gradients.mean), dx


@body.wrong("sign", Gaussian(normal(4), positive(4)), normal(4, seed=2))
@rule(_log_density_signed)
def log_density_with_the_sign_of_the_mean(p, x):
    return _log_density(p, x)


@body.wrong("zero", {"kernel": normal(3, 2), "bias": normal(2)}, normal(4, 3))
@rule(lambda p, x, g: ({"kernel": x.T @ g, "bias": jnp.zeros_like(p["bias"])}, g @ p["kernel"].T))
def dense_layer_with_a_frozen_bias(p, x):
    return x @ p["kernel"] + p["bias"]


@body.wrong("zero", {"kernel": normal(3, 2), "bias": normal(2)}, normal(4, 3))
@rule(lambda p, x, g: ({"kernel": x.T @ g, "bias": g.sum(0)}, None))
def dense_layer_without_a_gradient_of_its_input(p, x):
    return x @ p["kernel"] + p["bias"]


@body.wrong("dropped-term", {"shared": normal(3, 3)}, normal(2, 3))
@rule(
    lambda p, x, g: (
        {"shared": jnp.tanh(x @ p["shared"]).T @ g},
        jax.vjp(lambda x: jnp.tanh(x @ p["shared"]) @ p["shared"], x)[1](g)[0],
    )
)
def shared_weight_with_its_last_use_only(p, x):
    return jnp.tanh(x @ p["shared"]) @ p["shared"]


@body.wrong("dropped-term", normal(3), normal(3))
@rule(lambda x, y, g: (g["sum"], g["sum"] + g["product"] * x))
def sum_and_product_without_a_term(x, y):
    return {"sum": x + y, "product": x * y}


@body.wrong("sign", normal(4))
@rule(lambda x, g: (g[0] * jnp.cos(x) + g[1] * jnp.sin(x),))
def sine_and_cosine_with_a_sign(x):
    return jnp.sin(x), jnp.cos(x)


@body.wrong("dropped-term", normal(4))
@rule(lambda x, g: (g[0] * jnp.cos(x),))
def sine_and_cosine_ignoring_the_cosine(x):
    return jnp.sin(x), jnp.cos(x)


@body.wrong("exchanged", normal(4), normal(4, seed=1))
@rule(lambda x, y, g: (2 * x * g[1], jnp.cos(y) * g[0]))
def two_outputs_with_exchanged_cotangents(x, y):
    return x**2, jnp.sin(y)


@body.wrong("scale", (normal(3), {"a": normal(2), "b": [normal(4), None]}))
@rule(lambda t, g: (jax.tree.map(lambda x: 2.002 * g * x, t),))
def squared_norm_of_a_tree_one_per_mille_off(tree):
    return sum(jnp.sum(x**2) for x in jax.tree.leaves(tree))


@body.wrong("other", (normal(3), normal(5, seed=1)))
@rule(lambda t, g: (jax.tree.map(lambda x: g * x / jnp.linalg.norm(x), t),))
def norm_of_a_tree_normalised_per_leaf(tree):
    return jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(tree)))


MIXED = {"kernel": normal(3, 2, dtype=jnp.bfloat16), "scale": normal(2)}


@body.wrong("dtype", MIXED, normal(4, 3, dtype=jnp.bfloat16), witness=types())
@rule(
    lambda p, x, g: jax.tree.map(
        lambda d: d.astype(jnp.float32),
        jax.vjp(lambda p, x: (x @ p["kernel"]) * p["scale"], p, x)[1](g),
    )
)
def mixed_layer_with_float32_gradients(p, x):
    return (x @ p["kernel"]) * p["scale"]


@body.wrong("scale", {"table": normal(5, 2), "scale": array(0.5), "index": np.array([1, 4, 1])})
@rule(
    lambda p, g: (
        {
            "table": jnp.zeros_like(p["table"]).at[p["index"]].add(g),
            "scale": jnp.sum(g * p["table"][p["index"]]),
            "index": None,
        },
    )
)
def scaled_embedding_without_its_scale(p):
    return p["scale"] * p["table"][p["index"]]


@body.wrong("elements", {"a": normal(40, 50), "b": normal(30)}, witness=gradient())
@rule(lambda p, g: ({"a": (g * jnp.exp(p["a"])).at[17, 23].multiply(0.5), "b": 2 * g * p["b"]},))
def sum_over_a_tree_with_one_element_off(p):
    return jnp.sum(jnp.exp(p["a"])) + jnp.sum(p["b"] ** 2)


@body.wrong("other", normal(3, 4))
@rule(lambda x, g: (g[0] + g[1] * (x == jnp.max(x)),))
def sum_and_maximum_over_all_instead_of_rows(x):
    return jnp.sum(x), jnp.max(x, axis=-1).sum()
