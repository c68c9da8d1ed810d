"""A linear map of tangents with a transpose of its own, for rules that state both directions.

`jax.custom_derivatives.linear_call` is the same idea, but cannot be batched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Arrays = Sequence[Any]
Map = Callable[[Arrays, Arrays], list[Any]]  # of (residuals, vectors), linear in the vectors


def linear_map(forward: Map, transpose: Map, residuals: Arrays, tangents: Arrays) -> list[Any]:
    """`forward(residuals, tangents)`, whose transpose is `transpose(residuals, cotangents)`.

    Both maps close over no traced value. They may be differentiated by the residuals.
    """
    return _linear_map_p.bind(
        *residuals, *tangents, forward=forward, transpose=transpose, count=len(residuals)
    )


_linear_map_p = Primitive("linear_map_with_transpose")
_linear_map_p.multiple_results = True


@_linear_map_p.def_impl
def _apply(*args: Any, forward: Map, transpose: Map, count: int) -> list[Any]:
    del transpose
    return forward(args[:count], args[count:])


@_linear_map_p.def_abstract_eval
def _types(*types: Any, **params: Any) -> list[Any]:
    # From a jaxpr rather than by `eval_shape`: its types also say along which mesh axes a value
    # varies.
    return jax.make_jaxpr(lambda *args: _apply(*args, **params))(*types).out_avals


mlir.register_lowering(_linear_map_p, mlir.lower_fun(_apply, multiple_results=True))


def _jvp(primals: Arrays, tangents: Arrays, *, forward: Map, transpose: Map, count: int) -> Any:
    # d(L(r)·t) = L(r)·dt + (dL(r)·dr)·t, the second term by differentiating the map as it stands.
    residuals, vectors = primals[:count], primals[count:]
    result = linear_map(forward, transpose, residuals, vectors)
    tangents = [ad.instantiate_zeros(t) for t in tangents]
    moved = linear_map(forward, transpose, residuals, tangents[count:])
    _, turned = jax.jvp(lambda *r: forward(r, vectors), tuple(residuals), tuple(tangents[:count]))
    return result, list(map(jnp.add, moved, turned))


def _transpose(
    cotangents: Arrays, *args: Any, forward: Map, transpose: Map, count: int
) -> list[Any]:
    cotangents = [ad.instantiate_zeros(c) for c in cotangents]
    gradients = linear_map(transpose, forward, args[:count], cotangents)
    return [None] * count + gradients


def _batch(args: Arrays, dims: Sequence[Any], *, forward: Map, transpose: Map, count: int) -> Any:
    (size,) = {x.shape[d] for x, d in zip(args, dims, strict=True) if d is not None}
    # Every vector is batched, so that the transpose need not sum over the batch.
    vectors = [
        batching.bdim_at_front(x, d, size) for x, d in zip(args[count:], dims[count:], strict=True)
    ]
    axes = (tuple(dims[:count]), 0)
    results = linear_map(jax.vmap(forward, axes), jax.vmap(transpose, axes), args[:count], vectors)
    return results, [0] * len(results)


ad.primitive_jvps[_linear_map_p] = _jvp
ad.primitive_transposes[_linear_map_p] = _transpose
batching.primitive_batchers[_linear_map_p] = _batch
