"""What gradient checkers reach on the two bodies of rules, as a table.

    python -m tests.jaxfn.verification.tallies [--torch] [--only PATTERN] [--list]

With `--torch`, PyTorch's `gradcheck` as well, what its fast mode catches and jaxfn's does not, and
how long its slow mode and jaxfn's take at 100,000 elements (see `speed`).

Each tool gets each case in float64 and is given what it can be told: no reference and no surrogate
gradient. A case that it cannot express, by its own exception for a function without any rule, is
left out of its count.
"""

import argparse
import functools
import inspect
import re
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np

import jaxfn
from tests.jaxfn.verification import bodies, speed
from tests.jaxfn.verification.bodies import Case
from tests.jaxfn.verification.bodies.witnesses import is_inexact, wide

CAUGHT, PASSED, INCONCLUSIVE, INEXPRESSIBLE = "caught", "passed", "inconclusive", "inexpressible"

# PyTorch's slow mode builds the whole Jacobian twice.
SLOW_MODE_ELEMENTS = 10_000_000

# What a report has to say to have named the cause; there is nothing to name for "other".
DIAGNOSES = {
    "scale": r"times the expected",
    "sign": r"\bsign\b|negat|-1(\.0*)? times",
    "transposed": r"transpos",
    "exchanged": r"exchang|swap",
    "zero": r"\bzeros?\b",
    "zero-region": r"\bzeros? (where|for|at|in|beyond)|where .*\bzeros?\b",
    "region": r"wrong (where|at|for|beyond)|right (at|near)|away from",
    "elements": r"\d+ of \d+ elements|reversed|shifted|other (element|index)",
    "mean-for-sum": r"mean\b.*\bsum|divided by",
    "sum-for-mean": r"sum\b.*\bmean|multiplied by",
    "constant": r"constant|affine|zero cotangent|not zero for",
    "nonlinear": r"linear",
    "dtype": r"dtype|float0|bfloat16|int32|complex64",
    "primal": r"primal|forward",
    "vmap": r"vmap",
    "second-order": r"second (order|derivative)",
    "nan": r"\bnan|\binf|not finite|non-finite",
    "conjugate": r"conjug",
    "dropped-term": r"\bterm|missing|dropped|incomplete|ignore",
    "extra-term": r"do(es)? not belong|should be zero|extra",
    "nondeterministic": r"determin|twice|second call|differs? between",
    "symbolic-zero": r"unused|unperturbed|symbolic|alone",
    "low-precision": r"precision|rounding|plain operation",
    "jit": r"\bjit|traced|scan|checkpoint",
    "surrogate": r"surrogate|straight-through|piecewise constant|derivative is zero",
}


@dataclass(frozen=True)
class Outcome:
    verdict: str
    seconds: float = 0.0
    diagnosed: bool | None = None


Tool = Callable[[Case], Outcome]


def _double(case: Case) -> tuple[Any, ...]:
    return wide(case.args)


def _run(check: Callable[[Callable[..., Any]], None], case: Case) -> str:
    """The verdict of a check that raises; errors that the bare function causes do not count."""
    if "surrogate" in case.kwargs:
        return INEXPRESSIBLE
    try:
        check(case.fun)
    except AssertionError:
        return CAUGHT
    except Exception:
        plain = inspect.unwrap(case.fun)
        if plain is case.fun:
            return INEXPRESSIBLE
        try:
            check(plain)
        except AssertionError:
            return CAUGHT
        except Exception:
            return INEXPRESSIBLE
        return CAUGHT
    return PASSED


def _timed(verdict: Callable[[Case], str]) -> Tool:
    def tool(case):
        start = time.perf_counter()
        with jax.enable_x64(True), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = verdict(case)
        return Outcome(found, time.perf_counter() - start)

    return tool


def _check_grads(order: int) -> Tool:
    def verdict(case):
        args, limit = _double(case), min(order, case.kwargs.get("order", 2))
        check = functools.partial(jax.test_util.check_grads, args=args, order=limit, modes=("rev",))
        return _run(check, case)

    return _timed(verdict)


def _chex(case: Case) -> str:
    args = _double(case)

    def check(fun):
        chex.assert_numerical_grads(fun, args, order=1, modes=("rev",))

    return _run(check, case)


