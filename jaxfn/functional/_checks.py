"""Argument checks that the operations share: every message names the argument, what was expected
and what came."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

REAL = ("float16", "bfloat16", "float32", "float64")
REAL_OR_COMPLEX = (*REAL, "complex64", "complex128")
INTEGER = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))

# What the layouts of PyTorch are mistaken for.
NCHW = "looks like NCHW; images are NHWC: jnp.moveaxis(x, 1, -1)"
OIHW = "looks like OIHW; kernels are HWIO: jnp.transpose(kernel, (2, 3, 1, 0))"


def other_names(
    **names: str,
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorates an operation whose arguments other libraries call differently: the error says what
    they are called here (Python's own has a suggestion from 3.12 on, and for some names alone).

    Args:
      names: their name, and ours.
    """

    def decorate(operation: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @functools.wraps(operation)
        def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            for theirs in kwargs.keys() & names.keys():
                raise TypeError(f"{operation.__name__}: expected {names[theirs]}, got {theirs}")
            return operation(*args, **kwargs)

        return call

    return decorate


def as_array(op: str, name: str, value: ArrayLike, dtypes: Sequence[str] = REAL) -> jax.Array:
    """`value` as a JAX array of one of `dtypes`; lists, None and other objects are refused."""
    is_array = isinstance(value, jax.Array | np.ndarray | np.generic | float | complex)
    if not (is_array or hasattr(value, "__jax_array__")):
        raise TypeError(f"{op}: expected {name} to be an array, got {type(value).__name__}")
    array = jnp.asarray(value)
    if array.dtype.name not in dtypes:
        expected = " or ".join((*[", ".join(dtypes[:-1])] * (len(dtypes) > 1), dtypes[-1]))
        raise TypeError(f"{op}: expected {name} of dtype {expected}, got {array.dtype.name}")
    return array


def check_rank(op: str, name: str, array: jax.Array, rank: int, layout: str) -> None:
    """Refuses an `array` that is not of rank `rank`, written as `layout` in the message."""
    if array.ndim != rank:
        raise ValueError(f"{op}: expected {name} {layout}, got {name} {list(array.shape)}")


def layout_hint(x: jax.Array, kernel: jax.Array) -> str:
    """For an x and a kernel that do not match: in which of PyTorch's layouts they would, or ""."""
    as_nhwc = x.shape[3], x.shape[1:3]
    as_nchw = x.shape[1], x.shape[2:4]
    as_hwio = kernel.shape[2], kernel.shape[:2]
    as_oihw = kernel.shape[1], kernel.shape[2:4]
    fitting = []
    for hint, (channels, size), (kernel_channels, window) in (
        (NCHW, as_nchw, as_hwio),
        (OIHW, as_nhwc, as_oihw),
        (f"{NCHW}; kernel {OIHW}", as_nchw, as_oihw),
    ):
        is_square = window[0] == window[1]  # as most are: a kernel in the wrong layout is not
        fits = window[0] <= size[0] and window[1] <= size[1]
        if channels == kernel_channels and fits and (is_square or hint == NCHW):
            fitting.append((not is_square, f", {hint}"))
    return min(fitting, key=operator.itemgetter(0), default=(False, ""))[1]


def check_int(op: str, name: str, value: Any, low: int, high: int) -> int:
    """A Python integer from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{op}: expected {name} to be an int, got {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{op}: expected {name} from {low} to {high}, got {value}")
    return int(value)


def check_bool(op: str, name: str, value: Any) -> None:
    """Refuses what is neither True nor False."""
    if not isinstance(value, bool):
        raise TypeError(f"{op}: expected {name} to be a bool, got {type(value).__name__}")


def check_number(op: str, name: str, value: Any) -> float:
    """A positive, finite Python number."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{op}: expected {name} to be a Python number, got {type(value).__name__}")
    check_positive(op, name, value)
    return float(value)


def check_positive(op: str, name: str, value: Any) -> None:
    """Refuses a number or an array with an element that is not positive and finite."""
    check_elements(op, name, value, "positive and finite", lambda a: (a > 0) & (a < np.inf))


def check_elements(
    op: str, name: str, value: Any, expected: str, holds: Callable[[np.ndarray], Any]
) -> None:
    """Refuses a number or an array with an element for which `holds` is false; `expected` says in
    words what it asks. What is traced, or in part on another machine, has no values to look at."""
    known = concrete(value)
    if known is None or np.all(right := holds(known)):
        return
    place = tuple(map(int, np.argwhere(~right)[0]))
    where = f" at {list(place)}" if place else ""
    raise ValueError(f"{op}: expected {name} to be {expected}, got {known[place]:g}{where}")


