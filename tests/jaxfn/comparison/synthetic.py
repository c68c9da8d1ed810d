"""Figures that nobody measured."""

from __future__ import annotations

import dataclasses

from jaxfn.comparison.figures import regimes
from jaxfn.comparison.figures.accuracy import EXACT, OWN, Error
from jaxfn.comparison.figures.compiled import ProgramFigures
from jaxfn.comparison.figures.flops import Flops
from jaxfn.comparison.figures.records import Figures, Pair
from jaxfn.comparison.figures.residuals import Residual, Residuals
from jaxfn.comparison.figures.timing import Timing
from jaxfn.comparison.result import Comparison
from tests.jaxfn.comparison.helpers import PASSED

PROGRAM = ProgramFigures(
    flops=Flops(100),
    xla_flops=100.0,
    xla_bytes=10.0,
    total_bytes=1000,
    peak_bytes=900,
    temp_bytes=200,
    argument_bytes=500,
    output_bytes=300,
    fusions=2,
    instructions=9,
    fingerprint="a",
)


def error(ulps: float) -> Error:
    return Error(ulps * 2.0**-23, ulps, ulps)


def kept(new: int, argument: int = 0, read: int = 0) -> Residuals:
    sizes = (("new", new), ("argument", argument))
    return Residuals(tuple(Residual(k, "x", (n,), "bool", n) for k, n in sizes), 0, read)


def timed(seconds: float) -> Timing:
    return Timing(seconds, 0.99 * seconds, 1.01 * seconds, 9)


def figures(**changes) -> Figures:
    programs = {name: Pair(PROGRAM, changed(fingerprint="b")) for name in regimes.EXPLANATIONS}
    plain = {
        "errors": {"value": Pair(error(1), error(1))},
        "errors_against": EXACT,
        "residuals": Pair(kept(100), kept(100)),
        "programs": programs,
        "stages": {},
        "times": {name: Pair(timed(1.0), timed(1.0)) for name in regimes.EXPLANATIONS},
    }
    return Figures(**plain | changes)


def alone() -> Figures:
    """The synthetic figures without what they are compared with."""
    both = figures(stages={"trace": Pair(timed(1.0), timed(1.0))})
    return dataclasses.replace(
        both,
        errors=_rules(both.errors),
        errors_against=OWN,
        residuals=Pair(kept(100)),
        programs=_rules(both.programs),
        stages=_rules(both.stages),
        times=_rules(both.times),
    )


def _rules(pairs: dict) -> dict:
    return {name: Pair(pair.rule) for name, pair in pairs.items()}


def changed(**fields) -> ProgramFigures:
    return dataclasses.replace(PROGRAM, **fields)


def programs(name: str, rule: ProgramFigures, reference: ProgramFigures) -> dict:
    return figures().programs | {name: Pair(rule, reference)}


def comparison(**changes) -> Comparison:
    """With the synthetic figures; none of the changes is looked into."""
    plain = {
        "name": "f",
        "against": "autodiff",
        "arguments": ("x float32[2]",),
        "rules": ("f",),
        "verdict": "as good as autodiff",
        "findings": (),
        "proof": PASSED,
        "figures": figures(),
        "environment": dict.fromkeys(("jax", "jaxfn", "python", "device", "date"), "?"),
        "seed": 0,
    }
    return Comparison(**plain | changes)
