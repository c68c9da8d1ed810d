"""The cross-entropy of a linear map's logits, without the logits."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike, DTypeLike

from jaxfn._jax_internals import checkpointed_tangent
from jaxfn.functional import _token_chunks
from jaxfn.functional._checks import (
    INTEGER,
    as_array,
    check_elements,
    check_number,
    check_rank,
    concrete,
)
from jaxfn.functional._partition import automatically, scan
from jaxfn.functional._rules import accumulator
from jaxfn.functional._token_chunks import Layout
from jaxfn.functional._token_losses import (
    Statistics,
    Terms,
    logits,
    losses,
    product,
    slopes,
    statistics,
)

_OP = "linear_cross_entropy"


def linear_cross_entropy(
    x: ArrayLike,
    weight: ArrayLike,
    labels: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    soft_cap: float | None = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Cross-entropy of the logits x·weight + bias, which are never all in memory.

    With z = x·weight + bias, z ← c·tanh(z/c) where `soft_cap` is c, and lse = log Σ_v exp(z_v), the
    loss of a token of V classes is

    ℓ = lse − (1−ε) z_label − ε/V Σ_v z_v + ζ lse²,   ε = `label_smoothing`, ζ = `z_loss`.

    Logits are made and used up some tokens at a time. Of "mean" and "sum" the gradients are made
    together with the loss, in three products, and kept until they are asked for; of "none" they
    take the logits a second time, and a fourth product. An input that needs no gradient costs no
    product; the loss alone takes one. Both modes, any order.

    A class of bias −inf is ruled out: it has no probability and no gradient (without a `soft_cap`,
    and with ε = 0). A label that is no class, where it counts, makes loss and gradients nan.

    Args:
      x: `[..., in]`, of floating dtype; any number of leading dimensions, of any size.
      weight: `[in, classes]`, of floating dtype.
      labels: `[...]`, integers from 0 to classes − 1; anything where `where` is false.
      bias: `[classes]`, of floating dtype, or None.
      reduction: "mean" over the tokens that count, 0 where there is none; "sum" over them; or
        "none", the losses themselves, 0 for a token that does not count.
      label_smoothing: ε, a Python number in [0, 1]: the share of the target that goes to all
        classes alike.
      z_loss: ζ, a Python number, at least 0: how much lse² counts, which keeps the logits small.
      soft_cap: c, a positive Python number, or None for logits as they are.
      where: `[...]` of booleans, which tokens count, or None for all. What x holds at the others
        has no part, be it nan.

    Returns:
      A scalar, or `[...]` with the reduction "none", of the dtype to which JAX promotes those of x,
      weight and bias. 16-bit types are summed in float32.

    Raises:
      TypeError: if an array or a number is not of the kind that is said above.
      ValueError: if shapes do not fit, a number is out of its range, or a label that counts is no
        class; a traced label is not looked at. Nothing is broadcast.

    Example:
      >>> import jax, jax.numpy as jnp, jaxfn
      >>> x, weight, labels = jnp.ones((2, 3)), jnp.zeros((3, 4)), jnp.array([1, -100])
      >>> f"{jaxfn.linear_cross_entropy(x, weight, labels, where=labels >= 0):.4f}"  # log 4
      '1.3863'
      >>> loss = lambda weight: jaxfn.linear_cross_entropy(x, weight, labels, where=labels >= 0)
      >>> jax.grad(loss)(weight)[0].tolist()
      [0.25, -0.75, 0.25, 0.25]

    Source: Wijmans et al., "Cut Your Losses in Large-Vocabulary Language Models", 2024,
    arXiv:2411.09009; Hsu et al., "Liger Kernel", 2024, arXiv:2410.10989, whose gradients are made
    together with the loss, too.
    """
    arrays = _checked(x, weight, bias, labels, where)
    if reduction not in _REDUCTIONS:
        raise ValueError(
            f'{_OP}: expected reduction to be "mean", "sum" or "none", got {reduction!r}'
        )
    terms = Terms(
        _number("label_smoothing", label_smoothing, 0, 1, "from 0 to 1"),
        _number("z_loss", z_loss, 0, sys.float_info.max, "finite and at least 0"),
        None if soft_cap is None else check_number(_OP, "soft_cap", soft_cap),
    )
    dtype = jnp.result_type(*(a for a in arrays[:3] if a is not None))
    if reduction == "none":
        return _linear_cross_entropies(*arrays, terms).astype(dtype)
    share = _share(arrays[3], arrays[4], reduction, dtype)
    return _linear_cross_entropy(*arrays, share, terms).astype(dtype)


