"""The originals in PyTorch, in PyTorch's own idiom: what jaxfn is measured against. PyTorch is
needed by nothing else (`pip install torch==2.13.0`)."""

from __future__ import annotations

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # noqa: N812  # pyright: ignore[reportMissingImports]


class LinearFunction(torch.autograd.Function):
    """PyTorch's tutorial "Extending PyTorch": a linear function with an optional bias."""

    @staticmethod
    def forward(ctx, input, weight, bias=None):
        ctx.save_for_backward(input, weight, bias)
        output = input.mm(weight.t())
        if bias is not None:
            output += bias.unsqueeze(0).expand_as(output)
        return output

    @staticmethod
    def backward(ctx, grad_output):
        input, weight, bias = ctx.saved_tensors
        grad_input = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_input = grad_output.mm(weight)
        if ctx.needs_input_grad[1]:
            grad_weight = grad_output.t().mm(input)
        if bias is not None and ctx.needs_input_grad[2]:
            grad_bias = grad_output.sum(0)
        return grad_input, grad_weight, grad_bias


class MyReLU(torch.autograd.Function):
    """PyTorch's tutorial "PyTorch: Defining New autograd Functions"."""

    @staticmethod
    def forward(ctx, input):
        ctx.save_for_backward(input)
        return input.clamp(min=0)

    @staticmethod
    def backward(ctx, grad_output):
        (input,) = ctx.saved_tensors
        grad_input = grad_output.clone()
        grad_input[input < 0] = 0
        return grad_input


class LeNet(torch.nn.Module):
    """PyTorch's tutorial "Neural Networks"."""

    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 6, 3)
        self.conv2 = torch.nn.Conv2d(6, 16, 3)
        self.fc1 = torch.nn.Linear(16 * 6 * 6, 120)
        self.fc2 = torch.nn.Linear(120, 84)
        self.fc3 = torch.nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = torch.flatten(x, 1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


def train_regression(
    x: np.ndarray, y: np.ndarray, w1: np.ndarray, w2: np.ndarray, rate: float, steps: int
) -> np.ndarray:
    """The losses of the two-layer regression: the loop of the tutorial of `MyReLU`."""
    tx, ty = torch.tensor(x), torch.tensor(y)
    v1, v2 = torch.tensor(w1, requires_grad=True), torch.tensor(w2, requires_grad=True)
    losses = []
    for _ in range(steps):
        y_pred = MyReLU.apply(tx.mm(v1)).mm(v2)
        loss = (y_pred - ty).pow(2).sum()
        losses.append(loss.item())
        loss.backward()
        with torch.no_grad():
            v1 -= rate * v1.grad
            v2 -= rate * v2.grad
            v1.grad.zero_()
            v2.grad.zero_()
    return np.array(losses)
