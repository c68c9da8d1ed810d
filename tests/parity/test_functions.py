"""The ports of real `torch.autograd.Function`s beside the originals; `make parity`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity.functions import PORTS, Port

pytestmark = pytest.mark.parity
all_ports = pytest.mark.parametrize("port", PORTS.values(), ids=PORTS.keys())

# They save what is neither an input nor an output, which PyTorch holds constant when it
# differentiates the gradient; JAX differentiates it.
SAVE_INTERMEDIATES = {"LayerNorm", "SoftmaxCrossEntropy", "LogSumExp", "Conv1d", "Huber"}


@pytest.fixture(scope="module")
def torch():
    import torch  # pyright: ignore[reportMissingImports]

    return torch


def original(port: Port):
    from tests.parity import functions_arrays_pytorch as arrays
    from tests.parity import functions_elementwise_pytorch as elementwise

    return getattr(elementwise if hasattr(elementwise, port.name) else arrays, port.name).apply


def weights(outputs) -> list[np.ndarray | None]:
    """A cotangent for each output; None where there is none."""
    rng = np.random.RandomState(7)
    drawn = []
    for y in outputs:
        y = np.asarray(y)
        cotangent = rng.standard_normal(y.shape)
        if np.iscomplexobj(y):
            cotangent = cotangent + 1j * rng.standard_normal(y.shape)
        drawn.append(cotangent if y.dtype.kind in "fc" else None)
    return drawn


def as_tuple(value) -> tuple:
    return value if isinstance(value, tuple) else (value,)


def in_pytorch(torch, port: Port, twice: bool):
    """Outputs, gradients of (Re Σ w·y)²/2, and, twice, those of the squared gradients' sum."""
    args = [torch.tensor(x) if isinstance(x, np.ndarray) else x for x in port.inputs]
    chosen = [args[i].requires_grad_() for i in port.differentiable]
    outputs = as_tuple(original(port)(*args))
    cotangents = weights([y.detach() for y in outputs])
    pairs = zip(cotangents, outputs, strict=True)
    loss = sum((torch.tensor(w) * y).sum().real for w, y in pairs if w is not None)
    differentiate = functools.partial(torch.autograd.grad, materialize_grads=True)
    grads = differentiate(loss**2 / 2, chosen, create_graph=twice)
    second = differentiate(sum((g.abs() ** 2).sum() for g in grads), chosen) if twice else ()
    return [[x.detach().resolve_conj().numpy() for x in part] for part in (outputs, grads, second)]


def in_jax(port: Port, twice: bool):
    def loss(*chosen):
        args = [jnp.asarray(x) if isinstance(x, np.ndarray) else x for x in port.inputs]
        for i, value in zip(port.differentiable, chosen, strict=True):
            args[i] = value
        outputs = as_tuple(port.apply(*args))
        cotangents = weights([np.zeros(y.shape, y.dtype) for y in outputs])
        pairs = zip(cotangents, outputs, strict=True)
        loss = sum(jnp.sum(w * y).real for w, y in pairs if w is not None)
        return loss**2 / 2, outputs

    chosen = [jnp.asarray(port.inputs[i]) for i in port.differentiable]
    argnums = tuple(range(len(chosen)))

    def squares(*chosen):
        grads = jax.grad(loss, argnums, has_aux=True)(*chosen)[0]
        return sum(jnp.sum(jnp.abs(g) ** 2) for g in grads)

    grads, outputs = jax.grad(loss, argnums, has_aux=True)(*chosen)
    second = jax.grad(squares, argnums)(*chosen) if twice else ()
    # JAX's gradients of complex arguments are the conjugates of PyTorch's.
    return [[*outputs], [*map(jnp.conj, grads)], [*map(jnp.conj, second)]]


@all_ports
def test_values_and_gradients_agree_with_pytorch(port: Port, torch):
    twice = port.twice and port.name not in SAVE_INTERMEDIATES
    theirs = in_pytorch(torch, port, twice)
    with jax.enable_x64(True):
        ours = in_jax(port, twice)
    for part, expected_part in zip(ours, theirs, strict=True):
        for actual, expected in zip(part, expected_part, strict=True):
            scale = np.max(np.abs(expected), initial=1.0)
            np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10 * scale)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # PyTorch calls it itself
def test_forward_mode_and_batches_agree_with_pytorch(torch):
    x, y = (port_input.astype(np.float64) for port_input in PORTS["Multiply"].inputs)
    theirs = original(PORTS["Multiply"])
    tx, ty = torch.tensor(x), torch.tensor(y)
    _, tangent = torch.func.jvp(theirs, (tx, ty), (ty, tx))
    batched = torch.func.vmap(theirs, in_dims=(1, None), out_dims=1)(tx, ty[:, 0])
    ours = PORTS["Multiply"].apply
    with jax.enable_x64(True):
        np.testing.assert_allclose(jax.jvp(ours, (x, y), (y, x))[1], tangent, rtol=1e-12)
        actual = jax.vmap(ours, in_axes=(1, None), out_axes=1)(x, y[:, 0])
        np.testing.assert_allclose(actual, batched, rtol=1e-12)
