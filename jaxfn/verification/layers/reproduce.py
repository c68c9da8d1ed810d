"""A program in Python that shows a failure again.

Where the point and the cotangent are small they are written out, and a line pulls the cotangent
back by the rule and by its reference. Otherwise it asks `gradcheck` itself, whose points depend on
nothing but its arguments, for the worst element that a layer found. Above it stand the imports, the
functions and, where it asks `gradcheck`, the arguments.
"""

import ast
import re
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.verification.points.probes import Probe
from jaxfn.verification.report import Element
from jaxfn.verification.subject.coordinates import (
    ARRAYS,
    cotangents,
    is_inexact,
    is_integer,
    wide_dtype,
)
from jaxfn.verification.subject.programs import precision
from jaxfn.verification.subject.setup import function_name
from jaxfn.verification.subject.subject import Subject

MOST = 48  # numbers of a point and a cotangent that are written out
MOST_GIVEN = 256  # numbers of the given arguments
WIDTH = 96  # columns, so that the report's indentation fits as well
DEFAULTS = {
    "reference": None,
    "surrogate": None,
    "linear_in_cotangent": True,
    "order": 2,
    "layers": None,
    "domain": None,
    "strict": False,
}


class NoLiteralError(Exception):
    """A value that a line of Python cannot hold."""


def call(fun: Any, options: dict[str, Any], layer: str) -> str:
    """The line that asks `gradcheck` for what a layer found.

    Args:
        fun: the function under test.
        options: those of the run; functions among them go by the names of their parameters.
        layer: the name of the check.
    """
    said = {k: v for k, v in options.items() if k not in DEFAULTS or v != DEFAULTS[k]}
    values = {k: k if callable(v) else repr(v) for k, v in said.items()}
    listed = ", ".join(f"{k}={v}" for k, v in {**values, "raise_exception": "False"}.items())
    run = f"jaxfn.gradcheck({function_name(fun)}, args, {listed}).check({layer!r})"
    return f"found = {run}\nprint(found.worst or found.detail)"


def program(fun: Any, args: tuple[Any, ...], options: dict[str, Any], line: str) -> str:
    """The line with all that it needs above it, no wider than the report.

    Args:
        fun: the function under test.
        args: its arguments.
        options: those of the run; functions among them go by the names of their parameters.
        line: what shows the failure, of `call` or `pullback`.
    """
    named = {function_name(fun): fun} | {k: v for k, v in options.items() if callable(v)}
    needed = {k: v for k, v in named.items() if re.search(rf"\b{k}\b(?!=)", line)}
    lines = ["import jax", "import jax.numpy as jnp", "import jaxfn"]
    lines += ["import numpy as np"] if re.search(r"\bnp\.", line) else []
    for name, function in needed.items():
        lines += _imported(name, function)
    if jax.config.read("jax_enable_x64"):
        lines.append('jax.config.update("jax_enable_x64", True)')
    if "jaxfn.gradcheck(" in line:
        if jax.device_count() > 1:
            lines.append(f"# the run had {jax.device_count()} devices: see jax_num_cpu_devices")
        lines += _given(args)
    return "\n".join(wrapped for each in [*lines, *line.split("\n")] for wrapped in _wrapped(each))


def _imported(name: str, function: Any) -> list[str]:
    """The import of a function, or a comment where it stands in no module."""
    module, path = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    found = None if module == "__main__" else sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if found is None or found is not function:
        return [f"# {name} has to be known here: the function that was given to gradcheck"]
    first = path.partition(".")[0]
    lines = [f"from {module} import {first}" + (f" as {name}" if path == first != name else "")]
    return lines if path == first else [*lines, f"{name} = {path}"]


def _given(args: tuple[Any, ...]) -> list[str]:
    left_out = [
        "args = ...  # the arguments that were given to gradcheck have to be filled in here"
    ]
    arrays = [leaf for leaf in jax.tree.leaves(args) if isinstance(leaf, ARRAYS)]
    if sum(leaf.size for leaf in arrays) > MOST_GIVEN:
        return left_out
    try:
        return [f"args = {literal(args)}"]
    except NoLiteralError:
        return left_out


