"""The rules that a run meets, told apart, each with a few of the operands that it got."""

import dataclasses
import functools
import inspect
import threading
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxfn.auditing import closures

# Where a rule is made of a function that it closes over: `jax.custom_gradient`, Equinox's filters.
WRAPPERS = ("jax._src.custom_derivatives", "equinox.")
KEPT = 6  # of the operands and of the cotangents of a rule, spread over the run
KEPT_LARGE, LARGE = 2, 1_000_000  # of those with more elements

Arrays = tuple[np.ndarray, ...]


@dataclasses.dataclass
class Samples:
    """A few of many: the first, the last, and some between, as even as one pass can have it."""

    most: int = KEPT
    kept: list[Any] = dataclasses.field(default_factory=list)
    last: Any = None
    count: int = 0
    stride: int = 1

    def add(self, sample: Any) -> None:
        if self.count % self.stride == 0:
            self.kept.append(sample)
            if len(self.kept) > self.most:
                self.kept, self.stride = self.kept[::2], 2 * self.stride
        self.last = sample
        self.count += 1

    def chosen(self) -> list[Any]:
        """The first, one in the middle and the last."""
        among = self.kept if self.kept and self.kept[-1] is self.last else [*self.kept, self.last]
        places = dict.fromkeys((0, len(among) // 2, len(among) - 1))
        return [among[i] for i in places] if self.count else []


@dataclasses.dataclass
class Met:
    """A rule with operands of certain types and certain static arguments.

    Attributes:
        rule: the `custom_vjp` or `custom_jvp` object.
        kind: which of these.
        name: of the function that has the rule.
        source: where that function is defined, `"file:line"`.
        module: its module.
        tree: the structure of the arguments; `leaves` their leaves, of which those at `positions`
            are the operands, arrays whose values `values` and `pairs` hold; behind them stand
            those of `closed`, values of the trace that the rule closes over.
        keys: of the operands that are PRNG keys, the implementation; None of others.
        values: operands, as the rule was called with them.
        pairs: operands together with the cotangents of the outputs.
        around: the calls around it, each time that Python came by.
        by: who applied it: in pytest a test.
    """

    rule: Any
    kind: str
    name: str
    source: str
    module: str
    tree: Any
    leaves: list[Any]
    positions: list[int]
    types: list[str]
    closed: list[Any]
    keys: list[Any]
    number: int
    values: Samples
    pairs: Samples
    family: Any = None  # the same of rules that differ in lengths and static arguments alone
    around: list[str] = dataclasses.field(default_factory=list)
    by: list[str] = dataclasses.field(default_factory=list)

    @property
    def signature(self) -> str:
        """The types of the operands, and the static arguments."""
        types = dict(zip(self.positions, self.types, strict=False))
        said = [
            types.get(i) or _shortened(closures.written(leaf)) for i, leaf in enumerate(self.leaves)
        ]
        return ", ".join([*said, *(f"{t} closed over" for t in self.types[len(self.positions) :])])

    def arguments(self, operands: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments of the rule's call with these operands."""
        leaves = list(self.leaves)
        for position, array in zip(self.positions, operands, strict=False):
            leaves[position] = array
        return self.tree.unflatten(leaves)

    def with_closed(self, operands: Sequence[Any]) -> Any:
        """The rule, with concrete values of what it closes over."""
        values = operands[len(self.positions) :]
        new = {id(t): jnp.asarray(v) for t, v in zip(self.closed, values, strict=True)}
        return closures.replaced(self.rule, lambda leaf: new.get(id(leaf), leaf))

    def arrays(self, operands: Sequence[Any]) -> list[Any]:
        """The operands as the rule takes them: PRNG keys are made of the numbers that they hold."""
        return [
            array if key is None else jax.random.wrap_key_data(jnp.asarray(array), impl=key)
            for array, key in zip(operands, self.keys, strict=True)
        ]


def _type(array: Any) -> str:
    name = "key" if is_key(array) else array.dtype.name
    for long, short in (
        ("bfloat", "bf"),
        ("float", "f"),
        ("uint", "u"),
        ("int", "i"),
        ("complex", "c"),
    ):
        if name.startswith(long):
            name = short + name.removeprefix(long)
            break
    return f"{name}[{','.join(map(str, array.shape))}]"


def _shortened(text: str) -> str:
    first = text.split(" ", 1)[0] if text.startswith(("<", "partial")) else text
    return first if len(first) < 40 else f"{first[:37]}..."


def is_array(value: Any) -> bool:
    """Whether a value is an operand: an array of JAX or numpy, concrete or of a trace."""
    return isinstance(value, (jax.Array, np.ndarray, np.generic)) and not isinstance(value, jax.Ref)


def is_key(value: Any) -> bool:
    return jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


class Recorder:
    """What a run meets.

    `accepts` says of a rule, by source and module, whether it is looked at; `outermost` is the file
    of the function that is traced, from which on the calls around a rule are told, if they are.
    """

    def __init__(self, accepts: Callable[[str, str], bool] | None = None) -> None:
        self.met: dict[Any, Met] = {}
        self.accepts, self.outermost = accepts, ""
        self.by = ""
        self.insertions = 0  # of callbacks into what JAX traces
        self._lock = threading.Lock()

    def meet(
        self, rule: Any, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Met, list[Any]] | None:
        """The record of a rule that is about to be called, and its operands.

        None if the rule is not among those that are looked at.
        """
        fun = defined(rule.fun)
        source, module = place(fun), getattr(fun, "__module__", "") or ""
        if self.accepts is not None and not self.accepts(source, module):
            return None
        leaves, tree = jax.tree.flatten(_positional(rule, args, kwargs))
        positions = [i for i, leaf in enumerate(leaves) if is_array(leaf)]
        closed = closures.traced(rule)
        operands = [*(leaves[i] for i in positions), *closed]
        types = tuple((np.shape(a), str(a.dtype)) for a in operands)
        static = tuple(closures.written(leaf) for leaf in leaves if not is_array(leaf))
        rest = (kind, source, closures.written(rule))
        key = (*rest, str(tree), static, types)
        with self._lock:
            if key not in self.met:
                # values of a trace are not kept: the operands' places are enough
                kept = [None if is_array(leaf) else leaf for leaf in leaves]
                most = KEPT_LARGE if sum(map(np.size, operands)) > LARGE else KEPT
                self.met[key] = Met(
                    rule=rule,
                    kind=kind,
                    name=getattr(fun, "__name__", type(fun).__name__),
                    source=source,
                    module=module,
                    tree=tree,
                    leaves=kept,
                    positions=positions,
                    types=[_type(a) for a in operands],
                    closed=closed,
                    keys=[jax.random.key_impl(a) if is_key(a) else None for a in operands],
                    number=len(self.met),
                    family=(*rest, tuple((len(shape), dtype) for shape, dtype in types)),
                    values=Samples(most),
                    pairs=Samples(most),
                )
            met = self.met[key]
            if self.by and self.by not in met.by:
                met.by.append(self.by)
        return met, operands


def _positional(rule: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments by position, as the rule itself takes them."""
    try:
        bound = inspect.signature(rule.fun).bind(*args, **kwargs)
    except (TypeError, ValueError):  # a wrong call, or no signature: the call itself says so
        return args
    bound.apply_defaults()
    return args if bound.kwargs else bound.args


def defined(fun: Any) -> Any:
    """The function that somebody wrote, inside of what wraps it."""
    fun = inspect.unwrap(fun)
    while isinstance(fun, functools.partial):
        fun = inspect.unwrap(fun.func)
    if str(getattr(fun, "__module__", "")).startswith(WRAPPERS):
        written = (leaf for leaf in closures.cells(fun, 1) if isinstance(leaf, FunctionType))
        return next((f for f in written if not f.__module__.startswith(WRAPPERS)), fun)
    return fun


def place(fun: Any) -> str:
    """Where a function is defined, `"file:line"`."""
    code = getattr(fun, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else ""


def concrete(values: Sequence[Any]) -> bool:
    return not any(isinstance(value, Tracer) for value in values)
