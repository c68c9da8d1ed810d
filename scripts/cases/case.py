"""What a case of the registry is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxfn.comparison.figures.declared import with_gradient_of


@dataclasses.dataclass(frozen=True)
class Case:
    """An operation at example inputs.

    Attributes:
      name: unique, the operation's name first.
      operation: function of arrays alone.
      reference: the same function with the same gradients in plain JAX, by another way and without
        a custom rule; only a gradient that is not linear in the cotangent cannot do without one.
      shapes: the shapes of the arrays that it takes.
      batched: for each array, whether its first dimension is the batch.
      kinks: where the operation has no derivative, and the convention there.
      timed_shapes: the shapes at which it is timed, large enough that there is work to do; by
        default `shapes`.
      surrogate: where the gradient is not the derivative: a function whose derivative it is.
      linear_in_cotangent: whether the gradient is linear in the cotangent, as a derivative is.
      per_example: whether each example of a batch is computed for itself, so that a batch may be
        cut in two.
      every_transformation: whether the tests take the operation through every transformation; not
        where its rule differs from that of another case in a formula alone.
      finite_differences: whether differences of the surrogate are its derivative; not where it is
        made with `stop_gradient`.
      prepare: from standard normal arrays to the arguments, where those need to be positive, say.
    """

    name: str
    operation: Callable[..., jax.Array]
    reference: Callable[..., jax.Array]
    shapes: tuple[tuple[int, ...], ...]
    batched: tuple[bool, ...]
    kinks: str = ""
    timed_shapes: tuple[tuple[int, ...], ...] = ()
    surrogate: Callable[..., jax.Array] | None = None
    linear_in_cotangent: bool = True
    per_example: bool = True
    every_transformation: bool = True
    finite_differences: bool = True
    prepare: Callable[..., tuple[jax.Array, ...]] = lambda *arrays: arrays

    def args(self, seed: int = 0, dtype: DTypeLike = np.float32) -> tuple[jax.Array, ...]:
        """Example inputs."""
        return self.prepare(*_draw(self.shapes, seed, dtype))

    def timed_args(
        self, batch: int | None = None, seed: int = 0, dtype: DTypeLike = np.float32
    ) -> tuple[jax.Array, ...]:
        """Inputs to time the operation at, of `batch` examples."""
        shapes = self.timed_shapes or self.shapes
        if batch is not None:
            pairs = zip(shapes, self.batched, strict=True)
            shapes = tuple((batch, *shape[1:]) if b else shape for shape, b in pairs)
        return self.prepare(*_draw(shapes, seed, dtype))

    @property
    def declared(self) -> dict[str, Any]:
        """What `gradcheck` has to be told of this gradient."""
        linear = {"linear_in_cotangent": self.linear_in_cotangent}
        if self.surrogate is None:
            return linear
        return {"surrogate": self.surrogate, **linear}


def _draw(
    shapes: tuple[tuple[int, ...], ...], seed: int, dtype: DTypeLike
) -> tuple[jax.Array, ...]:
    rng = np.random.RandomState(seed)
    return tuple(jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes)


def make_case(name: str, operation: Any, reference: Any, *arrays: Any, **options: Any) -> Case:
    """A case of `arrays`, each a shape and whether its first dimension is the batch."""
    shapes, batched = zip(*arrays, strict=True)
    return Case(name, operation, reference, shapes, batched, **options)


def surrogate_case(
    name: str, operation: Any, value: Any, surrogate: Any, *arrays: Any, **options: Any
) -> Case:
    """A case whose gradient is the derivative of `surrogate`, and whose result that of `value`.

    Its reference is what people write without a rule: the surrogate's derivative by
    `stop_gradient`.
    """
    reference = with_gradient_of(value, surrogate)
    return make_case(name, operation, reference, *arrays, surrogate=surrogate, **options)
