"""The transformations of JAX under which a rule must give the same gradients."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.verification.evidence.agreement import Comparison
from jaxfn.verification.points.probes import GIVEN, NEAR, Probe, columns_of
from jaxfn.verification.subject.coordinates import cotangents, flatten_gradient
from jaxfn.verification.subject.programs import Engine, quick_options
from jaxfn.verification.subject.subject import Subject

GROUPS = 5  # arguments that are looked at alone
SMALL = 20_000  # elements of a function under all transformations


@dataclass(frozen=True)
class Variant:
    """One transformation: what it computes, and the rows of plain gradients it must equal.

    `varying` are the leaves that differ from row to row (None: all), `integers` whether the
    integer arguments do; `summed` the leaves whose gradient is the sum of the rows;
    `differentiated` those whose gradient it computes (None: all), `output` the one output that it
    uses; `explicit` whether `varying` are those that are divided on an explicit mesh.
    """

    name: str
    run: Callable[["Points"], Any]
    rows: tuple[int, ...] = (0,)
    varying: tuple[int, ...] | None = None
    differentiated: tuple[int, ...] | None = None
    output: int | None = None
    summed: tuple[int, ...] = ()
    integers: bool = False
    explicit: bool = False


@dataclass(frozen=True)
class Points:
    """A few points and cotangents, stacked, and what the variants need of the engine."""

    subject: Subject
    probes: tuple[Probe, ...]
    x: Any
    integers: tuple[Any, ...]
    gammas: Any
    groups: tuple[tuple[int, ...], ...]

    @property
    def engine(self) -> Engine:
        """The rule's."""
        return self.subject.rule

    def evaluated(self, run: Callable[["Points"], Any]) -> Any:
        """What `run` makes of the points, which are arguments of one compiled program.

        As constants of the program they would be computed with by the compiler, slowly.
        """

        def call(x: Any, integers: Any, gammas: Any) -> Any:
            return run(replace(self, x=x, integers=integers, gammas=gammas))

        options = quick_options(self.subject.arguments.size + self.engine.size)
        out = jax.jit(call, compiler_options=options)(self.x, self.integers, self.gammas)
        return jax.tree.map(lambda part: np.asarray(part, np.float64), out)

    def leaves(self, rows: tuple[int, ...]) -> list[Any]:
        """The stacked differentiable leaves of some rows."""
        split = [
            self.subject.arguments.differentiable(self._flat(self.x[i]), self.engine.wide)
            for i in rows
        ]
        return [jnp.stack(parts) for parts in zip(*split, strict=True)]

    def one(self, row: int) -> list[Any]:
        """The differentiable leaves of one row."""
        return self.subject.arguments.differentiable(self._flat(self.x[row]), self.engine.wide)

    def gamma(self, row: int) -> Any:
        """The cotangent of one row."""
        return self._flat(self.gammas[row])

    def _flat(self, vector: Any) -> Any:
        return jnp.asarray(vector, self.engine.dtype)


def points_of(subject: Subject, found: Comparison, count: int) -> Points:
    """The given point and those near it that can be used, and a cotangent for each."""
    probes = settled_probes(found, count)
    x, integers = columns_of(probes)
    shape = (count, subject.rule.size)
    gammas = subject.rng.standard_normal(shape).astype(np.float32).astype(np.float64)
    return Points(subject, probes, x, integers, gammas, _groups(subject))


def settled_probes(found: Comparison, count: int) -> tuple[Probe, ...]:
    """So many of the given point and those near it that can be used, over and over."""
    usable = {int(i) for i in found.which[found.usable]}
    near = [p for i, p in enumerate(found.probes) if i in usable and p.kind in (GIVEN, NEAR)]
    return tuple((near * count)[:count]) if near else found.probes[:1] * count


def _groups(subject: Subject) -> tuple[tuple[int, ...], ...]:
    """The leaves by argument, or one by one where there is one argument only."""
    by_argument: dict[int, list[int]] = {}
    for k, leaf in enumerate(subject.arguments.leaves):
        by_argument.setdefault(leaf.argument, []).append(k)
    groups = tuple(tuple(group) for group in by_argument.values())
    return tuple((k,) for k in groups[0]) if len(groups) == 1 else groups


def variants(points: Points) -> list[Variant]:
    """The transformations to compare, the cheap ones alone for large functions."""
    subject, engine = points.subject, points.engine
    small = subject.arguments.size + engine.size <= SMALL

    def pull(arrays: Any, integers: Any, gamma: Any, wrap: Any = lambda f: f) -> Any:
        outputs, pullback = jax.vjp(wrap(engine.of_leaves(integers)), arrays)
        return _flat(points, pullback(cotangents(gamma, outputs))[0])

    def row(at: Points, i: int) -> tuple[Any, ...]:
        return at.one(i), tuple(p[i] for p in at.integers), at.gamma(i)

    def mapped(name: str, rows: tuple[int, ...], group: Any = None) -> Variant:
        return Variant(name, lambda at: _mapped(at, pull, rows, group), rows, group)

    found = [
        Variant("jit", lambda at: pull(*row(at, 0))[None]),
        Variant("checkpoint", lambda at: pull(*row(at, 0), wrap=jax.checkpoint)[None]),
        Variant("scan", lambda at: _scanned(at, (0, 1)), (0, 1)),
        mapped("vmap, batch 3", (0, 1, 2)),
    ]
    if not small:
        return found
    found += [mapped("vmap, batch 1", (0,)), mapped("vmap, batch 2", (1, 2))]
    found.append(Variant("vmap of vmap", lambda at: _mapped_twice(at, pull), (0, 1, 2, 3)))
    rows = (0, 3, 4)
    found.append(
        Variant("vmap over the cotangent", lambda at: _mapped_cotangent(at, pull, rows), rows, ())
    )
    groups = points.groups if len(points.groups) > 1 else ()
    for g, group in enumerate(groups[:GROUPS]):
        name = group_name(subject, group)
        found.append(mapped(f"vmap over {name} alone", (5 + 2 * g, 6 + 2 * g), group))
        found.append(_differentiated(f"the gradient of {name} alone", group))
        rest = tuple(k for k in range(len(subject.arguments.leaves)) if k not in group)
        if len(groups) > 2:
            found.append(_differentiated(f"{name} not differentiated", rest))
    for k in range(len(engine.outputs) if len(engine.outputs) > 1 else 0):
        found.append(Variant(f"output {k} alone", lambda at, k=k: _one_output(at, k), output=k))
    return found


