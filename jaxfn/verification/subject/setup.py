"""From a function and its arguments to a `Subject`: what it cannot do is noted."""

import traceback
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from jaxfn.autodiff import CustomRule, autodiff, custom_rules
from jaxfn.verification.subject import jaxprs
from jaxfn.verification.subject.coordinates import Arguments, is_inexact
from jaxfn.verification.subject.names import parameter_names
from jaxfn.verification.subject.programs import UNTRACEABLE, Engine
from jaxfn.verification.subject.refusals import unseen
from jaxfn.verification.subject.subject import Subject

# Part of what Flax says where a module was made outside of the trace in which it is used.
OF_ANOTHER_TRACE = "different trace level"
# Part of what JAX says where a traced array reaches an argument that a rule does not differentiate.
NOT_TRACED = "nondiff_argnums"


def called(fun: Callable[..., Any], args: tuple[Any, ...], name: str) -> Any:
    """The function's own output, without values where it can be traced; a leaked tracer is named.

    The arguments are constants of the trace, so that numbers among them keep their weak types.
    They are built anew in it, so that modules among them belong to it.
    """
    leaked = f"gradcheck: {name} uses a tracer that leaked out of an earlier call"
    given = Arguments(args)

    def call() -> Any:
        return fun(*given.as_given())

    try:
        try:
            traced, out = jax.make_jaxpr(call, return_shape=True)()
        except (*UNTRACEABLE, TypeError):  # also of an output that is no array
            return fun(*args)
        except Exception as error:  # anything: a module's own error is told apart by its text
            if OF_ANOTHER_TRACE in str(error):
                raise ValueError(_of_a_module(name, error)) from error
            raise
    except jax.errors.UnexpectedTracerError as error:
        raise ValueError(f"{leaked}: {error}") from error
    if any(isinstance(const, Tracer) for const in traced.consts):
        raise ValueError(leaked)
    return out


def _of_a_module(name: str, error: Exception) -> str:
    return (
        f"gradcheck: {name} uses or changes the state of a module that it closes over, which no "
        f"transformation of JAX allows ({line(error)}): make the module an argument, "
        "gradcheck(lambda module, x: module(x), (module, x)), which gets a copy of it at each "
        "call, or split it, graphdef, state = nnx.split(module), and make the state an argument"
    )


def signature(out: Any) -> list[tuple[str, tuple[int, ...]]]:
    """Path and shape of each leaf of an output."""
    pairs = jax.tree_util.tree_flatten_with_path(out)[0]
    return [("out" + jax.tree_util.keystr(path), tuple(np.shape(v))) for path, v in pairs]


