"""Cases of quantised and spiking networks: Qwix, AQT, Spyx, BrainState."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scripts.wild.case import STRAIGHT, Case, Entry, X, arrays, by, get, normal


def _identity(x: Any) -> Any:
    return x


def _qwix_dot() -> Callable[..., Any]:
    module = importlib.import_module("qwix._src.core.dot_general_qt")
    config = module.DotGeneralQtConfig()
    return lambda a, b: module.dot_general_qt(a, b, (((1,), (0,)), ((), ())), config)


def _qwix_dot_int8() -> Case:
    module = importlib.import_module("qwix._src.core.dot_general_qt")
    config = module.DotGeneralQtConfig(lhs_qtype=jnp.int8, rhs_qtype=jnp.int8)
    fun = lambda a, b: module.dot_general_qt(a, b, (((1,), (0,)), ((), ())), config)  # noqa: E731
    return Case(fun, (normal(3, 4), normal(4, 2, seed=1)), {"surrogate": jnp.matmul})


def _qwix_conv() -> Callable[..., Any]:
    module = importlib.import_module("qwix._src.core.conv_general_qt")
    config = module.ConvGeneralQtConfig()
    dimensions = ("NHWC", "HWIO", "NHWC")
    options = {"window_strides": (1, 1), "padding": "VALID", "dimension_numbers": dimensions}
    return lambda x, kernel: module.conv_general_qt(x, kernel, config, **options)


def _qwix_ragged() -> Case:
    module = importlib.import_module("qwix._src.core.ragged_dot_qt")
    sizes = jnp.array([2, 3], jnp.int32)
    config = module.RaggedDotQtConfig(lhs_qtype=jnp.int8, rhs_qtype=jnp.int8)
    fun = lambda x, w: module.ragged_dot_qt(x, w, sizes, config)  # noqa: E731
    exact = lambda x, w: jax.lax.ragged_dot(x, w, sizes)  # noqa: E731
    return Case(fun, (normal(5, 3), normal(2, 3, 4, seed=1)), {"surrogate": exact})


def _surrogate(name: str, antiderivative: Callable[..., Any]) -> Case:
    spike = get(f"spyx.axn:{name}")()
    return Case(spike, arrays([X]), {"surrogate": antiderivative})


def _bernoulli() -> Case:
    """The backward rule multiplies by the probability of a spike, 0.8 sigmoid(10 (x − 1))."""
    activation = get("spyx.experimental.stochastic:sigmoid_bernoulli")()
    surrogate = lambda x: 0.08 * jax.nn.softplus(10 * (x - 1))  # noqa: E731
    fun = lambda x: activation(x, jax.random.key(0))  # noqa: E731
    return Case(fun, arrays([X]), {"surrogate": surrogate})


def _tanh(x: Any) -> Any:
    """Its derivative is 4 / (exp(−x) + exp(x))², the surrogate gradient."""
    return jnp.tanh(x)


def _rounded(name: str) -> Case:
    return Case(get(f"aqt.jax_legacy.jax.primitives:{name}"), arrays([X]), {"surrogate": _identity})


def _embedding() -> Callable[..., Any]:
    lookup = get("brainstate.nn._embedding:_embedding_lookup_fn")(None, False)
    return lambda weight: lookup(weight, np.array([2, 0, 2], np.int32))


def _embedding_scaled() -> Callable[..., Any]:
    lookup = get("brainstate.nn._embedding:_embedding_lookup_fn")(0, True)
    return lambda weight: lookup(weight, np.array([2, 0, 2], np.int32))


CASES = (
    Entry(
        "qwix",
        "dot_general_qt (no quantisation)",
        by(_qwix_dot, normal(3, 4), normal(4, 2, seed=1)),
    ),
    Entry("qwix", "dot_general_qt (int8)", _qwix_dot_int8, STRAIGHT),
    Entry(
        "qwix",
        "conv_general_qt (no quantisation)",
        by(_qwix_conv, normal(1, 4, 4, 2), normal(2, 2, 2, 3, seed=1)),
    ),
    Entry(
        "qwix",
        "ragged_dot_qt (int8)",
        _qwix_ragged,
        STRAIGHT,
    ),
    Entry(
        "spyx",
        "axn.tanh",
        functools.partial(_surrogate, "tanh", _tanh),
        STRAIGHT,
        ("spyx.axn.f",),
    ),
    Entry(
        "spyx",
        "axn.custom",
        functools.partial(_surrogate, "custom", lambda x: x**2 / 2),
        STRAIGHT,
        ("spyx.axn.f",),
    ),
    Entry(
        "spyx",
        "experimental.stochastic.sigmoid_bernoulli",
        _bernoulli,
        STRAIGHT,
        ("spyx.experimental.stochastic.activation",),
    ),
    Entry(
        "spyx",
        "experimental.packed_spike_dense",
        by(
            lambda: functools.partial(
                get("spyx.experimental.compress:packed_spike_dense"),
                jnp.array([[0.0, 1, 1], [1, 0, 1]]),
            ),
            normal(3, 2),
        ),
        "the spikes held fixed: they have to be 0 or 1",
    ),
    Entry(
        "aqt",
        "primitives.floor_with_gradient",
        functools.partial(_rounded, "floor_with_gradient"),
        STRAIGHT,
    ),
    Entry(
        "aqt",
        "primitives.round_with_gradient",
        functools.partial(_rounded, "round_with_gradient"),
        STRAIGHT,
    ),
    Entry("brainstate", "nn.Embedding lookup", by(_embedding, normal(3, 2))),
    Entry(
        "brainstate",
        "nn.Embedding lookup (scaled by frequency, padded)",
        by(_embedding_scaled, normal(3, 2)),
        "another gradient by design",
    ),
)
