"""What the compiler makes of a program: its costs, its memory, and whether two are the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from jaxfn._jax_internals import AnyJaxpr
from jaxfn.comparison.figures import hlo
from jaxfn.comparison.figures.flops import Flops, count_flops


@dataclass(frozen=True)
class ProgramFigures:
    """A compiled program in numbers; None where this version or platform does not tell.

    Attributes:
      flops: counted in the jaxpr, by the conventions of `jaxfn.comparison.figures.flops`.
      xla_flops: XLA's count, which takes the body of a loop once.
      xla_bytes: bytes that XLA expects to read and write, likewise.
      total_bytes: arguments, results and temporary memory together.
      peak_bytes: what XLA calls the peak; on a CPU it leaves temporary memory out.
      temp_bytes: memory besides arguments and results.
      argument_bytes: of the arguments that the program reads; unused ones are dropped.
      output_bytes: of its results.
      fusions: how many fused loops and calls the program has.
      instructions: how many instructions do some work: not parameters, constants, tuples.
      fingerprint: of the optimised program, names apart; see `jaxfn.comparison.figures.hlo`.
    """

    flops: Flops
    xla_flops: float | None
    xla_bytes: float | None
    total_bytes: int | None
    peak_bytes: int | None
    temp_bytes: int | None
    argument_bytes: int | None
    output_bytes: int | None
    fusions: int | None
    instructions: int | None
    fingerprint: str | None


@dataclass(frozen=True)
class Program:
    """A program that can be run, and what is known of it."""

    run: Callable[[], Any]
    figures: ProgramFigures
    jaxpr: AnyJaxpr
    seconds: dict[str, float]
    """Of each stage: `trace`, `lower`, `compile`."""


def build(fun: Callable[..., Any], args: tuple[Any, ...]) -> Program:
    """Traces, lowers and compiles `fun` for `args`, stage by stage."""
    jitted = jax.jit(lambda *args: fun(*args))  # a new function: nothing is taken from a cache
    start = time.perf_counter()
    traced = jitted.trace(*args)
    after_trace = time.perf_counter()
    lowered = traced.lower()
    after_lower = time.perf_counter()
    compiled = lowered.compile()
    end = time.perf_counter()
    seconds = {
        "trace": after_trace - start,
        "lower": after_lower - after_trace,
        "compile": end - after_lower,
    }
    figures = _figures(compiled, traced.jaxpr)
    return Program(lambda: compiled(*args), figures, traced.jaxpr, seconds)


def _figures(compiled: jax.stages.Compiled, jaxpr: AnyJaxpr) -> ProgramFigures:
    # What the analyses hold differs from version to version and from platform to platform.
    cost = compiled.cost_analysis()
    cost = cost if isinstance(cost, dict) else {}
    memory = compiled.memory_analysis()
    text = compiled.as_text()
    module = None if text is None else hlo.parse(text)
    sizes = {
        kind: getattr(memory, f"{kind}_size_in_bytes", None)
        for kind in ("argument", "output", "temp")
    }
    known = [size for size in sizes.values() if size is not None]
    return ProgramFigures(
        flops=count_flops(jaxpr),
        xla_flops=_known(cost.get("flops")),
        xla_bytes=_known(cost.get("bytes accessed")),
        total_bytes=sum(known) if len(known) == len(sizes) else None,
        peak_bytes=_known(getattr(memory, "peak_memory_in_bytes", None)),
        temp_bytes=sizes["temp"],
        argument_bytes=sizes["argument"],
        output_bytes=sizes["output"],
        fusions=None if module is None else sum(own.opcode == "fusion" for own in module),
        instructions=None if module is None else sum(own.opcode not in _NO_WORK for own in module),
        fingerprint=None if module is None else hlo.fingerprint(module),
    )


_NO_WORK = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast")


def _known(figure: Any) -> Any:
    """Some platforms give -1, or a peak of 0, for what they do not know."""
    return figure if figure is not None and figure > 0 else None
