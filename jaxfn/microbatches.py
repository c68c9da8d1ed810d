"""Gradients of a mean over a large batch, computed a slice at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

# What a slice keeps between its forward and its backward pass: about twice a core's nearest large
# cache. With 4 MiB LeNet's step takes a tenth longer, with 1 MiB as long.
_KEPT_BYTES = 2 * 2**20


def microbatched_value_and_grad(fun: Callable[..., tuple[jax.Array, Any]]) -> Callable[..., Any]:
    """`jax.value_and_grad(fun, has_aux=True)` for a mean over a batch, at a cost per example that
    does not grow with the batch.

    f(θ, x) = 1/N Σ_n ℓ(θ, x_n), so that f = Σ_s N_s/N f(θ, x_s) over slices s of N_s examples, and
    θ̄ likewise. On a CPU a large batch is taken in slices, one after the other, whose residuals stay
    in the cache; how many examples make a slice follows from the shapes. On other platforms, and
    where one slice holds the batch, the function is differentiated as it stands. The results differ
    by rounding alone; sums over slices are taken in float32 at least.

    Args:
      fun: `fun(params, *batch) -> (value, aux)`. The value is a mean over the examples, the first
        dimension of every array in `batch`; so it is of every array in `aux`. A mean over anything
        else (a sum, a statistic of the batch) does not come out the same.

    Returns:
      `f(params, *batch) -> ((value, aux), gradient)`, the gradient with respect to `params`.

    Raises:
      ValueError: if the arrays in `batch` are not equally long, or there are none.

    Example:
      >>> import jax.numpy as jnp, jaxfn
      >>> def mean_square(w, x):
      ...     y = x @ w
      ...     return jnp.mean(y**2), y
      >>> x = jnp.ones((8, 3))
      >>> (value, y), w_bar = jaxfn.microbatched_value_and_grad(mean_square)(jnp.ones(3), x)
      >>> value.item(), y.shape, w_bar.tolist()
      (9.0, (8,), [6.0, 6.0, 6.0])

    Source: gradient accumulation over microbatches, as in `optax.MultiSteps`.
    """
    value_and_grad = jax.value_and_grad(fun, has_aux=True)

    def function(params: Any, *batch: Any) -> Any:
        size = _batch_size(batch)
        length = _slice_length(fun, params, batch, size)
        if length >= size:
            return value_and_grad(params, *batch)

        def sliced(params: Any, batch: Any) -> Any:
            return _in_slices(value_and_grad, params, batch, size, length)

        def whole(params: Any, batch: Any) -> Any:
            return value_and_grad(params, *batch)

        return lax.platform_dependent(params, batch, cpu=sliced, default=whole)

    return function


def _batch_size(batch: tuple[Any, ...]) -> int:
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(batch)]
    sizes = {shape[0] if shape else None for shape in shapes}
    if len(sizes) != 1 or None in sizes:
        raise ValueError(
            "microbatched_value_and_grad: expected arrays of equal first dimension, the batch, "
            f"got shapes {[list(shape) for shape in shapes]}"
        )
    return sizes.pop()  # pyright: ignore[reportReturnType]


def _slice_length(fun: Callable[..., Any], params: Any, batch: Any, size: int) -> int:
    """How many examples make a slice: as many as keep `_KEPT_BYTES`, all of them equally large."""

    def kept(params: Any, batch: Any) -> Any:
        return jax.vjp(lambda params: fun(params, *batch), params, has_aux=True)[1]

    def nbytes(tree: Any) -> int:
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))

    if not isinstance(size, int):  # known only when the program runs
        return size
    total = nbytes(jax.eval_shape(kept, params, batch)) - nbytes(params)
    slices = max(1, min(size, -(-total // _KEPT_BYTES)))
    return max(1, -(-size // slices))


def _in_slices(
    value_and_grad: Callable[..., Any], params: Any, batch: Any, size: int, length: int
) -> Any:
    """The weighted mean over `size // length` slices and what is left over."""

    def add(total: Any, part: Any, examples: int) -> Any:
        return jax.tree.map(lambda t, p: t + p.astype(t.dtype) * (examples / size), total, part)

    def wide(leaf: Any) -> jax.Array:
        return jnp.zeros(leaf.shape, jnp.promote_types(leaf.dtype, jnp.float32))

    def examples(start: jax.Array | int, count: int) -> Any:
        # From the batch as it lies: reshaped into slices it would be copied whole.
        return jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, start, count), batch)

    def step(total: Any, start: jax.Array) -> tuple[Any, Any]:
        (value, aux), gradient = value_and_grad(params, *examples(start, length))
        return add(total, (value, gradient), length), aux

    slices = size // length
    split = slices * length
    (value_type, _), gradient_type = jax.eval_shape(
        lambda params: value_and_grad(params, *examples(0, length)), params
    )
    start = jax.tree.map(wide, (value_type, gradient_type))
    total, aux = lax.scan(step, start, jnp.arange(0, split, length))
    aux = jax.tree.map(lambda x: x.reshape(split, *x.shape[2:]), aux)
    if split < size:
        (value, rest_aux), gradient = value_and_grad(params, *examples(split, size - split))
        total = add(total, (value, gradient), size - split)
        aux = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), aux, rest_aux)
    types = (value_type, gradient_type)
    value, gradient = jax.tree.map(lambda t, like: t.astype(like.dtype), total, types)
    return (value, aux), gradient
