"""PyTorch's own sample inputs for linear, relu, conv2d and max_pool2d, said in jaxfn:

    python -m tests.parity.samples

Each is taken twice: as PyTorch draws it, and rounded to small integers, which makes ties. Values,
the gradients with respect to every input, and indices are compared in float64. What jaxfn does not
say is counted with the reason. It takes a quarter of an hour: every sample is a program of its own.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch.testing._internal.common_methods_invocations import (  # pyright: ignore[reportMissingImports]
    op_db,
)

import jaxfn

OPERATIONS = ("linear", "relu", "conv2d", "max_pool2d")
RELATIVE = 1e-10  # of the largest element

Arrays = list[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Said:
    """A sample as a call of jaxfn.

    Attributes:
      fun: of the inputs as PyTorch lays them out; its results are laid out as PyTorch's.
      inputs: those that get a gradient.
      has_indices: whether the result is a pair with indices.
    """

    fun: Callable[..., Any]
    inputs: Arrays
    has_indices: bool = False


def samples(name: str, tied: bool) -> Iterator[Any]:
    """PyTorch's reference inputs of an operation, which its sample inputs are part of."""
    for entry in op_db:
        if entry.name == f"nn.functional.{name}":
            for sample in entry.reference_inputs("cpu", torch.float64, requires_grad=True):
                yield sample.transform(_rounded) if tied else sample


def _rounded(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().div(4).round().requires_grad_()


def compare(name: str, tied: bool) -> collections.Counter[str]:
    """How many samples there are, can be said, and agree, and why the others do not."""
    counts: collections.Counter[str] = collections.Counter()
    for sample in samples(name, tied):
        counts["samples"] += 1
        try:
            said = SAID[name](sample)
            ours = _run(said)
        except (TypeError, ValueError) as refusal:
            counts[f"{name}: {str(refusal).splitlines()[0]}"] += 1
            continue
        counts["said"] += 1
        counts["agree"] += _agree(ours, _theirs(name, sample))
    return counts


def _linear(sample: Any) -> Said:
    def fun(x: Any, weight: Any, bias: Any = None) -> Any:
        return jaxfn.linear(x, weight.T, bias)

    return Said(fun, _tensors(sample))


def _relu(sample: Any) -> Said:
    return Said(jaxfn.relu, _tensors(sample))


def _conv2d(sample: Any) -> Said:
    options = dict(sample.kwargs)
    has_batch = sample.input.ndim == 4

    def fun(x: Any, weight: Any, bias: Any = None) -> Any:
        x = x if has_batch else x[None]
        kernel = jnp.transpose(weight, (2, 3, 1, 0))
        y = jnp.moveaxis(jaxfn.conv2d(jnp.moveaxis(x, 1, 3), kernel, bias, **options), 3, 1)
        return y if has_batch else y[0]

    return Said(fun, _tensors(sample))


def _max_pool2d(sample: Any) -> Said:
    options = dict(sample.kwargs)
    window = options.pop("kernel_size", *sample.args[:1])
    has_batch = sample.input.ndim == 4
    has_indices = bool(options.get("return_indices"))

    def as_theirs(y: Any) -> Any:
        y = jnp.moveaxis(y, 3, 1)
        return y if has_batch else y[0]

    def fun(x: Any) -> Any:
        x = jnp.moveaxis(x if has_batch else x[None], 1, 3)
        return jax.tree.map(as_theirs, jaxfn.max_pool2d(x, window, **options))

    return Said(fun, _tensors(sample), has_indices)


SAID = {"linear": _linear, "relu": _relu, "conv2d": _conv2d, "max_pool2d": _max_pool2d}


def _tensors(sample: Any) -> Arrays:
    given = (sample.input, *(a for a in sample.args if isinstance(a, torch.Tensor)))
    return [tensor.detach().numpy() for tensor in given]


def _run(said: Said) -> Arrays:
    inputs = [jnp.asarray(array) for array in said.inputs]
    y, vjp, *indices = jax.vjp(said.fun, *inputs, has_aux=said.has_indices)
    return [np.asarray(y), *map(np.asarray, indices), *map(np.asarray, vjp(_cotangent(y.shape)))]


def _theirs(name: str, sample: Any) -> Arrays:
    leaves = [sample.input, *sample.args]
    leaves = [a.detach().requires_grad_() if isinstance(a, torch.Tensor) else a for a in leaves]
    y = getattr(torch.nn.functional, name)(*leaves, **sample.kwargs)
    y, *indices = y if isinstance(y, tuple) else (y,)
    inputs = [a for a in leaves if isinstance(a, torch.Tensor)]
    gradients = torch.autograd.grad(y, inputs, torch.tensor(_cotangent(tuple(y.shape))))
    return [tensor.detach().numpy() for tensor in (y, *indices, *gradients)]


def _cotangent(shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(np.random.RandomState(0).standard_normal(shape))


def _agree(ours: Arrays, theirs: Arrays) -> bool:
    return len(ours) == len(theirs) and all(
        a.shape == b.shape
        and np.allclose(a, b, rtol=0, atol=RELATIVE * _largest(b), equal_nan=True)
        for a, b in zip(ours, theirs, strict=True)
    )


def _largest(array: np.ndarray) -> float:
    return float(np.max(np.abs(array), initial=1, where=np.isfinite(array)))


def main() -> None:
    """Prints the table."""
    total: collections.Counter[str] = collections.Counter()
    with jax.enable_x64(True):
        for name in OPERATIONS:
            for tied in (False, True):
                counts = compare(name, tied)
                total += counts
                print(f"{name:10} {'tied' if tied else 'drawn':6}", *_figures(counts), flush=True)
    print("all              ", *_figures(total))
    for reason in sorted(total.keys() - {"samples", "said", "agree"}):
        print(f"{total[reason]:6} {reason}")


def _figures(counts: collections.Counter[str]) -> list[str]:
    return [f"{name} {counts[name]:5}" for name in ("samples", "said", "agree")]


if __name__ == "__main__":
    main()
