"""The originals in PyTorch, in PyTorch's own idiom: what jaxfn is measured against. PyTorch is
needed by nothing else (`pip install torch==2.13.0`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

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


class Sgd(NamedTuple):
    """Settings of the optimiser. With `steps` the rate falls to 0 along half a cosine."""

    rate: float
    momentum: float
    weight_decay: float = 0.0
    steps: int | None = None


Step = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def make_train_step(
    weights: Mapping[str, np.ndarray],
    sgd: Sgd,
    *,
    channels_last: bool = False,
    compiled: bool = False,
) -> Step:
    """One step of LeNet's training: `step(images, labels) -> (loss, accuracy)`, the metrics of the
    weights before it.

    Args:
      weights: as `models.lenet.to_torch` gives them.
      sgd: the optimiser.
      channels_last: whether images and kernels are stored with the channels last.
      compiled: whether the model is compiled by `torch.compile`, at the first step.
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = LeNet()
    model.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    model = model.to(memory_format=layout)
    forward = torch.compile(model, dynamic=False) if compiled else model
    # fused: the fastest of its forms on a CPU, above all at small batches.
    optimizer = torch.optim.SGD(
        model.parameters(), sgd.rate, sgd.momentum, weight_decay=sgd.weight_decay, fused=True
    )
    schedule = None
    if sgd.steps is not None:
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, sgd.steps)

    def step(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        optimizer.zero_grad()
        logits = forward(images.contiguous(memory_format=layout))
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
        return loss.detach(), (logits.argmax(1) == labels).float().mean()

    return step


def forget_compiled() -> None:
    """Has `torch.compile` begin anew: of one function it compiles only so many variants."""
    torch.compiler.reset()


def batch(images: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Images `[N, 32, 32, 1]` and labels as PyTorch takes them."""
    return torch.tensor(images.transpose(0, 3, 1, 2)), torch.tensor(labels, dtype=torch.int64)


def make_epoch(
    step: Step,
    images: torch.Tensor,
    labels: torch.Tensor,
    batch_size: int,
    max_shift: int,
    ground: float,
) -> Callable[[], list[float]]:
    """An epoch as `trainings.make_epoch` has it: a new order, each image shifted anew.

    Returns:
      `epoch() -> [loss, accuracy]`, means over the steps.
    """
    size = images.shape[-1]
    padded = F.pad(images, (max_shift,) * 4, value=ground)
    pixels = torch.arange(size)

    def shifted(chosen: torch.Tensor) -> torch.Tensor:
        corners = torch.randint(0, 2 * max_shift + 1, (2, len(chosen), 1))
        rows, columns = pixels + corners
        return padded[chosen[:, None, None], 0, rows[:, :, None], columns[:, None, :]][:, None]

    def epoch() -> list[float]:
        steps = len(labels) // batch_size
        order = torch.randperm(len(labels))[: steps * batch_size].reshape(steps, batch_size)
        metrics = [torch.stack(step(shifted(chosen), labels[chosen])) for chosen in order]
        return torch.stack(metrics).mean(0).tolist()

    return epoch
