"""The operations of language models and the decoder in PyTorch's own idiom: what jaxfn is measured
against. PyTorch is needed by nothing else (`pip install torch==2.13.0`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # noqa: N812  # pyright: ignore[reportMissingImports]

EPSILON = 1e-6  # as `jaxfn.rms_norm`


def _leaf(array: Any) -> torch.Tensor:
    return torch.tensor(np.asarray(array), requires_grad=True)


def cross_entropy(x: Any, weight: Any, labels: Any, *, compiled: bool = False) -> Callable:
    """Value and gradients of the cross-entropy of the logits x·weight."""
    leaves = _leaf(x), _leaf(np.asarray(weight).T.copy())
    labels = torch.tensor(np.asarray(labels), dtype=torch.int64)

    def loss(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(F.linear(x, weight), labels)

    return _step(torch.compile(loss, dynamic=False) if compiled else loss, leaves)


def attention(query: Any, key: Any, value: Any, cotangent: Any) -> Callable:
    """Value and gradients of causal attention of `[B, T, N, H]`."""
    leaves = tuple(_leaf(np.asarray(a).swapaxes(1, 2).copy()) for a in (query, key, value))
    bar = torch.tensor(np.asarray(cotangent).swapaxes(1, 2).copy())

    def fun(*leaves: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(*leaves, is_causal=True)

    return _step(fun, leaves, bar)


def _step(fun: Callable, leaves: tuple[torch.Tensor, ...], bar: Any = None) -> Callable:
    def step() -> Any:
        for leaf in leaves:
            leaf.grad = None
        y = fun(*leaves)
        y.backward(bar)
        return y.detach()

    return step


class Decoder(torch.nn.Module):
    """`models.Decoder`, with its weights by name: the layers' are stacked."""

    def __init__(self, weights: Mapping[str, np.ndarray], heads: int, kv_heads: int, context: int):
        super().__init__()
        self.embedding = torch.nn.Parameter(torch.tensor(weights["embedding"]))
        self.norm = torch.nn.Parameter(torch.tensor(weights["norm"]))
        self.layers = len(weights["qkv"])
        self.names = ("attention_norm", "qkv", "attention_out", "mlp_norm", "gate_up", "down")
        for name in self.names:
            for i, weight in enumerate(weights[name]):
                # PyTorch's layout: [out, in].
                parameter = torch.nn.Parameter(torch.tensor(weight.T.copy()))
                self.register_parameter(f"{name}_{i}", parameter)
        self.heads, self.kv_heads = heads, kv_heads
        self.size = self.embedding.shape[1] // heads
        frequencies = 10_000.0 ** (-2 * torch.arange(self.size // 2) / self.size)
        angles = torch.arange(context)[:, None] * frequencies
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, tokens: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        h = F.embedding(tokens, self.embedding)
        for i in range(self.layers):
            h = self._layer(h, *(getattr(self, f"{name}_{i}") for name in self.names))
        h = F.rms_norm(h, h.shape[-1:], self.norm, EPSILON)
        return F.cross_entropy(F.linear(h, self.embedding).flatten(0, 1), labels.flatten())

    def _layer(self, h, attention_norm, qkv, attention_out, mlp_norm, gate_up, down):
        batch, length, width = h.shape
        heads = F.linear(F.rms_norm(h, (width,), attention_norm, EPSILON), qkv)
        heads = heads.view(batch, length, -1, self.size).transpose(1, 2)
        q, k, v = heads.split([self.heads, self.kv_heads, self.kv_heads], 1)
        y = F.scaled_dot_product_attention(
            self._rotate(q), self._rotate(k), v, is_causal=True, enable_gqa=True
        )
        h = h + F.linear(y.transpose(1, 2).reshape(h.shape), attention_out)
        gate, up = F.linear(F.rms_norm(h, (width,), mlp_norm, EPSILON), gate_up).chunk(2, -1)
        return h + F.linear(F.silu(gate) * up, down)

    def _rotate(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, -1)
        return torch.cat([a * self.cos - b * self.sin, b * self.cos + a * self.sin], -1)


def make_train_step(
    weights: Mapping[str, np.ndarray],
    tokens: np.ndarray,
    *,
    heads: int,
    kv_heads: int,
    rate: float,
    compiled: bool = False,
) -> Callable[[], torch.Tensor]:
    """A training step with AdamW on the same tokens `[B, T + 1]` each time; gives the loss."""
    model = Decoder(weights, heads, kv_heads, tokens.shape[1] - 1)
    optimizer = torch.optim.AdamW(model.parameters(), rate, fused=True)
    inputs, labels = (torch.tensor(a, dtype=torch.int64) for a in (tokens[:, :-1], tokens[:, 1:]))
    forward = torch.compile(model, dynamic=False) if compiled else model

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = forward(inputs, labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step