def _jaxfn(case: Case) -> Outcome:
    gradcheck: Any = getattr(jaxfn, "gradcheck")  # noqa: B009
    start = time.perf_counter()
    report = gradcheck(case.fun, case.args, raise_exception=False, **case.kwargs)
    seconds = time.perf_counter() - start
    verdict = {"pass": PASSED, "fail": CAUGHT}.get(report.verdict, INCONCLUSIVE)
    return Outcome(verdict, seconds, diagnosed(report, case))


def diagnosed(report: Any, case: Case) -> bool | None:
    """Whether a report's diagnosis names the cause; None where there is none to name.

    Without a diagnosis of the whole, what the failed layers say counts.
    """
    if case.cause not in DIAGNOSES:
        return None
    failed = [check for check in report.checks if check.verdict == "fail"]
    text = "\n".join(f"{c.name} {c.diagnosis} {c.detail}" for c in failed)
    said = getattr(report, "diagnosis", "") or text
    return re.search(DIAGNOSES[case.cause], said, re.IGNORECASE) is not None


def _torch(fast: bool) -> Tool:
    import torch

    def verdict(case):
        args = _double(case)
        leaves, structure = jax.tree.flatten(args)
        moving = [i for i, leaf in enumerate(leaves) if is_inexact(leaf)]
        inputs = [torch.tensor(np.array(leaves[i]), requires_grad=True) for i in moving]

        def check(fun):
            outputs = jax.tree.leaves(jax.eval_shape(fun, *args))
            size = sum(map(np.size, leaves)) * sum(y.size for y in outputs)
            if not fast and size > SLOW_MODE_ELEMENTS:
                raise NotImplementedError("the Jacobian is too large")
            op = _bridge(torch, fun, leaves, structure, moving)
            torch.autograd.gradcheck(op, inputs, fast_mode=fast)

        return _run(_asserting(check), case)

    return _timed(verdict)


def _asserting(check: Callable[..., None]) -> Callable[..., None]:
    from torch.autograd.gradcheck import GradcheckError

    def run(fun):
        try:
            check(fun)
        except GradcheckError as error:
            raise AssertionError(str(error)) from error

    return run


