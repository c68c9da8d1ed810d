"""`gradcheck`: the layers in order, and the verdict of the whole."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn._jax_internals import paused
from jaxfn.verification.evidence.agreement import compare
from jaxfn.verification.hint import hint
from jaxfn.verification.layers import reproduce
from jaxfn.verification.layers.observed import Observed
from jaxfn.verification.layers.raising import raising
from jaxfn.verification.layers.table import LAYERS, asked
from jaxfn.verification.points.integers import taken_by
from jaxfn.verification.points.probes import GIVEN, KINDS, probes
from jaxfn.verification.points.structures import said_of
from jaxfn.verification.points.visited import Visited, with_visited
from jaxfn.verification.report import (
    FAIL,
    Check,
    GradcheckError,
    GradcheckReport,
    Mutant,
    overall,
)
from jaxfn.verification.subject import mutation
from jaxfn.verification.subject.coordinates import Arguments, canonical
from jaxfn.verification.subject.programs import Engine
from jaxfn.verification.subject.refusals import validate
from jaxfn.verification.subject.setup import (
    RuleError,
    check_other,
    check_outputs,
    make_subject,
)


def gradcheck(
    fun: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    reference: Callable[..., Any] | None = None,
    surrogate: Callable[..., Any] | None = None,
    linear_in_cotangent: bool = True,
    order: int = 2,
    seed: int = 0,
    raise_exception: bool = True,
    domain: Any = None,
    layers: tuple[str, ...] | None = None,
    strict: bool = False,
    mutate: bool = False,
    verbose: bool = False,
) -> GradcheckReport:
    """Checks a hand-written gradient, and says what was shown and how small an error it catches.

    With `J` the derivative of `fun` and `r` its backward rule, `r(x, g) = J(x)ᵀ g` is tested for
    every element of the gradient at the given point and at points that the check moves to, in
    float64 where `fun` works in it: against autodiff of `fun` without its custom rules, and
    against finite differences. A difference counts if it is larger than the estimated error of
    what it is compared with; at a kink every value between the one-sided derivatives is right.
    Further layers look at types, the primal, linearity in the cotangent, transformations, other
    sizes, low precision and the second derivative. `shard_map` and an explicit mesh are among the
    transformations where there are two devices;
    `jax.config.update("jax_num_cpu_devices", 2)`, called first of all, makes two of a CPU.

    Args:
        fun: the function, with its rule (`custom_vjp`, `custom_jvp`, or none).
        args: its positional arguments, a tuple of pytrees; floating and complex arrays are
            differentiated, integer arrays moved within their range, all else stays as it is.
        reference: a function with the same value, for autodiff; default: `jaxfn.autodiff(fun)`.
        surrogate: a function whose derivative is the gradient that the rule means to have, where
            that is not the derivative of `fun` (straight-through, reversal, clipping). There are
            no finite differences then, which do not see a `stop_gradient`: the check has less
            power, that of autodiff and of linearity.
        linear_in_cotangent: False if the rule is declared not linear in the cotangent; it is then
            compared at cotangents that are small enough for it to agree.
        order: 1, or 2 to check the derivative of the rule as well.
        seed: of all random choices.
        raise_exception: whether to raise when the rule fails.
        domain: where `fun` is meant to be called: a tuple with None or a pair `(low, high)`, each
            a number or None, for each argument, both ends included, or a function of the arguments
            that says whether it accepts them. By default a point is left out if the value there is
            not finite.
        layers: the names of the layers to ask, as a report has them; by default all of the order.
            Those that they rest on are asked as well, and not reported.
        strict: whether warnings (`.warnings`: digits lost at extreme magnitudes, calls that differ
            by rounding) make the rule fail.
        mutate: whether to plant faults in the rule and count how many are caught.
        verbose: whether the report prints all that it holds; by default the verdict, the diagnosis,
            the worst elements and a line for each layer.

    Returns:
        A `GradcheckReport`: `.verdict` is "pass", "fail" or "inconclusive".

    Raises:
        GradcheckError: if the rule fails; `.report` is the report.
        TypeError: if `fun` is not callable, `args` no tuple or traced, or `reference` does not
            take them.
        ValueError: if nothing can be differentiated, if `layers` names one that there is not, or if
            the output changes between calls or differs in structure from the reference's.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxfn.verification import gradcheck
        >>> @jax.custom_vjp
        ... def cube(x):
        ...     return x**3
        >>> cube.defvjp(lambda x: (x**3, x), lambda x, g: (3 * g * x**2,))
        >>> gradcheck(cube, (jnp.array([0.5, -2.0]),)).verdict
        'pass'

    Source: C. J. F. Ridders, "Accurate computation of F'(x) and F'(x)F''(x)", 1982; J. V. Burke,
    A. S. Lewis and M. L. Overton, "A robust gradient sampling algorithm", 2005.
    """
    run = {
        "reference": reference,
        "surrogate": surrogate,
        "linear_in_cotangent": linear_in_cotangent,
        "order": order,
        "layers": layers,
        "domain": domain,
        "seed": seed,
        "strict": strict,
    }
    __tracebackhide__ = True  # pytest then shows the caller's line, and the diagnosis under it
    report, arguments = checked(fun, args, run, verbose=verbose)
    if report.verdict == FAIL and raise_exception:
        raise GradcheckError(report)
    if mutate and arguments is not None:
        common = {"linear_in_cotangent": linear_in_cotangent, "seed": seed, "domain": domain}
        report = report.with_mutants(_mutants(fun, args, arguments, reference, surrogate, common))
    return report


def checked(
    fun: Callable[..., Any],
    args: tuple[Any, ...],
    run: dict[str, Any],
    *,
    visited: Sequence[Visited] = (),
    kinds: frozenset[str] = KINDS,
    verbose: bool = False,
) -> tuple[GradcheckReport, Arguments | None]:
    """The report, whatever its verdict, and how the arguments were taken; None if fun raises.

    Args:
        fun: the function.
        args: its arguments.
        run: the options of `gradcheck` that decide the verdict.
        visited: calls whose points and cotangents are looked at as well, the first with `args`.
        kinds: of points that it moves to beside these.
        verbose: as in `gradcheck`.
    """
    with paused():
        return _checked(fun, args, run, visited, kinds, verbose)


def _checked(
    fun: Callable[..., Any],
    args: tuple[Any, ...],
    run: dict[str, Any],
    visited: Sequence[Visited],
    kinds: frozenset[str],
    verbose: bool,
) -> tuple[GradcheckReport, Arguments | None]:
    validate(fun, args, run["order"])
    names = _names(run["layers"], run["order"])
    args = canonical(args)
    out = check_outputs(fun, args)
    reference, surrogate, domain = run["reference"], run["surrogate"], run["domain"]
    for name, other in (("reference", reference), ("surrogate", surrogate)):
        if other is not None:
            check_other(name, other, args, out)
    options = {"seed": run["seed"], "linear": run["linear_in_cotangent"], "domain": domain}
    try:
        subject = make_subject(fun, args, reference, surrogate, options)
    except RuleError as error:
        return _finish(fun, args, (raising(fun, args, error),), (), run, verbose), None
    arguments = subject.arguments
    with np.errstate(all="ignore"):
        points = probes(arguments, subject.rng, subject.loops, domain, taken_by(subject))
        points = [point for point in points if point.kind in {GIVEN, *kinds}]
        points = with_visited(arguments, points, visited)
        found = compare(subject, points)
        checks = asked(Observed(subject, out, found), names)
    notes = (*subject.notes, *said_of(arguments), *found.notes)
    notes += tuple(note for check in checks for note in check.notes)
    return _finish(fun, args, checks, notes, run, verbose), arguments


def _names(layers: tuple[str, ...] | None, order: int) -> tuple[str, ...]:
    """The names of the layers to ask: all of the order, or the given ones."""
    of_order = tuple(name for name in LAYERS if order == 2 or name != "second order")
    if layers is None:
        return of_order
    if isinstance(layers, str) or not isinstance(layers, Iterable):
        raise TypeError(
            f"gradcheck: expected layers to be a tuple of names, such as ('autodiff',), got "
            f"{layers!r}"
        )
    given = tuple(layers)
    if not given or not set(given) <= set(of_order):
        expected = ", ".join(map(repr, of_order))
        raise ValueError(
            f"gradcheck: expected layers, with order={order}, to be some of {expected}, got "
            f"{layers!r}"
        )
    return given


def _mutants(
    fun: Any,
    args: tuple[Any, ...],
    arguments: Arguments,
    reference: Any,
    surrogate: Any,
    common: dict[str, Any],
) -> tuple[Mutant, ...]:
    """Faults planted in the rule, each checked like the rule itself."""
    integers = [arguments.values[i] for i in arguments.integer_positions]
    arrays = [jnp.asarray(arguments.values[leaf.position]) for leaf in arguments.leaves]
    outputs, pullback = jax.vjp(Engine(fun, arguments, False).of_leaves(integers), arrays)
    (gradients,) = pullback([jnp.ones(o.shape, o.dtype) for o in outputs])
    found = []
    for name, mutant in mutation.mutants(fun, arguments, gradients):
        report = gradcheck(
            mutant,
            args,
            reference=reference,
            surrogate=surrogate,
            order=1,
            raise_exception=False,
            **common,
        )
        found.append(Mutant(name, report.verdict))
    return tuple(found)


def _finish(
    fun: Callable[..., Any],
    args: tuple[Any, ...],
    checks: tuple[Check, ...],
    notes: tuple[str, ...],
    run: dict[str, Any],
    verbose: bool,
) -> GradcheckReport:
    """The report of what the layers found."""
    warnings = tuple(warning for check in checks for warning in check.warnings)
    verdict = FAIL if warnings and run["strict"] else overall(checks)
    name = getattr(fun, "__name__", None) or type(fun).__name__
    blamed = _blamed(checks)
    said, cause, again = "", "", ""
    if blamed is not None:
        said, cause = blamed.diagnosis or blamed.detail, blamed.cause
        line = blamed.reproduce or reproduce.call(fun, run, blamed.name)
        again = reproduce.program(fun, args, run, line)
    elif verdict == FAIL:
        said, cause = warnings[0], "warning"
    scope = tuple(dict.fromkeys(said for check in checks for said in check.scope))
    report = GradcheckReport(
        name,
        verdict,
        checks,
        said,
        cause,
        notes,
        again,
        warnings=warnings,
        scope=scope,
        verbose=verbose,
    )
    return replace(report, hint=hint(report, run))


def _blamed(checks: tuple[Check, ...]) -> Check | None:
    """The failed layer that says most about the cause: the first, or one that names `jit`."""
    failed = [check for check in checks if check.verdict == FAIL]
    only_traced = [check for check in failed if check.cause == "jit"]
    return next(iter(only_traced or failed), None)
