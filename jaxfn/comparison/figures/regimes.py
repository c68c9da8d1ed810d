"""The programs that are compiled and timed: the situations in which a rule is used.

A hand-written rule can pay in one of them and not in another. Under one `jit` the compiler sees
forward and backward pass together, and drops residuals that it need not keep. In a `scan`, and
where the two passes are compiled apart, residuals are buffers.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxfn.comparison.constants import DESCENT_RATE
from jaxfn.comparison.figures.problem import Arrays, Flat, Problem

VALUE = "value"
BOTH = "value and gradients"
FORWARD = "forward half"
BACKWARD = "backward half"
STEPS = "scan over steps"
LAYERS = "scan over layers"

EXPLANATIONS = {
    VALUE: "the function alone, jitted",
    BOTH: "value and all gradients, in one jit",
    FORWARD: "the forward pass with its residuals, jitted apart",
    BACKWARD: "the backward pass from these residuals, jitted apart",
    STEPS: "value and gradients in each step of a scan, as in training",
    LAYERS: "gradients through a scan, each step a layer",
}


def programs(flat: Flat, problem: Problem, length: int) -> dict[str, tuple[Callable, tuple]]:
    """Every program but `BACKWARD`, whose input is what `FORWARD` returns, with its arguments.

    Args:
      flat: the function.
      problem: its arguments.
      length: of the scans.
    """
    given = (problem.primals, problem.others)
    through_layers = _through_layers(flat, problem, length)
    xs, x_cotangents = _layer_inputs(problem, length)
    return {
        VALUE: (flat, given),
        BOTH: (functools.partial(both, flat), (*given, problem.cotangents)),
        FORWARD: (functools.partial(forward, flat), given),
        STEPS: (functools.partial(_steps, flat, length), (*given, problem.cotangents)),
        LAYERS: (functools.partial(both, through_layers), (xs, problem.others, x_cotangents)),
    }


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class Pullback:
    """A pullback as a tree of the arrays that it keeps: those without elements, which take no
    memory, are left out, and made anew when it is called."""

    kept: list[jax.Array]
    types: tuple[Any, ...]  # of all arrays
    structure: Any

    @classmethod
    def of(cls, vjp: Callable[..., Any]) -> Pullback:
        """The same for a pullback as `jax.vjp` gives it."""
        leaves, structure = jax.tree.flatten(vjp)
        types = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        return cls([leaf for leaf in leaves if leaf.size], types, structure)

    def __call__(self, cotangents: Any) -> Any:
        kept = iter(self.kept)
        leaves = [
            next(kept) if math.prod(shape) else jnp.zeros(shape, dtype)
            for shape, dtype in self.types
        ]
        return self.structure.unflatten(leaves)(cotangents)

    def tree_flatten(self) -> tuple[Any, Any]:
        """The arrays, and what is no array."""
        return self.kept, (self.types, self.structure)

    @classmethod
    def tree_unflatten(cls, static: Any, kept: Any) -> Pullback:
        """The inverse of `tree_flatten`."""
        return cls(list(kept), *static)


def backward(vjp: Any, cotangents: Arrays) -> Any:
    """The program `BACKWARD`: the gradients, from the pullback that `FORWARD` returns last."""
    (gradients,) = vjp(list(cotangents))
    return gradients


def both(flat: Flat, primals: Arrays, others: Arrays, cotangents: Arrays) -> Any:
    """The program `BOTH`: results, those that cannot be differentiated, gradients."""
    outputs, rest, vjp = forward(flat, primals, others)
    return outputs, rest, backward(vjp, cotangents)


def forward(flat: Flat, primals: Arrays, others: Arrays) -> Any:
    """The program `FORWARD`: results, those that cannot be differentiated, the pullback."""
    outputs, vjp, rest = jax.vjp(lambda p: flat(p, others), list(primals), has_aux=True)
    return outputs, rest, Pullback.of(vjp)


def _steps(flat: Flat, length: int, primals: Arrays, others: Arrays, cotangents: Arrays) -> Any:
    """Gradient descent; the results of the last step are returned, so that they are computed."""

    def step(carry: Any, _: None) -> tuple[Any, None]:
        primals, _ = carry
        outputs, _, gradients = both(flat, primals, others, cotangents)
        moved = [
            (p - DESCENT_RATE * g).astype(p.dtype) for p, g in zip(primals, gradients, strict=True)
        ]
        return (moved, outputs), None

    start = (list(primals), [jnp.zeros_like(c) for c in cotangents])
    return jax.lax.scan(step, start, None, length)[0]


def _through_layers(flat: Flat, problem: Problem, length: int) -> Flat:
    """Layer on layer: where the results can be the next layer's first argument they are, and the
    other arguments are stacked, one for each layer. Where not, each layer has all for itself."""
    carried = problem.first if problem.feeds_itself else 0

    def through_layers(primals: Arrays, others: Arrays) -> tuple[list[jax.Array], list[Any]]:
        def layer(carry: Any, own: Any) -> tuple[Any, Any]:
            outputs, _ = flat([*carry, *own], others)
            return (outputs, None) if carried else (carry, outputs)

        xs = list(primals[carried:])
        last, stacked = jax.lax.scan(layer, list(primals[:carried]), xs, length)
        return (last if carried else stacked), []

    return through_layers


def _layer_inputs(problem: Problem, length: int) -> tuple[Any, Any]:
    def stack(arrays: Arrays) -> list[jax.Array]:
        return [jnp.stack([array] * length) for array in arrays]

    if problem.feeds_itself:
        first = problem.primals[: problem.first]
        return [*first, *stack(problem.primals[problem.first :])], problem.cotangents
    return stack(problem.primals), stack(problem.cotangents)