def _bridge(torch: Any, fun: Any, leaves: list[Any], structure: Any, moving: list[int]) -> Any:
    """A `torch.autograd.Function` of the floating leaves, through numpy."""

    def flat(*values):
        full = list(leaves)
        for i, value in zip(moving, values, strict=True):
            full[i] = value
        return tuple(jax.tree.leaves(fun(*jax.tree.unflatten(structure, full))))

    def to_torch(values):
        return tuple(torch.from_numpy(np.array(value)) for value in values)

    forward_pass = jax.jit(flat)

    class Bridge(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            ctx.save_for_backward(*inputs)
            outputs = to_torch(forward_pass(*(x.detach().numpy() for x in inputs)))
            ctx.mark_non_differentiable(*(y for y in outputs if not _floating(y)))
            return outputs

        @staticmethod
        def backward(ctx, *cotangents):
            values = [x.detach().numpy() for x in ctx.saved_tensors]
            outputs, pull = jax.vjp(flat, *values)
            # JAX's cotangent of a complex number is the conjugate of PyTorch's.
            given = tuple(
                np.conj(g.resolve_conj().numpy())
                if jnp.issubdtype(y.dtype, jnp.inexact)
                else np.zeros(y.shape, jax.dtypes.float0)
                for y, g in zip(outputs, cotangents, strict=True)
            )
            return to_torch(np.conj(g) for g in pull(given))

    return Bridge.apply


def _floating(tensor: Any) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def tools(with_torch: bool = False) -> dict[str, Tool]:
    """The tools that are there, by the name that the table gives them."""
    found: dict[str, Tool] = {
        "jax.test_util.check_grads, order 1": _check_grads(1),
        "jax.test_util.check_grads, order 2": _check_grads(2),
        "chex.assert_numerical_grads": _timed(_chex),
    }
    if with_torch:
        found["PyTorch gradcheck, slow mode"] = _torch(fast=False)
        found["PyTorch gradcheck, fast mode"] = _torch(fast=True)
    if hasattr(jaxfn, "gradcheck"):
        found["jaxfn.gradcheck"] = _jaxfn
    return found


def tally(tool: Tool, cases: Iterable[Case]) -> dict[Case, Outcome]:
    """The outcome of a tool for each case; an unexpected exception names the case."""
    outcomes: dict[Case, Outcome] = {}
    for case in cases:
        try:
            outcomes[case] = tool(case)
        except Exception as error:
            error.add_note(f"while checking {case.name}")
            raise
    return outcomes


def _count(outcomes: dict[Case, Outcome], cases: Iterable[Case]) -> str:
    mine = [outcomes[case].verdict for case in cases]
    expressible = len(mine) - mine.count(INEXPRESSIBLE)
    return f"{mine.count(CAUGHT)} of {expressible}"


def table(
    results: dict[str, dict[Case, Outcome]], wrong: Iterable[Case], correct: Iterable[Case]
) -> str:
    """A Markdown table, a row per tool."""
    rows = ["| | wrong rules caught | correct rules rejected |", "|---|---|---|"]
    rows += [
        f"| {name} | {_count(outcomes, wrong)} | {_count(outcomes, correct)} |"
        for name, outcomes in results.items()
    ]
    return "\n".join(rows)


def summary(outcomes: dict[Case, Outcome]) -> str:
    """What the table leaves out: open verdicts, diagnoses, times."""
    open_cases = [case.name for case, o in outcomes.items() if o.verdict == INCONCLUSIVE]
    caught = [o for case, o in outcomes.items() if case.cause and o.verdict == CAUGHT]
    judged = [o for o in caught if o.diagnosed is not None]
    named = sum(bool(o.diagnosed) for o in judged)
    slowest = max(outcomes.items(), key=lambda item: item[1].seconds)
    return "\n".join(
        [
            f"inconclusive: {len(open_cases)} of {len(outcomes)} {', '.join(open_cases)}",
            f"diagnosed with their cause: {named} of {len(judged)}",
            f"seconds: {sum(o.seconds for o in outcomes.values()):.0f} in all, at most "
            f"{slowest[1].seconds:.1f} ({slowest[0].name})",
        ]
    )


def missed(results: dict[str, dict[Case, Outcome]], ours: str, theirs: str) -> list[str]:
    """The wrong rules that `theirs` catches and `ours` does not."""
    return [
        case.name
        for case, outcome in results[theirs].items()
        if case.cause and outcome.verdict == CAUGHT and results[ours][case].verdict != CAUGHT
    ]


def _listing(outcomes: dict[Case, Outcome]) -> str:
    lines = []
    for case, outcome in outcomes.items():
        expected = CAUGHT if case.cause else PASSED
        undiagnosed = outcome.verdict == CAUGHT and case.cause and outcome.diagnosed is False
        if outcome.verdict != expected or undiagnosed:
            verdict = "not diagnosed" if undiagnosed else outcome.verdict
            lines.append(f"  {verdict:<14} {case.cause or 'correct':<16} {case.name}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> dict[str, dict[Case, Outcome]]:
    """Runs the tools over the bodies and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--torch", action="store_true", help="PyTorch's gradcheck as well; slow")
    parser.add_argument("--only", default="", help="cases whose name matches this pattern")
    parser.add_argument("--tool", default="", help="tools whose name matches this pattern")
    parser.add_argument("--list", action="store_true", help="name the cases that a tool gets wrong")
    options = parser.parse_args(arguments)
    wrong = [case for case in bodies.WRONG if re.search(options.only, case.name)]
    correct = [case for case in bodies.CORRECT if re.search(options.only, case.name)]
    results = {
        name: tally(tool, wrong + correct)
        for name, tool in tools(options.torch).items()
        if re.search(options.tool, name)
    }
    print(table(results, wrong, correct))
    if "jaxfn.gradcheck" in results:
        print("\njaxfn.gradcheck\n" + summary(results["jaxfn.gradcheck"]))
    fast = "PyTorch gradcheck, fast mode"
    if {"jaxfn.gradcheck", fast} <= set(results):
        names = missed(results, "jaxfn.gradcheck", fast)
        print(f"caught by PyTorch's fast mode and not by jaxfn.gradcheck: {names or 'none'}")
    if options.torch and not options.only:
        print(speed.measure())
    if options.list:
        for name, outcomes in results.items():
            print(f"\n{name}\n{_listing(outcomes)}")
    return results


if __name__ == "__main__":
    main()