def check_outputs(fun: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Calls the function twice; both outputs must have the same structure and shapes."""
    first, second = called(fun, args, "fun"), called(fun, args, "fun")
    if signature(first) != signature(second):
        raise ValueError(
            "gradcheck: expected fun to return the same structure and shapes at each call, got "
            f"{signature(first)} and then {signature(second)}"
        )
    if not any(is_inexact(leaf) for leaf in jax.tree.leaves(first)):
        raise ValueError(
            "gradcheck: expected fun to return at least one floating or complex array, got "
            f"{signature(first)}"
        )
    return first


def check_other(name: str, other: Any, args: tuple[Any, ...], out: Any) -> None:
    """A reference or surrogate must take the same arguments and return the same structure."""
    if not callable(other):
        raise TypeError(f"gradcheck: expected {name} to be callable, got {type(other).__name__}")
    try:
        found = called(other, args, name)
    except TypeError as error:
        raise TypeError(
            f"gradcheck: expected {name} to take the arguments of fun, got {error}"
        ) from error
    if signature(found) != signature(out):
        raise ValueError(
            f"gradcheck: expected {name} to return the structure and shapes of fun, "
            f"{signature(out)}, got {signature(found)}"
        )


def applied_rules(
    fun: Callable[..., Any], args: tuple[Any, ...], notes: list[str]
) -> tuple[CustomRule, ...] | None:
    """The custom rules that `fun` applies, or None where it cannot be traced."""
    try:
        return custom_rules(fun, *args)
    except (*UNTRACEABLE, jax.errors.UnexpectedTracerError) as error:
        notes.append(f"fun cannot be traced: {line(error)}")
        return None


def default_reference(
    fun: Callable[..., Any], rules: tuple[CustomRule, ...] | None, notes: list[str]
) -> Any:
    """Autodiff of `fun` without its custom rules, or None where it cannot be traced."""
    if rules is None:
        return None
    kinds = {rule.kind for rule in rules}
    if kinds - {"custom_jvp"}:
        return autodiff(fun)
    if kinds:
        return autodiff(fun, custom_jvp=True)
    notes.append(
        "fun has no custom rule: autodiff is compared with itself and with finite differences"
    )
    return fun


Begun = tuple[Engine | None, str | None]  # or the reason why there is none


def begun(fun: Any, arguments: Arguments, wide: bool) -> Begun:
    """An engine whose pullback is being compiled."""
    try:
        engine = Engine(fun, arguments, wide)
    except Exception as error:  # whatever a user's function raises is the reason that is reported
        return None, line(error)
    engine.pull.prepare(*_given(arguments), np.ones((1, engine.size)))
    return engine, None


def working(made: Begun) -> Begun:
    """The engine, if its pullback can be evaluated at the given point."""
    engine, reason = made
    if engine is None:
        return None, reason
    try:
        engine.pull(*_given(engine.arguments), np.ones((1, engine.size)))
    except Exception as error:  # likewise
        return None, line(error)
    return engine, None


def _given(arguments: Arguments) -> tuple[Any, Any]:
    """The given point as a row of a program."""
    return arguments.given[None], tuple(part[None] for part in arguments.integers)


def line(error: BaseException) -> str:
    """The first line of an error; where it has none, the place at which it was raised."""
    text = str(error).strip().splitlines()
    if text:
        return f"{type(error).__name__}: {text[0]}"[:300]
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__} without a message{where}"


def make_subject(
    fun: Callable[..., Any],
    args: tuple[Any, ...],
    reference: Any,
    surrogate: Any,
    options: dict[str, Any],
) -> Subject:
    """The subject of a run, in double precision if the function works in it.

    An array that the function gives to `nondiff_argnums` of a rule may not be traced: it is held
    as it is given.
    """
    names = options.get("names") or parameter_names(fun, len(args))
    arguments = Arguments(args, names)
    try:
        found = _subject(fun, arguments, reference, surrogate, options)
        held = _steering(arguments)
        if not found.rule.pull.eager or not held:
            return found
        steered = _subject(fun, Arguments(args, names, held), reference, surrogate, options)
        return found if steered.rule.pull.eager else steered
    except RuleError as error:
        if NOT_TRACED not in str(error):
            raise
        for static in _held(arguments):
            try:
                held = Arguments(args, names, static)
                return _subject(fun, held, reference, surrogate, options)
            except RuleError:  # others have to be held
                continue
        return _subject(fun, Arguments(args, names, eager=True), reference, surrogate, options)


def _steering(arguments: Arguments) -> frozenset[int]:
    """Positions of single integers of numpy's, which a function may use as it does Python's."""
    kinds = np.integer | np.bool_
    return frozenset(i for i, value in enumerate(arguments.values) if isinstance(value, kinds))


def _held(arguments: Arguments) -> Iterator[frozenset[int]]:
    """Positions of arrays that may have to be held: the integers, and one argument beside them."""
    integers = frozenset(arguments.integer_positions)
    if integers:
        yield integers
    for argument in dict.fromkeys(leaf.argument for leaf in arguments.leaves):
        floats = {leaf.position for leaf in arguments.leaves if leaf.argument == argument}
        if len(floats) < len(arguments.leaves):
            yield integers | floats


def _subject(
    fun: Callable[..., Any],
    arguments: Arguments,
    reference: Any,
    surrogate: Any,
    options: dict[str, Any],
) -> Subject:
    notes: list[str] = [*_static(arguments), *unseen(arguments)]
    rules = applied_rules(lambda: fun(*arguments.as_given()), (), notes)
    name = _reference_name(fun, rules, reference, surrogate)
    if reference is None and surrogate is None:
        reference = default_reference(fun, rules, notes)
    outermost = [rule for rule in rules or () if "custom_" not in rule.where]
    target = surrogate if surrogate is not None else reference
    native, native_target, rule, other = _engines(fun, target, arguments, notes)
    wide = rule is not native
    rule.value(*_given(arguments))
    return Subject(
        arguments,
        rule,
        other,
        rule if surrogate is None else Engine(surrogate, arguments, wide),
        native,
        native_target,
        wide,
        np.random.default_rng(options["seed"]),
        linear=options["linear"],
        loops=bool(jaxprs.LOOPS & rule.value.primitives),
        composed=sum(rule.count for rule in outermost) > 1,
        has_tangent_rule=any(rule.kind == "custom_jvp" for rule in outermost),
        has_surrogate=surrogate is not None,
        domain=options["domain"],
        name=function_name(fun),
        reference_name=name,
        notes=tuple(notes),
    )


def _static(arguments: Arguments) -> Iterator[str]:
    """What is to be said of arguments that are no variables."""
    for position in sorted(arguments.static):
        path, value = arguments.paths[position], arguments.values[position]
        if isinstance(value, (float, complex)):
            yield f"{path} is a Python number, which is static: no gradient of it is checked"
        elif isinstance(value, np.integer | np.bool_):
            yield (
                f"{path} is used as a number of Python's, with which fun cannot be traced: it is "
                "held as it is given"
            )
        else:
            yield (
                f"{path} goes to nondiff_argnums of a rule, where JAX takes no traced array: it is "
                "held as it is given; to use the function under jit or vmap, close over it "
                "(lambda x: fun(x, mask)), or make it an argument that the rule gives None for"
            )


def _engines(
    fun: Any, target: Any, arguments: Arguments, notes: list[str]
) -> tuple[Engine, Engine | None, Engine, Engine | None]:
    """Rule and target in the arguments' own precision, and both in double where that works."""
    native, native_target = begun(fun, arguments, False), (None, None)
    wide = wide_target = native_target
    if native[0] is not None:
        native_target = _target(target, arguments, False)
        if not _in_double(native[0]):
            wide, wide_target = begun(fun, arguments, True), _target(target, arguments, True)
    made, reason = working(native)
    if made is None:
        given = arguments.concrete(arguments.given, False)
        jax.block_until_ready(fun(*arguments.rebuild(given, arguments.integers)))  # raises itself?
        raise RuleError(reason or "")
    made_target, why = working(native_target)
    rule, other = _widest(made, wide, notes), made_target
    rule.value.prepare(*_given(arguments))
    if rule is not made and target:
        other, why = working(wide_target)
    if target is not None and other is None:
        notes.append(f"no autodiff reference, agreement rests on finite differences alone: {why}")
    return made, made_target, rule, other


def _target(target: Any, arguments: Arguments, wide: bool) -> Begun:
    return begun(target, arguments, wide) if target else (None, None)


def _in_double(native: Engine) -> bool:
    """Whether the arguments and the outputs are in double precision as they are."""
    double = all(leaf.dtype == np.float64 for leaf in native.arguments.leaves)
    return native.dtype == np.float64 and double


def _widest(native: Engine, begun_wide: Begun, notes: list[str]) -> Engine:
    """The function in double precision, or in its own where it does not work in double."""
    if _in_double(native):
        return native
    wide, reason = working(begun_wide)
    if wide is None:
        notes.append(f"checked in the arguments' own precision; in float64: {reason}")
    return wide or native


def function_name(fun: Any) -> str:
    """What the function is called in a line of Python: `fun` where it has no name."""
    name = getattr(fun, "__name__", "")
    return name if name.isidentifier() else "fun"


def _reference_name(
    fun: Any, rules: tuple[CustomRule, ...] | None, reference: Any, surrogate: Any
) -> str:
    """What the reference is called in a line of Python."""
    if surrogate is not None or reference is not None:
        return "reference" if surrogate is None else "surrogate"
    name, kinds = function_name(fun), {rule.kind for rule in rules or ()}
    if not kinds:
        return name
    only = ", custom_jvp=True" if kinds == {"custom_jvp"} else ""
    return f"jaxfn.autodiff({name}{only})"


class RuleError(Exception):
    """The rule itself raises where the function does not."""
