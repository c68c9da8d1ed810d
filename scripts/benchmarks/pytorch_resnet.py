"""A ResNet-18 for CIFAR's images, its training step and its convolutions in PyTorch: what jaxfn is
measured against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # noqa: N812  # pyright: ignore[reportMissingImports]

from scripts.benchmarks.pytorch_peer import Sgd


class Block(torch.nn.Module):
    """Two convolutions with batch norm, and what goes around them."""

    def __init__(self, width: int, out: int, stride: int):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(width, out, 3, stride, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(out)
        self.conv2 = torch.nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(out)
        self.downsample = None
        if stride != 1 or width != out:
            self.downsample = torch.nn.Sequential(
                torch.nn.Conv2d(width, out, 1, stride, bias=False), torch.nn.BatchNorm2d(out)
            )

    def forward(self, x):
        h = F.relu(self.bn1(self.conv1(x)), inplace=True)
        h = self.bn2(self.conv2(h))
        h += x if self.downsample is None else self.downsample(x)
        return F.relu(h, inplace=True)


class ResNet18(torch.nn.Module):
    """`models.ResNet18`, with parameters of the same names."""

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(64)
        self.layer1 = torch.nn.Sequential(Block(64, 64, 1), Block(64, 64, 1))
        self.layer2 = torch.nn.Sequential(Block(64, 128, 2), Block(128, 128, 1))
        self.layer3 = torch.nn.Sequential(Block(128, 256, 2), Block(256, 256, 1))
        self.layer4 = torch.nn.Sequential(Block(256, 512, 2), Block(512, 512, 1))
        self.fc = torch.nn.Linear(512, num_classes)

    def forward(self, x):
        h = F.relu(self.bn1(self.conv1(x)), inplace=True)
        h = self.layer4(self.layer3(self.layer2(self.layer1(h))))
        return self.fc(h.mean((2, 3)))


def from_weights(weights: Mapping[str, np.ndarray]) -> ResNet18:
    """The net with the weights that `resnet.torch_weights` gives."""
    model = ResNet18(len(weights["fc.bias"]))
    tensors = {name: torch.tensor(array) for name, array in weights.items()}
    counts = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name.endswith("num_batches_tracked")
    }
    model.load_state_dict(tensors | counts)
    return model.to(tensors["fc.bias"].dtype)


def make_train_step(
    model: ResNet18,
    sgd: Sgd,
    *,
    channels_last: bool = False,
    compiled: bool = False,
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """`step(images, labels)`, which changes the model and gives the loss before that.

    Args:
      model: the net.
      sgd: the optimiser.
      channels_last: whether images and kernels are stored with the channels last.
      compiled: whether it is compiled by `torch.compile`, at the first step.
    """
    layout = _layout(channels_last)
    model = model.to(memory_format=layout)
    forward = torch.compile(model, dynamic=False) if compiled else model
    optimizer = torch.optim.SGD(model.parameters(), sgd.rate, sgd.momentum, fused=True)

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(forward(images.contiguous(memory_format=layout)), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def convolution(
    y_bar: np.ndarray, x: np.ndarray, kernel: np.ndarray, *, channels_last: bool, **options: Any
) -> Callable[[], object]:
    """A call that convolves, forward and both gradients.

    Args:
      y_bar: the gradient of the output, NHWC.
      x: NHWC.
      kernel: HWIO.
      channels_last: whether the tensors are stored with the channels last.
      options: of `torch.nn.functional.conv2d`.
    """
    layout = _layout(channels_last)

    def tensor(array: np.ndarray, *axes: int) -> torch.Tensor:
        return torch.tensor(array.transpose(axes)).contiguous(memory_format=layout)

    cotangent, image = tensor(y_bar, 0, 3, 1, 2), tensor(x, 0, 3, 1, 2).requires_grad_()
    weight = tensor(kernel, 3, 2, 0, 1).requires_grad_()

    def run() -> object:
        y = F.conv2d(image, weight, **options)
        return y, torch.autograd.grad(y, (image, weight), cotangent)

    return run


def _layout(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format
