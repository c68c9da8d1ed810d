"""The step of the ResNet: its layers are those of the model, PyTorch takes the same, rows."""

from __future__ import annotations

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import models
from jaxfn import nn
from scripts.benchmarks import lenet, resnet
from scripts.benchmarks.lenet import CHANNELS_LAST, COMPILED, FLAX, LIMIT, OURS, PYTORCH
from scripts.benchmarks.operations import PLAIN
from scripts.benchmarks.resnet import OF_RESNET, OTHERS, Layer
from scripts.benchmarks.timing import Effort

pytestmark = pytest.mark.numbers

QUICK = Effort(repeats=1, seconds=0.01)
OPTIMIZER = optax.sgd(0.1, momentum=0.9)
TINY = Layer(4, 2, 2, stride=2, batch=1)


@pytest.fixture
def no_pytorch(monkeypatch):
    for module in (lenet, resnet):
        monkeypatch.setattr(module, "why_no_pytorch", lambda: "no torch here")


def test_its_layers_are_those_of_the_model():
    def logits(x):
        return models.ResNet18(layers=nnx, rngs=nnx.Rngs(0))(x)

    image = jax.ShapeDtypeStruct((resnet.BATCH, 32, 32, 3), jnp.float32)
    found = Counter()
    for eqn in jax.make_jaxpr(logits)(image).eqns:
        if eqn.primitive.name == "conv_general_dilated":
            (*_, size, width), (kernel, *_, out) = (v.aval.shape for v in eqn.invars)
            found[Layer(size, width, out, kernel, *set(eqn.params["window_strides"]))] += 1
    expected = {Layer(o.size, o.width, o.out, o.kernel, o.stride): o.count for o in OF_RESNET}
    assert found == expected


def test_flops_of_a_step():
    forward, first = 555_422_720, 1_769_472  # multiplications, as others count them
    assert resnet.training_flops(1) == 2 * (3 * forward - first)
    assert resnet.training_flops(128) == 128 * resnet.training_flops(1)


def test_each_layer_has_a_name_of_its_own():
    names = [*map(str, (*OF_RESNET, *OTHERS))]
    assert names[0] == "3×3 of 128×32×32, 3→64"
    assert names[-1] == "7×7 of 16×224×224, 3→64, stride 2"
    assert "3×3 of 128×32×32, 64→64, groups 64" in names
    assert len(set(names)) == len(names)


@pytest.mark.usefixtures("no_pytorch")
def test_rows_of_a_convolution():
    (rows,) = resnet.convolutions(QUICK, [TINY])
    assert [row.contestant for row in rows] == [OURS, PLAIN, PYTORCH]
    assert rows[0].group == "3×3 of 1×4×4, 2→2, stride 2, forward and backward"
    assert rows[0].figures["speed_against_plain"] > 0
    assert rows[2].note == "no torch here"


@pytest.mark.long
@pytest.mark.usefixtures("no_pytorch")
def test_rows_of_a_step(monkeypatch):
    monkeypatch.setattr(lenet, "LIMIT_SIZE", 64)
    (rows,) = resnet.steps(QUICK, 0, batch=2)
    assert [row.contestant for row in rows] == [
        OURS, FLAX, PYTORCH, CHANNELS_LAST, COMPILED, LIMIT,
    ]  # fmt: skip
    assert rows[0].figures["speed_against_flax"] > 0
    assert rows[0].figures["share_of_limit"] > 0


@pytest.mark.parity
def test_pytorch_takes_the_same_step():
    """In float64: the loss, and after two steps each parameter and running mean."""
    from scripts.benchmarks import pytorch_peer, pytorch_resnet

    with jax.enable_x64(True):
        state, (images, labels) = resnet.problem(2, 0, OPTIMIZER)
        state, images = jax.tree.map(lambda x: x.astype(jnp.float64), (state, images))
        weights = resnet.torch_weights(state.params, state.statistics)
        theirs = pytorch_resnet.from_weights(weights)
        step = pytorch_resnet.make_train_step(theirs, pytorch_peer.Sgd(0.1, 0.9))
        tensors = pytorch_peer.batch(np.asarray(images), np.asarray(labels))
        ours = jax.jit(resnet.make_train_step(nn, OPTIMIZER))
        for _ in range(2):
            state, loss = ours(state, images, labels)
            np.testing.assert_allclose(loss, step(*tensors), rtol=1e-10)
        found = resnet.torch_weights(state.params, state.statistics)
    expected = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    for name, actual in found.items():
        if not name.endswith("running_var"):  # PyTorch's is of the unbiased variance
            scale = np.abs(expected[name]).max()
            np.testing.assert_allclose(actual, expected[name], rtol=0, atol=1e-10 * scale)


@pytest.mark.parity
@pytest.mark.parametrize("channels_last", [False, True])
def test_pytorch_convolves_alike(channels_last):
    layer = Layer(8, 4, 6, stride=2, groups=2, batch=2)
    contestants = resnet._convolutions(layer, 0)
    y, (x_bar, kernel_bar) = contestants[OURS].run()
    name = CHANNELS_LAST if channels_last else PYTORCH
    their_y, (their_x_bar, their_kernel_bar) = contestants[name].run()
    for ours, theirs, axes in (
        (y, their_y.detach(), (0, 2, 3, 1)),
        (x_bar, their_x_bar, (0, 2, 3, 1)),
        (kernel_bar, their_kernel_bar, (2, 3, 1, 0)),
    ):
        np.testing.assert_allclose(ours, theirs.numpy().transpose(axes), rtol=1e-4, atol=1e-4)
