"""Gradients that change from call to call: by compiled code, without jit, by what is kept outside.

Each rule is asked of this layer alone; whether its gradients are right is none of its business.
"""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np

from jaxfn.verification import gradcheck
from tests.jaxfn.verification.test_gradcheck import X, ruled


def asked(backward):
    rule = ruled(jnp.sin, backward)
    report = gradcheck(rule, (X,), layers=("determinism",), raise_exception=False)
    (check,) = report.checks
    return report, check


def test_the_same_each_time_passes_right_or_wrong():
    for factor in 1.0, 2.0:
        report, check = asked(lambda x, g, factor=factor: (factor * g * jnp.cos(x),))
        assert report.verdict == check.verdict == "pass"
        assert check.detail == ""


def test_a_callback_that_counts_changes_compiled_code():
    count = itertools.count()

    def scaled(x):
        return np.asarray(x * (1 + next(count)))

    def backward(x, g):
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return (g * jax.pure_callback(scaled, shape, x, vmap_method="sequential"),)

    report, _ = asked(backward)
    assert report.cause == "nondeterministic"
    assert "two calls with the same arguments differ (compiled)" in report.diagnosis


def test_what_a_trace_freezes_changes_without_jit():
    count = itertools.count()
    report, check = asked(lambda x, g: (g * jnp.cos(x) * (1 + next(count)),))
    assert report.cause == "nondeterministic"
    assert "two calls with the same arguments differ (without jit)" in report.diagnosis
    assert check.worst is not None
    assert (check.worst.path, check.worst.probe) == ("x", "a second call")


def test_residuals_kept_outside_are_those_of_the_last_call():
    kept = {}

    def forward(x):
        kept["x"] = x
        return jnp.sin(x), None

    rule = jax.custom_vjp(jnp.sin)
    rule.defvjp(forward, lambda _, g: (g * jnp.cos(kept["x"]),))
    report = gradcheck(rule, (X,), layers=("determinism",), raise_exception=False)
    assert report.cause == "nondeterministic"
    assert "without jit" in report.diagnosis


def test_a_rule_that_works_under_jit_alone_is_not_judged_without():
    def backward(x, g):
        if not isinstance(g, jax.core.Tracer):
            raise NotImplementedError("traced only")
        return (g * jnp.cos(x),)

    _, check = asked(backward)
    assert check.verdict == "pass"
    assert "without jit skipped because NotImplementedError: traced only" in check.detail


def jittering(share):
    """A callback whose result is larger by that share in every second call."""
    count = itertools.count()

    def scaled(x):
        return np.asarray(x * (1 + share * (next(count) % 2)), x.dtype)

    def backward(x, g):
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return (jax.pure_callback(scaled, shape, g * jnp.cos(x), vmap_method="sequential"),)

    return backward


def test_rounding_that_differs_is_a_warning():
    report, check = asked(jittering(3e-16))
    assert report.verdict == "pass"
    assert report.warnings == check.warnings
    assert report.warnings[0].startswith("not deterministic: two calls with the same arguments")
    assert report.warnings[0].endswith("of the largest: by rounding alone")


def test_more_than_rounding_is_said_with_its_size():
    report, _ = asked(jittering(1e-3))
    assert report.verdict == "fail"
    assert report.cause == "nondeterministic"
    assert re.search(r"\(compiled\) by up to 0\.00\d+, 0\.00\d+ of the largest$", report.diagnosis)
    assert report.warnings == ()