def _wrapped(line: str) -> list[str]:
    """A statement broken after commas, where that leaves it the same."""
    lines = [""]
    for part in re.split(r"(?<=,) ", line):
        longer = f"{lines[-1]} {part}" if lines[-1] else part
        if len(longer) <= WIDTH or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(f"    {part}")
    try:
        same = ast.dump(ast.parse("\n".join(lines))) == ast.dump(ast.parse(line))
    except SyntaxError:
        same = False
    return lines if same else [line]


def pullback(subject: Subject, probe: Probe, cotangent: np.ndarray, worst: Element | None) -> str:
    """The line that prints the worst element by the rule and by its reference, if it is short."""
    size = subject.arguments.size + subject.rule.size + sum(p.size for p in probe.integers)
    if worst is None or size > MOST or subject.rule.pull.eager:
        return ""
    try:
        point = _point(subject, probe)
        given = _cotangent(subject, cotangent)
    except NoLiteralError:
        return ""
    where = _place(subject, worst)
    functions = f"{subject.name}, {subject.reference_name}" if subject.reference else subject.name
    both = f"[jax.vjp(f, {point})[1]({given}){where} for f in [{functions}]]"
    return f"with jax.enable_x64(True): print({both})" if subject.wide else f"print({both})"


def _place(subject: Subject, worst: Element) -> str:
    """Where the element stands in the tuple of gradients."""
    leaf = next(leaf for leaf in subject.arguments.leaves if leaf.path == worst.path)
    inside = leaf.path.removeprefix(subject.arguments.names[leaf.argument])
    return f"[{leaf.argument}]{inside}" + (str(list(worst.index)) if worst.index else "")


def _point(subject: Subject, probe: Probe) -> str:
    arguments = subject.arguments
    arrays = []
    for leaf in arguments.leaves:
        dtype = wide_dtype(leaf.dtype) if subject.wide else leaf.dtype
        arrays.append(arguments.array(leaf, probe.x).astype(dtype))
    return ", ".join(map(literal, arguments.rebuild(arrays, probe.integers)))


def _cotangent(subject: Subject, vector: np.ndarray) -> str:
    """The cotangent in the structure of the output."""
    engine, arguments = subject.rule, subject.arguments
    with precision(subject.wide):
        given = arguments.differentiable(jnp.asarray(arguments.given, engine.dtype), subject.wide)

        def output(arrays: Any) -> Any:
            out = engine.fun(*arguments.rebuild(arrays, arguments.integers))
            if not all(map(is_inexact, jax.tree.leaves(out))):  # a string, say, is no output of JAX
                raise NoLiteralError
            return out

        leaves, structure = jax.tree.flatten(jax.eval_shape(output, given))
        arrays = [np.asarray(a) for a in cotangents(jnp.asarray(vector, engine.dtype), leaves)]
    return literal(jax.tree.unflatten(structure, arrays))


def literal(value: Any) -> str:
    """The value as Python, if it is of tuples, lists, dicts, arrays and constants."""
    if type(value) is tuple:
        return f"({', '.join(map(literal, value))},)" if value else "()"
    if type(value) is list:
        return f"[{', '.join(map(literal, value))}]"
    if type(value) is dict:
        return "{" + ", ".join(f"{k!r}: {literal(v)}" for k, v in value.items()) + "}"
    if is_inexact(value) or is_integer(value):
        return _array(np.asarray(value))
    if value is None or isinstance(value, (bool, int, str)):
        return repr(value)
    raise NoLiteralError


def _array(array: Any) -> str:
    """The array by the fewest digits that give exactly its values."""
    if (array.size == 0 and array.ndim > 1) or not np.isfinite(array).all():
        raise NoLiteralError
    name = jnp.dtype(array.dtype).name
    if not is_inexact(array):
        return f"jnp.array({array.tolist()}, {name!r})"
    narrow = array.astype(np.complex64 if np.iscomplexobj(array) else np.float32)
    if not np.array_equal(narrow.astype(array.dtype), array):
        return f"jnp.array({_digits(array)}, {name!r})"
    written = f"jnp.array({_digits(narrow)}, {narrow.dtype.name!r})"
    return written if narrow.dtype == array.dtype else f"{written}.astype({name!r})"


def _digits(array: Any) -> str:
    if array.ndim:
        return f"[{', '.join(map(_digits, array))}]"
    if np.iscomplexobj(array):
        return f"complex({array.real}, {array.imag})"
    return str(array)
