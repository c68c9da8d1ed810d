"""Measures both sides of a comparison, or the one there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxfn.comparison.constants import BUILD_TIMES_SECONDS, MOST_BUILDS
from jaxfn.comparison.figures import regimes
from jaxfn.comparison.figures.accuracy import EXACT, OWN, Error, error_of, exact_results
from jaxfn.comparison.figures.compiled import Program, build
from jaxfn.comparison.figures.problem import Problem
from jaxfn.comparison.figures.records import Figures, Pair
from jaxfn.comparison.figures.residuals import Residuals, find_residuals, nbytes_of
from jaxfn.comparison.figures.timing import Timing, interleave, summarise

STAGES = ("trace", "lower", "compile")
# What a function, JAX or XLA raise where something cannot be done here; the note says what.
_CANNOT = (TypeError, ValueError, NotImplementedError, jax.errors.JaxRuntimeError)


@dataclass(frozen=True)
class Effort:
    """How much to measure: see `compare`."""

    rounds: int
    seconds: float
    length: int


def measure(
    functions: Pair[Callable[..., Any]], problem: Problem, effort: Effort, gradients: bool = True
) -> Figures:
    """All figures of both functions, or of the one there is; they can be differentiated, and their
    `gradients` are meant to be the same or are not."""
    built, stages, not_built = _build_all(functions, problem, effort)
    errors, against, not_exact = _errors(functions, problem, built[regimes.BOTH])
    notes = [*not_built, *not_exact]
    if not gradients:
        errors = {name: pair for name, pair in errors.items() if name.startswith("value")}
        notes.append("errors of the gradients: not measured because they are not meant to be equal")
    times = {}
    for name, pair in built.items():
        runs = [program.run for program in pair.sides]
        times[name] = Pair(*interleave(runs, effort.rounds, effort.seconds))
    halves = Pair(*zip(built[regimes.FORWARD].sides, built[regimes.BACKWARD].sides, strict=True))
    return Figures(
        errors=errors,
        errors_against=against,
        residuals=halves.map(lambda own: _residuals(problem, *own)),
        programs={name: pair.map(lambda own: own.figures) for name, pair in built.items()},
        stages=stages,
        times=times,
        notes=tuple(dict.fromkeys(notes)),
    )


def _build_all(
    functions: Pair[Callable[..., Any]], problem: Problem, effort: Effort
) -> tuple[dict[str, Pair[Program]], dict[str, Pair[Timing]], list[str]]:
    """The programs, the seconds of their stages, and what could not be built."""
    sides = functions.map(
        lambda fun: regimes.programs(problem.flatten(fun), problem, effort.length)
    )
    built: dict[str, Pair[Program]] = {}
    stages: dict[str, Pair[Timing]] = {}
    notes = []
    for name in sides.rule:
        programs = Pair(*(own[name] for own in sides.sides))
        try:
            if name == regimes.BOTH:
                built[name], stages = _build_timed(programs, effort)
            else:
                built[name] = _build(programs)
            if name == regimes.FORWARD:
                built[regimes.BACKWARD] = built[name].map(lambda p: _build_backward(p, problem))
        except _CANNOT as error:
            if name in (regimes.BOTH, regimes.FORWARD):  # without them there is no comparison
                raise
            notes.append(f"{name}: not measured because {first_line(error)}")
    return built, stages, notes


def _build(programs: Pair[tuple[Any, Any]]) -> Pair[Program]:
    return programs.map(lambda program: build(*program))


def _build_backward(forward: Program, problem: Problem) -> Program:
    *_, vjp = forward.run()
    return build(regimes.backward, (vjp, problem.cotangents))


def _build_timed(
    programs: Pair[tuple[Any, Any]], effort: Effort
) -> tuple[Pair[Program], dict[str, Pair[Timing]]]:
    """Builds the programs in turn. The first build warms JAX's caches up, and does not count
    where there is time for others."""
    pairs = [_build(programs)]
    most = BUILD_TIMES_SECONDS * effort.seconds
    while len(pairs) <= MOST_BUILDS and _seconds(pairs) * (1 + 1 / len(pairs)) < most:
        pairs.append(_build(programs))
    counted = pairs[1:] or pairs
    stages = {
        stage: Pair(
            *(
                summarise([program.seconds[stage] for program in of_a_side])
                for of_a_side in zip(*(pair.sides for pair in counted), strict=True)
            )
        )
        for stage in STAGES
    }
    return pairs[-1], stages


def _seconds(pairs: list[Pair[Program]]) -> float:
    return sum(sum(program.seconds.values()) for pair in pairs for program in pair.sides)


def _residuals(problem: Problem, forward: Program, backward: Program) -> Residuals:
    read = backward.figures.argument_bytes
    if read is not None:
        read = max(read - nbytes_of(problem.cotangents), 0)
    outputs = len(problem.cotangents) + problem.others_out
    names = (*problem.names, *problem.other_names)
    return find_residuals(forward.jaxpr, names, outputs, read)


def _errors(
    functions: Pair[Callable[..., Any]],
    problem: Problem,
    both: Pair[Program],
) -> tuple[dict[str, Pair[Error]], str, list[str]]:
    """The errors by quantity, what they are measured against, and why not against float64."""
    results = both.map(_results)
    exact, reason = exact_results(functions.sides[-1], problem)
    against, notes = OWN if functions.reference is None else EXACT, []
    if exact is None:
        notes.append(f"errors: not measured against float64 because {reason}")
        if results.reference is None:
            return {}, "", notes
        exact, against = [np.asarray(array) for array in results.reference], "the reference"
    count = len(problem.cotangents)
    quantities = ["value"] if count == 1 else [f"value {i}" for i in range(count)]
    quantities += [f"gradient of {name}" for name in problem.names]
    errors = {
        name: Pair(*(error_of(result, truth) for result in of_both))
        for name, truth, *of_both in zip(quantities, exact, *results.sides, strict=True)
    }
    return errors, against, notes


def _results(program: Program) -> list[jax.Array]:
    outputs, _, gradients = program.run()
    return [*outputs, *gradients]


def first_line(error: BaseException) -> str:
    """An exception in a line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
