"""Residuals against bytes by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax import lax

import jaxfn
from jaxfn.comparison.figures.problem import make_problem
from jaxfn.comparison.figures.regimes import forward
from jaxfn.comparison.figures.residuals import Residuals, find_residuals
from tests.jaxfn.comparison.helpers import hoarding_sin, normal, plain_sin, quick, with_rule

N = 6 * 8  # elements of X
X = normal(6, 8)
FOUR = 4  # bytes of a float32


def residuals(fun, args, argnums=None) -> Residuals:
    """What `fun` keeps, without compiling anything."""
    problem = make_problem(fun, args, range(len(args)) if argnums is None else argnums, 0)
    flat = problem.flatten(fun)
    jaxpr = jax.make_jaxpr(lambda p, o: forward(flat, p, o))(problem.primals, problem.others)
    names = (*problem.names, *problem.other_names)
    return find_residuals(jaxpr, names, len(problem.cotangents), None)


def amounts(side) -> dict[str, int]:
    return {k: side.nbytes(k) for k in ("new", "argument", "output", "constant") if side.nbytes(k)}


def test_relu(relu):
    pair, size = relu.figures.residuals, 8 * 16
    assert amounts(pair.rule) == {"new": size}  # a byte for each element
    assert [leaf.dtype for leaf in pair.rule.leaves] == ["bool"]
    assert amounts(pair.reference) == {"new": size + FOUR * size}  # and an array of zeros
    assert pair.rule.read_when_compiled == size


def test_linear_keeps_its_arguments_and_nothing_else(linear):
    pair = linear.figures.residuals
    for side in (pair.rule, pair.reference):
        assert amounts(side) == {"argument": FOUR * (N + 8 * 5)}
        assert {leaf.origin for leaf in side.leaves} == {"x", "weight"}
        assert side.read_when_compiled == FOUR * (N + 8 * 5)


def test_linear_with_a_frozen_argument_keeps_only_what_it_needs():
    args = (X, normal(8, 5), normal(5))
    assert amounts(residuals(jaxfn.linear, args, (0, 2))) == {"argument": FOUR * 8 * 5}
    assert amounts(residuals(jaxfn.linear, args, (1,))) == {"argument": FOUR * N}


def test_max_pool2d_keeps_a_byte_per_pooled_element():
    x = normal(2, 6, 4, 3)
    assert amounts(residuals(jaxfn.max_pool2d, (x,))) == {"new": 2 * 3 * 2 * 3}
    plain = residuals(lambda x: nnx.max_pool(x, (2, 2), strides=(2, 2)), (x,))
    assert amounts(plain) == {"argument": FOUR * 2 * 6 * 4 * 3}


def test_an_output_that_is_kept_is_told_apart():
    assert amounts(residuals(lambda x: jnp.exp(x), (X,))) == {"output": FOUR * N}


def test_an_array_that_is_closed_over_is_told_apart():
    kept = residuals(lambda x: jnp.sin(x) * X, (X + 1,))
    assert amounts(kept) == {"new": FOUR * N, "constant": FOUR * N}


def test_a_scan_of_layers_keeps_each_layer():
    def layers(x, weights):
        return lax.scan(lambda h, w: (jaxfn.relu(jaxfn.linear(h, w)), None), x, weights)[0]

    args = (X, normal(5, 8, 8))
    # of each of 5 layers its input and a byte for each element of the ReLU; the weights are there
    expected = {"new": 5 * (FOUR * N + N), "argument": FOUR * 5 * 8 * 8}
    assert amounts(residuals(layers, args)) == expected
    # the zeros of autodiff's ReLU are the same in each layer: JAX keeps them once
    without = residuals(jaxfn.autodiff(layers), args)
    assert without.nbytes("new") == expected["new"] + FOUR * N


def test_duplicates_count_once():
    def forward(x):
        cos = jax.jit(jnp.cos)(x)
        return jnp.sin(x), (x, cos, x, jax.jit(lambda c: (c, c + 1))(cos)[0])

    fun = with_rule(jnp.sin, forward, lambda kept, g: (g * kept[1] + 0 * kept[2] * kept[3],))
    kept = residuals(fun, (X,))
    assert amounts(kept) == {"new": FOUR * N, "argument": FOUR * N}
    assert [leaf.origin for leaf in kept.leaves] == ["x", "cos"]


def test_keys_and_integers_have_sizes():
    def fun(x, index, key):
        return x[index] * jax.random.normal(key, (2,))

    kept = residuals(fun, (normal(6), jnp.array([1, 2]), jax.random.key(0)))
    assert FOUR * 2 in {leaf.nbytes for leaf in kept.leaves}


def test_a_needless_residual_is_reported():
    result = quick(hoarding_sin, (X,), reference=plain_sin)
    assert amounts(result.figures.residuals.rule) == {"new": 4 * FOUR * N}
    assert amounts(result.figures.residuals.reference) == {"new": FOUR * N}
    assert "4 times the residual memory" in result.verdict


@pytest.mark.parametrize("place", [jax.jit, jax.checkpoint, jax.vmap], ids=["jit", "remat", "vmap"])
def test_a_rule_inside_of_something(place):
    expected = {"argument": FOUR * N} if place is jax.checkpoint else {"new": N}
    assert amounts(residuals(place(jaxfn.relu), (X,))) == expected