_REDUCTIONS = ("mean", "sum", "none")


def _share(labels: jax.Array, kept: Any, reduction: str, dtype: DTypeLike) -> jax.Array:
    """What the loss of each token counts: 1 for a sum, 1 through their number for a mean."""
    count = labels.size if kept is None else jnp.sum(kept)
    return 1 / jnp.maximum(count if reduction == "mean" else 1, 1).astype(accumulator(dtype))


@functools.partial(jax.custom_jvp, nondiff_argnums=(6,))
def _linear_cross_entropy(
    x: Any, weight: Any, bias: Any, labels: Any, kept: Any, share: jax.Array, terms: Terms
) -> jax.Array:
    return share * jnp.sum(_all_losses((x, weight, bias, labels, kept), None, terms)[0])


@functools.partial(_linear_cross_entropy.defjvp, symbolic_zeros=True)
def _linear_cross_entropy_jvp(terms: Terms, primals: Any, tangents: Any) -> Any:
    # L = η Σ ℓ, η the share, is a number: its gradients can be had before L̄ is known,
    #   d = η ∂ℓ/∂z,   x̄ = d Wᵀ,   W̄ = xᵀ d,   b̄ = Σ d,   and L̇ = ⟨x̄, ẋ⟩ + ⟨W̄, Ẇ⟩ + ⟨b̄, ḃ⟩,
    # of which JAX makes L̄·x̄, L̄·W̄ and L̄·b̄; where L is the loss L̄ is 1, and the product nothing. A
    # chunk's logits are made once, and never kept.
    dots = [None if isinstance(dot, SymbolicZero) else dot for dot in tangents[:3]]
    needed = tuple(dot is not None for dot in dots)
    total, gradients = _in_chunks(primals, _total_and_gradients, needed, terms)
    wide = total.dtype
    terms_dot = [
        jnp.sum(gradient.astype(wide) * dot.astype(wide))
        for gradient, dot in zip(gradients, dots, strict=True)
        if dot is not None
    ]
    return total, sum(terms_dot, jnp.zeros_like(total))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def _in_chunks(primals: Any, fun: Any, needed: Any, terms: Terms) -> Any:
    """`fun(primals, needed, terms)`, which makes its chunks' logits again where it is itself
    differentiated. JAX forgets the `checkpoint` of what a rule computes, but not a rule in it."""
    return fun(primals, needed, terms)


@_in_chunks.defjvp
def _in_chunks_jvp(fun: Any, needed: Any, terms: Terms, primals: Any, tangents: Any) -> Any:
    return jax.jvp(lambda primals: fun(primals, needed, terms), primals, tangents)


def _total_and_gradients(primals: Any, needed: Any, terms: Terms) -> tuple[jax.Array, Any]:
    """η Σ ℓ, and its gradients x̄, W̄ and b̄, with None for one that is not needed; W̄ and b̄, sums over
    tokens, in float32 at least."""
    types = [jax.typeof(a) if n else None for a, n in zip(primals[:3], needed, strict=True)]
    of_x, of_weight, of_bias = needed

    def in_layout(layout: Layout, *primals: Any) -> tuple[jax.Array, Any]:
        *arrays, share = primals
        chunks, weight, bias = _prepared(layout, *arrays)
        wide = accumulator(weight.dtype)

        @functools.partial(jax.checkpoint, prevent_cse=False)  # in second order
        def step(sums: Any, chunk: Any, weight: Any, bias: Any) -> Any:
            weight_bar, bias_bar = sums
            x, labels, kept = chunk
            z = logits(x, weight, bias, terms)
            of = statistics(z, labels)
            d = share * slopes(z, of, labels, kept, terms)
            if of_bias:
                bias_bar = bias_bar + jnp.sum(d, axis=0)
            d = d.astype(weight.dtype)
            x_bar = product(d, weight, (1, 1)).astype(x.dtype) if of_x else None
            if of_weight:
                weight_bar = _token_chunks.add_product(weight_bar, x, d, wide)
            return (weight_bar, bias_bar), (losses(z, of, kept, terms), x_bar)

        # A group of tokens has sums of its own: what is on several devices is added at the end.
        sums = (
            layout.for_each(jnp.zeros(weight.shape, wide)) if of_weight else None,
            layout.for_each(jnp.zeros(weight.shape[1:], wide)) if of_bias else None,
        )
        step_of_all = layout.each(step, (0, 0, None, None))
        sums, found = scan(
            lambda sums, chunk: step_of_all(sums, chunk, weight, bias), sums, chunks, (weight, bias)
        )
        each_loss, x_bar = jax.tree.map(layout.join, found)
        return share * jnp.sum(each_loss), (x_bar, *jax.tree.map(layout.total, sums))

    out_specs = P(), tuple(None if t is None else t.sharding.spec for t in types)
    return automatically(_by_platform(in_layout), primals, out_specs)


