"""PyTorch's sample inputs for `samples.py`, and what PyTorch computes for them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from tests.parity.samples import Sample


@functools.cache
def _op(name: str) -> Any:
    from torch.testing._internal.common_methods_invocations import (  # pyright: ignore
        op_db,
    )

    (op,) = (op for op in op_db if op.name == f"nn.functional.{name}")
    return op


def samples(name: str, dtype: str, tie: float | None = None) -> Iterator[Sample]:
    """All samples of an operation; with `tie` rounded to its multiples, those left out that differ
    from another in the layout of memory alone."""
    op, torch_dtype = _op(name), getattr(torch, dtype)
    torch.manual_seed(0)
    random = np.random.RandomState(0)
    kinds = [op.sample_inputs]
    if op.reference_inputs_func is not None:
        kinds.append(op.reference_inputs)
    for kind in kinds:
        for sample in kind("cpu", torch_dtype, requires_grad=True):
            if tie is None:
                yield _computed(op, sample, random)
            elif sample.input.is_contiguous():
                sample.input = (sample.input / tie).round() * tie
                yield _computed(op, sample, random)


def _computed(op: Any, sample: Any, random: np.random.RandomState) -> Sample:
    args = [
        arg.detach().requires_grad_() if isinstance(arg, torch.Tensor) else arg
        for arg in (sample.input, *sample.args)
    ]
    results = op.op(*args, **sample.kwargs)
    y, *indices = results if isinstance(results, tuple) else (results,)
    y_bar = random.standard_normal(y.shape).astype(str(y.dtype).removeprefix("torch."))
    tensors = [arg for arg in args if arg is not None]
    gradients = torch.autograd.grad(y, tensors, torch.tensor(y_bar))
    return Sample(
        args=tuple(None if arg is None else arg.detach().numpy() for arg in args),
        options=sample.kwargs,
        y_bar=y_bar,
        results=tuple(result.detach().numpy() for result in (y, *indices)),
        gradients=tuple(gradient.numpy() for gradient in gradients),
    )
