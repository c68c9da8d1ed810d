"""LeNet's training step beside its peers', and its cost per image at many batches."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import models
from scripts.benchmarks import flax_peer
from scripts.benchmarks.timing import Contestant, Effort, Row, add_speed, carried, compiled, measure
from scripts.training.step import (
    Rules,
    StepFn,
    TrainState,
    make_loss_fn,
    make_train_step,
    split_model,
)

OURS, WITHOUT_RULES, FLAX, PYTORCH = "jaxfn", "jaxfn, rules removed", "plain Flax", "PyTorch"
CHANNELS_LAST, COMPILED = f"{PYTORCH}, channels_last", f"{PYTORCH}, torch.compile"
LIMIT = "matrix-product limit"
RATE, MOMENTUM = 0.025, 0.9
LIMIT_SIZE = 2048  # of the square matrices whose product says what the machine can do

# Multiplications of a forward pass of one image: each output's number of terms.
PRODUCTS = {
    "conv1": (30 * 30 * 6) * (3 * 3 * 1),
    "conv2": (13 * 13 * 16) * (3 * 3 * 6),
    "fc1": 120 * 576,
    "fc2": 84 * 120,
    "fc3": 10 * 84,
}


def training_flops(batch: int) -> int:
    """Floating point operations of a training step's matrix products and convolutions: one
    multiplication and one addition for each product of the forward pass, as many for the kernel's
    gradient and for the input's, of which the first layer needs none."""
    return 2 * batch * (3 * sum(PRODUCTS.values()) - PRODUCTS["conv1"])


def lenet(
    batches: Sequence[int], effort: Effort, compile_seconds: float = 60.0
) -> Iterator[list[Row]]:
    """A training step (forward, backward, SGD with momentum) at each batch.

    Args:
      batches: images per step.
      effort: how much to measure.
      compile_seconds: once `torch.compile` has taken so long, it compiles no further batch.
    """
    spent = 0.0
    for batch in batches:
        peers, compiling = _pytorch_steps(batch, effort.seed, compile_seconds - spent)
        spent += compiling
        contestants = _steps(batch, effort.seed) | peers | {LIMIT: matrix_product(effort.seed)}
        rows = measure(f"batch {batch}", contestants, effort)
        yield _with_speeds([as_limit(row, training_flops(batch)) for row in rows], batch)


def cost_per_image(batches: Sequence[int], effort: Effort) -> Iterator[list[Row]]:
    """Our step alone, at all batches in turn."""
    optimizer = optax.sgd(RATE, MOMENTUM)
    contestants = {}
    for batch in batches:
        graphdef, state, data = problem(batch, effort.seed, optimizer)
        contestants[f"batch {batch}"] = carried(our_step(graphdef, optimizer), state, *data)
    rows = [
        _per_image(row, batch)
        for row, batch in zip(measure(OURS, contestants, effort), batches, strict=True)
    ]
    costs = [row.figures["ms_per_1000_images"] for row in rows]
    yield [
        row.with_figures(cost_against_least=cost / min(costs))
        for row, cost in zip(rows, costs, strict=True)
    ]


def problem(
    batch: int, seed: int, optimizer: optax.GradientTransformation
) -> tuple[nnx.GraphDef, TrainState, tuple[jax.Array, jax.Array]]:
    """LeNet's structure, the state before the first step, random images and labels."""
    graphdef, params = split_model(models.LeNet(rngs=nnx.Rngs(seed)))
    rng = np.random.RandomState(seed)
    images = jnp.asarray(rng.standard_normal((batch, 32, 32, 1)), jnp.float32)
    labels = jnp.asarray(rng.randint(10, size=batch), jnp.int32)
    return graphdef, TrainState(params, optimizer.init(params)), (images, labels)


def our_step(
    graphdef: nnx.GraphDef, optimizer: optax.GradientTransformation, rules: Rules = "custom"
) -> StepFn:
    """The step that `train_lenet` takes."""
    return make_train_step(make_loss_fn(graphdef, rules), optimizer)


