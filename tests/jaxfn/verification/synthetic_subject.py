"""What the checker decides on, made of a few numbers: nothing of it is traced or compiled."""

from types import SimpleNamespace

import numpy as np

from jaxfn.verification.evidence.agreement import Comparison
from jaxfn.verification.points.probes import Probe
from jaxfn.verification.subject.coordinates import Arguments
from jaxfn.verification.subject.subject import DOUBLE, Subject


class Plain:
    """A program that is a function of numpy's arrays."""

    eps, eager, compile_seconds = DOUBLE, False, 0.0

    def __init__(self, rows):
        self.rows, self.primitives = rows, set()

    def __call__(self, *columns):
        return self.rows(*columns)


def engine(value=np.zeros_like, gradient=lambda x, g: g, twice=lambda x: np.zeros((len(x), 2))):
    """One argument, one output; `twice` are the derivatives of the gradient by both."""

    def pulled_twice(x, integers, g, weights):
        return tuple(np.split(twice(x), 2, axis=1))

    return SimpleNamespace(
        size=1,
        value=Plain(lambda x, integers: (value(x),)),
        pull=Plain(lambda x, integers, g: (value(x), gradient(x, g))),
        pull_twice=Plain(pulled_twice),
        of_leaves=lambda integers: lambda arrays: list(arrays),
        stops_gradients=lambda: False,
    )


def subject(rule=None, reference=None, given=(1.0,), dtype=np.float32):
    """A subject in double precision whose arguments are of the dtype."""
    rule, reference = rule or engine(), reference or engine()
    arguments, rng = Arguments((np.array(given, dtype),)), np.random.default_rng(0)
    return Subject(arguments, rule, reference, rule, rule, reference, True, rng)


def comparison(*probes, tolerance=1.0, ends=None):
    """One element at probes that are each its kind, the point, the rule there and the reference."""
    kinds, x, rule, reference = zip(*probes, strict=True)
    rule, reference = (np.array(part, float)[:, None] for part in (rule, reference))
    low, high = (reference, reference) if ends is None else (np.full(rule.shape, e) for e in ends)
    ones, every = np.ones(rule.shape), np.ones(rule.shape, bool)
    return Comparison(
        probes=tuple(probe(kind, at) for kind, at in zip(kinds, x, strict=True)),
        which=np.arange(len(probes)),
        cotangents=ones,
        cotangent_scale=1.0,
        rule=rule,
        reference=reference,
        primal=ones,
        values=ones,
        reference_values=None,
        usable=every[:, 0],
        comparable=True,
        notes=(),
        tolerance=tolerance * ones,
        bad=every,
        unstable=~every,
        low=low,
        high=high,
        doubtful=frozenset(),
    )


def probe(kind, *x):
    """A point of that kind."""
    return Probe(kind, kind, np.array(x, float), ())
