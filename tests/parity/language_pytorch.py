"""What PyTorch computes for the inputs of `language.py`."""

from __future__ import annotations

import functools

import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # noqa: N812  # pyright: ignore[reportMissingImports]

from tests.parity import language
from tests.parity.language import DTYPES, IGNORED, LABELS, OPERATIONS, SMOOTHING, Arrays


def fixtures() -> Arrays:
    """All of it, by name."""
    return {
        f"{dtype}.{name}.{key}": array
        for dtype in DTYPES
        for name in OPERATIONS
        for key, array in results(name, dtype).items()
    }


def results(name: str, dtype: str) -> Arrays:
    """y, and the gradient of each argument by its place."""
    args = [torch.tensor(a, requires_grad=True) for a in language.inputs(name, dtype)]
    y = _FUNCTIONS[name](*args)
    y.backward(torch.tensor(language.cotangent(tuple(y.shape), dtype)))
    gradients = {str(i): arg.grad.numpy() for i, arg in enumerate(args)}
    return {"y": y.detach().numpy(), **gradients}


def _rms_norm(x, scale):
    return F.rms_norm(x, x.shape[-1:], scale, 1e-6)


def _layer_norm(x, scale, bias):
    return F.layer_norm(x, x.shape[-1:], scale, bias, 1e-6)


def _attention(query, key, value, bias=None, **options):
    heads = (a.transpose(1, 2) for a in (query, key, value))
    y = F.scaled_dot_product_attention(*heads, attn_mask=bias, enable_gqa=True, **options)
    return y.transpose(1, 2)


def _cross_entropy(x, weight, bias, *, reduction):
    return F.cross_entropy(
        x @ weight + bias,
        torch.tensor(LABELS),
        ignore_index=IGNORED,
        label_smoothing=SMOOTHING,
        reduction=reduction,
    )


_FUNCTIONS = {
    "rms_norm": _rms_norm,
    "layer_norm": _layer_norm,
    "silu": F.silu,
    "gelu_tanh": functools.partial(F.gelu, approximate="tanh"),
    "gelu_none": F.gelu,
    "attention": _attention,
    "attention_causal": functools.partial(_attention, is_causal=True),
    "attention_bias": functools.partial(_attention, scale=0.3),
    **{
        f"cross_entropy_{reduction}": functools.partial(_cross_entropy, reduction=reduction)
        for reduction in ("mean", "sum", "none")
    },
}
