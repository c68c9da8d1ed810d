"""Witnesses tell without `gradcheck` whether a rule is right.

A witness takes a case and returns two trees of arrays that agree if the rule is right. They
disagree for each wrong rule; `disagreement` says by how much.
"""

import functools
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.verification.subject.programs import quick_options
from tests.jaxfn.verification.bodies.case import Case, Function, Witness, normal


def is_inexact(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def like(tree: Any, seed: int = 7) -> Any:
    """A normal variate for each floating element of a tree of arrays, float0 for the others."""
    leaves, structure = jax.tree.flatten(tree)
    drawn = [
        normal(*np.shape(leaf), seed=seed + i, dtype=jnp.result_type(leaf))
        if is_inexact(leaf)
        else np.zeros(np.shape(leaf), jax.dtypes.float0)
        for i, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, drawn)


def wide(tree: Any) -> Any:
    """The tree in double precision."""

    def widen(leaf):
        if not is_inexact(leaf):
            return leaf
        kind = np.complex128 if jnp.iscomplexobj(leaf) else np.float64
        return np.asarray(leaf).astype(kind)

    return jax.tree.map(widen, tree)


def pullback(fun: Function, args: tuple[Any, ...], cotangent: Any) -> Any:
    """The gradients of `fun` for one cotangent; None for integer arguments."""
    gradients = jax.vjp(fun, *args)[1](cotangent)
    return jax.tree.map(lambda g: None if g.dtype == jax.dtypes.float0 else g, gradients)


def compiled(fun: Function) -> Function:
    """The function under `jit`, compiled with as little effort as possible: each runs once."""
    return jax.jit(fun, compiler_options=quick_options(0))


def _plain(case: Case, plain: Function | None) -> Function:
    found = plain or inspect.unwrap(case.fun)
    assert found is not case.fun, f"{case.name}: state the plain function"
    return found


def gradient(
    at: tuple[Any, ...] | None = None,
    plain: Function | None = None,
    double: bool = False,
    jit: bool = True,
) -> Witness:
    """The rule's gradients, and autodiff's of the plain function, for a random cotangent."""

    def witness(case):
        reference = _plain(case, plain)

        def both(args, cotangent):
            return pullback(case.fun, args, cotangent), pullback(reference, args, cotangent)

        with jax.enable_x64(double):
            args = case.args if at is None else at
            args = wide(args) if double else args
            cotangent = like(jax.eval_shape(reference, *args))
            return (compiled(both) if jit else both)(args, cotangent)

    return witness


def second_order(at: tuple[Any, ...] | None = None, plain: Function | None = None) -> Witness:
    """The gradients of the gradients, of the rule and by autodiff."""

    def witness(case):
        args = case.args if at is None else at
        reference = _plain(case, plain)
        cotangent = like(jax.eval_shape(reference, *args))

        def twice(fun):
            inner = functools.partial(pullback, fun)
            return pullback(lambda *a: inner(a, cotangent), args, like(args, seed=11))

        return compiled(lambda: (twice(case.fun), twice(reference)))()

    return witness


def types() -> Witness:
    """The dtypes of the gradients, and of the arguments."""

    def witness(case):
        shapes = jax.eval_shape(case.fun, *case.args)
        gradients = jax.vjp(case.fun, *case.args)[1](like(shapes))
        names = jax.tree.map(lambda g: g.dtype.name, gradients)
        return names, jax.tree.map(lambda arg: jnp.result_type(arg).name, case.args)

    return witness


def primal(at: tuple[Any, ...] | None = None) -> Witness:
    """Value and type of what the forward rule computes, and of the function."""

    def describe(tree):
        tree = jax.tree.map(jnp.asarray, tree)
        return tree, jax.tree.map(lambda leaf: f"{leaf.dtype.name}{leaf.weak_type}", tree)

    def witness(case):
        args = case.args if at is None else at
        return describe(jax.vjp(case.fun, *args)[0]), describe(case.fun(*args))

    return witness


def vmapped(in_axes: Any = 0, size: int = 3) -> Witness:
    """The gradients under `vmap` over the arguments with an axis, and by a loop."""

    def witness(case):
        args = case.args
        axes = (in_axes,) * len(args) if isinstance(in_axes, int) else in_axes
        factors = 1 + 0.25 * np.arange(size)

        def stacked(arg, axis):
            if axis is None:
                return arg
            return jax.tree.map(lambda a: np.stack([f * a for f in factors]).astype(a.dtype), arg)

        batch = tuple(stacked(arg, axis) for arg, axis in zip(args, axes, strict=True))
        cotangents = like(jax.eval_shape(lambda *b: jax.vmap(case.fun, axes)(*b), *batch))

        def one(cotangent, *arguments):
            return case.fun(*arguments), pullback(case.fun, arguments, cotangent)

        def row(i):
            chosen = (
                arg if axis is None else jax.tree.map(lambda a: a[i], arg)
                for arg, axis in zip(batch, axes, strict=True)
            )
            return one(jax.tree.map(lambda c: c[i], cotangents), *chosen)

        loop = jax.tree.map(lambda *rows: np.stack(rows), *[row(i) for i in range(size)])
        return jax.vmap(one, (0, *axes))(cotangents, *batch), loop

    return witness


def repeated(times: int = 2) -> Witness:
    """The same gradients once more, without `jit`."""

    def witness(case):
        cotangent = like(jax.eval_shape(case.fun, *case.args))
        runs = [pullback(case.fun, case.args, cotangent) for _ in range(times)]
        return runs[-1], runs[0]

    return witness


def jitted() -> Witness:
    """The gradients under `jit`, and without."""

    def witness(case):
        cotangent = like(jax.eval_shape(case.fun, *case.args))
        pull = functools.partial(pullback, case.fun)
        return jax.jit(pull)(case.args, cotangent), pull(case.args, cotangent)

    return witness


def output(index: Any, plain: Function | None = None) -> Witness:
    """The gradients when only one of the outputs is used."""

    def witness(case):
        reference = _plain(case, plain)
        cotangent = like(jax.eval_shape(reference, *case.args)[index])

        def pull(fun):
            return pullback(lambda *a: fun(*a)[index], case.args, cotangent)

        return compiled(lambda: (pull(case.fun), pull(reference)))()

    return witness


def argument(index: int, plain: Function | None = None) -> Witness:
    """The gradient when only one of the arguments is differentiated."""

    def witness(case):
        reference, args = _plain(case, plain), case.args
        cotangent = like(jax.eval_shape(reference, *args))

        def pull(fun):
            def of_one(x):
                return fun(*args[:index], x, *args[index + 1 :])

            return pullback(of_one, (args[index],), cotangent)

        return compiled(lambda: (pull(case.fun), pull(reference)))()

    return witness


def differences(
    at: tuple[Any, ...] | None = None,
    plain: Function | None = None,
    double: bool = True,
    step: float = 1e-5,
) -> Witness:
    """The rule's directional derivatives, and central differences of the plain function."""

    def witness(case):
        reference = plain or case.fun

        def dot(a, b):
            pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
            return sum((jnp.sum(x * y).real for x, y in pairs if is_inexact(x)), start=0.0)

        def moved(args, direction, by):
            return jax.tree.map(
                lambda a, v: a + (by * v).astype(a.dtype) if is_inexact(a) else a, args, direction
            )

        def both(args, cotangent, direction):
            gradients = jax.vjp(case.fun, *args)[1](cotangent)
            ahead, behind = (reference(*moved(args, direction, by)) for by in (step, -step))
            change = dot(cotangent, ahead) - dot(cotangent, behind)
            return dot(direction, gradients), change / (2 * step)

        with jax.enable_x64(double):
            args = case.args if at is None else at
            args = wide(args) if double else args
            cotangent = like(jax.eval_shape(case.fun, *args))
            run = compiled(both)
            pairs = [run(args, cotangent, like(args, seed=seed)) for seed in (11, 23)]
        return [rule for rule, _ in pairs], [change for _, change in pairs]

    return witness


def at_one(expected):
    """The gradients for cotangents of one are those of `expected(*args)`, worked out by hand."""

    def seen(fun, args):
        shapes = jax.eval_shape(fun, *args)
        return pullback(fun, args, jax.tree.map(lambda y: np.ones(y.shape, y.dtype), shapes))

    return lambda case: (seen(case.fun, case.args), expected(*case.args))


def agreement(seen: Function, expected: Function) -> Witness:
    """What two functions of the arguments return."""
    return lambda case: (seen(*case.args), expected(*case.args))


def disagreement(seen: Any, expected: Any) -> float:
    """The largest error of a leaf, relative to the leaf's largest element; inf for another kind."""
    if jax.tree.structure(seen) != jax.tree.structure(expected):
        return np.inf
    pairs = zip(jax.tree.leaves(seen), jax.tree.leaves(expected), strict=True)
    return max((_disagreement(a, b) for a, b in pairs), default=0.0)


def _disagreement(seen: Any, expected: Any) -> float:
    if isinstance(expected, str):
        return 0.0 if seen == expected else np.inf
    if np.size(expected) == 0:
        return 0.0 if np.shape(seen) == np.shape(expected) else np.inf
    a, b = (np.asarray(leaf).astype(np.complex128) for leaf in (seen, expected))
    finite = np.isfinite(b)
    if a.shape != b.shape or (np.isfinite(a) != finite).any():
        return np.inf
    scale = np.abs(b[finite]).max(initial=0.0)
    return float(np.abs(a[finite] - b[finite]).max(initial=0.0) / (scale or 1.0))
