from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxfn import nn
from tests.jaxfn.functional.oracles import assert_close

pytestmark = pytest.mark.numbers


def normal(*shape: int, dtype: str = "float32") -> jax.Array:
    return jnp.asarray(np.random.RandomState(0).standard_normal(shape), dtype)


DILATED = {"input_dilation": 2, "padding": 1}
BARE = {"use_bias": False, "use_scale": False}
IMAGES, ROWS, SEQUENCES = (2, 8, 9, 4), (3, 4), (2, 9, 4)
# Layer, its arguments, its options, the shape of its input, and what it computes with.
LAYERS: dict[str, tuple[Any, ...]] = {
    "linear": ("Linear", (4, 5), {}, ROWS, "_linear"),
    "linear without bias": ("Linear", (4, 5), {"use_bias": False}, SEQUENCES, "_linear"),
    "linear in another dtype": ("Linear", (4, 5), {"dtype": jnp.bfloat16}, ROWS, "_linear"),
    "linear, precise": ("Linear", (4, 5), {"precision": "highest"}, ROWS, None),
    "conv": ("Conv", (4, 6, (3, 3)), {}, IMAGES, "_conv2d"),
    "conv, strided": (
        "Conv",
        (4, 6, (3, 2)),
        {"strides": (2, 1), "padding": ((1, 0), (2, 1)), "use_bias": False},
        IMAGES,
        "_conv2d",
    ),
    "conv, dilated": ("Conv", (4, 6, (3, 3)), {"kernel_dilation": 2}, IMAGES, "_conv2d"),
    "conv, depthwise": ("Conv", (4, 8, (3, 3)), {"feature_group_count": 4}, IMAGES, "_conv2d"),
    "conv, circular": ("Conv", (4, 6, (3, 3)), {"padding": "CIRCULAR"}, IMAGES, "_conv2d"),
    "conv, one image": ("Conv", (4, 6, (3, 3)), {}, IMAGES[1:], "_conv2d"),
    "conv, more batches": ("Conv", (4, 6, (3, 3)), {}, (2, *IMAGES), "_conv2d"),
    "conv, causal": ("Conv", (4, 6, (3,)), {"padding": "CAUSAL"}, SEQUENCES, "_conv2d"),
    "conv, larger than the image": ("Conv", (4, 6, (9, 9)), {"padding": "VALID"}, IMAGES, None),
    "conv, input dilated": (
        "Conv",
        (4, 6, (3, 3)),
        {"input_dilation": 2, "padding": 1},
        IMAGES,
        None,
    ),
    "conv, volumes": ("Conv", (4, 6, (2, 2, 2)), {}, (1, 3, 4, 5, 4), None),
    "conv transpose": ("ConvTranspose", (4, 6, (4, 3), 2), {}, IMAGES, "_conv_transpose2d"),
    "conv transpose, gaps": (
        "ConvTranspose",
        (4, 6, (1, 2), 3),
        {"padding": "VALID", "use_bias": False},
        IMAGES[1:],
        "_conv_transpose2d",
    ),
    "conv transpose, the kernel too": (
        "ConvTranspose",
        (4, 6, (3, 2), (2, 1)),
        {
            "padding": ((1, 2), 0),
            "kernel_dilation": (1, 2),
            "transpose_kernel": True,
            "mask": normal(3, 2, 6, 4),
        },
        IMAGES,
        "_conv_transpose2d",
    ),
    "conv transpose, sequences": (
        "ConvTranspose",
        (4, 6, 3, 2),
        {},
        SEQUENCES,
        "_conv_transpose2d",
    ),
    "conv transpose, circular": (
        "ConvTranspose",
        (4, 6, (3, 3), 2),
        {"padding": "CIRCULAR"},
        IMAGES,
        None,
    ),
    "conv transpose, precise": (
        "ConvTranspose",
        (4, 6, (3, 3)),
        {"precision": "highest"},
        IMAGES,
        None,
    ),
    "layer norm": ("LayerNorm", (4,), {}, ROWS, "_layer_norm"),
    "layer norm, bare": ("LayerNorm", (4,), BARE, ROWS, "_layer_norm"),
    "layer norm over images": ("LayerNorm", (4,), {"reduction_axes": (1, 2, 3)}, IMAGES, None),
    "rms norm": ("RMSNorm", (4,), {"epsilon": 1e-3}, SEQUENCES, "_rms_norm"),
    "rms norm over rows": ("RMSNorm", (4,), {"reduction_axes": (-2, -1)}, ROWS, None),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_flaxs(name):
    """The same parameters, values and gradients; its rule where the operation says the same."""
    kind, args, options, shape, rule = LAYERS[name]
    ours, theirs = (getattr(of, kind)(*args, **options, rngs=nnx.Rngs(0)) for of in (nn, nnx))
    assert isinstance(ours, getattr(nnx, kind))
    states = [nnx.state(layer) for layer in (ours, theirs)]
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), *states))
    x = normal(*shape)

    def value_and_gradients(layer):
        graphdef, state = nnx.split(layer)

        def loss(state, x):
            y = nnx.merge(graphdef, state)(x)
            return jnp.sum(jnp.sin(y.astype(jnp.float32))), y

        run = jax.value_and_grad(loss, (0, 1), has_aux=True)
        return jax.jit(run)(state, x), str(jax.make_jaxpr(loss)(state, x))

    (ours_all, program), (theirs_all, _) = map(value_and_gradients, (ours, theirs))
    pairs = zip(jax.tree.leaves(ours_all), jax.tree.leaves(theirs_all), strict=True)
    for actual, expected in pairs:
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
        tolerance = 1e-5 if options.get("dtype") is None else 1e-2
        assert_close([actual.astype(float)], [expected.astype(float)], tolerance)
    assert ("custom_vjp_call" in program or "custom_jvp_call" in program) == (rule is not None)
    assert rule is None or f"name={rule}" in program


