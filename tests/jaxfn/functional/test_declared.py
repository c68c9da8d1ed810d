"""What a rule's gradient is declared to be the derivative of is what `gradcheck` finds it to be."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import pytest

import jaxfn
import jaxfn.functional
from jaxfn.functional._surrogate import Declared
from scripts.cases import (
    attention,
    gradient,
    layers,
    quantisation,
    spike,
    straight_through,
    transformer,
    vocabulary,
)

pytestmark = pytest.mark.numbers

KINDS = (jax.custom_jvp, jax.custom_vjp)
KEY = jax.random.key(0)
X = np.array([[-1.5, 0.25, 0.75], [0.5, -0.125, 2.0]], np.float32)


def rules() -> Iterator[tuple[str, Any]]:
    """The rules of `jaxfn.functional`, with their names."""
    for module in pkgutil.iter_modules(jaxfn.functional.__path__):
        names = vars(importlib.import_module(f"jaxfn.functional.{module.name}"))
        yield from ((name, value) for name, value in names.items() if isinstance(value, KINDS))


RULES = dict(rules())
WITHIN_A_RULE = "_in_chunks"  # no operation calls it but the rule of another
DECLARED = [name for name, rule in RULES.items() if hasattr(rule, "declared")]

# The registry maps these over examples, where their rules are called with traced operands.
UNMAPPED: dict[str, Callable[[], Any]] = {
    "dorefa_weights": lambda: jaxfn.dorefa(X, mode="weights"),
    "dorefa_zeros": lambda: jaxfn.dorefa(jnp.zeros(3), mode="weights"),
    "stochastic_round": lambda: jaxfn.stochastic_round(KEY, X),
    "gumbel_softmax": lambda: jaxfn.gumbel_softmax(KEY, X),
    "onehot_straight_through": lambda: jaxfn.onehot_straight_through(KEY, X, axis=0),
    "dropout": lambda: jaxfn.dropout(KEY, X, 0.5),
}
LIMITS: dict[str, Callable[[], Any]] = {
    "clip_gradient_never": lambda: jaxfn.clip_gradient(X, -np.inf, np.inf),
    "clip_gradient_norm_to_0": lambda: jaxfn.clip_gradient_norm([X, X[0]], 0.0),
    "clip_gradient_norm_never": lambda: jaxfn.clip_gradient_norm(X, np.inf),
    "heaviside_traced": lambda: jaxfn.heaviside(X, jaxfn.surrogates.atan(jnp.float32(3.0))),
    "lsq_in_half": lambda: jaxfn.lsq(jnp.asarray(X, "bfloat16"), 0.5, bits=2),
    "pact_of_two_types": lambda: jaxfn.pact(jnp.asarray(X, "float16"), jnp.float32(1.5)),
    "sign_ste_everywhere": lambda: jaxfn.sign_ste(X, np.inf),
}


def operations(*topics: Any) -> dict[str, Callable[[], Any]]:
    """The operations of the registry, at small arguments."""
    return {
        case.name: functools.partial(lambda case: case.operation(*case.args()), case)
        for topic in topics
        for case in topic.CASES
    }


def calls(operations: dict[str, Callable[[], Any]]) -> dict[str, dict[str, tuple[Any, ...]]]:
    """The operands that each rule is called with by each operation that calls it."""
    found: dict[str, dict[str, tuple[Any, ...]]] = {name: {} for name in RULES}
    names = {id(rule): name for name, rule in RULES.items()}
    running = ""

    def watched(call: Any) -> Any:
        def noting(rule: Any, *operands: Any) -> Any:
            traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(operands))
            if id(rule) in names and not traced:
                found[names[id(rule)]].setdefault(running, operands)
            return call(rule, *operands)

        return noting

    with pytest.MonkeyPatch.context() as patch:
        for kind in KINDS:
            patch.setattr(kind, "__call__", watched(kind.__call__))
        for name, operation in operations.items():
            running = name
            operation()
    return found


def checked(name: str, operands: tuple[Any, ...], **options: Any) -> str:
    """The verdict on a rule with what is declared of it, the held operands closed over."""
    undeclared: Any = None
    said = getattr(RULES[name], "declared", Declared(undeclared))
    free = [i for i in range(len(operands)) if i not in said.held]

    def of_free(fun: Any) -> Any:
        def fun_of_free(*args: Any) -> Any:
            every = dict(enumerate(operands)) | dict(zip(free, args, strict=True))
            return fun(*every.values())

        return fun_of_free if fun is not None and said.held else fun

    report = jaxfn.gradcheck(
        of_free(RULES[name]),
        tuple(operands[i] for i in free),
        surrogate=of_free(said.surrogate),
        linear_in_cotangent=said.linear_in_cotangent,
        raise_exception=False,
        **options,
    )
    return report.verdict


@pytest.fixture(scope="module")
def called() -> dict[str, dict[str, tuple[Any, ...]]]:
    return calls(operations(straight_through, spike, gradient, quantisation) | UNMAPPED)


@pytest.mark.parametrize("name", DECLARED)
def test_the_gradient_is_that_of_what_is_declared(name: str, called: Any):
    operands = next(iter(called[name].values()))
    assert checked(name, operands, order=1, layers=("autodiff",)) == "pass"


def test_nothing_is_declared_where_the_gradient_is_the_derivative():
    derivatives = {"_relu", "_linear", "_conv2d", "_max_pool2d", "_softmax"}
    derivatives |= {"_linear_cross_entropy", "_linear_cross_entropies", WITHIN_A_RULE, "_attention"}
    derivatives |= {"_conv_transpose2d", "_indexed_max_pool2d"}
    derivatives |= {"_conv2d_relu_max_pool2d", "_rms_norm", "_layer_norm", "_activation", "_gated"}
    assert RULES.keys() - DECLARED == derivatives


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in RULES if name != WITHIN_A_RULE])
def test_all_of_gradcheck_at_each_operation_that_calls_the_rule(name: str):
    topics = layers, straight_through, spike, gradient, quantisation
    topics += vocabulary, attention, transformer
    found = calls(operations(*topics) | UNMAPPED | LIMITS)[name]
    verdicts = {operation: checked(name, operands) for operation, operands in found.items()}
    assert verdicts
    assert verdicts == dict.fromkeys(found, "pass")


@pytest.mark.long
@pytest.mark.parametrize("name", DECLARED)
def test_without_what_is_declared_the_rule_fails(name: str, called: Any):
    rule, operands = RULES[name], next(iter(called[name].values()))
    assert jaxfn.gradcheck(rule, operands, order=1, raise_exception=False).verdict == "fail"
