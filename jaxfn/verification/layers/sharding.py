"""The rule on two devices: on an explicit mesh, and inside `jax.shard_map`, where each has one
point, or they share an argument.

An argument that is sharded has one point per device; one that is replicated is the same on both,
and its gradient is the sum over the devices. By the default checks of `shard_map` a rule has to
take that sum itself; autodiff does, and a rule that does not raises.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec

from jaxfn.verification.layers import explicit_mesh
from jaxfn.verification.layers.variants import GROUPS, Points, Variant, group_name, raises
from jaxfn.verification.subject.coordinates import cotangents, flatten_gradient
from jaxfn.verification.subject.programs import Engine, precision
from jaxfn.verification.subject.setup import line

AXIS = "devices"
PREFIX = "shard_map with "
DEAR = 1.0  # seconds of compilation of the rule alone, above which fewer layouts are tried


@dataclass(frozen=True)
class Sharded:
    """What came of the layouts: gradients, or why there are none, with the layout's name.

    `refused` are those where the checks of `shard_map` refuse the rule and accept autodiff, or
    where the rule raises on an explicit mesh and autodiff does not: nothing is wrong silently.
    (So does the textbook's rule of a product, with its second factor divided.) `raised` are those
    where the rule raises in `shard_map` without the checks as well, `skipped` those where autodiff
    raises.
    """

    results: dict[str, np.ndarray] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    raised: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def without(self, name: str, why: str) -> "Sharded":
        """The same with one layout skipped."""
        return replace(self, skipped={**self.skipped, name: why})

    def note(self) -> str:
        """What is to be said of a rule whose values are right, but which the checks refuse."""
        inside = {k: why for k, why in self.refused.items() if k.startswith(PREFIX)}
        text = ""
        if inside:
            text = (
                f"by its default checks shard_map refuses the rule, where it accepts autodiff, "
                f"{_listed(inside)}; without the checks its values were compared"
            )
        there = {k: why for k, why in self.refused.items() if k not in inside}
        if there:
            listed, reason = ", ".join(there), next(iter(there.values()))
            text += "; " * bool(inside)
            text += f"the rule raises, where autodiff does not, on {listed}: {reason}"
        return text

    def fault(self) -> tuple[str, str] | None:
        """The cause, and a sentence, where a rule cannot be used in shard_map at all."""
        if not self.raised:
            return None
        text = f"the rule raises in shard_map, where autodiff does not, {_listed(self.raised)}"
        return "shard_map", text


def _listed(reasons: dict[str, str]) -> str:
    where = ", ".join(name.removeprefix(PREFIX) for name in reasons)
    return f"with {where}: {next(iter(reasons.values()))}"


def layouts(points: Points) -> list[Variant]:
    """Everything sharded, each argument alone, the integers alone, nothing."""
    subject = points.subject
    leaves = tuple(range(len(subject.arguments.leaves)))

    def layout(name: str, sharded: tuple[int, ...], integers: bool = False) -> Variant:
        rest = tuple(k for k in leaves if k not in sharded)
        return Variant(
            f"{PREFIX}{name}", lambda at: None, (0, 1), sharded, summed=rest, integers=integers
        )

    integers = bool(subject.arguments.integers)
    found = [layout("every argument sharded", leaves, integers)]
    if not subject.linear:  # what is replicated gets the sum of the cotangents
        return found
    if len(points.groups) > 1:
        groups = points.groups[:GROUPS]
        found += [layout(f"{group_name(subject, g)} sharded", g) for g in groups]
    if integers:
        found.append(layout("integer arguments sharded", (), True))
    found.append(layout("every argument replicated", ()))
    divided = explicit_mesh.divisions(points)
    dear = subject.large or subject.rule.pull.compile_seconds > DEAR
    return [*found[:2], *divided[:1]] if dear else [*found, *divided]


def run_sharded(points: Points, chosen: list[Variant]) -> Sharded:
    """The gradients of the rule in each layout, on the first two devices."""
    kinds = [[one for one in chosen if one.explicit is explicit] for explicit in (False, True)]
    return _joined([_run_together(points, kind) for kind in kinds if kind])


def _run_together(points: Points, chosen: list[Variant]) -> Sharded:
    with precision(points.engine.wide), _mesh_of(chosen[0]):
        try:
            programs = {one.name: _gradients(points, points.engine, one) for one in chosen}
            return Sharded(points.evaluated(lambda at: {k: run(at) for k, run in programs.items()}))
        except Exception:  # one of them raises: it is run alone, the others together
            raising = [one for one in chosen if _raises_there(points, one)] or chosen
            others = [one for one in chosen if one not in raising]
            alone = [_run_alone(points, one) for one in raising]
    return _joined([*alone, *([_run_together(points, others)] if others else [])])


def _raises_there(points: Points, layout: Variant) -> bool:
    """Whether the rule raises in a layout as it is traced."""
    try:
        run = _gradients(points, points.engine, layout)
    except Exception:  # as above
        return True
    return raises(points, run)


def _mesh_of(layout: Variant) -> contextlib.AbstractContextManager[Any]:
    return (
        jax.set_mesh(explicit_mesh.mesh_of_two()) if layout.explicit else contextlib.nullcontext()
    )


def _joined(parts: list[Sharded]) -> Sharded:
    def whole(name: str) -> dict[str, Any]:
        return {key: value for part in parts for key, value in getattr(part, name).items()}

    return Sharded(*(whole(field.name) for field in fields(Sharded)))


def _run_alone(points: Points, layout: Variant) -> Sharded:
    """One layout; where the checks of `shard_map` refuse the rule, without them.

    Then each device keeps the gradient of its own point, and the sum is taken here. If that is
    right, the rule's values are, though it cannot be used so.
    """
    name = layout.name
    try:
        return Sharded({name: points.evaluated(_gradients(points, points.engine, layout))})
    except Exception as error:  # whatever it is, it is reported below
        reason = line(error)
    reference = points.subject.reference
    if reference is None or raises(points, _gradients(points, reference, layout)):
        return Sharded(skipped={name: reason})
    if layout.explicit:
        return Sharded(refused={name: reason})
    unchecked = _gradients(points, points.engine, layout, check=False)
    try:
        return Sharded({name: points.evaluated(unchecked)}, refused={name: reason})
    except Exception:  # the reason is the one above
        return Sharded(raised={name: reason})


def rows_of(points: Points, engine: Engine, layout: Variant) -> np.ndarray | None:
    """The gradients of another engine in a layout, or None where it raises there."""
    with precision(engine.wide), _mesh_of(layout):
        try:
            return points.evaluated(_gradients(points, engine, layout))
        except Exception:  # any error means the same: the function does not work there
            return None


def _gradients(
    points: Points, engine: Engine, layout: Variant, check: bool = True
) -> Callable[[Points], Any]:
    """The gradients as two rows; for a replicated leaf the sum over the devices, in both."""
    if layout.explicit:
        return explicit_mesh.gradients_there(points, engine, layout)
    mesh = jax.make_mesh((2,), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    leaves = points.subject.arguments.leaves
    split, whole = PartitionSpec(AXIS), PartitionSpec()
    arrays_specs = [whole if k in layout.summed else split for k in range(len(leaves))]
    integers_spec = split if layout.integers else whole

    def local(arrays: list[Any], integers: tuple[Any, ...], gamma: Any) -> Any:
        own = [a if k in layout.summed else a[0] for k, a in enumerate(arrays)]
        call = engine.of_leaves([p[0] if layout.integers else p for p in integers])
        outputs, pullback = jax.vjp(lambda arrays: [_varying(y) for y in call(arrays)], own)
        (gradients,) = pullback(cotangents(gamma[0], outputs))
        return flatten_gradient(gradients, leaves, engine.dtype)[None]

    specs = (arrays_specs, integers_spec, split)
    inside = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=split, check_vma=check)

    def run(at: Points) -> Any:
        stacked = at.leaves((0, 1))
        arrays = [a[0] if k in layout.summed else a for k, a in enumerate(stacked)]
        integers = tuple(jnp.asarray(p[:2] if layout.integers else p[0]) for p in at.integers)
        rows = inside(arrays, integers, jnp.stack([at.gamma(0), at.gamma(1)]))
        return rows if check else _sum_of_replicated(points, layout, rows)

    return run


def _sum_of_replicated(points: Points, layout: Variant, rows: Any) -> Any:
    for k in layout.summed:
        part = points.subject.arguments.leaves[k].part
        rows = rows.at[:, part].set(rows[:, part].sum(0))
    return rows


def _varying(output: Any) -> Any:
    """The output as one that differs between the devices, so that its cotangent may."""
    return output + jax.lax.pcast(jnp.zeros(output.shape, output.dtype), AXIS, to="varying")
