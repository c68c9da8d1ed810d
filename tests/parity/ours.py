"""What jaxfn computes for the inputs of `inputs.py`, by the names of PyTorch's results."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxfn
import models
from scripts.training.regression import train
from scripts.training.step import split_model
from tests.parity import inputs

Arrays = dict[str, np.ndarray]


def linear(dtype: str, use_bias: bool) -> Arrays:
    given = {name: jnp.asarray(array) for name, array in inputs.linear(dtype).items()}
    names = ("x", "weight", "bias") if use_bias else ("x", "weight")

    def by_pytorch_layout(x, weight, bias=None):
        return jaxfn.linear(x, weight.T, bias)

    y, vjp = jax.vjp(by_pytorch_layout, *(given[name] for name in names))
    gradients = zip(names, vjp(given["y_bar"]), strict=True)
    return _arrays({"y": y} | {f"{name}_bar": gradient for name, gradient in gradients})


def relu(dtype: str, grad_at_zero: float) -> Arrays:
    given = inputs.special_values(dtype)
    y, vjp = jax.vjp(lambda x: jaxfn.relu(x, grad_at_zero=grad_at_zero), jnp.asarray(given["x"]))
    return _arrays({"y": y, "x_bar": vjp(jnp.asarray(given["y_bar"]))[0]})


def spikes() -> Arrays:
    given = inputs.membrane()
    surrogates = {
        "atan": jaxfn.surrogates.atan(alpha=2.0),
        "fast_sigmoid": jaxfn.surrogates.fast_sigmoid(slope=25),
        "sigmoid": jaxfn.surrogates.sigmoid(alpha=25),
    }
    results = {}
    for name, surrogate in surrogates.items():
        heaviside = functools.partial(jaxfn.heaviside, surrogate=surrogate)
        y, vjp = jax.vjp(heaviside, jnp.asarray(given["x"]))
        results |= {f"{name}.y": y, f"{name}.x_bar": vjp(jnp.asarray(given["y_bar"]))[0]}
    return _arrays(results)


def lenet(dtype: str) -> Arrays:
    weights, images, labels = inputs.lenet(dtype)
    graph, params = nnx.split(models.lenet.from_torch(weights), nnx.Param)
    x, target = jnp.asarray(images.transpose(0, 2, 3, 1)), jnp.asarray(labels)
    optimizer = optax.sgd(inputs.LEARNING_RATE, momentum=inputs.MOMENTUM)

    def loss(params):
        logits = nnx.merge(graph, params)(x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, target).mean(), logits

    @jax.jit
    def step(params, state):
        (value, logits), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, value, logits, gradients

    def named(prefix: str, tree: Any) -> Arrays:
        model = nnx.merge(graph, tree)
        return {f"{prefix}.{k}": v for k, v in models.lenet.to_torch(model).items()}

    state, results, losses = optimizer.init(params), {}, []
    for i in range(inputs.STEPS):
        params, state, value, logits, gradients = step(params, state)
        losses.append(float(value))
        if i == 0:
            results = {"logits": np.asarray(logits)} | named("gradient", gradients)
    return results | named("trained", params) | {"losses": np.array(losses)}


def regression(dtype: str) -> np.ndarray:
    given = {name: jnp.asarray(array) for name, array in inputs.regression(dtype).items()}
    model = models.TwoLayerRegression(1000, 100, 10, rngs=nnx.Rngs(0))
    model.fc1.kernel, model.fc2.kernel = nnx.Param(given["w1"]), nnx.Param(given["w2"])
    _, losses = train(
        *split_model(model),
        given["x"],
        given["y"],
        inputs.REGRESSION_RATE,
        inputs.REGRESSION_STEPS,
    )
    return np.asarray(losses)


def _arrays(results: dict[str, jax.Array]) -> Arrays:
    return {name: np.asarray(array) for name, array in results.items()}