def concrete(value: Any) -> np.ndarray | None:
    """The elements of a number or an array; None where they cannot be looked at."""
    if not isinstance(value, jax.Array) and hasattr(value, "__jax_array__"):
        value = value.__jax_array__()
    if isinstance(value, Tracer) or not getattr(value, "is_fully_addressable", True):
        return None
    return np.asarray(value, np.float64)


def check_axis(op: str, name: str, array: jax.Array, axis: Any) -> int:
    """`axis` of `array`, counted from the front."""
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer):
        raise TypeError(f"{op}: expected axis to be an int, got {type(axis).__name__}")
    if not -array.ndim <= axis < array.ndim:
        raise ValueError(
            f"{op}: expected axis to be one of {name} {list(array.shape)}, got axis {axis}"
        )
    return int(axis) % array.ndim


def check_key(op: str, key: Any) -> None:
    """Refuses what is no single key of `jax.random`, new (`key`) or old (`PRNGKey`)."""
    expected = f"{op}: expected key to be one key of jax.random"
    if not isinstance(key, jax.Array):
        raise TypeError(f"{expected}, got {type(key).__name__}")
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not typed and key.dtype != jnp.uint32:
        raise TypeError(f"{expected}, got an array of dtype {key.dtype.name}")
    if key.ndim != (0 if typed else 1):
        raise ValueError(f"{expected}, got keys {list(key.shape)}")


def as_pair(op: str, name: str, value: Any, minimum: int) -> Pair:
    """An int or a pair of ints, each at least `minimum`, as a pair."""
    expected = f"{op}: expected {name} to be an int or a pair of ints, at least {minimum}"
    pair = _int_pair((value, value) if _is_int(value) else value)
    if pair is None:
        raise TypeError(f"{expected}, got {value!r}")
    if min(pair) < minimum:
        raise ValueError(f"{expected}, got {value!r}")
    return pair


def as_padding(
    op: str, padding: Any, size: Pair, window: Pair, stride: Pair, hint: str = ""
) -> Pads:
    """`padding` as ((top, bottom), (left, right)), checked against images of `size`; `hint` is said
    where a window is larger.

    "SAME" gives ceil(size / stride) outputs, with the odd row or column of zeros at the end, as in
    XLA and TensorFlow; "SAME_LOWER" has it at the beginning.

    Args:
      window: how many rows and columns it reaches over.
    """
    if isinstance(padding, str):
        pads = padding_of_name(op, padding, size, window, stride)
    else:
        pads = explicit_pads(op, padding)
    rows, columns = pads
    if min(*rows, *columns) < 0:
        raise ValueError(f"{op}: expected padding of at least 0, got {padding!r}")
    if size[0] + sum(rows) < window[0] or size[1] + sum(columns) < window[1]:
        raise ValueError(
            f"{op}: expected a window no larger than the padded image, got window "
            f"{list(window)} for an image of {list(size)} with padding {padding!r}{hint}"
        )
    return rows, columns


_PADDINGS = ("VALID", "SAME", "SAME_LOWER")


def padding_of_name(op: str, name: str, size: Pair, window: Pair, stride: Pair) -> Pads:
    """What "VALID", "SAME" and "SAME_LOWER", in upper or lower case, mean for images of `size`."""
    known = name.upper()
    if known not in _PADDINGS:
        raise ValueError(f'{op}: expected padding "VALID", "SAME" or "SAME_LOWER", got {name!r}')
    if known == "VALID":
        return (0, 0), (0, 0)
    (top, bottom), (left, right) = (_same(*of) for of in zip(size, window, stride, strict=True))
    if known == "SAME":
        return (top, bottom), (left, right)
    return (bottom, top), (right, left)


def _same(size: int, window: int, stride: int) -> Pair:
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def explicit_pads(op: str, padding: Any) -> Pads:
    """`padding`, which is no name, as ((top, bottom), (left, right))."""
    sides = (padding, padding) if _is_int(padding) else padding
    if isinstance(sides, Sequence) and len(sides) == 2:
        rows, columns = (_int_pair((side, side) if _is_int(side) else side) for side in sides)
        if rows is not None and columns is not None:
            return rows, columns
    raise TypeError(
        f'{op}: expected padding "VALID", "SAME", an int, (vertical, horizontal) or '
        f"((top, bottom), (left, right)), got {padding!r}"
    )


def _int_pair(value: Any) -> Pair | None:
    """`value` as a pair of Python ints, or None if it is no pair of ints."""
    if not (isinstance(value, Sequence) and len(value) == 2 and all(map(_is_int, value))):
        return None
    return operator.index(value[0]), operator.index(value[1])


def _is_int(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
