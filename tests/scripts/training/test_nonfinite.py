"""The first number that is not finite is named."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import models
from scripts.training.nonfinite import locate
from scripts.training.step import make_loss_fn, split_model

pytestmark = pytest.mark.numbers

GRAPHDEF, PARAMS = split_model(models.LeNet(rngs=nnx.Rngs(0)))
IMAGES = jax.random.normal(jax.random.key(1), (3, 32, 32, 1))
LABELS = jnp.arange(3)
LOSS = make_loss_fn(GRAPHDEF)


def changed(layer, name, value):
    return PARAMS | {layer: PARAMS[layer] | {name: PARAMS[layer][name].at[0].set(value)}}


@pytest.mark.parametrize(
    ("layer", "value", "kind"), [("conv1", jnp.nan, "nan"), ("fc1", jnp.inf, "inf")]
)
def test_outputs(layer, value, kind):
    params = changed(layer, "bias", value)
    where = locate(GRAPHDEF, LOSS, "float32", params, IMAGES, LABELS)
    assert where == f"the output of {layer} ({kind})"


def test_images():
    images = IMAGES.at[1, 5, 5].set(jnp.nan)
    where = locate(GRAPHDEF, LOSS, "bfloat16", PARAMS, images, LABELS)
    assert where == "the images of the batch (nan)"


def test_loss():
    def loss(params, x, labels):
        value, logits = LOSS(params, x, labels)
        return value / 0, logits

    where = locate(GRAPHDEF, loss, "float32", PARAMS, IMAGES, LABELS)
    assert where == "the loss (inf)"


def test_gradients_come_in_the_order_of_the_backward_pass():
    """fc2 comes before conv2, although it has the later name."""

    def loss(params, x, labels):
        value, logits = LOSS(params, x, labels)
        for layer in ("conv2", "fc2"):
            value += jnp.sqrt(0 * jnp.sum(params[layer]["bias"]))
        return value, logits

    where = locate(GRAPHDEF, loss, "float32", PARAMS, IMAGES, LABELS)
    assert where == "the gradient of fc2.bias (nan)"


def test_the_update():
    where = locate(GRAPHDEF, LOSS, "float32", PARAMS, IMAGES, LABELS)
    assert where == "the optimiser's update of the parameters"


class Backwards(nnx.Module):
    """Layers whose names are not in the order of the calls, one of them called twice."""

    def __init__(self, rngs: nnx.Rngs):
        self.last = models.Linear(4, 10, rngs=rngs)
        self.zeroth = models.Linear(1024, 4, rngs=rngs)
        self.middle = nnx.List([models.Linear(4, 4, rngs=rngs)])

    def __call__(self, x: jax.Array) -> jax.Array:
        h = self.zeroth(x.reshape(len(x), -1))
        return self.last(self.middle[0](self.middle[0](h)))


def test_layers_come_in_the_order_of_their_calls():
    graphdef, params = split_model(Backwards(nnx.Rngs(0)))
    loss = make_loss_fn(graphdef)
    broken = jax.tree.map(lambda leaf: leaf * jnp.inf, params)
    for layer, rest in (("zeroth", broken), ("middle.0", broken | {"zeroth": params["zeroth"]})):
        where = locate(graphdef, loss, "float32", rest, IMAGES, LABELS)
        assert where.startswith(f"the output of {layer} (")
