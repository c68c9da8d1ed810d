"""What is under test: the rule, what it is compared with, and the points to compare at."""

import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from jaxfn.verification.points.probes import HUGE, Probe
from jaxfn.verification.subject import jaxprs
from jaxfn.verification.subject.coordinates import Arguments
from jaxfn.verification.subject.programs import Engine, Program

FLOOR = 8.0  # ulps of the given dtype below which a difference is no error


@dataclass
class Subject:
    """The rule under test and its references, in double precision where the function allows.

    Attributes:
        rule: the function under test.
        reference: what autodiff differentiates; None where it cannot.
        values: the function whose differences are the gradient: `fun`, or the surrogate.
        native: the rule in the precision of the arguments; `native_reference` likewise.
        slopeless: whether differences have shown that the function's derivative, by JAX's rules, is
            not the slope of its values.
        composed: whether the function applies several rules, one after another.
        name: what the function is called in a line of Python; `reference_name` likewise.
    """

    arguments: Arguments
    rule: Engine
    reference: Engine | None
    values: Engine
    native: Engine
    native_reference: Engine | None
    wide: bool
    rng: np.random.Generator
    linear: bool = True
    loops: bool = False
    composed: bool = False
    cotangent_scale: float = 1.0
    has_surrogate: bool = False
    slopeless: bool = False
    domain: Any = None
    name: str = "fun"
    reference_name: str = "reference"
    probes: list[Probe] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def large(self) -> bool:
        """Whether each evaluation is dear enough to take fewer."""
        return self.arguments.size + self.rule.size > 10_000

    @property
    def huge(self) -> bool:
        """Whether even one pass over all elements is dear."""
        return self.arguments.size + self.rule.size > 2 * HUGE

    @functools.cached_property
    def stops(self) -> bool:
        """Whether the function stops gradients: what it returns has another slope then."""
        engines = [self.rule] if self.reference is None else [self.rule, self.reference]
        return any(engine.stops_gradients() for engine in engines)

    @property
    def factorises(self) -> bool:
        """Whether the rule factorises matrices, of which some are singular."""
        return bool(jaxprs.FACTORISATIONS & self.rule.pull.primitives)

    @property
    def iterates(self) -> bool:
        """Whether the rule repeats something until it converges, which it does to a tolerance."""
        return self.loops or "while" in self.rule.pull.primitives

    @property
    def eps(self) -> float:
        """The machine epsilon of the lowest precision that rule and reference may compute in.

        The reference's own choice counts; a rule may go as low as its arguments' dtype.
        """
        programs = [min(self.rule.pull.eps, self.native_eps)]
        if self.reference is not None:
            programs.append(self.reference.pull.eps)
        return max([2.3e-16 if self.wide else self.native_eps, *programs])

    @property
    def native_eps(self) -> float:
        """The largest machine epsilon among the given arguments' dtypes."""
        return max(float(jax.numpy.finfo(leaf.dtype).eps) for leaf in self.arguments.leaves)

    @property
    def relative_floor(self) -> float:
        """The relative difference that is none: a few ulps of the arguments' own dtype."""
        given = min(self.native_eps, 1.2e-7) if self.wide else self.native_eps
        return max(FLOOR * given, 1e-9, 16 * self.eps)

    @property
    def absolute_floor(self) -> float:
        """The difference, relative to the largest element of a leaf, that rounding makes."""
        return (1000 if self.eps < 1e-12 else 64) * self.eps


def run_rows(program: Program, *columns: Any) -> tuple[np.ndarray, ...]:
    """The rows of a program; rows at which the function raises are nan."""
    try:
        return program(*columns)
    except jax.errors.JaxRuntimeError:
        rows = [_run_row(program, columns, i) for i in range(len(columns[0]))]
        return tuple(np.concatenate(part) for part in zip(*rows, strict=True))


def _run_row(program: Program, columns: Any, i: int) -> tuple[np.ndarray, ...]:
    try:
        return program(*jax.tree.map(lambda c: c[i : i + 1], columns))
    except jax.errors.JaxRuntimeError:
        return tuple(np.full((1, width), np.nan) for width in program.widths)


def columns_of(probes: list[Probe]) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """The points of probes as columns of a program."""
    x = np.stack([probe.x for probe in probes])
    return x, tuple(np.stack(part) for part in zip(*(p.integers for p in probes), strict=True))
