"""Rules and references that are plain functions of numpy: what decides is shown uncompiled."""

from types import SimpleNamespace

import jax
import numpy as np

from jaxfn.verification.evidence.agreement import compare
from jaxfn.verification.points.probes import GIVEN, Probe
from jaxfn.verification.subject.coordinates import Arguments
from jaxfn.verification.subject.subject import DOUBLE, Subject


class Program:
    """What stands for a compiled program: rows of arrays in, rows of arrays out."""

    def __init__(self, call, eps):
        self.call, self.eps, self.primitives = call, eps, set()

    def __call__(self, *columns):
        return self.call(*columns)


def zero(x):
    """The value, or the gradient, of what is nothing but rounding."""
    return 0 * x


def one(x):
    """The gradient of a sum."""
    return 0 * x + 1


def _engine(gradient, value, eps):
    def value_of(x):
        return value(x).sum(axis=1, keepdims=True)

    return SimpleNamespace(
        pull=Program(lambda x, _, g: (value_of(x), g * gradient(x)), eps),
        value=Program(lambda x, _: (value_of(x),), eps),
        size=1,
        stops_gradients=lambda: False,
    )


def subject_of(
    rule, reference=None, value=zero, given=(1.0,), dtype=np.float32, eps=DOUBLE, **options
):
    """A function with one output, the sum of `value`, and the gradients of rule and reference.

    Rule and values are in double precision, or in single without `wide`; `eps` is that of the
    reference.
    """
    with jax.enable_x64(True):
        arguments = Arguments((np.array(given, dtype),))
    own = DOUBLE if options.setdefault("wide", True) else float(np.finfo(np.float32).eps)
    engine = _engine(rule, value, own)
    other = None if reference is None else _engine(reference, value, max(eps, own))
    rng = np.random.default_rng(0)
    return Subject(arguments, engine, other, engine, engine, None, rng=rng, **options)


def at_given(subject):
    """The given point."""
    return Probe("the given point", GIVEN, subject.arguments.given, ())


def compared(subject, *others):
    """The comparison at the given point, whose first item is the cotangent 1, and at others."""
    return compare(subject, [at_given(subject), *others])


def agrees(subject, element=0):
    """Whether the rule agrees with the reference at an element of the given point."""
    return not compared(subject).bad[0, element]
