"""What PyTorch computes for the inputs of `quantisers.py`."""

from __future__ import annotations

import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # noqa: N812  # pyright: ignore[reportMissingImports]

from tests.parity import quantisers
from tests.parity.quantisers import CHANNELS, DTYPES, GRIDS, LEARNED, Arrays, Grid


def fixtures() -> Arrays:
    """All of it, by name."""
    results = {}
    for dtype in DTYPES:
        for name, grid in {**GRIDS, "channels": CHANNELS}.items():
            results |= _named(f"{dtype}.fake_quantize_{name}", fake_quantize(dtype, grid))
    for name, grid in LEARNED.items():
        results |= _named(f"float32.lsq_{name}", lsq("float32", grid))
    for dtype in ("float32", "float64"):
        for hard in (False, True):
            results |= _named(f"{dtype}.gumbel_softmax_{hard}", gumbel_softmax(dtype, hard))
    return results


def fake_quantize(dtype: str, grid: Grid) -> Arrays:
    """y and x̄."""
    given = quantisers.values(dtype, grid)
    x = torch.tensor(given["x"]).to(getattr(torch, dtype)).requires_grad_()
    if len(grid.scale) == 1:
        limits = (grid.low, grid.high)
        y = torch.fake_quantize_per_tensor_affine(x, grid.scale[0], grid.zero_point, *limits)
    else:
        scale = torch.tensor(grid.scale)
        zero_point = torch.full((len(grid.scale),), grid.zero_point, dtype=torch.int32)
        limits = (grid.low, grid.high)
        y = torch.fake_quantize_per_channel_affine(x, scale, zero_point, 0, *limits)
    y.backward(torch.tensor(given["y_bar"]).to(y.dtype))
    return _arrays({"y": y, "x_bar": x.grad})


def lsq(dtype: str, grid: Grid) -> Arrays:
    """y and the gradients of x and the scale."""
    given = quantisers.learned_values(dtype, grid)
    x = torch.tensor(given["x"]).to(getattr(torch, dtype)).requires_grad_()
    scale = torch.tensor(grid.scale).requires_grad_()
    zero_point = torch.zeros(len(grid.scale))
    rest = (grid.low, grid.high, quantisers.GRAD_FACTOR)
    if len(grid.scale) == 1:
        y = torch._fake_quantize_learnable_per_tensor_affine(x, scale, zero_point, *rest)
    else:
        y = torch._fake_quantize_learnable_per_channel_affine(x, scale, zero_point, 1, *rest)
    y.backward(torch.tensor(given["y_bar"]).to(y.dtype))
    return _arrays({"y": y, "x_bar": x.grad, "step_bar": scale.grad})


def gumbel_softmax(dtype: str, hard: bool) -> Arrays:
    """y, the gradient of the logits, and the noise that PyTorch drew."""
    given = {name: torch.tensor(array) for name, array in quantisers.logits(dtype).items()}
    logits = given["logits"].requires_grad_()
    torch.manual_seed(0)
    y = F.gumbel_softmax(logits, tau=quantisers.TEMPERATURE, hard=hard)
    y.backward(given["y_bar"])
    torch.manual_seed(0)
    noise = -torch.empty_like(logits).exponential_().log()
    results = {"y": y, "logits_bar": logits.grad, "noise": noise}
    return {name: tensor.detach().numpy() for name, tensor in results.items()}


def _named(prefix: str, arrays: Arrays) -> Arrays:
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def _arrays(tensors: dict[str, torch.Tensor]) -> Arrays:
    return {name: tensor.detach().double().numpy().copy() for name, tensor in tensors.items()}