POOLS = [
    ((2, 2), None, "VALID"),
    ((3, 2), (2, 1), "SAME"),
    ((3, 3), (2, 2), ((1, 1), (0, 2))),
    ((2, 2), (2, 2), ((2, 2), (0, 0))),  # a window that holds no element
    ((9, 9), None, "VALID"),  # none at all
]


@pytest.mark.parametrize("count_include_pad", [None, True, False])
@pytest.mark.parametrize(("window", "strides", "padding"), POOLS)
def test_pooling_is_flaxs(window, strides, padding, count_include_pad):
    options = {} if count_include_pad is None else {"count_include_pad": count_include_pad}
    name = "avg_pool" if options else "max_pool"
    x = normal(*IMAGES)

    def pooled(layers):
        def fun(x):
            pool = getattr(layers, name)
            of_batch = pool(x, window, strides, padding, **options)
            return of_batch, pool(x[0], window, strides, padding, **options)

        def run(x):
            y, vjp = jax.vjp(fun, x)
            y_bar = jax.tree.map(lambda y: jnp.cos(jnp.where(jnp.isfinite(y), y, 0)), y)
            return y, vjp(y_bar)

        return [jnp.nan_to_num(of, posinf=7, neginf=7) for of in jax.tree.leaves(jax.jit(run)(x))]

    assert_close(pooled(nn), pooled(nnx), 1e-5)


@pytest.mark.parametrize("name", ["relu", "gelu", "silu", "swish"])
def test_units_are_flaxs(name):
    ours, theirs = (getattr(of, name) for of in (nn, nnx))
    integers = (np.arange(-2, 3), -1) if name in ("relu", "gelu") else ()
    for x in (normal(5), normal(5) + 1j, 2.0, *integers):
        actual, expected = (np.asarray(unit(x=x)) for unit in (ours, theirs))
        assert actual.dtype == expected.dtype
        np.testing.assert_allclose(actual, expected, 1e-5, 1e-6)
    if name == "gelu":
        np.testing.assert_allclose(ours(normal(5), False), theirs(normal(5), False), 1e-5)


def test_an_average_has_flaxs_dtype():
    """Where the padding is left out it is divided by a count in float32."""
    x = normal(*IMAGES, dtype="bfloat16")
    for count in (True, False):
        y, expected = (of.avg_pool(x, (2, 2), None, "SAME", count) for of in (nn, nnx))
        assert y.dtype == expected.dtype


def test_a_size_may_be_unknown():
    """As in Flax's, whose results such an export then has."""
    layer = nn.ConvTranspose(4, 4, (3, 3), 2, rngs=nn.Rngs(0))

    def run(x):
        return nn.avg_pool(nn.max_pool(layer(x), (2, 2), (2, 2)), (2, 2), (2, 2), "SAME")

    shape = jax.export.symbolic_shape("b, h, w, 4")
    exported = jax.export.export(jax.jit(run))(jax.ShapeDtypeStruct(shape, "float32"))
    np.testing.assert_allclose(exported.call(normal(*IMAGES)), run(normal(*IMAGES)), 1e-5, 1e-6)


