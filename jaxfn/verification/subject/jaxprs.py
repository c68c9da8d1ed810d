"""What a traced program says about itself: its lowest precision, its loops, its custom rules."""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from jax.extend import core as jex

# what may go on for ever at points that are not meant: rejection, for a negative concentration
LOOPS = {"while", "pure_callback", "io_callback", "random_gamma"}
# what autodiff gives another derivative than the slope of the values: none, or an implicit one
SLOPELESS = {"stop_gradient", "random_gamma"}
# of matrices, which may be singular
FACTORISATIONS = {
    "cholesky",
    "eig",
    "eigh",
    "geqrf",
    "lu",
    "qr",
    "schur",
    "svd",
    "triangular_solve",
}


def inner_jaxprs(eqn: Any) -> Iterator[Any]:
    """The jaxprs among an equation's parameters."""
    for value in eqn.params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, jex.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, jex.Jaxpr):
                yield item


def equations(jaxpr: Any) -> Iterator[Any]:
    """Every equation, those of inner jaxprs included."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in inner_jaxprs(eqn):
            yield from equations(inner)


def primitive_names(jaxpr: Any) -> set[str]:
    """The names of all primitives that the program uses."""
    return {eqn.primitive.name for eqn in equations(jaxpr)}


def loop_body(jaxpr: Any) -> Any:
    """The body of the one loop that a program consists of."""
    (loop,) = (eqn for eqn in jaxpr.eqns if eqn.primitive.name == "while")
    return loop.params["body_jaxpr"].jaxpr


def lowest_precision(jaxpr: Any) -> float:
    """The largest machine epsilon among the floating values that depend on the inputs."""
    return _lowest(jaxpr, set(jaxpr.invars))


def _lowest(jaxpr: Any, tainted: set[Any]) -> float:
    eps = 0.0
    for eqn in jaxpr.eqns:
        if not any(isinstance(v, jex.Var) and v in tainted for v in eqn.invars):
            continue
        tainted.update(eqn.outvars)
        inner = list(inner_jaxprs(eqn))
        for body in inner:
            eps = max(eps, _lowest(body, set(body.invars)))
        if not inner:
            eps = max([eps, *(machine_epsilon(v.aval) for v in eqn.outvars)])
    return eps


def machine_epsilon(aval: Any) -> float:
    """That of a floating or complex dtype; 0 for any other."""
    dtype = getattr(aval, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.inexact):
        return 0.0
    return float(jnp.finfo(dtype).eps)
