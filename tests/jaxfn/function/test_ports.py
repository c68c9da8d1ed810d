"""Ports of real `torch.autograd.Function`s, against autodiff of plain functions; beside PyTorch
itself they stand in `tests/parity/test_functions.py`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxfn
from tests.jaxfn.functional.oracles import cotangent
from tests.parity.functions import PORTS, Port

pytestmark = pytest.mark.numbers

all_ports = pytest.mark.parametrize("port", PORTS.values(), ids=PORTS.keys())


def gradients(fun, port: Port, seed: int = 1):
    """The outputs, and the gradients of the outputs' weighted sum; small weights, that
    `ClipGradient` leaves as they are."""

    def loss(*chosen):
        args = list(port.inputs)
        for i, value in zip(port.differentiable, chosen, strict=True):
            args[i] = value
        outputs = fun(*args)
        floats = [y for y in jax.tree.leaves(outputs) if jnp.issubdtype(y.dtype, jnp.inexact)]
        weighted = [jnp.sum(y * cotangent(y, seed + i) * 0.1) for i, y in enumerate(floats)]
        return jnp.real(sum(weighted)), outputs

    chosen = [jnp.asarray(port.inputs[i]) for i in port.differentiable]
    argnums = tuple(range(len(chosen)))
    grads, outputs = jax.grad(loss, argnums, has_aux=True)(*chosen)
    return outputs, grads


def assert_close(actual, expected, tolerance=1e-12):
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, e, rtol=tolerance, atol=tolerance * np.max(np.abs(e)))


@all_ports
def test_values_and_gradients(port: Port):
    with jax.enable_x64(True):
        both = jax.jit(lambda: (gradients(port.apply, port), gradients(port.reference, port)))
        assert_close(*both())


@all_ports
def test_the_rule_is_used(port: Port):
    rules = [rule.name for rule in jaxfn.custom_rules(port.apply, *port.inputs)]
    assert rules[0] == port.name