@functools.partial(jax.custom_jvp, nondiff_argnums=(5,))
def _linear_cross_entropies(
    x: Any, weight: Any, bias: Any, labels: Any, kept: Any, terms: Terms
) -> jax.Array:
    return _all_losses((x, weight, bias, labels, kept), None, terms)[0]


@functools.partial(_linear_cross_entropies.defjvp, symbolic_zeros=True)
def _linear_cross_entropies_jvp(terms: Terms, primals: Any, tangents: Any) -> Any:
    # ℓ̇ = Σ d (ẋ W + x Ẇ + ḃ) over the classes; what JAX makes of it takes the losses' cotangents.
    # Kept are the statistics, three numbers for each token: d is made of them again.
    each_loss, of = _in_chunks(primals, _all_losses, None, terms)
    dots = tuple(None if isinstance(dot, SymbolicZero) else dot for dot in tangents[:3])
    if all(dot is None for dot in dots):
        return each_loss, jnp.zeros_like(each_loss)
    return each_loss, _all_tangents(primals, of, dots, terms)


def _all_losses(primals: Any, needed: Any, terms: Terms) -> tuple[jax.Array, Statistics]:
    """The loss of each token, and its statistics."""
    del needed

    @functools.partial(jax.checkpoint, prevent_cse=False)  # in second order
    def step(chunk: Any, weight: Any, bias: Any) -> Any:
        x, labels, kept = chunk
        z = logits(x, weight, bias, terms)
        of = statistics(z, labels)
        return losses(z, of, kept, terms), of

    def in_layout(layout: Layout, *primals: Any) -> Any:
        chunks, weight, bias = _prepared(layout, *primals)
        step_of_all = layout.each(step, (0, None, None))
        _, found = scan(
            lambda _, chunk: (None, step_of_all(chunk, weight, bias)), None, chunks, (weight, bias)
        )
        return jax.tree.map(layout.join, found)

    spec = _of_tokens(primals[0])
    out_specs = spec, Statistics._make([spec] * 3)
    return automatically(_by_platform(in_layout), primals, out_specs)


def _all_tangents(primals: Any, of: Statistics, dots: Any, terms: Terms) -> jax.Array:
    """The tangent of the loss of each token, linear in `dots`."""

    @checkpointed_tangent(prevent_cse=False)
    def step(chunk: Any, of: Any, x_dot: Any, weight: Any, bias: Any, dots: Any) -> jax.Array:
        x, labels, kept = chunk
        weight_dot, bias_dot = dots
        d = slopes(logits(x, weight, bias, terms), of, labels, kept, terms)
        terms_dot = [bias_dot]
        if x_dot is not None:
            terms_dot.append(product(x_dot, weight.astype(d.dtype), (1, 0)))
        if weight_dot is not None:
            terms_dot.append(product(x.astype(d.dtype), weight_dot, (1, 0)))
        z_dot = functools.reduce(jnp.add, (term for term in terms_dot if term is not None))
        return jnp.sum(d * z_dot, axis=1)

    def on_automatic_axes(primals: Any, of: Statistics, dots: Any) -> jax.Array:
        x, weight = primals[:2]
        # On every platform: of two forms JAX would keep what both need for the transpose.
        layout = _token_chunks.layout(x.shape[:-1], weight.shape[1], _token_chunks.CHUNK_BYTES)
        chunks, weight, bias = _prepared(layout, *primals)
        # In float32 at least, so that the gradients that JAX makes of this are added in it.
        x_dot, *dots = jax.tree.map(lambda dot: dot.astype(of.s.dtype), dots)
        x_dot, of = jax.tree.map(layout.split, (x_dot, of))
        # A copy for each group: its transpose is the sum over them, after the loop.
        dots = jax.tree.map(layout.for_each, dots)
        step_of_all = layout.each(step, (0, 0, 0, None, None, 0))
        _, each_dot = scan(
            lambda _, xs: (None, step_of_all(*xs, weight, bias, dots)),
            None,
            (chunks, of, x_dot),
            (weight, bias),
        )
        return layout.join(each_dot)

    spec = _of_tokens(primals[0])
    return automatically(on_automatic_axes, (primals, of, dots), spec)