def test_layers_stack_as_flaxs():
    """Made under `vmap`, run by `scan`, recomputed by `remat`: Flax's values and gradients."""
    x = normal(2, 4, 4, 6)

    def stacked(of):
        class Block(of.Module):
            def __init__(self, rngs):
                self.conv = of.Conv(6, 6, (3, 3), rngs=rngs)
                self.norm = of.LayerNorm(6, rngs=rngs)
                self.linear = of.Linear(6, 6, rngs=rngs)

            def __call__(self, x):
                return x + self.linear(of.relu(self.norm(self.conv(x))))

        blocks = of.split_rngs(splits=2)(of.vmap(Block, in_axes=0, out_axes=0))(of.Rngs(0))

        @of.scan(in_axes=(of.Carry, 0), out_axes=of.Carry)
        @of.remat
        def run(x, block):
            return block(x)

        return of.jit(of.value_and_grad(lambda blocks: jnp.mean(run(x, blocks) ** 2)))(blocks)

    pairs = zip(*(jax.tree.leaves(stacked(of)) for of in (nn, nnx)), strict=True)
    for actual, expected in pairs:
        assert_close([actual], [expected], 1e-5)


def small_net(layers):
    """A model as people write it, of the layers of a module."""

    class Net(layers.Module):
        def __init__(self, *, rngs):
            self.conv = layers.Conv(1, 6, (3, 3), rngs=rngs)
            self.norm = layers.BatchNorm(6, rngs=rngs)
            self.dropout = layers.Dropout(0.5, rngs=rngs)
            self.linear = layers.Linear(4 * 4 * 6, 10, rngs=rngs)

        def __call__(self, x):
            x = layers.max_pool(layers.relu(self.norm(self.conv(x))), (2, 2), strides=(2, 2))
            return self.linear(self.dropout(x.reshape(x.shape[0], -1)))

    return Net(rngs=layers.Rngs(0))


def test_a_model_is_changed_by_one_import():
    """The same training, and the checkpoint of the plain model loads."""
    x, labels = normal(8, 8, 8, 1), jnp.arange(8)
    losses = []
    for layers in (nnx, nn):
        model = small_net(layers)
        optimizer = layers.Optimizer(model, optax.sgd(0.1, 0.9), wrt=layers.Param)

        @layers.jit
        def step(model, optimizer):
            def loss(model):
                logits = model(x)
                return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

            value, gradient = nnx.value_and_grad(loss)(model)
            optimizer.update(model, gradient)
            return value

        losses.append([step(model, optimizer).item() for _ in range(3)])
        trained = nnx.state(model)
    np.testing.assert_allclose(losses[0], losses[1], 1e-5)
    plain = small_net(nnx)
    nnx.update(plain, trained)
    ours = small_net(nn)
    nnx.update(ours, nnx.state(plain))
    for model in (plain, ours):
        model.eval()
    np.testing.assert_allclose(plain(x), ours(x), 1e-4, 1e-5)


NAMES = ("Linear", "Conv", "ConvTranspose", "LayerNorm", "RMSNorm", "max_pool", "avg_pool", "gelu")


@pytest.mark.parametrize("name", NAMES)
def test_the_signature_is_flaxs(name):
    ours, theirs = (inspect.signature(getattr(of, name)) for of in (nn, nnx))
    assert [*ours.parameters] == [*theirs.parameters]
    defaults = [[p.default for p in of.parameters.values()] for of in (ours, theirs)]
    assert defaults[0] == defaults[1]


def test_every_other_name_is_flaxs():
    assert (nn.Embed, nn.Param) == (nnx.Embed, nnx.Param)
    assert {name for name in dir(nnx) if not name.startswith("_")} <= {*dir(nn)}
    with pytest.raises(AttributeError, match=r"module 'jaxfn.nn' has no attribute 'Convolution'"):
        getattr(nn, "Convolution")  # noqa: B009 (an attribute is what it is about)


def test_flax_is_imported_on_demand():
    code = """
import sys, jaxfn
assert "flax" not in sys.modules
sys.modules["flax"] = None  # as if it were not installed
try:
    jaxfn.nn
except ImportError as error:
    print(error)
del sys.modules["flax"]
print(jaxfn.nn.Conv.__name__)
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    without, with_flax = run.stdout.splitlines()
    assert without.startswith("jaxfn.nn needs Flax: pip install flax; ")
    assert with_flax == "Conv"
