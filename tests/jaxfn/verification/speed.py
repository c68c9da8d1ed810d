"""How long `gradcheck` takes at 100,000 elements, beside PyTorch's slow mode on the same function.

    python -m tests.jaxfn.verification.speed

The functions are x sin x, elementwise, and its sum, each with its own rule. Slow mode compares
every element, as `gradcheck` does, by a Jacobian with a column for each input. For the sum that is
one row, and slow mode is run; for the elementwise function it would be 80 GB, twice, so slow mode
is run at smaller sizes, and a power law fitted to its times says what it would take.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.verification import gradcheck

ELEMENTS = 100_000
FITTED = (2000, 4000, 8000, 12_000)


def _forward(x: Any) -> tuple[Any, Any]:
    return x * jnp.sin(x), x


def _backward(x: Any, g: Any) -> tuple[Any]:
    return (g * (jnp.sin(x) + x * jnp.cos(x)),)


elementwise = jax.custom_vjp(lambda x: x * jnp.sin(x))
elementwise.defvjp(_forward, _backward)


def loss(x: Any) -> Any:
    """The sum of `elementwise`."""
    return jnp.sum(elementwise(x))


def _in_torch() -> tuple[Any, Callable[..., Any], Callable[..., Any]]:
    """PyTorch, and the two functions in it."""
    import torch

    class Elementwise(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * torch.sin(x)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * (torch.sin(x) + x * torch.cos(x))

    return torch, Elementwise.apply, lambda x: Elementwise.apply(x).sum()


def seconds(run: Callable[[], Any]) -> float:
    """The wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def power_law(sizes: tuple[int, ...], times: list[float]) -> tuple[float, float]:
    """Factor and exponent of `a nᵖ`, by least squares of the logarithms."""
    exponent, constant = np.polyfit(np.log(sizes), np.log(times), 1)
    return float(np.exp(constant)), float(exponent)


def measure() -> str:
    """The times and their ratios, in words."""
    torch, torch_elementwise, torch_loss = _in_torch()

    def slow(fun: Callable[..., Any], n: int) -> float:
        x = torch.randn(n, dtype=torch.float64, requires_grad=True)
        return seconds(lambda: torch.autograd.gradcheck(fun, (x,)))

    x = np.random.default_rng(0).standard_normal(ELEMENTS).astype(np.float32)
    times = [slow(torch_elementwise, n) for n in FITTED]
    factor, exponent = power_law(FITTED, times)
    theirs = [factor * ELEMENTS**exponent, slow(torch_loss, ELEMENTS)]
    ours = [seconds(lambda fun=fun: gradcheck(fun, (x,))) for fun in (elementwise, loss)]
    measured = ", ".join(f"{n}: {t:.2f}" for n, t in zip(FITTED, times, strict=True))
    how = f"extrapolated from {measured} (exponent {exponent:.2f})", "measured"
    names = "x sin x, elementwise", "sum of x sin x"
    rows = zip(names, ours, theirs, how, strict=True)
    return "\n".join(
        [
            f"seconds at {ELEMENTS} elements, compilation included",
            *(
                f"  {name}: jaxfn.gradcheck {mine:.1f}, PyTorch's slow mode {other:.1f} {said}: "
                f"{other / mine:.0f} times"
                for name, mine, other, said in rows
            ),
        ]
    )


if __name__ == "__main__":
    print(measure())
