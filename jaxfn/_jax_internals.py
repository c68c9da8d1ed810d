"""What `jaxfn` must know of JAX that JAX documents nowhere: every such thing is in this module."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax
from jax.extend import core as jex
from jax.extend.core import primitives

# From jax 0.12 on, the two are one class, and the second name is left for those who still use it.
AnyJaxpr = jex.Jaxpr | jex.ClosedJaxpr  # pyright: ignore[reportPrivateImportUsage]

# A Pallas kernel's jaxpr reads and writes memory references, and the compilers of kernels accept
# fewer primitives than JAX does: it counts as one operation. The primitive itself is not exported.
KERNEL_PRIMITIVES = frozenset({"pallas_call", "core_map"})


def checkpointed_tangent(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`jax.checkpoint` of a function that is linear in a tangent, such as a `custom_jvp` rule has.

    JAX's coming `checkpoint` (the flag `JAX_REMAT3`, jax 0.12) cannot be transposed, which reverse
    mode does to such a rule: with the flag the function is called as it is, and more is kept.
    """

    def decorate(fun: Callable[..., Any]) -> Callable[..., Any]:
        checkpointed = jax.checkpoint(fun, **options)

        @functools.wraps(fun)
        def call(*args: Any) -> Any:
            coming = jax.config.values.get("jax_remat3", False)
            return fun(*args) if coming else checkpointed(*args)

        return call

    return decorate


class AppliedRule(NamedTuple):
    """An equation that applies a function together with its custom rule."""

    kind: str  # "custom_vjp", "custom_jvp" or "hijax"
    name: str
    source: str | None  # "file:line"
    definition: AnyJaxpr  # what the function computes; takes the equation's operands


def applied_rule(eqn: jex.JaxprEqn) -> AppliedRule | None:
    """The rule that `eqn` applies, if it applies one."""
    # The primitives are exported by `jax.extend`, their parameters are described nowhere.
    if eqn.primitive is primitives.custom_vjp_call_p:
        return _rule("custom_vjp", eqn.params["call_jaxpr"])
    if eqn.primitive is primitives.custom_jvp_call_p:
        return _rule("custom_jvp", eqn.params["call_jaxpr"])
    hijax = _hijax_primitive(eqn)
    return None if hijax is None else _hijax_rule(hijax)


def scans_what_it_carries(eqn: jex.JaxprEqn) -> bool:
    """Whether `eqn` is a `scan` that takes and gives nothing at each step but what it carries."""
    if eqn.primitive.name != "scan":
        return False
    # What is taken or given step by step has an axis more outside of the body than in it.
    body = eqn.params["jaxpr"].jaxpr
    pairs = [
        *zip(eqn.invars, body.invars, strict=True),
        *zip(eqn.outvars, body.outvars, strict=True),
    ]
    return all(outer.aval.shape == inner.aval.shape for outer, inner in pairs)


def package_of_rule(eqn: jex.JaxprEqn) -> str:
    """The package whose class wraps the backward rule that `eqn` applies: "flax" for that of NNX.

    A rule that is a plain function is of no package, and the name is empty.
    """
    if eqn.primitive is not primitives.custom_vjp_call_p:
        return ""
    backward = getattr(eqn.params.get("bwd"), "f", None)  # described nowhere
    kind = type(backward)
    return "" if kind.__module__ == "builtins" else kind.__module__.split(".")[0]


def call_name(eqn: jex.JaxprEqn) -> str:
    """What a user would call `eqn`: "scan", "checkpoint", "jit(f)"."""
    if eqn.primitive is primitives.remat_p:
        return "checkpoint"
    hijax = _hijax_primitive(eqn)
    called = eqn.primitive.name if hijax is None else type(hijax).__name__
    # Parameters of primitives are described nowhere; `jit` and its like keep a name there.
    name = eqn.params.get("name")
    return f"{called}({name})" if isinstance(name, str) else called


