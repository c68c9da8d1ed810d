"""Counting floating point operations in a jaxpr.

XLA's own count, `cost_analysis()["flops"]`, takes a loop's body once, whatever its length, and does
not see into custom calls. The conventions here:

  - One operation for each element of the result of an arithmetic operation, an elementary
    function, or a comparison of floating point numbers. Two for a multiplication and addition in a
    matrix product or convolution. Complex numbers count as their real operations in a product (8
    for a multiplication and addition, 6 for a multiplication), as 2 per element elsewhere.
  - A convolution counts the products that meet an element of its input: none with padding, none
    with the zeros that a dilation puts between the elements.
  - A reduction of n elements to m takes n − m; a cumulative one n. A window of k elements takes
    k − 1 for each result.
  - Copies, selections, conversions, integers and booleans are free.
  - The body of a `scan` counts as often as it runs, that of a `while_loop` once (its length is
    not known), of a `cond` the most expensive branch. All other calls count as what they call;
    `shard_map` as its part on one device.
  - What no output depends on is not counted: the compiler drops it, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex

from jaxfn._jax_internals import AnyJaxpr
from jaxfn.comparison.figures.jaxprs import called_jaxprs, live_equations, open_jaxpr


@dataclass(frozen=True)
class Flops:
    """A count, and what it left out.

    Attributes:
      total: the number of floating point operations.
      loops_counted_once: how many `while_loop`s are in it with one turn each.
      not_counted: names of the operations that count as nothing because nothing is known of them.
    """

    total: int
    loops_counted_once: int = 0
    not_counted: tuple[str, ...] = ()


def count_flops(jaxpr: AnyJaxpr) -> Flops:
    """The floating point operations of a jaxpr, by the conventions of this module.

    Args:
      jaxpr: from `jax.make_jaxpr(fun)(*args)` or `jax.jit(fun).trace(*args).jaxpr`.

    Returns:
      The count, and what it left out.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxfn.comparison.figures.flops import count_flops
      >>> count_flops(jax.make_jaxpr(jnp.dot)(jnp.ones((3, 4)), jnp.ones((4, 5)))).total
      120
    """
    flops = Flops(0)
    for eqn in live_equations(open_jaxpr(jaxpr)):
        flops = _add(flops, _equation(eqn))
    return flops


def _add(a: Flops, b: Flops) -> Flops:
    names = tuple(sorted({*a.not_counted, *b.not_counted}))
    return Flops(a.total + b.total, a.loops_counted_once + b.loops_counted_once, names)


def _equation(eqn: jex.JaxprEqn) -> Flops:
    name = eqn.primitive.name
    if name == "cond":
        return max(map(count_flops, eqn.params["branches"]), key=lambda flops: flops.total)
    if name in _WITH_OPERATOR:  # their jaxpr is the operator, applied to pairs of elements
        return Flops(_WITH_OPERATOR[name](eqn))
    bodies = called_jaxprs(eqn)
    if bodies:
        inner = Flops(0)
        for body in bodies:
            inner = _add(inner, count_flops(body))
        times = eqn.params["length"] if name == "scan" else 1
        loops = inner.loops_counted_once + (name == "while")
        return Flops(times * inner.total, loops, inner.not_counted)
    if not _is_floating(eqn) or name in _FREE:
        return Flops(0)
    if name in _ELEMENTWISE:
        return Flops(_elementwise(eqn))
    if name in _COUNTS:
        return Flops(_COUNTS[name](eqn))
    return Flops(0, not_counted=(name,))


def _is_floating(eqn: jex.JaxprEqn) -> bool:
    return any(
        jnp.issubdtype(getattr(atom.aval, "dtype", np.bool_), jnp.inexact)
        for atom in (*eqn.invars, *eqn.outvars)
    )


def _size(atom: Any) -> int:
    return math.prod(_shape(atom))


def _shape(atom: Any) -> tuple[int, ...]:
    return atom.aval.shape


def _is_complex(atom: Any) -> bool:
    return jnp.issubdtype(atom.aval.dtype, jnp.complexfloating)


def _elementwise(eqn: jex.JaxprEqn) -> int:
    if not _is_complex(eqn.invars[0]):
        return _size(eqn.outvars[0])
    return _size(eqn.outvars[0]) * (6 if eqn.primitive.name == "mul" else 2)


def _dot_general(eqn: jex.JaxprEqn) -> int:
    (contracted, _), _ = eqn.params["dimension_numbers"]
    terms = math.prod(_shape(eqn.invars[0])[d] for d in contracted)
    return (8 if _is_complex(eqn.outvars[0]) else 2) * _size(eqn.outvars[0]) * terms


def _convolution(eqn: jex.JaxprEqn) -> int:
    x, kernel, y = _shape(eqn.invars[0]), _shape(eqn.invars[1]), _shape(eqn.outvars[0])
    params, numbers = eqn.params, eqn.params["dimension_numbers"]
    batch, features, *spatial = numbers.out_spec
    products = y[batch] * y[features] * kernel[numbers.rhs_spec[1]]
    for d, axis in enumerate(spatial):
        products *= _meetings(
            outputs=y[axis],
            taps=kernel[numbers.rhs_spec[2 + d]],
            inputs=x[numbers.lhs_spec[2 + d]],
            stride=params["window_strides"][d],
            low=params["padding"][d][0],
            between=params["lhs_dilation"][d],
            apart=params["rhs_dilation"][d],
        )
    return (8 if _is_complex(eqn.outvars[0]) else 2) * products


def _meetings(
    *, outputs: int, taps: int, inputs: int, stride: int, low: int, between: int, apart: int
) -> int:
    """In one dimension: the pairs (output, tap of the kernel) that meet an element of the input."""
    place = np.arange(outputs)[:, None] * stride + np.arange(taps)[None, :] * apart - low
    return int(np.sum((place >= 0) & (place <= (inputs - 1) * between) & (place % between == 0)))


def _reduction(eqn: jex.JaxprEqn) -> int:
    return max(_size(eqn.invars[0]) - _size(eqn.outvars[0]), 0)


def _window(eqn: jex.JaxprEqn) -> int:
    return _size(eqn.outvars[0]) * (math.prod(eqn.params["window_dimensions"]) - 1)


def _scattered_windows(eqn: jex.JaxprEqn) -> int:
    # For each window its maximum is found, and one element added at it.
    return _size(eqn.invars[0]) * math.prod(eqn.params["window_dimensions"])


def _scatter(eqn: jex.JaxprEqn) -> int:
    return _size(eqn.invars[2])


def _each_input(eqn: jex.JaxprEqn) -> int:
    return _size(eqn.invars[0])


def _cholesky(eqn: jex.JaxprEqn) -> int:
    *batch, n, _ = _shape(eqn.invars[0])
    return math.prod(batch) * n**3 // 3


def _lu(eqn: jex.JaxprEqn) -> int:
    *batch, n, m = _shape(eqn.invars[0])
    k = min(n, m)
    return math.prod(batch) * (n * m * k - (n + m) * k**2 // 2 + k**3 // 3) * 2


def _triangular_solve(eqn: jex.JaxprEqn) -> int:
    n = _shape(eqn.invars[0])[-1]
    return _size(eqn.invars[1]) * n


_COUNTS: dict[str, Callable[[jex.JaxprEqn], int]] = {
    "dot_general": _dot_general,
    "conv_general_dilated": _convolution,
    **dict.fromkeys(
        ("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "argmax", "argmin"), _reduction
    ),
    **dict.fromkeys(
        ("reduce_window_sum", "reduce_window_max", "reduce_window_min", "select_and_gather_add"),
        _window,
    ),
    "select_and_scatter_add": _scattered_windows,
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"), _each_input),
    "one_minus_square": lambda eqn: 2 * _size(eqn.outvars[0]),
    "cholesky": _cholesky,
    "lu": _lu,
    "triangular_solve": _triangular_solve,
}
# With a jaxpr that is an operator on two elements, and not run once.
_WITH_OPERATOR: dict[str, Callable[[jex.JaxprEqn], int]] = {
    "reduce": _reduction,
    "reduce_window": _window,
    "select_and_scatter": _scattered_windows,
    "scatter": lambda eqn: 0,  # overwrites
    **dict.fromkeys(("scatter-add", "scatter-mul", "scatter-min", "scatter-max"), _scatter),
}


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


_ELEMENTWISE = _words(
    "abs acos acosh add add_any asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil",
    "clamp cos cosh digamma div eq eq_to erf erf_inv erfc exp exp2 expm1 floor ge gt",
    "igamma igamma_grad_a igammac integer_pow is_finite le le_to lgamma log log1p log2 logistic",
    "lt lt_to max min mul ne neg nextafter polygamma pow random_gamma_grad",
    "regularized_incomplete_beta rem round rsqrt sign sin sinh sqrt square sub tan tanh zeta",
)
_FREE = _words(
    "bitcast_convert_type broadcast_in_dim complex concatenate conj convert_element_type copy",
    "copy_p device_put dynamic_slice dynamic_update_slice empty expand_dims full gather imag",
    "iota mesh_cast name optimization_barrier pad pbroadcast pvary random_bits random_wrap",
    "random_unwrap random_seed random_split random_fold_in real reduce_and reduce_or",
    "reduce_precision reshape reshard rev select_n sharding_constraint slice sort split squeeze",
    "stack stop_gradient tie tile top_k transpose unstack all_gather all_to_all axis_index",
    "ppermute rng_uniform",
)
