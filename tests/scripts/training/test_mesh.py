"""Training on several devices is training on one, to rounding, and moves gradients alone."""

import contextlib
import json
import os
import re
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxfn
import models
from scripts.command.program import UserError
from scripts.training import mesh
from scripts.training.step import (
    Metrics,
    TrainState,
    accuracy,
    make_advance,
    make_loss_fn,
    make_random_shift,
    make_train_step,
    mean_metrics,
    split_model,
    start,
)

IMAGES = jax.random.normal(jax.random.key(1), (180, 32, 32, 1))
LABELS = jax.random.randint(jax.random.key(2), (180,), 0, 10)
BATCH = 88  # neither it nor its half is another size in LeNet
COLLECTIVE = re.compile(
    r"= (.*) (all-reduce|all-gather|all-to-all|reduce-scatter|collective-\w+)(?:-start)?\("
)


def epoch_on(devices):
    """An epoch's steps of LeNet, compiled for so many devices or, for None, without a mesh; and the
    inputs."""
    graphdef, params = split_model(models.LeNet(rngs=nnx.Rngs(0)))
    optimizer = optax.sgd(0.2, momentum=0.9)
    first = start(TrainState(params, optimizer.init(params)), jax.random.key(3))
    args = (first, np.int32(len(IMAGES) // BATCH), IMAGES, LABELS)
    made = None if devices is None else mesh.make_mesh(devices, None)

    def parallel(mean):
        return mean if made is None else mesh.data_parallel(mean, made)

    loss_fn = make_loss_fn(graphdef)
    step = make_train_step(loss_fn, optimizer, parallel=parallel)
    epoch = jax.jit(make_advance(step, BATCH, make_random_shift(3, 0.0)))
    args = args if made is None else mesh.replicate(args, made)
    return epoch.lower(*args).compile(), args


@pytest.fixture(scope="module")
def alone():
    epoch, args = epoch_on(None)
    position, _ = epoch(*args)
    return position.state, mean_metrics(position)


@pytest.fixture(scope="module")
def both():
    return epoch_on(2)


def test_two_devices_train_as_one(alone, both):
    epoch, args = both
    position, _ = epoch(*args)
    state, metrics = position.state, mean_metrics(position)
    assert metrics.loss.sharding.is_fully_replicated
    np.testing.assert_allclose(metrics.loss, alone[1].loss, rtol=1e-5)
    np.testing.assert_allclose(metrics.accuracy, alone[1].accuracy, rtol=1e-6)
    chex.assert_trees_all_close(state, alone[0], rtol=1e-4, atol=1e-6)
    before = jax.tree.leaves(args[0].state.params)
    assert all(np.any(a != b) for a, b in zip(before, jax.tree.leaves(state.params), strict=True))


def test_gradients_alone_are_moved(both):
    """The compiled epoch has one all-reduce, whose arrays are the gradients and the two metrics."""
    epoch, args = both
    moved = COLLECTIVE.findall(epoch.as_text())
    assert [kind for _, kind in moved] == ["all-reduce"]
    shapes = re.findall(r"f32\[([\d,]*)\]", moved[0][0])
    parameters = [",".join(map(str, leaf.shape)) for leaf in jax.tree.leaves(args[0].state.params)]
    assert sorted(shapes) == sorted([*parameters, "", ""])


def test_each_device_computes_on_its_part_of_the_batch(both):
    epoch, _ = both
    shapes = re.findall(r"f32\[([\d,]+)\]", epoch.as_text())
    sizes = {int(size) for shape in shapes for size in shape.split(",")}
    assert BATCH // 2 in sizes
    assert BATCH not in sizes


def test_a_large_batch_in_slices_on_each_device():
    """`microbatched_value_and_grad` on the part of each device, which is as large as to be sliced,
    is the mean over all of it."""

    def loss_fn(params, x, labels):
        h = jnp.tanh(x @ params)
        return jnp.mean(jnp.square(h - labels[:, None])), h

    def mean(*args):
        (loss, _), gradient = jaxfn.microbatched_value_and_grad(loss_fn)(*args)
        return loss, gradient

    x = jax.random.normal(jax.random.key(0), (16384, 64))
    args = jax.random.normal(jax.random.key(1), (64, 64)), x, x[:, 0]
    made = mesh.make_mesh(2, None)
    found = jax.jit(mesh.data_parallel(mean, made))
    assert "scan" in str(jax.make_jaxpr(found)(*args))
    (loss, _), gradient = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))(*args)
    chex.assert_trees_all_close(
        found(*mesh.replicate(args, made)), (loss, gradient), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("images", [1, 39, 40])
def test_evaluation(images):
    def evaluate(params, images, labels):
        logits = images.mean(1)[..., 0] @ params
        return Metrics(logits.mean(), accuracy(logits, labels)), logits

    args = jax.random.normal(jax.random.key(0), (32, 10)), IMAGES[:images], LABELS[:images]
    made = mesh.make_mesh(2, None)
    metrics, logits = jax.jit(mesh.data_parallel_evaluate(evaluate, made))(
        *mesh.replicate(args, made)
    )
    expected = evaluate(*args)[1]
    loss = optax.softmax_cross_entropy_with_integer_labels(expected, args[2]).mean()
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics.loss, loss, rtol=1e-5)
    assert metrics.accuracy == np.mean(np.argmax(expected, 1) == args[2])


