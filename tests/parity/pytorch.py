"""What PyTorch computes for the inputs of `inputs.py`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # noqa: N812  # pyright: ignore[reportMissingImports]

from scripts.benchmarks.pytorch_peer import LeNet, LinearFunction, MyReLU, train_regression
from tests.parity import inputs


def linear(dtype: str, use_bias: bool) -> dict[str, np.ndarray]:
    """y and the gradients of x, weight and bias."""
    given = _tensors(inputs.linear(dtype))
    names = ("x", "weight", "bias") if use_bias else ("x", "weight")
    leaves = [given[name].requires_grad_() for name in names]
    x = leaves[0].reshape(-1, leaves[0].shape[-1])
    y = LinearFunction.apply(x, *leaves[1:])
    y.backward(given["y_bar"].reshape(y.shape))
    results = {"y": y.reshape(given["y_bar"].shape)}
    return _arrays(results | {f"{n}_bar": v.grad for n, v in zip(names, leaves, strict=True)})


def relu(dtype: str, grad_at_zero: float) -> dict[str, np.ndarray]:
    """y and the gradient of x, with `F.relu` for 0 at zero and `MyReLU` for 1."""
    given = _tensors(inputs.special_values(dtype))
    x = given["x"].requires_grad_()
    y = (F.relu if grad_at_zero == 0 else MyReLU.apply)(x)
    y.backward(given["y_bar"])
    return _arrays({"y": y, "x_bar": x.grad})


def lenet(dtype: str) -> dict[str, np.ndarray]:
    """Logits, loss, gradients and the losses and weights of ten steps of SGD with momentum."""
    weights, images, labels = inputs.lenet(dtype)
    model = LeNet().to(getattr(torch, dtype))
    model.load_state_dict(_tensors(weights))
    x, target = torch.tensor(images), torch.tensor(labels)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=inputs.LEARNING_RATE, momentum=inputs.MOMENTUM
    )
    results, losses = {}, []
    for step in range(inputs.STEPS):
        optimizer.zero_grad()
        logits = model(x)
        loss = F.cross_entropy(logits, target)
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            results["logits"] = logits
            results |= {f"gradient.{n}": p.grad.clone() for n, p in model.named_parameters()}
        optimizer.step()
    results |= {f"trained.{name}": value for name, value in model.state_dict().items()}
    return _arrays(results) | {"losses": np.array(losses)}


def regression(dtype: str) -> np.ndarray:
    """The losses of the original experiment's loop."""
    given = inputs.regression(dtype)
    return train_regression(**given, rate=inputs.REGRESSION_RATE, steps=inputs.REGRESSION_STEPS)


def _tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(array) for name, array in arrays.items()}


def _arrays(tensors: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}
