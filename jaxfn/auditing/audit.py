"""`audit`: runs a program, and proves each custom rule that it meets."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.core import Tracer

from jaxfn.auditing.meeting import Recorder
from jaxfn.auditing.proof import Proofs
from jaxfn.auditing.report import AuditedRule, AuditError, AuditReport, assembled
from jaxfn.auditing.running import run
from jaxfn.verification.report import FAIL, INCONCLUSIVE
from jaxfn.verification.subject.coordinates import canonical


def audit(
    fun: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    surrogates: Mapping[str, Callable[..., Any] | None] | None = None,
    order: int = 2,
    seed: int = 0,
    raise_exception: bool = True,
) -> AuditReport:
    """Proves every custom rule of a program, at the values that it really gets there.

    `fun(*args)` is run, and so is its gradient, unless `fun` takes it itself as a training step
    does. Each `custom_vjp` and `custom_jvp` rule that is applied on the way is met with its
    operands and with the cotangents that come back to it: at top level, in `jit`, in `scan` and
    `while_loop` (of all iterations the first, one in the middle and the last), in the branch of
    `cond` that is taken, in `checkpoint`, `vmap` (as the function of one example), `shard_map` (of
    one device's part), in the bodies of other rules, in modules of Flax and Equinox. Applications
    that differ in source, static arguments, shapes or dtypes count as different rules. Each goes
    through `gradcheck` as a function of its operands, with the cotangents of the run among those
    that are tried. Operands with many elements are cut to the first entries of each axis for that,
    where the rule takes them, and are then compared with autodiff at their full size; a note in
    the report says so.

    A rule of an installed package that passes is remembered in a folder of the user's
    (`~/.cache/jaxfn`, or what `JAXFN_CACHE` names; empty: none), and is not checked again in that
    version.

    Args:
        fun: a loss or a whole training step; what `jax.jit` cannot trace is run as it is.
        args: its positional arguments, a tuple of pytrees. They are not changed.
        surrogates: for rules whose gradient is not the derivative on purpose, by the name of the
            function or `"package.module:name"`: a function of the same arguments whose derivative
            it is, or None for a rule that is listed and not checked. jaxfn's own operations declare
            theirs.
        order: 1, or 2 to check the derivatives of rules as well.
        seed: of all random choices.
        raise_exception: whether to raise when a rule fails.

    Returns:
        An `AuditReport`: `.verdict` is "pass", "fail" or "inconclusive"; `.rules` one entry for
        each rule; `print` shows a table, worst first.

    Raises:
        AuditError: if a rule fails; `.report` is the report.
        TypeError: if `fun` is not callable, `args` no tuple or traced, or `surrogates` no mapping
            from names to functions or None.
        ValueError: if `order` is not 1 or 2.
        Exception: what `fun` itself raises.

    Example:
        >>> import jax, jax.numpy as jnp, jaxfn
        >>> @jax.custom_vjp
        ... def cube(x):
        ...     return x**3
        >>> cube.defvjp(lambda x: (x**3, x), lambda x, g: (3 * x**2,))  # forgets g
        >>> def loss(x):
        ...     return 0.1 * jax.lax.scan(lambda c, _: (cube(c), None), x, length=2)[0].sum()
        >>> report = jaxfn.audit(loss, (jnp.array([0.5, -1.2]),), raise_exception=False)
        >>> [(rule.name, rule.verdict, rule.where) for rule in report.rules]
        [('cube', 'fail', ('scan',))]

    Source: the faults that it looks for were found in MaxText's tiled and Liger's chunked loss.
    """
    __tracebackhide__ = True  # as in `gradcheck`
    _validate(fun, args, surrogates, order)
    start = time.perf_counter()
    recorder = Recorder()
    ran = run(fun, canonical(args), recorder, seed)
    proofs = Proofs(surrogates or {}, order, seed)
    rules = [proofs.prove(met, ran.places.get(met.number, ())) for met in recorder.met.values()]
    rules += [_out_of_sight(rule) for rule in ran.out_of_sight]
    notes = (*ran.notes, *(_unused(name) for name in proofs.surrogates if name not in proofs.used))
    name = getattr(fun, "__name__", type(fun).__name__)
    report = assembled(name, rules, notes, time.perf_counter() - start)
    if report.verdict == FAIL and raise_exception:
        raise AuditError(report)
    return report


def _validate(fun: Any, args: Any, surrogates: Any, order: Any) -> None:
    if not callable(fun):
        raise TypeError(f"audit: expected fun to be callable, got {type(fun).__name__}")
    if not isinstance(args, tuple):
        got = type(args).__name__
        raise TypeError(f"audit: expected args to be a tuple of pytrees, got {got}")
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(args)):
        raise TypeError(
            "audit: expected concrete arrays in args, got a tracer; call audit outside jit, vmap "
            "and grad"
        )
    if order not in (1, 2):
        raise ValueError(f"audit: expected order to be 1 or 2, got {order!r}")
    if surrogates is None:
        return
    if not isinstance(surrogates, Mapping):
        got = type(surrogates).__name__
        raise TypeError(f"audit: expected surrogates to map names to functions, got {got}")
    for name, surrogate in surrogates.items():
        if not isinstance(name, str) or not (surrogate is None or callable(surrogate)):
            got = f"{name!r}: {type(surrogate).__name__}"
            raise TypeError(
                f"audit: expected surrogates to map names to functions or None, got {got}"
            )


def _unused(name: str) -> str:
    return f"surrogates names {name!r}, and no rule of that name is applied"


def _out_of_sight(rule: Any) -> AuditedRule:
    note = (
        "a primitive of jax.experimental.hijax, whose operands cannot be seen: call "
        "jaxfn.gradcheck on a function that applies it"
    )
    return AuditedRule(rule.name, rule.kind, rule.source, (), 1, "", INCONCLUSIVE, note=note)
