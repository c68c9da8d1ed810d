"""`compare`: does a hand-written gradient pay?"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxfn.autodiff import autodiff, custom_rules
from jaxfn.comparison.constants import MOST_NAMED
from jaxfn.comparison.figures.declared import with_gradient_of
from jaxfn.comparison.figures.environment import environment
from jaxfn.comparison.figures.measure import Effort, first_line, measure
from jaxfn.comparison.figures.problem import Leaf, Problem, make_problem
from jaxfn.comparison.figures.records import Pair
from jaxfn.comparison.figures.regimes import both
from jaxfn.comparison.result import Comparison
from jaxfn.comparison.verdict.alone import judge_alone
from jaxfn.comparison.verdict.judge import judge
from jaxfn.comparison.verdict.units import format_bytes
from jaxfn.verification import GradcheckReport, gradcheck
from jaxfn.verification.subject.names import parameter_names, with_names


def compare(
    fun: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    argnums: int | Sequence[int] | None = None,
    reference: Callable[..., Any] | None = None,
    surrogate: Callable[..., Any] | None = None,
    linear_in_cotangent: bool = True,
    domain: Any = None,
    proof: GradcheckReport | None = None,
    name: str | None = None,
    seed: int = 0,
    rounds: int = 20,
    seconds: float = 1.0,
    length: int = 8,
) -> Comparison:
    """Compares a custom rule with plain autodiff: accuracy, residuals, memory, FLOPs, time.

    First the rule is checked. One that fails `gradcheck` is not timed: the result says what is
    wrong with it. Then both sides run through the situations in which a rule is used: the function
    alone; value and gradients in one `jit`; forward and backward pass jitted apart, so that
    residuals are buffers; in a `scan` over steps, as in training; through a `scan` over layers.
    The verdict says what the figures bear out. Two times count as equal where the quartiles of
    their runs overlap, and two programs are the same where the compiler made the same of them.

    Where autodiff cannot differentiate `fun` (a `lax.while_loop`, a Pallas kernel, a
    `jax.pure_callback` in its forward pass) and there is no `reference`, there is nothing to
    compare with. The result says so, with the rule's own figures: `against` is `""`, each
    `Pair.reference` None, and the errors are those of rounding, against `fun` itself in float64.

    Where results fit the first argument, the layers of the last regime stand one on the other;
    where not, each has arguments of its own.

    Args:
      fun: a function that `jax.jit` could trace, with custom rules anywhere in it. It may take and
        return pytrees.
      args: a tuple of its arguments. Arrays, and Python numbers with a point, are traced; all else
        stays as it is.
      argnums: the arguments whose floating and complex arrays are differentiated with respect to;
        by default all.
      reference: what to compare with, which can be differentiated; by default
        `jaxfn.autodiff(fun)`, which leaves `jax.custom_jvp` rules in:
        `jaxfn.autodiff(fun, custom_jvp=True)` takes them out, too.
      surrogate: see `jaxfn.gradcheck`; without a reference the rule is compared with what people
        write in its place: the value of `fun`, and the surrogate's gradient by `stop_gradient`.
      linear_in_cotangent: see `jaxfn.gradcheck`.
      domain: see `jaxfn.gradcheck`.
      proof: what `gradcheck` said of this rule already, perhaps at smaller arguments; by default
        it is asked, at these.
      name: of the function, in the result.
      seed: of the cotangents.
      rounds: how often each program is timed, in turn with its counterpart.
      seconds: about how long one pair of programs is timed; there are five rounds at least.
      length: of the scans.

    Returns:
      A `Comparison`: `.verdict` in words, `.figures`, a table as `str()`, `.to_json()` and
      `.plot(path)`.

    Raises:
      TypeError: if `fun` is not callable, `args` not a tuple, or there is nothing to differentiate.
      ValueError: if `argnums` has no such argument, or `rounds`, `seconds` or `length` are not
        positive.

    Example:
      >>> import jax.numpy as jnp, jaxfn
      >>> result = jaxfn.compare(jaxfn.relu, (jnp.linspace(-1.0, 1.0, 1000),), rounds=5)
      >>> result.figures.residuals.rule.nbytes("new")  # a byte for each element
      1000
      >>> result.figures.residuals.reference.nbytes("new")  # and an array of zeros
      5000
    """
    _check(fun, args, rounds, seconds, length)
    positions = _positions(args, argnums)
    problem = make_problem(fun, args, positions, seed)
    if proof is None:
        own = functools.partial(_of_chosen, args, positions)
        proof = gradcheck(
            own(fun),
            tuple(args[i] for i in positions),
            reference=None if reference is None else own(reference),
            surrogate=None if surrogate is None else own(surrogate),
            linear_in_cotangent=linear_in_cotangent,
            seed=seed,
            raise_exception=False,
            domain=tuple(domain[i] for i in positions) if isinstance(domain, tuple) else domain,
        )
    other, against = _other(fun, reference, surrogate)
    reason = _no_derivative(other, problem)
    alone = bool(reason) and reference is None
    # The surrogate's gradient is linear in the cotangent, and not what such a rule gives.
    gradients = linear_in_cotangent or surrogate is None or reference is not None or alone
    rules = tuple(dict.fromkeys(rule.name for rule in custom_rules(fun, *args)))
    figures, verdict, findings = None, _refusal(proof, fun, problem, alone, reason), ()
    if not verdict:
        functions = Pair(fun, None if alone else other)
        figures = measure(functions, problem, Effort(rounds, seconds, length), gradients)
        if alone:
            verdict, findings = judge_alone(figures, reason, _seen_by_differences(proof))
        else:
            verdict, findings = judge(figures, bool(rules))
        if proof.verdict != "pass":
            verdict += f"; gradcheck is {proof.verdict}"
    return Comparison(
        name=name or _name(fun),
        against="" if alone else against,
        arguments=_described(problem),
        rules=rules,
        verdict=verdict,
        findings=findings,
        proof=proof,
        figures=figures,
        environment=environment(),
        seed=seed,
    )


def _check(fun: Any, args: Any, rounds: int, seconds: float, length: int) -> None:
    if not callable(fun):
        raise TypeError(f"compare: expected fun to be callable, got {type(fun).__name__}")
    if not isinstance(args, tuple):
        raise TypeError(f"compare: expected args to be a tuple, got {type(args).__name__}")
    for name, value in (("rounds", rounds), ("seconds", seconds), ("length", length)):
        if not value > 0:
            raise ValueError(f"compare: expected {name} to be positive, got {value}")


def _positions(args: tuple[Any, ...], argnums: int | Sequence[int] | None) -> tuple[int, ...]:
    if argnums is None:
        return tuple(range(len(args)))
    chosen = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    if not all(-len(args) <= i < len(args) for i in chosen):
        raise ValueError(f"compare: expected argnums of {len(args)} arguments, got {argnums}")
    return tuple(sorted({i % len(args) for i in chosen}))


def _of_chosen(
    args: tuple[Any, ...], positions: tuple[int, ...], fun: Callable[..., Any]
) -> Callable[..., Any]:
    """`fun` of the arguments at `positions` alone."""
    if len(positions) == len(args):
        return fun

    @functools.wraps(fun, updated=())
    def of_chosen(*chosen: Any) -> Any:
        own = list(args)
        for i, value in zip(positions, chosen, strict=True):
            own[i] = value
        return fun(*own)

    del of_chosen.__wrapped__  # its signature is not that of `fun`
    names = parameter_names(fun, len(args))
    return with_names(of_chosen, [names[i] for i in positions])


def _other(
    fun: Callable[..., Any],
    reference: Callable[..., Any] | None,
    surrogate: Callable[..., Any] | None,
) -> tuple[Callable[..., Any], str]:
    """What the rule is compared with, if it can be differentiated, and its name."""
    if reference is not None:
        return reference, _name(reference)
    if surrogate is None:
        return autodiff(fun), "autodiff"
    declared = with_gradient_of(autodiff(fun), surrogate)
    return declared, _name(declared)


def _refusal(
    proof: GradcheckReport, fun: Callable[..., Any], problem: Problem, alone: bool, reason: str
) -> str:
    """Why nothing is measured; empty if something can be: the rule alone, or both sides."""
    if proof.verdict == "fail":
        return f"refused: the rule is wrong, so it was not timed: {proof.diagnosis}"
    what = "reference"
    if alone:
        what, reason = "function", _no_derivative(fun, problem)
    return f"not compared: the {what} cannot be differentiated: {reason}" if reason else ""


def _no_derivative(fun: Callable[..., Any], problem: Problem) -> str:
    """Why `fun` cannot be differentiated; empty if it can be."""
    flat = problem.flatten(fun)
    try:
        jax.eval_shape(
            lambda *arrays: both(flat, *arrays),
            problem.primals,
            problem.others,
            problem.cotangents,
        )
    except (TypeError, ValueError, NotImplementedError) as error:  # how JAX refuses a derivative
        return first_line(error)
    return ""


def _seen_by_differences(proof: GradcheckReport) -> float | None:
    """The smallest error that finite differences would have shown; None if they say nothing."""
    powers = [c.power for c in proof.checks if c.name == "differences" and c.verdict == "pass"]
    return powers[0] if powers else None


def _name(fun: Any) -> str:
    while hasattr(fun, "func"):  # functools.partial
        fun = fun.func
    return getattr(fun, "__name__", type(fun).__name__)


def _described(problem: Problem) -> tuple[str, ...]:
    """Each array with its type; those of an argument that has many, together."""
    arguments: dict[int, list[Leaf]] = {}
    for leaf in problem.leaves:
        if isinstance(leaf.value, jax.Array):
            arguments.setdefault(leaf.argument, []).append(leaf)
    described = []
    for leaves in arguments.values():
        if len(leaves) <= MOST_NAMED:
            described += [f"{leaf.name} {jax.typeof(leaf.value).str_short()}" for leaf in leaves]
        else:
            nbytes = format_bytes(sum(leaf.value.nbytes for leaf in leaves))
            described.append(f"{leaves[0].name.partition('[')[0]}: {len(leaves)} arrays, {nbytes}")
    return tuple(described)