def is_custom_vmap(eqn: jex.JaxprEqn) -> bool:
    """Whether `eqn` applies a `custom_vmap`: a definition `call` with a batching rule `rule`."""
    return eqn.primitive.name == "custom_vmap_call"  # the primitive is not exported


def expansion(eqn: jex.JaxprEqn) -> AnyJaxpr | None:
    """What `eqn` computes if it hides jaxprs in an object, as `JAX_REMAT3=1` makes `checkpoint`."""
    hijax = _hijax_primitive(eqn)
    if hijax is None or not any(True for _ in _hidden_jaxprs(hijax)):
        return None
    return _expand(hijax)


# `JAX_CUSTOM_VJP3=1` and `jax.experimental.hijax` put a function and its rules into an object, the
# only parameter of one primitive. Neither that primitive nor JAX's own classes of such objects are
# exported, so names tell them; `in_avals` and `expand` are what each such object has to define.


def _hijax_primitive(eqn: jex.JaxprEqn) -> Any:
    return eqn.params["_prim"] if eqn.primitive.name == "call_hi_primitive" else None


def _hijax_rule(hijax: Any) -> AppliedRule | None:
    inner = hijax
    while _is_jax_class(inner, "VmapOf"):  # jax 0.10: a batched primitive holds the unbatched one
        inner = inner.prim
    if not type(inner).__module__.startswith("jax."):
        return AppliedRule("hijax", type(inner).__qualname__, None, _expand(hijax))
    if _is_jax_class(inner, "CustomVJPTraced"):
        return _rule("custom_vjp", _expand(hijax), named_after=inner.traced.jaxpr)
    if _is_jax_class(inner, "CustomJVPTraced"):
        return _rule("custom_jvp", _expand(hijax), named_after=inner.traced.jaxpr)
    if _is_jax_class(inner, "CustomRoot"):  # jax 0.10 writes `custom_root` as a `custom_jvp`
        return AppliedRule("custom_jvp", "custom_root", None, _expand(hijax))
    return None


def _is_jax_class(hijax: Any, name: str) -> bool:
    return type(hijax).__name__ == name and type(hijax).__module__.startswith("jax.")


def _hidden_jaxprs(hijax: Any) -> Iterator[AnyJaxpr]:
    for value in hijax.params.values():
        value = value.jaxpr if isinstance(value, jax.stages.Traced) else value
        if isinstance(value, AnyJaxpr):
            yield value


def _expand(hijax: Any) -> AnyJaxpr:
    return jax.make_jaxpr(hijax.expand)(*hijax.in_avals)


def _rule(kind: str, definition: AnyJaxpr, named_after: AnyJaxpr | None = None) -> AppliedRule:
    # `jax.extend.core.DebugInfo` is exported, what it holds is not described.
    info = (named_after or definition).debug_info
    source = f"{info.func_filename}:{info.func_lineno}" if info.func_filename else None
    return AppliedRule(kind, info.func_name, source, definition)


def mesh_axes(array_type: Any) -> frozenset[Any]:
    """The axes of the mesh along which an array of this type differs, inside a `shard_map`."""
    return getattr(array_type.manual_axis_type, "varying", frozenset())


def vary_over(array: jax.Array, axes: frozenset[Any]) -> jax.Array:
    """`array` with the type of one that differs along the mesh `axes`."""
    missing = axes - mesh_axes(jax.typeof(array))
    return jax.lax.pcast(array, tuple(sorted(missing)), to="varying") if missing else array


# What a `custom_vjp` or `custom_jvp` object holds is described nowhere, nor that its call can be
# exchanged; a user's context is, in the docstring of `jax.make_user_context`.

_RULES = {jax.custom_vjp: "custom_vjp", jax.custom_jvp: "custom_jvp"}
# Flax's `nnx.custom_vjp` makes one of these, which holds functions under the same names, and calls
# a `jax.custom_vjp` of its own around them.
_FLAX, _RULES_OF_FLAX = "flax.nnx.transforms.autodiff", ("CustomVjp", "SimpleCustomVjp")
_PARTS = ("fun", "fwd", "bwd", "jvp")
_run = jax.make_user_context(None)
_is_paused = ContextVar("_is_paused", default=False)


