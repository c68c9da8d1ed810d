"""Where a number that is not finite first appeared: at which step, and in which layer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.core import Literal
from jax.typing import DTypeLike

from scripts.training.step import AdvanceFn, LossFn, Params, Position, cast

Path = tuple[Any, ...]  # of a layer or a parameter within the net: the names that lead to it


def broke(before: Position, after: Position, finite: jax.Array, skip_nonfinite: bool) -> bool:
    """Whether the steps from `before` to `after` ran into something that is not finite."""
    lost = not skip_nonfinite and after.nonfinite > before.nonfinite
    return bool(lost) or not finite


def last_good_position(
    advance: AdvanceFn, position: Position, skip_nonfinite: bool, *data: jax.Array
) -> Position:
    """The position before the first step that breaks.

    The steps from `position` on are taken again, one at a time, by the program that took them
    together: to the bit the same.

    Args:
      advance: that program.
      position: before the steps that broke.
      skip_nonfinite: whether it leaves such steps out.
      *data: that it takes.
    """
    while True:
        after, finite = advance(position, position.step + 1, *data)
        if broke(position, after, finite, skip_nonfinite):
            return position
        position = after


def locate(
    graphdef: nnx.GraphDef,
    loss_fn: LossFn,
    dtype: DTypeLike,
    params: Params,
    x: jax.Array,
    labels: jax.Array,
) -> str:
    """What is the first in a step not to be finite, in words.

    The step goes forward through the layers in the order in which they are called, then to the
    loss, and backward through their gradients in the opposite order.

    Args:
      graphdef: structure of the net.
      loss_fn: what the step differentiates.
      dtype: that the net computes in.
      params: before the step.
      x: the batch, as the net gets it.
      labels: of the batch.
    """
    order, outputs = _outputs(graphdef, *cast((params, x), dtype))
    layers = [path[:-1] for path in order]
    named = [f"the output of {_name(layer)}" for layer in layers]
    stages = [("the images of the batch", x), *zip(named, outputs, strict=True)]
    return first_nonfinite(stages, layers, loss_fn, params, x, labels)


def first_nonfinite(
    forward: list[tuple[str, Any]],
    layers: list[Path],
    loss_fn: LossFn,
    params: Params,
    *batch: Any,
) -> str:
    """The same for a net of which one knows what each layer returns.

    Args:
      forward: what there is before the loss, in the order of the calls, with its names.
      layers: the layers in that order.
      loss_fn: what the step differentiates.
      params: before the step.
      *batch: as the net gets it.
    """
    (loss, _), grads = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))(params, *batch)
    stages = [*forward, ("the loss", loss)]
    stages += [
        (f"the gradient of {_name(path)}", gradient) for path, gradient in _backward(grads, layers)
    ]
    for name, value in stages:
        for array in jax.tree.leaves(value):
            if not jnp.isfinite(array).all():
                return f"{name} ({'nan' if jnp.isnan(array).any() else 'inf'})"
    return "the optimiser's update of the parameters"


def _outputs(graphdef: nnx.GraphDef, params: Params, x: jax.Array) -> tuple[list[Path], list[Any]]:
    """What each layer returns, in the order in which they are called."""

    def forward(params: Params, x: jax.Array) -> dict[Path, Any]:
        model = nnx.merge(graphdef, params)
        _, outputs = nnx.capture(model, nnx.Intermediate, method_outputs=nnx.Intermediate)(x)
        return {path: variable.get_value() for path, variable in nnx.to_flat_state(outputs)}

    # Flax sorts the layers by name. A program has its operations in the order of the calls, and
    # each output of it is the result of one.
    program, shapes = jax.make_jaxpr(forward, return_shape=True)(params, x)
    made = {v: i for i, eqn in enumerate(program.jaxpr.eqns) for v in eqn.outvars}
    places = [-1 if isinstance(v, Literal) else made.get(v, -1) for v in program.jaxpr.outvars]
    place = jax.tree.unflatten(jax.tree.structure(shapes), places)
    order = sorted(shapes, key=lambda path: max(jax.tree.leaves(place[path])))
    outputs = jax.jit(forward)(params, x)
    return order, [outputs[path] for path in order]


def _backward(grads: Params, layers: list[Path]) -> list[tuple[Path, jax.Array]]:
    """The gradients in the order in which the backward pass comes to them."""

    def place(item: tuple[Path, jax.Array]) -> int:
        owners = [i for i, layer in enumerate(layers) if item[0][: len(layer)] == layer != ()]
        return -max(owners, default=-1)

    flat = jax.tree_util.tree_flatten_with_path(grads)[0]
    named = [(tuple(entry.key for entry in path), gradient) for path, gradient in flat]
    return sorted(named, key=place)


def _name(path: Path) -> str:
    return ".".join(map(str, path)) or "the net"