def _differentiated(name: str, group: tuple[int, ...]) -> Variant:
    return Variant(name, lambda at: _alone(at, group), differentiated=group)


def _flat(points: Points, gradients: Any) -> Any:
    return flatten_gradient(gradients, points.subject.arguments.leaves, points.engine.dtype)


def _scanned(points: Points, rows: tuple[int, ...]) -> Any:
    engine = points.engine
    integers = tuple(p[np.array(rows)] for p in points.integers)

    def loop(arrays: Any) -> Any:
        def step(carry: Any, item: Any) -> Any:
            return carry, engine.of_leaves(item[1])(item[0])

        return jax.lax.scan(step, 0.0, (arrays, integers))[1]

    outputs, pullback = jax.vjp(loop, points.leaves(rows))
    each = [cotangents(points.gamma(i), engine.outputs) for i in rows]
    stacked = [
        jnp.stack(p).astype(o.dtype) for p, o in zip(zip(*each, strict=True), outputs, strict=True)
    ]
    (gradients,) = pullback(stacked)
    return jnp.stack([_flat(points, [g[k] for g in gradients]) for k in range(len(rows))])


def _mapped(points: Points, pull: Any, rows: tuple[int, ...], group: Any) -> Any:
    """vmap of the pullback over all leaves, or over those of a group at otherwise fixed ones."""
    stacked = points.leaves(rows)
    gammas = jnp.stack([points.gamma(i) for i in rows])
    if group is None:
        integers = tuple(p[np.array(rows)] for p in points.integers)
        return jax.vmap(pull)(stacked, integers, gammas)
    fixed = points.one(0)
    arrays = [s if k in group else f for k, (s, f) in enumerate(zip(stacked, fixed, strict=True))]
    axes = [0 if k in group else None for k in range(len(fixed))]
    integers = tuple(p[0] for p in points.integers)
    return jax.vmap(pull, in_axes=(axes, None, 0))(arrays, integers, gammas)


def _mapped_twice(points: Points, pull: Any) -> Any:
    """Four points as two batches of two."""
    rows = np.arange(4).reshape(2, 2)
    stacked = [leaf.reshape(2, 2, *leaf.shape[1:]) for leaf in points.leaves((0, 1, 2, 3))]
    gammas = jnp.stack([points.gamma(i) for i in range(4)]).reshape(2, 2, -1)
    integers = tuple(p[rows] for p in points.integers)
    return jax.vmap(jax.vmap(pull))(stacked, integers, gammas).reshape(4, -1)


def _mapped_cotangent(points: Points, pull: Any, rows: tuple[int, ...]) -> Any:
    gammas = jnp.stack([points.gamma(i) for i in rows])
    integers = tuple(p[0] for p in points.integers)
    return jax.vmap(pull, in_axes=(None, None, 0))(points.one(0), integers, gammas)


def _alone(points: Points, group: tuple[int, ...]) -> Any:
    """The gradients of some leaves, the others not differentiated; zero for those."""
    arrays, engine = points.one(0), points.engine

    def call(some: Any) -> Any:
        merged = list(arrays)
        for k, array in zip(group, some, strict=True):
            merged[k] = array
        return engine.of_leaves(tuple(p[0] for p in points.integers))(merged)

    outputs, pullback = jax.vjp(call, [arrays[k] for k in group])
    (some,) = pullback(cotangents(points.gamma(0), outputs))
    gradients = [jnp.zeros_like(a) for a in arrays]
    for k, gradient in zip(group, some, strict=True):
        gradients[k] = gradient
    return _flat(points, gradients)[None]


def _one_output(points: Points, k: int) -> Any:
    """The gradients when only one output is used: JAX need not make zeros for the others."""
    engine = points.engine
    call = engine.of_leaves(tuple(p[0] for p in points.integers))
    cts = cotangents(points.gamma(0), engine.outputs)
    out, pullback = jax.vjp(lambda arrays: call(arrays)[k], points.one(0))
    return _flat(points, pullback(cts[k].astype(out.dtype))[0])[None]


def raises(points: Points, run: Callable[[Points], Any]) -> bool:
    """Whether what is made of the points raises as it is traced."""
    try:
        jax.eval_shape(lambda: run(points))
    except Exception:  # any error means the same: the function does not work there
        return True
    return False


def group_name(subject: Subject, group: tuple[int, ...]) -> str:
    leaves = [subject.arguments.leaves[k] for k in group]
    if len(group) == 1:
        return leaves[0].path
    return subject.arguments.names[leaves[0].argument]
