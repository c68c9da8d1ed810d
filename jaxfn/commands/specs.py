"""Functions and arguments written as text: `package.module:function`; `f32[128,784]`, `i32[3]`,
`key`, `f32[]`; Python literals."""

from __future__ import annotations

import ast
import importlib
import math
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.commands.program import UserError, check, errors_of

# The names of jaxprs and HLO, besides which the names of numpy are understood.
_SHORT = {
    "bool": "bool",
    "bf16": "bfloat16",
    **{f"f{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"i{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"u{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    **{f"c{bits}": f"complex{bits}" for bits in (64, 128)},
}
_SPEC = re.compile(r"(?P<dtype>[a-z]+\d*)(?:\[(?P<shape>[\d\s,]*)\])?")
LARGEST = 2**31  # elements; more is a slip of the pen


def load_function(target: str) -> Callable[..., Any]:
    """The function that `package.module:function` names.

    Args:
      target: the name of a module, a colon, and a name in it, with dots where it is nested.

    Returns:
      The function.

    Raises:
      UserError: if there is no such module or function.
    """
    module, colon, name = target.partition(":")
    if not (module and colon and name):
        raise UserError(f"{target!r}: expected 'package.module:function'")
    with errors_of(repr(target)):  # a module that is imported can raise anything
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    check(callable(found), f"{target!r}: expected a function, got {type(found).__name__}")
    return found


def call_factory(target: str) -> tuple[Any, ...]:
    """The arguments that a function without arguments returns.

    Args:
      target: `package.module:function`, as in `load_function`; it returns a tuple or a list.

    Returns:
      The tuple of arguments.

    Raises:
      UserError: if there is no such function, if it raises, or if it returns anything else.
    """
    factory = load_function(target)
    with errors_of(f"{target}()"):
        args = factory()
    check(
        isinstance(args, tuple | list),
        f"{target}(): expected the tuple of arguments, got {type(args).__name__}",
    )
    return tuple(args)


def parse_argument(spec: str, rng: np.random.RandomState) -> Any:
    """The argument that `spec` describes: an array, as in `parse_array`, or a Python literal such
    as `3`, `0.5`, `True`, `None`, `'same'`, `(2, 2)`.

    Args:
      spec: its description.
      rng: draws the values of an array.

    Returns:
      The array or the value.

    Raises:
      UserError: if it is neither.
    """
    if _SPEC.fullmatch(spec.strip()):
        return parse_array(spec, rng)
    try:
        return ast.literal_eval(spec.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:  # no literal, too deep
        raise UserError(_expected(spec)) from error


def parse_array(spec: str, rng: np.random.RandomState) -> jax.Array:
    """The array that `spec` describes, filled with example values.

    Args:
      spec: dtype and shape, such as `f32[64,128]`, `bf16[8]`, `f64[3]`, `i32[3]`, `bool[2]`,
        `float32[2,2]`; `key` or `key[4]` for random keys; without brackets a scalar.
      rng: draws the values: standard normal, for integers 0 or 1 (indices that are valid wherever
        two things can be chosen from), for keys any.

    Returns:
      The array.

    Raises:
      UserError: if it cannot be read, or JAX would not keep the dtype.
    """
    expected = _expected(spec)
    match = _SPEC.fullmatch(spec.strip())
    if match is None:
        raise UserError(expected)
    shape = _parse_shape(match["shape"] or "", expected)
    if match["dtype"] == "key":
        keys = jax.random.key(rng.randint(2**31))
        return jax.random.split(keys, shape) if shape else keys
    names = [*_SHORT.values()]
    name = _SHORT.get(match["dtype"], match["dtype"])
    check(name in names, f"{expected}; the dtypes are key, {', '.join(_SHORT)}")
    kept = jax.dtypes.canonicalize_dtype(name)
    check(
        kept == name,
        f"{spec!r}: JAX would make {kept} of {name}: set JAX_ENABLE_X64=1 in the environment",
    )
    return jnp.asarray(_draw(np.dtype(kept), shape, rng), kept)


def _expected(spec: str) -> str:
    return (
        f"{spec!r}: expected an array such as 'f32[64,128]', 'i32[3]', 'key' or 'f32[]', or a "
        "Python literal such as 0.5, True or \"'same'\""
    )


def _parse_shape(text: str, expected: str) -> tuple[int, ...]:
    sizes = [size.strip() for size in text.split(",")] if text.strip() else []
    check(all(size.isdigit() for size in sizes), expected)
    shape = tuple(map(int, sizes))
    check(math.prod(shape) <= LARGEST, f"{expected}, of at most {LARGEST} elements")
    return shape


def _draw(dtype: np.dtype, shape: tuple[int, ...], rng: np.random.RandomState) -> np.ndarray:
    if not jnp.issubdtype(dtype, jnp.inexact):
        return rng.randint(2, size=shape)
    values = np.asarray(rng.standard_normal(shape))
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return values + 1j * np.asarray(rng.standard_normal(shape))
    return values