def _of_tokens(x: jax.Array) -> P:
    """How x is divided, without its last dimension."""
    return P(*jax.typeof(x).sharding.spec[:-1])


def _by_platform(in_layout: Callable[..., Any]) -> Callable[..., Any]:
    """`in_layout(layout, x, weight, ...)` as a function of the arrays alone."""

    def fun(x: Any, weight: Any, *others: Any) -> Any:
        tokens, classes = x.shape[:-1], weight.shape[1]
        return _token_chunks.by_platform(in_layout, tokens, classes, x, weight, *others)

    return fun


def _prepared(
    layout: Layout, x: Any, weight: Any, bias: Any, labels: Any, kept: Any
) -> tuple[Any, ...]:
    """(x, labels, kept) in chunks, and the weight and bias in the dtypes in which they
    are multiplied and added."""
    common = jnp.result_type(*(a for a in (x, weight, bias) if a is not None))
    if kept is None and layout.filled:
        kept = jnp.ones(labels.shape, bool)
    if kept is not None:  # what is masked has no part, but 0·nan is nan in W̄
        x, labels = jnp.where(kept[..., None], x, 0), jnp.where(kept, labels, 0)
    chunks = jax.tree.map(layout.split, (x.astype(common), labels, kept))
    wide = None if bias is None else bias.astype(accumulator(common))
    return chunks, weight.astype(common), wide


def _checked(x: Any, weight: Any, bias: Any, labels: Any, where: Any) -> tuple[Any, ...]:
    """(x, weight, bias, labels, where) as arrays that fit each other."""
    x, weight = as_array(_OP, "x", x), as_array(_OP, "weight", weight)
    if x.ndim == 0:
        raise ValueError(f"{_OP}: expected x [..., in], got x []")
    size = x.shape[-1]
    check_rank(_OP, "weight", weight, 2, f"[{size}, classes]")
    if weight.shape[0] != size:
        hint = ", looks like PyTorch's [out, in]: weight.T" if weight.shape[1] == size else ""
        raise ValueError(
            f"{_OP}: expected weight [{size}, classes] to match x [..., {size}], "
            f"got weight {list(weight.shape)}{hint}"
        )
    classes = weight.shape[1]
    if classes == 0:
        raise ValueError(f"{_OP}: expected at least one class, got weight {list(weight.shape)}")
    if bias is not None:
        bias = as_array(_OP, "bias", bias)
        if bias.shape != (classes,):
            raise ValueError(
                f"{_OP}: expected bias [{classes}] to match weight {list(weight.shape)}, "
                f"got bias {list(bias.shape)}"
            )
    given = labels, where
    labels = as_array(_OP, "labels", labels, INTEGER)
    _check_tokens("labels", labels, x)
    if where is not None:
        where = as_array(_OP, "where", where, ("bool",))
        _check_tokens("where", where, x)
    _check_labels(*given, classes)
    return x, weight, bias, labels, where


def _check_tokens(name: str, array: jax.Array, x: jax.Array) -> None:
    if array.shape != x.shape[:-1]:
        raise ValueError(
            f"{_OP}: expected {name} {list(x.shape[:-1])} to match x {list(x.shape)}, "
            f"got {name} {list(array.shape)}"
        )


def _check_labels(labels: Any, where: Any, classes: int) -> None:
    kept = True if where is None else concrete(where)
    if kept is not None:
        expected = f"from 0 to {classes - 1}"
        expected += "" if where is None else " where it counts"
        check_elements(
            _OP, "labels", labels, expected, lambda a: (a >= 0) & (a < classes) | (kept == 0)
        )


def _number(name: str, value: Any, low: float, high: float, expected: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{_OP}: expected {name} to be a Python number, got {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{_OP}: expected {name} to be {expected}, got {value}")
    return float(value)
