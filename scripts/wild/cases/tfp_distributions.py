"""Cases of TensorFlow Probability on JAX: distributions and bijectors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from scripts.wild.case import PATHWISE, Entry, X, by, get
from scripts.wild.cases.distrax import distribution
from scripts.wild.cases.tfp import TFP


def _tfd(
    name: str, method: str, *args: Any, shown: str = "", rules: tuple[str, ...] = (), **options: Any
) -> Entry:
    make = by(
        functools.partial(distribution, f"{TFP}.distributions", name, method), *args, **options
    )
    note = PATHWISE if method == "sample" else ""
    title = f"distributions.{name}.{method}" + (f" ({shown})" if shown else "")
    return Entry(TFP, title, make, note, rules)


def _mixture_sample() -> Callable[..., Any]:
    tfd = get(f"{TFP}:distributions")

    def fun(loc: Any, scale: Any) -> Any:
        weights = tfd.Categorical(probs=jnp.array([0.3, 0.7]))
        mixture = tfd.MixtureSameFamily(weights, tfd.Normal(loc, scale), reparameterize=True)
        return mixture.sample(seed=jax.random.key(1))

    return fun


def _inferred_inverse() -> Callable[..., Any]:
    bijector = get(f"{TFP}.experimental.bijectors:ScalarFunctionWithInferredInverse")
    return lambda y: bijector(lambda x: x + 0.5 * jnp.tanh(x)).inverse(y)


CASES = (
    _tfd("Gamma", "sample", [1.7, 3.0], [0.8, 2.0]),
    _tfd("InverseGaussian", "sample", [1.7, 3.0], [0.8, 2.0]),
    _tfd("TwoPieceNormal", "sample", [0.7, -1.0], [0.8, 2.0], [0.6, 1.5]),
    _tfd("VonMises", "sample", [0.1, -0.2], [0.8, 3.0]),
    _tfd(
        "VonMises",
        "cdf",
        [-1.5, 0.4],
        [0.1, -0.2],
        [0.8, 3.0],
        domain=((-3, 3), (-0.1, 0.1), (0.1, 50.0)),
        rules=(f"{TFP}.distributions.von_mises.von_mises_cdf",),
    ),
    _tfd("StudentT", "cdf", [-0.7, 1.9], [2.5, 7.0], [0.3, -0.2], [0.8, 1.5]),
    _tfd("StudentT", "quantile", [0.2, 0.7], [2.5, 7.0], [0.3, -0.2], [0.8, 1.5]),
    _tfd("NoncentralChi2", "cdf", [1.5, 4.0], [2.5, 7.0], [0.6, 2.0]),
    _tfd("NoncentralChi2", "quantile", [0.2, 0.7], [2.5, 7.0], [0.6, 2.0]),
    Entry(
        TFP,
        "distributions.MixtureSameFamily.sample",
        by(_mixture_sample, [-1.0, 1.0], [0.5, 0.8]),
        PATHWISE,
        (f"{TFP}.distributions.mixture_same_family.<lambda>",),
    ),
    Entry(
        TFP, "experimental.bijectors.ScalarFunctionWithInferredInverse", by(_inferred_inverse, X)
    ),
    Entry(
        TFP,
        "bijectors.Softplus",
        by(lambda: get(f"{TFP}.bijectors:Softplus")(low=0.5).forward, X),
    ),
    Entry(
        TFP,
        "bijectors.Sigmoid",
        by(lambda: get(f"{TFP}.bijectors:Sigmoid")(low=-1.0, high=2.0).forward, X),
    ),
)
