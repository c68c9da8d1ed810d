"""Cases of Distrax, and of RLax."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from scripts.wild.case import (
    PATHWISE,
    POSITIVE,
    Entry,
    X,
    by,
    get,
    normal,
    of,
)


def distribution(package: str, name: str, method: str, *constants: Any) -> Callable[..., Any]:
    """`method` of a distribution, a function of its parameters, or of a value and these."""
    make = get(f"{package}:{name}")
    if method == "sample":
        return lambda *p: make(*constants, *p).sample(seed=jax.random.key(1))
    return lambda value, *p: getattr(make(*constants, *p), method)(value)


CASES = (
    Entry("distrax", "multiply_no_nan", of("distrax:multiply_no_nan", X, [0.0, 1.0, -2.0, 0.5])),
    Entry(
        "distrax",
        "power_no_nan",
        of("distrax._src.utils.math:power_no_nan", POSITIVE, [0.0, 1.0, -2.0, 0.5]),
    ),
    Entry(
        "distrax", "power_no_nan (x = 0)", of("distrax._src.utils.math:power_no_nan", [0.0], [2.5])
    ),
    Entry(
        "distrax",
        "VonMises.cdf",
        by(
            functools.partial(distribution, "distrax", "VonMises", "cdf"),
            [-1.5, 0.4],
            [0.1, -0.2],
            [0.8, 3.0],
            domain=((-3, 3), (-0.1, 0.1), (0.1, 50.0)),
        ),
        "domain: value, location and a positive concentration",
    ),
    Entry(
        "distrax",
        "VonMises.sample",
        by(
            functools.partial(distribution, "distrax", "VonMises", "sample"),
            [0.1, -0.2],
            [0.8, 3.0],
        ),
        PATHWISE,
    ),
    Entry(
        "distrax",
        "Categorical.entropy",
        by(lambda: lambda logits: get("distrax:Categorical")(logits=logits).entropy(), normal(4)),
    ),
)
