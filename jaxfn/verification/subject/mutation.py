"""Faults planted in the rule under test: what the check catches of them is its proven power."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.verification.subject.coordinates import Arguments

Gradients = list[Any]
Change = Callable[[Gradients], Gradients]


def mutants(
    fun: Callable[..., Any], arguments: Arguments, gradients: Gradients
) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The function with one fault after the other in its rule.

    Args:
        fun: the function under test.
        arguments: its arguments.
        gradients: the rule's gradients there, leaf by leaf: faults go where they show.
    """
    for name, change in _changes(gradients):
        yield name, _planted(fun, arguments, change)
    yield "a term dropped", _planted(fun, arguments, lambda g: g, masked=True)


def _planted(
    fun: Callable[..., Any], arguments: Arguments, change: Change, masked: bool = False
) -> Callable[..., Any]:
    def plain(arrays: Any, integers: Any) -> Any:
        return fun(*arguments.rebuild(arrays, integers))

    op = jax.custom_vjp(plain)

    def forward(arrays: Any, integers: Any) -> Any:
        return jax.vjp(lambda some: plain(some, integers), arrays)

    def backward(pullback: Any, cotangent: Any) -> Any:
        if masked:
            cotangent = jax.tree.map(_half, cotangent)
        (gradients,) = pullback(cotangent)
        return change(list(gradients)), None

    op.defvjp(forward, backward)

    def mutant(*args: Any) -> Any:
        values = jax.tree.leaves(args)
        arrays = [values[leaf.position] for leaf in arguments.leaves]
        return op(arrays, tuple(values[i] for i in arguments.integer_positions))

    return mutant


def _half(cotangent: Any) -> Any:
    """The cotangent, zero in every second element: their share of the gradient is lost."""
    if cotangent.dtype == jax.dtypes.float0 or cotangent.size == 0:
        return cotangent
    if cotangent.size == 1:
        return cotangent / 2
    keep = (np.arange(cotangent.size) % 2).reshape(cotangent.shape)
    return cotangent * keep.astype(cotangent.dtype)


def _changes(gradients: Gradients) -> Iterator[tuple[str, Change]]:
    sizes = [
        float(np.nan_to_num(np.abs(np.asarray(g, np.complex128))).max(initial=0)) for g in gradients
    ]
    k = int(np.argmax(sizes))
    largest = np.unravel_index(
        int(np.argmax(np.abs(np.asarray(gradients[k], np.complex128)))), gradients[k].shape
    )

    def at(which: int, change: Callable[[Any], Any]) -> Change:
        return lambda g: [change(a) if i == which else a for i, a in enumerate(g)]

    yield "scaled by 1.001", at(k, lambda a: (1.001 * a).astype(a.dtype))
    yield "sign", at(k, lambda a: -a)
    yield "one element zeroed", at(k, lambda a: a.at[largest].set(0))
    yield "a constant added", at(k, lambda a: a + jnp.asarray(1e-3 * sizes[k], a.dtype))
    other = jnp.float32 if gradients[k].dtype != jnp.float32 else jnp.bfloat16
    yield "wrong dtype", at(k, lambda a: a.real.astype(other))
    for i, g in enumerate(gradients):
        if g.ndim >= 2 and g.shape[-1] == g.shape[-2] > 1:
            yield f"transposed (leaf {i})", at(i, lambda a: jnp.swapaxes(a, -1, -2))
            break
    for i, g in enumerate(gradients):
        if g.ndim and g.shape[0] > 1:
            yield f"mean for sum (leaf {i})", at(i, lambda a: (a / a.shape[0]).astype(a.dtype))
            break
    for i, g in enumerate(gradients):
        for j in range(i):
            if gradients[j].shape == g.shape and gradients[j].dtype == g.dtype:
                yield f"exchanged (leaves {j} and {i})", _exchange(j, i)
                return


def _exchange(i: int, j: int) -> Change:
    def change(g: Gradients) -> Gradients:
        g[i], g[j] = g[j], g[i]
        return g

    return change