def matrix_product(seed: int) -> Contestant:
    """A product of two square matrices in float32, as JAX computes it."""
    rng = np.random.RandomState(seed)
    a, b = jnp.asarray(rng.standard_normal((2, LIMIT_SIZE, LIMIT_SIZE)), jnp.float32)
    return compiled(jnp.dot, a, b)


def _steps(batch: int, seed: int) -> dict[str, Contestant]:
    optimizer = optax.sgd(RATE, MOMENTUM)
    graphdef, state, data = problem(batch, seed, optimizer)
    steps = {
        OURS: our_step(graphdef, optimizer),
        WITHOUT_RULES: our_step(graphdef, optimizer, "autodiff"),
        FLAX: flax_peer.make_train_step(optimizer),
    }
    return {name: carried(step, state, *data) for name, step in steps.items()}


def _pytorch_steps(
    batch: int, seed: int, compile_seconds: float
) -> tuple[dict[str, Contestant], float]:
    """PyTorch's three contestants, and the seconds that `torch.compile` took."""
    if note := why_no_pytorch():
        return dict.fromkeys((PYTORCH, CHANNELS_LAST, COMPILED), Contestant(None, note=note)), 0.0
    from scripts.benchmarks import pytorch_peer

    graphdef, state, data = problem(batch, seed, optax.sgd(RATE, MOMENTUM))
    weights = models.lenet.to_torch(nnx.merge(graphdef, state.params))
    images, labels = pytorch_peer.batch(*map(np.asarray, data))
    sgd = pytorch_peer.Sgd(RATE, MOMENTUM)

    def contestant(**options: bool) -> Callable[[], object]:
        step = pytorch_peer.make_train_step(weights, sgd, **options)
        return lambda: step(images, labels)

    eager = {
        PYTORCH: Contestant(contestant()),
        CHANNELS_LAST: Contestant(contestant(channels_last=True)),
    }
    if compile_seconds <= 0:
        note = "not compiled: all of --compile-seconds is spent"
        return eager | {COMPILED: Contestant(None, note=note)}, 0.0
    pytorch_peer.forget_compiled()
    # Compiled code, too, is faster with the channels last.
    compiling = first_call(contestant(channels_last=True, compiled=True))
    return eager | {COMPILED: compiling}, compiling.figures["compile_seconds"]


def first_call(run: Callable[[], object]) -> Contestant:
    """Calls `run`, which compiles itself, and says how long that took, or why it cannot."""
    start = time.perf_counter()
    failure = ""
    try:
        run()
    except Exception as error:  # what a compiler cannot do here is a result like any other
        failure = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    figures = {"compile_seconds": time.perf_counter() - start}
    if failure:
        return Contestant(None, figures, f"cannot compile here: {failure}")
    return Contestant(run, figures)


def why_no_pytorch() -> str:
    """Why PyTorch is no contestant here; empty if it is one."""
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed (make bench installs it)"
    return "" if jax.default_backend() == "cpu" else "measured on a CPU only"


def as_limit(row: Row, step_flops: int) -> Row:
    """The row of the matrix product, as that of a product with the FLOPs of a step; another row as
    it is."""
    if row.contestant != LIMIT or row.timing is None:
        return row
    flops = 2 * LIMIT_SIZE**3
    timing = row.timing.times(step_flops / flops)
    gflops = flops / row.timing.median / 1e9
    return Row(row.group, LIMIT, timing, {"gflops": gflops}, f"{gflops:.0f} GFLOP/s")


def _with_speeds(rows: list[Row], batch: int) -> list[Row]:
    rows = add_speed(rows, "speed_against_flax", lambda row: row.contestant == FLAX)
    rows = add_speed(rows, "speed_against_pytorch", is_pytorch)
    # The limit's time over a row's time is the row's share of the limit.
    rows = add_speed(rows, "share_of_limit", lambda row: row.contestant == LIMIT)
    return [_per_image(row, batch) for row in rows]


def is_pytorch(row: Row) -> bool:
    """Whether a row is one of PyTorch's."""
    return row.contestant.startswith(PYTORCH)


def _per_image(row: Row, batch: int) -> Row:
    if row.timing is None:
        return row
    return row.with_figures(ms_per_1000_images=1e6 * row.timing.median / batch)
