"""`autodiff` on the functions of JAX and Optax, and on a Flax model's loss."""

import functools

import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfn import autodiff, custom_rules
from tests.jaxfn.planted_rules import X, assert_close, body, with_custom_vjp

pytestmark = pytest.mark.numbers

NN = {
    name: getattr(jax.nn, name)
    for name in ("relu", "relu6", "gelu", "silu", "softplus", "log_sigmoid", "log_softmax", "mish")
}
SPECIAL = {
    name: getattr(jax.scipy.special, name)
    for name in ("logit", "entr", "log_ndtr", "digamma", "erf", "i0")
}
PROJECTIONS = {
    name: getattr(optax.projections, name)
    for name in ("projection_simplex", "projection_l1_ball", "projection_l2_ball")
}
LOSSES = {
    name: functools.partial(getattr(optax.losses, name), jnp.array([0.1, 0.2, 0.4, 0.3]))
    for name in ("log_cosh", "sigmoid_binary_cross_entropy", "safe_softmax_cross_entropy")
}
LINALG = {
    name: functools.partial(
        lambda fun, x: fun(jnp.outer(x, x) + jnp.eye(4)), getattr(jnp.linalg, name)
    )
    for name in ("det", "slogdet", "pinv", "cholesky")
}


# Their rules and their control flow are made like those of the others.
LIKE_OTHERS = {
    "relu6", "silu", "softplus", "mish", "entr", "log_ndtr", "erf",
    "projection_l1_ball", "log_cosh", "det",
}  # fmt: skip
FUNCTIONS = [
    pytest.param(fun, id=name, marks=[pytest.mark.long] * (name in LIKE_OTHERS))
    for name, fun in (NN | SPECIAL | PROJECTIONS | LOSSES | LINALG).items()
]


@pytest.mark.parametrize("fun", FUNCTIONS)
def test_functions_of_jax_and_optax(fun):
    x = X / 5.0 + 0.1

    def weighted(fun):
        return lambda x: sum(jnp.sum(jnp.cos(y)) for y in jax.tree.leaves(fun(x)))

    bare = autodiff(fun, custom_jvp=True)
    jax.tree.map(np.testing.assert_array_equal, bare(x), fun(x))
    both = jax.jit(lambda x: [jax.grad(weighted(f))(x) for f in (autodiff(fun), fun)])
    assert_close(*both(x))
    assert custom_rules(bare, x) == ()


def test_a_flax_model_and_its_loss():
    op = with_custom_vjp(body)

    class Model(flax.nnx.Module):
        def __init__(self, rngs):
            self.hidden = flax.nnx.Linear(4, 8, rngs=rngs)
            self.norm = flax.nnx.BatchNorm(8, rngs=rngs)
            self.head = flax.nnx.Linear(8, 3, rngs=rngs)

        def __call__(self, x, op):
            return self.head(op(self.norm(self.hidden(x))))

    graph, state = flax.nnx.split(Model(flax.nnx.Rngs(0)))
    x, labels = jax.random.normal(jax.random.key(0), (5, 4)), jnp.array([0, 1, 2, 1, 0])

    def loss(op, state):
        model = flax.nnx.merge(graph, state)
        logits = model(x, op)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return loss, flax.nnx.state(model)

    got = jax.value_and_grad(autodiff(functools.partial(loss, op)), has_aux=True, allow_int=True)
    own = jax.value_and_grad(functools.partial(loss, body), has_aux=True, allow_int=True)
    ((value, after), gradient), ((own_value, own_after), own_gradient) = jax.jit(
        lambda state: (got(state), own(state))
    )(state)
    assert_close((value, after), (own_value, own_after))
    for mine, its in zip(jax.tree.leaves(gradient), jax.tree.leaves(own_gradient), strict=True):
        assert mine.dtype == its.dtype
        if mine.dtype != jax.dtypes.float0:
            assert_close(mine, its)
    assert [rule.name for rule in custom_rules(functools.partial(loss, op), state)] == ["body"]