def steps_on(devices, way):
    """The losses of three steps of LeNet, and the collectives of the compiled step, for
    way "alone", "shard_map", "explicit" or "automatic"."""
    graphdef, params = split_model(models.LeNet(rngs=nnx.Rngs(0)))
    optimizer, loss_fn = optax.sgd(0.1), make_loss_fn(graphdef)
    state, step = TrainState(params, optimizer.init(params)), make_train_step(loss_fn, optimizer)
    images, labels = IMAGES[: 4 * devices], LABELS[: 4 * devices]
    if way == "shard_map":
        made = mesh.make_mesh(devices, None)
        step = make_train_step(
            loss_fn, optimizer, parallel=lambda mean: mesh.data_parallel(mean, made)
        )
        state, images, labels = mesh.replicate((state, images, labels), made)
    elif way != "alone":
        mode = {"explicit": AxisType.Explicit, "automatic": AxisType.Auto}[way]
        made = jax.make_mesh((devices,), ("data",), axis_types=(mode,))
        state = jax.device_put(state, NamedSharding(made, P()))
        images, labels = jax.device_put((images, labels), NamedSharding(made, P("data")))
    # From jax 0.11 on, JAX asks for the mesh as a context around programs on an explicit one.
    context = jax.set_mesh(made) if way == "explicit" else contextlib.nullcontext()
    with context:
        program, losses = jax.jit(step).lower(state, images, labels).compile(), []
        for _ in range(3):
            state, metrics = program(state, images, labels)
            losses.append(float(metrics.loss))
    return losses, [kind for _, kind in COLLECTIVE.findall(program.as_text())]


def check_steps(devices, ways):
    alone, moved = steps_on(devices, "alone")
    assert moved == []
    assert alone[0] > alone[1] > alone[2]
    for way in ways:
        losses, moved = steps_on(devices, way)
        np.testing.assert_allclose(losses, alone, rtol=1e-5, err_msg=way)
        assert moved == ["all-reduce"], way


def test_the_same_step_on_a_mesh_takes_one_all_reduce():
    check_steps(2, ["explicit", "automatic"])


@pytest.mark.long
def test_steps_on_four_devices():
    program = "from tests.scripts.training.test_mesh import check_steps\n"
    program += "check_steps(4, ['shard_map', 'explicit', 'automatic'])"
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "4"},
    )


MANY_DEVICES = """
import json, sys
from tests.scripts.training.test_mesh import epoch_on, mean_metrics
epoch, args = epoch_on(int(sys.argv[1]))
position, _ = epoch(*args)
print(json.dumps(float(mean_metrics(position).loss)))
"""


@pytest.mark.long
@pytest.mark.parametrize("devices", [4, 8])
def test_many_devices_train_as_one(alone, devices):
    output = subprocess.run(
        [sys.executable, "-c", MANY_DEVICES, str(devices)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "8", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    ).stdout
    loss = json.loads(output.splitlines()[-1])
    np.testing.assert_allclose(loss, float(alone[1].loss), rtol=1e-5)


def test_without_flags_there_is_no_mesh():
    assert mesh.make_mesh(None, None) is None


def test_the_flags_say_the_same():
    assert mesh.make_mesh(2, None) == mesh.make_mesh(None, "data=2")
    assert mesh.make_mesh(1, None).size == 1


@pytest.mark.parametrize(
    ("devices", "flag", "message"),
    [
        (0, None, "--devices 0: expected at least 1 device"),
        (-1, None, "--devices -1: expected at least 1 device"),
        (
            3,
            None,
            "--devices 3: expected at most the 2 cpu devices that JAX finds; "
            "JAX_NUM_CPU_DEVICES=3 makes as many of a CPU",
        ),
        (None, "data=3", "--mesh data=3: expected at most the 2 cpu devices"),
        (None, "data=0", "--mesh data=0: expected at least 1 device"),
        (None, "model=2", "--mesh model=2: expected the axis data, got 'model'"),
        (None, "data=2,model=1", "--mesh data=2,model=1: expected data=N"),
        (None, "data", "--mesh data: expected data=N, N the number of devices"),
        (None, "data=two", "--mesh data=two: expected data=N"),
        (None, "", "--mesh : expected data=N"),
        (2, "data=2", "expected --devices or --mesh, got both"),
    ],
)
def test_wrong_flags(devices, flag, message):
    with pytest.raises(UserError) as raised:
        mesh.make_mesh(devices, flag)
    assert message in str(raised.value)


def test_a_batch_without_equal_parts_is_refused():
    made = mesh.make_mesh(2, None)
    mesh.check_batch(4, 1, made)
    mesh.check_batch(4, 2, made)
    for batch, accumulate, message in [
        (5, 1, "--batch-size 5: expected a multiple of the 2 devices"),
        (6, 2, "--batch-size 6: expected a multiple of the 2 devices × --accumulate 2"),
    ]:
        with pytest.raises(UserError) as raised:
            mesh.check_batch(batch, accumulate, made)
        assert str(raised.value) == message
