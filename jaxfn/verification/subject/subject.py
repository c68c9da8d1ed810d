"""What is under test: the rule, and what it is compared with."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxfn.verification import constants
from jaxfn.verification.subject import jaxprs
from jaxfn.verification.subject.coordinates import Arguments
from jaxfn.verification.subject.programs import Engine, Program

DOUBLE = float(np.finfo(np.float64).eps)
SINGLE = float(np.finfo(np.float32).eps)
NEARLY_DOUBLE = 1e-12  # a machine epsilon below it: no step is in single precision
LARGE = 10_000  # elements: each evaluation is dear enough to take fewer
HUGE = 200_000  # elements: the random moves of so many cover the magnitudes in one point


@dataclass(frozen=True)
class Subject:
    """The rule under test and its references, in double precision where the function allows.

    Attributes:
        rule: the function under test.
        reference: what autodiff differentiates; None where it cannot.
        values: the function whose differences are the gradient: `fun`, or the surrogate.
        native: the rule in the precision of the arguments; `native_reference` likewise.
        has_tangent_rule: whether it applies a `custom_jvp` rule, not in the body of another one.
        composed: whether the function applies several rules, one after another.
        name: what the function is called in a line of Python; `reference_name` likewise.
        rng: the source of all random choices, one after the other.
        notes: what is to be said of the function whatever a layer finds.
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
    has_surrogate: bool = False
    has_tangent_rule: bool = False
    domain: Any = None
    name: str = "fun"
    reference_name: str = "reference"
    notes: tuple[str, ...] = ()

    @property
    def large(self) -> bool:
        """Whether each evaluation is dear enough to take fewer."""
        return self.arguments.size + self.rule.size > LARGE

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
        return max([DOUBLE if self.wide else self.native_eps, *programs])

    @property
    def native_eps(self) -> float:
        """The largest machine epsilon among the given arguments' dtypes."""
        return max(float(jax.numpy.finfo(leaf.dtype).eps) for leaf in self.arguments.leaves)

    @property
    def relative_floor(self) -> float:
        """The relative difference that is none: a few ulps of the arguments' own dtype."""
        given = min(self.native_eps, SINGLE) if self.wide else self.native_eps
        computed = constants.COMPUTED_ULPS * self.eps
        return max(constants.GIVEN_ULPS * given, constants.LEAST_RELATIVE, computed)

    @property
    def absolute_floor(self) -> float:
        """The difference, relative to the largest element of a leaf, that rounding makes."""
        in_double = self.eps < NEARLY_DOUBLE
        return (constants.LEAF_ULPS_DOUBLE if in_double else constants.LEAF_ULPS) * self.eps


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
