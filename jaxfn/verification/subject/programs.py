"""Compiled programs that evaluate a function and its pullback at many points.

Compiling costs more than running here, so each question is compiled once and all probes go
through it: a loop whose trip count is an argument, over rows of points and cotangents.
"""

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.verification.subject import jaxprs
from jaxfn.verification.subject.branches import branch_values
from jaxfn.verification.subject.convergence import iterates_for_long, with_one_more_step
from jaxfn.verification.subject.coordinates import (
    Arguments,
    concrete_cotangents,
    cotangents,
    flatten_gradient,
    flatten_output,
    is_inexact,
    on_device,
)

ELEMENTS_PER_CALL = 1_000_000
# of XLA's CPU backend; together they divide the time of a compilation by four
OPTIMISATION = "xla_backend_optimization_level"
QUICK = {
    OPTIMISATION: 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,  # modules of LLVM, whose making costs more here
}
FEWEST_PASSES = "jax_disable_most_optimizations"  # a setting of JAX
# XLA compiles here, which does not hold Python's lock, while the caller traces the next program
BESIDE = ThreadPoolExecutor(1, "jaxfn-compiles")
CALLBACKS = {"pure_callback", "io_callback"}
NEW_REFERENCES = {"new_ref"}
UNTRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
)


def precision(wide: bool) -> contextlib.AbstractContextManager[Any]:
    """Double precision inside, or the caller's own setting."""
    return jax.enable_x64(True) if wide else contextlib.nullcontext()


@contextlib.contextmanager
def precision_of_threads(wide: bool, primitives: set[str]) -> Iterator[None]:
    """Double precision in the threads that run a program's callbacks, if it has any.

    They know the setting of the process alone, which is put back at once.
    """
    if not wide or not CALLBACKS & primitives:
        yield
        return
    found: list[bool] = []
    other = threading.Thread(target=lambda: found.append(jax.config.read("jax_enable_x64")))
    other.start()
    other.join()
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", found[0])


@contextlib.contextmanager
def quickly_compiled(wide: bool) -> Iterator[None]:
    """Each operation that is called by itself is compiled with most of XLA's passes left out.

    JAX keeps what it has compiled. So in the caller's own precision nothing is left out, where the
    caller may call the same operations again. The setting is the process's, and is put back.
    """
    before = jax.config.read(FEWEST_PASSES)
    own = not wide or jax.config.read("jax_enable_x64")
    jax.config.update(FEWEST_PASSES, before or not own)
    try:
        yield
    finally:
        jax.config.update(FEWEST_PASSES, before)


def flat_dtype(wide: bool) -> Any:
    """The dtype of the vectors: double wherever it is enabled."""
    return jnp.float64 if wide or jax.config.read("jax_enable_x64") else jnp.float32


def quick_options(elements: int) -> dict[str, Any] | None:
    """Options that shorten the compilation; large programs are worth optimising."""
    if jax.default_backend() != "cpu":
        return None
    options = dict(known_options())
    if elements > 50_000:
        options.pop(OPTIMISATION, None)
    return options


@functools.cache
def known_options() -> dict[str, Any]:
    """The options among `QUICK` that the compiler of this version knows."""
    known = {}
    for name, value in QUICK.items():
        try:
            jax.jit(lambda: 0).lower().compile(compiler_options={name: value})
        except jax.errors.JaxRuntimeError:  # an option of other versions
            continue
        known[name] = value
    return known


