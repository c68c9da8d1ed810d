"""The cross-entropy of a linear map's logits, without the logits."""

from __future__ import annotations

import functools
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxfn._jax_internals import checkpointed_tangent
from jaxfn.functional import _token_chunks
from jaxfn.functional._checks import (
    as_array,
    check_elements,
    check_number,
    check_rank,
    concrete,
)
from jaxfn.functional._rules import accumulator

_OP = "linear_cross_entropy"
INTEGER = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


class _Terms(NamedTuple):
    """What the loss of a token consists of."""

    label_smoothing: float
    z_loss: float
    soft_cap: float | None


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
      >>> jaxfn.linear_cross_entropy(x, weight, labels, where=labels >= 0).round(4).item()  # log 4
      1.3863
      >>> loss = lambda weight: jaxfn.linear_cross_entropy(x, weight, labels, where=labels >= 0)
      >>> jax.grad(loss)(weight)[0].tolist()
      [0.25, -0.75, 0.25, 0.25]

    Source: Wijmans et al., "Cut Your Losses in Large-Vocabulary Language Models", 2024,
    arXiv:2411.09009; Hsu et al., "Liger Kernel", 2024, arXiv:2410.10989, whose gradients are made
    together with the loss, too.
    """
    x, weight, labels, bias, where = _checked(x, weight, labels, bias, where)
    if reduction not in _REDUCTIONS:
        raise ValueError(
            f'{_OP}: expected reduction to be "mean", "sum" or "none", got {reduction!r}'
        )
    terms = _Terms(
        _number("label_smoothing", label_smoothing, 0, 1, "from 0 to 1"),
        _number("z_loss", z_loss, 0, sys.float_info.max, "finite and at least 0"),
        None if soft_cap is None else check_number(_OP, "soft_cap", soft_cap),
    )
    dtype = jnp.result_type(*(a for a in (x, weight, bias) if a is not None))
    tokens, labels = x.reshape(-1, x.shape[-1]), labels.reshape(-1)
    kept = None if where is None else where.reshape(-1)
    if reduction == "none":
        losses = _each(tokens, weight, bias, labels, kept, terms)
        return losses.reshape(x.shape[:-1]).astype(dtype)
    total = _total(tokens, weight, bias, labels, kept, terms)
    if reduction == "mean":
        count = labels.size if kept is None else jnp.sum(kept)
        total = total / jnp.maximum(count, 1).astype(total.dtype)
    return total.astype(dtype)


_REDUCTIONS = ("mean", "sum", "none")


class _Statistics(NamedTuple):
    """Of a token's logits z: Σ exp(z) is exp(m)·s with the largest, m, and `own` is its label's."""

    m: jax.Array
    s: jax.Array
    own: jax.Array


def _logits(x: jax.Array, weight: jax.Array, bias: jax.Array | None, terms: _Terms) -> jax.Array:
    """c·tanh((x·W + b) / c), or without a cap x·W + b, of one chunk in float32 at least."""
    z = _product(x, weight, (1, 0))
    z = z if bias is None else z + bias
    return z if terms.soft_cap is None else terms.soft_cap * jnp.tanh(z / terms.soft_cap)


def _product(a: jax.Array, b: jax.Array, contracted: tuple[int, int]) -> jax.Array:
    i, j = contracted
    wide = accumulator(jnp.result_type(a, b))
    return lax.dot_general(a, b, (((i,), (j,)), ((), ())), preferred_element_type=wide)


def _statistics(z: jax.Array, labels: jax.Array) -> _Statistics:
    own = jnp.take_along_axis(z, labels[:, None], axis=1, mode="clip")[:, 0]
    # The maximum with `own`, one of them, changes nothing, but the exponentials have to wait for
    # it: nothing reads z after them, and they take its place in the memory.
    m = lax.stop_gradient(jnp.maximum(jnp.max(z, axis=1), own))
    s = jnp.sum(jnp.exp(z - m[:, None]), axis=1)
    known = (labels >= 0) & (labels < z.shape[1])
    return _Statistics(m, jnp.where(known, s, jnp.nan), own)


def _losses(z: jax.Array, of: _Statistics, kept: Any, terms: _Terms) -> jax.Array:
    # ℓ = lse − (1−ε) z_label − ε/V Σ z + ζ lse² with lse = m + log s; the logits enter as
    # differences from m, so that large ones lose no digits.
    log_s = jnp.log(of.s)
    loss = log_s - (1 - terms.label_smoothing) * (of.own - of.m)
    if terms.label_smoothing:
        loss = loss - terms.label_smoothing * jnp.mean(z - of.m[:, None], axis=1)
    if terms.z_loss:
        loss = loss + terms.z_loss * jnp.square(of.m + log_s)
    return loss if kept is None else jnp.where(kept, loss, 0)


def _slopes(z: jax.Array, of: _Statistics, labels: Any, kept: Any, terms: _Terms) -> jax.Array:
    # d_v = ∂ℓ/∂z_v = p_v (1 + 2 ζ lse) − (1−ε) [v is the label] − ε/V with p = exp(z − m) / s;
    # before the cap, z = c·tanh(·/c), it is that times 1 − (z/c)².
    factor, one = 1 / of.s, jnp.ones_like(of.s)
    if terms.z_loss:
        factor = factor * (1 + 2 * terms.z_loss * (of.m + jnp.log(of.s)))
    if kept is not None:
        factor, one = jnp.where(kept, factor, 0), kept.astype(one.dtype)
    # No array as large as z is the same in each step: JAX would keep it beside the loop.
    is_label = lax.iota(labels.dtype, z.shape[1]) == labels[:, None]
    d = jnp.exp(z - of.m[:, None]) * factor[:, None]
    d = d - is_label * ((1 - terms.label_smoothing) * one)[:, None]
    if terms.label_smoothing:
        d = d - (terms.label_smoothing / z.shape[1] * one)[:, None]
    return d if terms.soft_cap is None else d * (1 - jnp.square(z / terms.soft_cap))


def _prepared(x: Any, weight: Any, bias: Any, labels: Any, kept: Any) -> tuple[Any, ...]:
    """The layout, (x, labels, kept) in chunks, and the weight and bias in the dtypes in which they
    are multiplied and added."""
    layout = _token_chunks.layout(x.shape[0], weight.shape[1])
    common = jnp.result_type(*(a for a in (x, weight, bias) if a is not None))
    if kept is None and layout.filled:
        kept = jnp.ones(labels.shape, bool)
    if kept is not None:
        x = jnp.where(kept[:, None], x, 0)  # 0·nan is nan in W̄, but what is masked has no part
    chunks = jax.tree.map(layout.split, (x.astype(common), labels, kept))
    wide = None if bias is None else bias.astype(accumulator(common))
    return layout, chunks, weight.astype(common), wide


def _all_losses(
    x: Any, weight: Any, bias: Any, labels: Any, kept: Any, terms: _Terms
) -> tuple[jax.Array, _Statistics]:
    """The loss of each token, and its statistics."""
    layout, chunks, weight, bias = _prepared(x, weight, bias, labels, kept)

    @functools.partial(jax.checkpoint, prevent_cse=False)  # in second order
    def step(chunk: Any, weight: Any, bias: Any) -> Any:
        x, labels, kept = chunk
        z = _logits(x, weight, bias, terms)
        statistics = _statistics(z, labels)
        return _losses(z, statistics, kept, terms), statistics

    step_of_all = layout.each(step, (0, None, None))
    _, found = _token_chunks.scan(
        lambda _, chunk: (None, step_of_all(chunk, weight, bias)), None, chunks, (weight, bias)
    )
    return jax.tree.map(layout.join, found)


@functools.partial(jax.custom_jvp, nondiff_argnums=(5,))
def _total(x: Any, weight: Any, bias: Any, labels: Any, kept: Any, terms: _Terms) -> jax.Array:
    return jnp.sum(_all_losses(x, weight, bias, labels, kept, terms)[0])


@functools.partial(_total.defjvp, symbolic_zeros=True)
def _total_jvp(terms: _Terms, primals: Any, tangents: Any) -> Any:
    # L = Σ ℓ is a number, so that its gradients can be had before anything is known of L̄:
    #   d = ∂ℓ/∂z,   x̄ = d Wᵀ,   W̄ = xᵀ d,   b̄ = Σ d,   and L̇ = ⟨x̄, ẋ⟩ + ⟨W̄, Ẇ⟩ + ⟨b̄, ḃ⟩,
    # of which JAX makes L̄·x̄, L̄·W̄ and L̄·b̄. A chunk's logits are made once, and never kept.
    needed = tuple(dot is not None and not isinstance(dot, SymbolicZero) for dot in tangents[:3])
    total, gradients = _total_and_gradients(*primals, terms, needed)
    total_dot = jnp.zeros_like(total)
    for gradient, dot in zip(gradients, tangents[:3], strict=True):
        if gradient is not None:
            wide = total.dtype
            total_dot = total_dot + jnp.sum(gradient.astype(wide) * dot.astype(wide))
    return total, total_dot


def _total_and_gradients(
    x: Any, weight: Any, bias: Any, labels: Any, kept: Any, terms: _Terms, needed: Any
) -> tuple[jax.Array, tuple[Any, Any, Any]]:
    layout, chunks, weight, bias = _prepared(x, weight, bias, labels, kept)
    wide = accumulator(weight.dtype)
    of_x, of_weight, of_bias = needed

    @functools.partial(jax.checkpoint, prevent_cse=False)  # in second order
    def step(sums: Any, chunk: Any, weight: Any, bias: Any) -> Any:
        weight_bar, bias_bar = sums
        x, labels, kept = chunk
        z = _logits(x, weight, bias, terms)
        statistics = _statistics(z, labels)
        losses = _losses(z, statistics, kept, terms)
        d = _slopes(z, statistics, labels, kept, terms)
        if of_bias:
            bias_bar = bias_bar + jnp.sum(d, axis=0)
        d = d.astype(weight.dtype)
        x_bar = _product(d, weight, (1, 1)).astype(x.dtype) if of_x else None
        if of_weight:
            weight_bar = _token_chunks.add_product(weight_bar, x, d, wide)
        return (weight_bar, bias_bar), (losses, x_bar)

    # A group of tokens has sums of its own: what is on several devices is added once, at the end.
    sums = (
        layout.for_each(jnp.zeros(weight.shape, wide)) if of_weight else None,
        layout.for_each(jnp.zeros(weight.shape[1:], wide)) if of_bias else None,
    )
    step_of_all = layout.each(step, (0, 0, None, None))
    sums, (losses, x_bar) = _token_chunks.scan(
        lambda sums, chunk: step_of_all(sums, chunk, weight, bias), sums, chunks, (weight, bias)
    )
    weight_bar, bias_bar = jax.tree.map(layout.total, sums)
    x_bar = None if x_bar is None else layout.join(x_bar)
    return jnp.sum(layout.join(losses)), (x_bar, weight_bar, bias_bar)


@functools.partial(jax.custom_jvp, nondiff_argnums=(5,))
def _each(x: Any, weight: Any, bias: Any, labels: Any, kept: Any, terms: _Terms) -> jax.Array:
    return _all_losses(x, weight, bias, labels, kept, terms)[0]


@functools.partial(_each.defjvp, symbolic_zeros=True)
def _each_jvp(terms: _Terms, primals: Any, tangents: Any) -> Any:
    # ℓ̇ = Σ d (ẋ W + x Ẇ + ḃ) over the classes; what JAX makes of it takes the losses' cotangents.
    # Kept are the statistics, three numbers for each token: d is made of them again.
    losses, statistics = _all_losses(*primals, terms)
    dots = tuple(None if isinstance(dot, SymbolicZero) else dot for dot in tangents[:3])
    if all(dot is None for dot in dots):
        return losses, jnp.zeros_like(losses)
    return losses, _all_tangents(primals, statistics, dots, terms)


def _all_tangents(primals: Any, statistics: _Statistics, dots: Any, terms: _Terms) -> jax.Array:
    layout, chunks, weight, bias = _prepared(*primals)
    wide = accumulator(weight.dtype)
    # In float32 at least, so that the gradients that JAX makes are added in it.
    x_dot, weight_dot, bias_dot = (None if dot is None else dot.astype(wide) for dot in dots)
    x_dot = jax.tree.map(layout.split, x_dot)
    # A copy for each group: the sum over them, after the loop, is what this is transposed to.
    constants = jax.tree.map(layout.for_each, (weight_dot, bias_dot))

    @checkpointed_tangent(prevent_cse=False)
    def step(chunk: Any, of: Any, x_dot: Any, weight: Any, bias: Any, dots: Any) -> jax.Array:
        x, labels, kept = chunk
        weight_dot, bias_dot = dots
        z = _logits(x, weight, bias, terms)
        d = _slopes(z, of, labels, kept, terms)
        terms_dot = [bias_dot]
        if x_dot is not None:
            terms_dot.append(_product(x_dot, weight.astype(wide), (1, 0)))
        if weight_dot is not None:
            terms_dot.append(_product(x.astype(wide), weight_dot, (1, 0)))
        z_dot = functools.reduce(jnp.add, (term for term in terms_dot if term is not None))
        return jnp.sum(d * z_dot, axis=1)

    step_of_all = layout.each(step, (0, 0, 0, None, None, 0))
    xs = chunks, jax.tree.map(layout.split, statistics), x_dot
    _, losses_dot = _token_chunks.scan(
        lambda _, xs: (None, step_of_all(*xs, weight, bias, constants)), None, xs, (weight, bias)
    )
    return layout.join(losses_dot)


def _checked(x: Any, weight: Any, labels: Any, bias: Any, where: Any) -> tuple[Any, ...]:
    """The arrays, which fit each other."""
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
    return x, weight, labels, bias, where


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
