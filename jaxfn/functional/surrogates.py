"""Surrogate derivatives of the step: what `jaxfn.heaviside` has for a derivative at x.

Each function returns a surrogate: a function x ↦ s(x) of arrays, a pytree whose parameter may be
traced, so that a schedule can sharpen it while a jitted step runs. Libraries scale the same shape
differently; the peak s(0) and the area ∫s of each are in its docstring. A parameter's gradient is
zero.

  >>> import jax, jaxfn
  >>> atan = jaxfn.surrogates.atan(alpha=4.0)
  >>> float(atan(0.0)), float(jax.grad(jaxfn.heaviside)(0.0, atan))
  (2.0, 2.0)
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jaxfn.functional._surrogate import as_positive

Surrogate = Callable[[jax.Array], jax.Array]


def sigmoid(alpha: ArrayLike = 4.0) -> Surrogate:
    """The derivative of a logistic function: s(x) = α·σ(αx)·σ(−αx).

    Peak α/4, area 1. Of SpikingJelly's `Sigmoid`, with its default; snntorch's `sigmoid` is the
    same with α = `slope` = 25, but nan where exp(−25x) overflows.

    Args:
      alpha: number or scalar array, perhaps traced, positive and finite.

    Returns:
      x ↦ s(x).

    Raises:
      TypeError: if `alpha` is not a real scalar.
      ValueError: if it is not positive and finite; a traced one is not looked at.

    Source: Zenke and Ganguli, "SuperSpike", 2018, arXiv:1705.11146.
    """
    return Partial(_sigmoid, alpha=as_positive("sigmoid", "alpha", alpha))


def _sigmoid(x: jax.Array, alpha: jax.Array) -> jax.Array:
    return alpha * (jax.nn.sigmoid(alpha * x) * jax.nn.sigmoid(-alpha * x))


def atan(alpha: ArrayLike = 2.0) -> Surrogate:
    """The derivative of an arc tangent: s(x) = (α/2) / (1 + (παx/2)²).

    Peak α/2, area 1. Of SpikingJelly's `ATan` and snntorch's `atan`, with their default; spyx's
    `arctan` is another: 1 / (π(1 + (πkx)²)), with the peak 1/π.

    Args:
      alpha: number or scalar array, perhaps traced, positive and finite.

    Returns:
      x ↦ s(x).

    Raises:
      TypeError: if `alpha` is not a real scalar.
      ValueError: if it is not positive and finite; a traced one is not looked at.

    Source: Fang, Yu, Chen, Masquelier, Huang and Tian, "Incorporating Learnable Membrane Time
    Constant to Enhance Learning of Spiking Neural Networks", 2021, arXiv:2007.05785.
    """
    return Partial(_atan, alpha=as_positive("atan", "alpha", alpha))


def _atan(x: jax.Array, alpha: jax.Array) -> jax.Array:
    return alpha / 2 / (1 + jnp.square(math.pi / 2 * alpha * x))


def fast_sigmoid(slope: ArrayLike = 25.0) -> Surrogate:
    """The derivative of a fast sigmoid, SuperSpike's: s(x) = 1 / (1 + k|x|)² with the slope k.

    Peak 1, area 2/k. Of snntorch's `fast_sigmoid` and spyx's `superspike`, with their default;
    SpikingJelly's `SuperSpike` is k times as large, and snnax's `superspike` lacks the square.

    Args:
      slope: k, number or scalar array, perhaps traced, positive and finite.

    Returns:
      x ↦ s(x).

    Raises:
      TypeError: if `slope` is not a real scalar.
      ValueError: if it is not positive and finite; a traced one is not looked at.

    Source: Zenke and Ganguli, "SuperSpike", 2018, arXiv:1705.11146.
    """
    return Partial(_fast_sigmoid, slope=as_positive("fast_sigmoid", "slope", slope))


def _fast_sigmoid(x: jax.Array, slope: jax.Array) -> jax.Array:
    return 1 / jnp.square(1 + slope * jnp.abs(x))


def triangular(slope: ArrayLike = 1.0) -> Surrogate:
    """A triangle: s(x) = max(0, 1 − k|x|) with the slope k.

    Peak 1, area 1/k, 0 where |x| ≥ 1/k. Of spyx's `triangular`, whose default is k = 2; snntorch's
    `triangular` is no triangle, but a constant of either sign.

    Args:
      slope: k, number or scalar array, perhaps traced, positive and finite.

    Returns:
      x ↦ s(x).

    Raises:
      TypeError: if `slope` is not a real scalar.
      ValueError: if it is not positive and finite; a traced one is not looked at.

    Source: Esser et al., "Convolutional Networks for Fast, Energy-Efficient Neuromorphic
    Computing", 2016, arXiv:1603.08270.
    """
    return Partial(_triangular, slope=as_positive("triangular", "slope", slope))


def _triangular(x: jax.Array, slope: jax.Array) -> jax.Array:
    return jnp.maximum(1 - slope * jnp.abs(x), 0)


def boxcar(width: ArrayLike = 2.0) -> Surrogate:
    """A box: s(x) = 1/w where |x| ≤ w/2, else 0, with the width w.

    Peak 1/w, area 1. Of spyx's `boxcar` (width 2, height 0.5) and SpikingJelly's `Rect` (α = 1/w),
    whose boxes are 0 at the edges.

    Args:
      width: w, number or scalar array, perhaps traced, positive and finite.

    Returns:
      x ↦ s(x).

    Raises:
      TypeError: if `width` is not a real scalar.
      ValueError: if it is not positive and finite; a traced one is not looked at.

    Source: Wu, Deng, Li, Zhu and Shi, "Spatio-Temporal Backpropagation for Training
    High-Performance Spiking Neural Networks", 2018, arXiv:1706.02609.
    """
    return Partial(_boxcar, width=as_positive("boxcar", "width", width))


def _boxcar(x: jax.Array, width: jax.Array) -> jax.Array:
    return jnp.where(jnp.abs(x) <= width / 2, 1 / jnp.asarray(width, x.dtype), 0)


def gaussian(sigma: ArrayLike = 0.5) -> Surrogate:
    """The density of a normal distribution: s(x) = exp(−x²/(2σ²)) / (√(2π)·σ).

    Peak 1/(√(2π)·σ), 0.798 by default, area 1.

    Args:
      sigma: σ, number or scalar array, perhaps traced, positive and finite.

    Returns:
      x ↦ s(x).

    Raises:
      TypeError: if `sigma` is not a real scalar.
      ValueError: if it is not positive and finite; a traced one is not looked at.

    Source: Yin, Corradi and Bohté, "Accurate and efficient time-domain classification with
    adaptive spiking recurrent neural networks", 2021, arXiv:2103.12593.
    """
    return Partial(_gaussian, sigma=as_positive("gaussian", "sigma", sigma))


def _gaussian(x: jax.Array, sigma: jax.Array) -> jax.Array:
    return jnp.exp(-jnp.square(x / sigma) / 2) / (math.sqrt(2 * math.pi) * sigma)


BY_NAME: dict[str, Callable[[], Surrogate]] = {
    surrogate.__name__: surrogate
    for surrogate in (sigmoid, atan, fast_sigmoid, triangular, boxcar, gaussian)
}