class Program:
    """A function of a row of arrays, run over many rows in one compiled loop.

    Where the function cannot be traced (it branches on values), the rows are run one by one.
    """

    def __init__(
        self,
        row: Callable[..., tuple[Any, ...]],
        widths: Sequence[int],
        wide: bool,
        eager: bool = False,
    ):
        self.row, self.widths, self.wide = row, tuple(widths), wide
        self.compiled: Any = None
        self.begun: Future[tuple[Any, float]] | None = None  # that, and how long it took
        self.eager = eager
        self.untraceable: Exception | None = None  # why it is eager
        self.chunk = 0
        self.eps = 0.0
        self.primitives: set[str] = set()
        self.has_references = False  # whether it reads or writes a `jax.Ref`
        self.compile_seconds = 0.0

    def prepare(self, *columns: Any) -> None:
        """Traces in this thread and begins to compile in another one.

        The first call awaits the program, and raises what was raised on the way.
        """
        if self.compiled is not None or self.begun is not None or self.eager:
            return
        with precision(self.wide), np.errstate(all="ignore"):
            try:
                self._begin(jax.tree.map(self._cast, columns))
            except Exception as error:  # whatever it is, the first call raises it
                self.begun = Future()
                self.begun.set_exception(error)

    def __call__(self, *columns: Any) -> tuple[np.ndarray, ...]:
        count = len(columns[0])
        if count == 0:
            return tuple(np.zeros((0, width)) for width in self.widths)
        with precision(self.wide), np.errstate(all="ignore"):
            columns = jax.tree.map(self._cast, columns)
            if self.compiled is None and not self.eager:
                self._compile(columns)
            if self.eager:
                parts = [self._one(columns, i) for i in range(count)]
                out = tuple(np.stack(part) for part in zip(*parts, strict=True))
            else:
                parts = [self._chunk(columns, i) for i in range(0, count, self.chunk)]
                joined = zip(*parts, strict=True)
                out = tuple(p[0] if len(p) == 1 else np.concatenate(p) for p in joined)
        return tuple(part.astype(np.float64, copy=False) for part in out)

    def _cast(self, column: np.ndarray) -> np.ndarray:
        if np.issubdtype(column.dtype, np.floating):
            return column.astype(flat_dtype(self.wide), copy=False)
        return column

    def _compile(self, columns: tuple[Any, ...]) -> None:
        if self.begun is None:
            self._begin(columns)
        begun, self.begun = self.begun, None
        if begun is not None:
            self.compiled, self.compile_seconds = begun.result()

    def _begin(self, columns: tuple[Any, ...]) -> None:
        width = sum(np.size(leaf[0]) for leaf in jax.tree.leaves(columns)) + sum(self.widths)
        self.chunk = int(np.clip(ELEMENTS_PER_CALL // max(width, 1), 4, 128))
        dtype = flat_dtype(self.wide)

        def loop(count: Any, columns: Any) -> tuple[Any, ...]:
            def step(i: Any, buffers: tuple[Any, ...]) -> tuple[Any, ...]:
                # one slice each, which is compiled in less time than what indexing is made of
                row = jax.tree.map(lambda c: _row(c, i), columns)
                return tuple(
                    jax.lax.dynamic_update_index_in_dim(
                        b, r.astype(b.dtype), i, 0, allow_negative_indices=False
                    )
                    for b, r in zip(buffers, self.row(*row), strict=True)
                )

            empty = tuple(jnp.zeros((self.chunk, width), dtype) for width in self.widths)
            return jax.lax.fori_loop(0, count, step, empty)

        start = time.perf_counter()
        try:
            traced = jax.jit(loop).trace(0, jax.tree.map(self._padded, columns))
        except UNTRACEABLE as error:
            self.eager, self.untraceable = True, error
            return
        self.eps = jaxprs.lowest_precision(traced.jaxpr.jaxpr)
        self.primitives = jaxprs.primitive_names(jaxprs.loop_body(traced.jaxpr.jaxpr))
        closed_over = any(isinstance(const, jax.Ref) for const in traced.jaxpr.consts)
        self.has_references = closed_over or bool(NEW_REFERENCES & self.primitives)
        options, lowered = quick_options(width), traced.lower()
        before = time.perf_counter() - start

        def compiled() -> tuple[Any, float]:
            start = time.perf_counter()
            program = lowered.compile(compiler_options=options)
            return program, before + time.perf_counter() - start

        self.begun = BESIDE.submit(compiled)

    def _padded(self, column: np.ndarray) -> np.ndarray:
        rows = column[: self.chunk]
        if len(rows) == self.chunk:
            return rows
        padded = np.zeros((self.chunk, *rows.shape[1:]), rows.dtype)
        padded[: len(rows)] = rows
        return padded

    def _chunk(self, columns: tuple[Any, ...], start: int) -> tuple[np.ndarray, ...]:
        rows = jax.tree.map(lambda c: c[start : start + self.chunk], columns)
        count = len(rows[0])
        with precision_of_threads(self.wide, self.primitives):
            out = self.compiled(count, jax.tree.map(self._padded, rows))
            return tuple(np.asarray(part)[:count] for part in out)

    def _one(self, columns: tuple[Any, ...], i: int) -> tuple[np.ndarray, ...]:
        out = self.row(*jax.tree.map(lambda c: jnp.asarray(c[i]), columns))
        return tuple(np.asarray(part) for part in out)


def _row(column: Any, i: Any) -> Any:
    return jax.lax.dynamic_index_in_dim(column, i, keepdims=False, allow_negative_indices=False)


class Engine:
    """A function of the flat vector of its arguments, in double or in its own precision."""

    def __init__(self, fun: Callable[..., Any], arguments: Arguments, wide: bool) -> None:
        self.fun, self.arguments, self.wide = fun, arguments, wide
        self.dtype = flat_dtype(wide)
        with precision(wide):
            self.outputs = [jax.ShapeDtypeStruct(o.shape, o.dtype) for o in self._shapes()]
        self.size = sum(
            int(np.prod(o.shape, dtype=int))
            * (2 if jnp.issubdtype(o.dtype, jnp.complexfloating) else 1)
            for o in self.outputs
        )
        inputs, eager = arguments.size, arguments.eager
        self.value = Program(self._value, (self.size,), wide, eager)
        self.pull = Program(self._pull, (self.size, inputs), wide, eager)
        # of the primal and the gradient together, as in the derivative of x ↦ f(x) ∂f(x)
        self.pull_twice = Program(self._pull_twice, (inputs, self.size), wide, eager)
        self.gradient_twice = Program(self._gradient_twice, (inputs, self.size), wide, eager)

    def of_leaves(self, integers: Sequence[Any]) -> Callable[..., list[Any]]:
        """The function of its differentiable leaves alone; it returns its inexact outputs.

        The integer arguments reach it as JAX's arrays: a traced array is no index of numpy's.
        """

        def call(arrays: Sequence[Any]) -> list[Any]:
            whole = [jnp.asarray(part) for part in integers]
            out = self.fun(*self.arguments.rebuild(arrays, whole))
            return [jnp.asarray(leaf) for leaf in jax.tree.leaves(out) if is_inexact(leaf)]

        return call

    def stops_gradients(self) -> bool:
        """Whether by JAX's rules the function, not its rule, has another derivative than slope."""
        return bool(jaxprs.SLOPELESS & self.own_primitives)

    @property
    def own_primitives(self) -> set[str]:
        """The names of the primitives of the function itself; none where it cannot be traced."""
        return set() if self.traced is None else jaxprs.primitive_names(self.traced.jaxpr)

    def integer_branches(self) -> tuple[tuple[int, ...], ...]:
        """For each integer argument the values at which the program treats it otherwise."""
        if self.traced is None:
            return ()
        leaves, integers = self.arguments.leaves, self.arguments.integers
        return tuple(branch_values(self.traced, len(leaves), len(integers)))

    @functools.cached_property
    def traced(self) -> Any:
        """The jaxpr of the differentiable leaves and of the integer arguments."""
        if self.value.eager:
            return None
        integers = [on_device(part) for part in self.arguments.integers]
        with precision(self.wide):
            arrays = self.arguments.concrete(self.arguments.given, self.wide)
            return jax.make_jaxpr(lambda a, i: self.of_leaves(i)(a))(arrays, integers)

    def iterates_for_long(self) -> bool:
        """Whether the function repeats a step a fixed number of times, as an iteration does."""
        return self.traced is not None and iterates_for_long(self.traced)

    @functools.cached_property
    def longer_value(self) -> Program:
        """The function's values with one more step of each iteration."""
        longer = with_one_more_step(self.traced)

        def value(x: Any, integers: Any) -> tuple[Any]:
            arrays = self.arguments.differentiable(x, self.wide)
            return (flatten_output(longer(*arrays, *integers), self.dtype),)

        return Program(value, (self.size,), self.wide)

    def _shapes(self) -> list[Any]:
        arrays = self.arguments.differentiable(self.arguments.given.astype(self.dtype), self.wide)
        try:
            return jax.eval_shape(self.of_leaves(self.arguments.integers), arrays)
        except (*UNTRACEABLE, jax.errors.UnexpectedTracerError):
            return self.of_leaves(self.arguments.integers)([jnp.asarray(a) for a in arrays])

    def forward(self, x: Any, integers: Sequence[Any]) -> tuple[Any, Callable[[Any], Any]]:
        """The primal that the forward rule computes, and the pullback."""
        arrays = self.arguments.differentiable(x, self.wide)
        outputs, pullback = jax.vjp(self.of_leaves(integers), arrays)

        def pull(cotangent: Any) -> Any:
            (gradients,) = pullback(cotangents(cotangent, outputs))
            return flatten_gradient(gradients, self.arguments.leaves, self.dtype)

        return flatten_output(outputs, self.dtype), pull

    def without_jit(
        self, x: np.ndarray, integers: Sequence[Any], cotangent: np.ndarray
    ) -> Callable[[], np.ndarray]:
        """The forward pass, each operation by itself; a call makes primal and gradients of it."""
        arrays = self.arguments.concrete(x, self.wide)
        whole = [on_device(part) for part in integers]
        outputs, pullback = jax.vjp(self.of_leaves(whole), arrays)

        def pull() -> np.ndarray:
            (gradients,) = pullback(concrete_cotangents(cotangent, outputs))
            parts = [np.asarray(g) for g in gradients]
            gradient = flatten_gradient(parts, self.arguments.leaves, np.float64, np)
            primal = flatten_output([np.asarray(y) for y in outputs], np.float64, np)
            return np.concatenate([primal, gradient])

        return pull

    def tangent(self, x: np.ndarray, integers: Sequence[Any], vector: np.ndarray) -> np.ndarray:
        """The derivative of the outputs along a vector, in forward mode."""
        with precision(self.wide):
            point, along = (self.arguments.concrete(v, self.wide) for v in (x, vector))
            _, tangents = jax.jvp(self.of_leaves(integers), [point], [along])
            return flatten_output([np.asarray(t) for t in tangents], np.float64, np)

    def gradient(self, x: Any, integers: Sequence[Any], cotangent: Any) -> tuple[Any, Any]:
        """The primal, and the gradients for one cotangent."""
        primal, pull = self.forward(x, integers)
        return primal, pull(cotangent)

    def _value(self, x: Any, integers: Any) -> tuple[Any]:
        arrays = self.arguments.differentiable(x, self.wide)
        return (flatten_output(self.of_leaves(integers)(arrays), self.dtype),)

    def _pull(self, x: Any, integers: Any, cotangent: Any) -> tuple[Any, Any]:
        return self.gradient(x, integers, cotangent)

    def _pull_twice(self, x: Any, integers: Any, cotangent: Any, weights: Any) -> tuple[Any, Any]:
        def both(x: Any, cotangent: Any) -> Any:
            return jnp.concatenate(self.gradient(x, integers, cotangent))

        _, pullback = jax.vjp(both, x, cotangent)
        return pullback(weights)

    def _gradient_twice(
        self, x: Any, integers: Any, cotangent: Any, weights: Any
    ) -> tuple[Any, Any]:
        def gradient_alone(x: Any, cotangent: Any) -> Any:
            return self.gradient(x, integers, cotangent)[1]

        _, pullback = jax.vjp(gradient_alone, x, cotangent)
        return pullback(weights[self.size :])
