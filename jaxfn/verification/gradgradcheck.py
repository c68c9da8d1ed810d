"""`gradgradcheck`: `gradcheck` of the gradient."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.verification.gradcheck import gradcheck
from jaxfn.verification.report import GradcheckReport
from jaxfn.verification.subject.coordinates import Arguments, canonical, is_inexact
from jaxfn.verification.subject.names import parameter_names, with_names
from jaxfn.verification.subject.refusals import validate
from jaxfn.verification.subject.setup import (
    applied_rules,
    check_outputs,
    default_reference,
)


def gradgradcheck(
    fun: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    reference: Callable[..., Any] | None = None,
    surrogate: Callable[..., Any] | None = None,
    seed: int = 0,
    raise_exception: bool = True,
    domain: Any = None,
) -> GradcheckReport:
    """Checks the gradient of the gradient: `gradcheck` of `(x, g) ↦ J(x)ᵀ g`.

    Args:
        fun: the function, with its rule.
        args: its positional arguments, a tuple of pytrees.
        reference: as for `gradcheck`.
        surrogate: as for `gradcheck`; its gradient is the reference of the gradient.
        seed: of all random choices.
        raise_exception: whether to raise when the gradient's gradient fails.
        domain: as for `gradcheck`.

    Returns:
        The report on the pullback of `fun` as a function of the arguments and the cotangent.

    Raises:
        GradcheckError: if the derivative of the rule is wrong.
        TypeError: as `gradcheck`.
        ValueError: as `gradcheck`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxfn.verification import gradgradcheck
        >>> gradgradcheck(jnp.sin, (jnp.array([0.5, -2.0]),)).verdict
        'pass'

    Source: `torch.autograd.gradgradcheck`.
    """
    validate(fun, args, 2)
    args = canonical(args)
    out = check_outputs(fun, args)
    rng = np.random.default_rng(seed)
    given = [
        jnp.asarray(rng.standard_normal(np.shape(leaf)), jnp.result_type(leaf))
        for leaf in jax.tree.leaves(out)
        if is_inexact(leaf)
    ]
    rules = applied_rules(fun, args, [])
    target = surrogate or reference or default_reference(fun, rules, [])
    return gradcheck(
        _pullback_of(fun, args),
        (*args, given),
        reference=_pullback_of(target or fun, args),
        order=1,
        seed=seed,
        raise_exception=raise_exception,
        domain=domain if domain is None or callable(domain) else (*domain, None),
    )


def _pullback_of(fun: Callable[..., Any], args: tuple[Any, ...]) -> Callable[..., list[Any]]:
    """The gradients of `fun` as a function of its arguments and the cotangents."""
    arguments = Arguments(args)

    def pullback(*args_and_cotangents: Any) -> list[Any]:
        *inner, cotangents = args_and_cotangents
        values = jax.tree.leaves(tuple(inner))
        integers = [values[i] for i in arguments.integer_positions]

        def call(arrays: list[Any]) -> list[Any]:
            out = fun(*arguments.rebuild(arrays, integers))
            return [jnp.asarray(leaf) for leaf in jax.tree.leaves(out) if is_inexact(leaf)]

        _, pull = jax.vjp(call, [values[leaf.position] for leaf in arguments.leaves])
        return pull(cotangents)[0]

    return with_names(pullback, (*parameter_names(fun, len(args)), "cotangents"))
