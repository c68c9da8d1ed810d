"""Whether a tangent rule is linear in the tangents, which JAX takes for granted."""

import numpy as np

from jaxfn.verification.points.probes import Probe
from jaxfn.verification.subject.programs import Engine

FACTORS = (-1.0, 2.0, 1e3)  # times a tangent
ALIKE = 1e-3  # of the result that is expected, for single precision


def tangent_fault(engine: Engine, probe: Probe, raises: bool = False) -> str:
    """How the derivative in forward mode is not linear; empty where it is, or is not there.

    Args:
        engine: of the function.
        probe: the point.
        raises: whether the rule cannot be transposed: then a tangent of nan that is lost says why,
            which a `where` of a right rule loses as well.
    """
    vector = np.random.default_rng(0).standard_normal(probe.x.size)
    x, integers = probe.x, probe.integers
    try:
        one, zero = (engine.tangent(x, integers, factor * vector) for factor in (1.0, 0.0))
        multiples = {factor: engine.tangent(x, integers, factor * vector) for factor in FACTORS}
        lost = engine.tangent(x, integers, np.full(probe.x.size, np.nan)) if raises else one
    except Exception:  # without forward mode nothing is said of it
        return ""
    if not np.isfinite(one).all():
        return ""
    if zero.any():
        return f"that of zero is not zero, but {zero[np.argmax(np.abs(zero))]:.4g}"
    for factor, seen in multiples.items():
        if np.abs(seen - factor * one).max(initial=0) > ALIKE * np.abs(factor * one).max(initial=0):
            return f"{factor:g} times a tangent does not give {factor:g} times the result"
    if raises and np.isfinite(lost).all() and one.any():
        return "a tangent of nan gives a finite result, as where nan is replaced by a number"
    return ""