def rule_classes() -> dict[type, str]:
    """The classes of objects that are functions with a rule, each with the kind of the rule."""
    flax = sys.modules.get(_FLAX)  # whoever uses its rules has imported it
    of_flax = (getattr(flax, name, None) for name in _RULES_OF_FLAX)
    return {**_RULES, **{cls: "custom_vjp" for cls in of_flax if cls is not None}}


def is_rule(value: Any) -> bool:
    """Whether a value is a function with a rule."""
    return isinstance(value, tuple(rule_classes()))


def is_wrapped(rule: Any) -> bool:
    """Whether a rule is the one that Flax calls inside of its own."""
    return type(rule.fun).__module__.startswith("flax.")


def functions_of(rule: Any) -> tuple[Any, ...]:
    """The function that has the rule, and those that the rule consists of."""
    parts = (getattr(rule, part, None) for part in _PARTS)
    return tuple(part for part in parts if part is not None)


def copy_of(rule: Any) -> Any:
    """A rule that consists of the same functions."""
    other = object.__new__(type(rule))
    vars(other).update(vars(rule))
    return other


def exchange_functions(rule: Any, new: Callable[[Any], Any]) -> None:
    """Makes the functions that a rule consists of `new` of them."""
    for part in _PARTS:
        if vars(rule).get(part) is not None:
            setattr(rule, part, new(vars(rule)[part]))


# The functions of JAX that trace what they are given, by file and name.
_TRACING = {
    ("pjit.py", "_trace_for_jit"): "jit",
    ("loops.py", "scan"): "scan",
    ("loops.py", "while_loop"): "while",
    ("conditionals.py", "cond"): "cond",
    ("conditionals.py", "switch"): "cond",
    ("ad_checkpoint.py", "fun_remat"): "checkpoint",
    ("shard_map.py", "wrapped"): "shard_map",
}


def calls_around(outermost: str) -> str:
    """The calls of JAX in which Python is, such as "jit(step)/scan", as far as `outermost`.

    That is the file of a function that is traced. The path tells where a rule stands in a program
    that differentiates it, whose jaxpr has parts of the forward pass in several places.
    """
    frame, inner, found = sys._getframe(1), "", []
    while frame is not None and frame.f_code.co_filename != outermost:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        if "/jax/_src/" not in file.replace("\\", "/"):
            inner = name
        elif label := _TRACING.get((file.replace("\\", "/").rpartition("/")[2], name)):
            found.append(f"jit({inner})" if label == "jit" else label)
        frame = frame.f_back
    return "/".join(reversed(found))


def runs_one_of(functions: Iterable[Any]) -> bool:
    """Whether Python is inside of a call of one of these functions."""
    codes = {code for fun in functions if (code := getattr(fun, "__code__", None)) is not None}
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code in codes:
            return True
        frame = frame.f_back
    return False


def another_run(number: int) -> contextlib.AbstractContextManager[Any]:
    """A context in which JAX traces and compiles anew what it has traced outside of it."""
    return _run(number)


@contextlib.contextmanager
def exchanged_calls(
    around: Callable[[str, Callable[..., Any]], Callable[..., Any]],
) -> Iterator[None]:
    """Calls of rules go through `around(kind, call)(rule, *args, **kwargs)` inside."""
    originals = {cls: (kind, cls.__call__) for cls, kind in rule_classes().items()}
    for cls, (kind, original) in originals.items():
        cls.__call__ = around(kind, original)
    try:
        yield
    finally:
        for cls, (_, original) in originals.items():
            cls.__call__ = original


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Calls of rules are what they are inside, whatever they are exchanged for."""
    token = _is_paused.set(True)
    try:
        yield
    finally:
        _is_paused.reset(token)


def is_paused() -> bool:
    return _is_paused.get()
