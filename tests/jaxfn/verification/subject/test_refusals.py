"""What cannot be checked is refused in a sentence that names it and says what to give."""

import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfn.verification import gradcheck
from jaxfn.verification.subject.coordinates import Arguments
from jaxfn.verification.subject.refusals import unseen, validate

X = jnp.array([1.0, 2.0])
LEAKED = []
jax.jit(lambda x: LEAKED.append(x) or x)(X)


def fun(weights, x):
    return x


REFUSED = {
    "tracer": (LEAKED[0], "got a tracer, weights; call gradcheck outside jit"),
    "shape": ([jax.ShapeDtypeStruct((3,), float)], "got a ShapeDtypeStruct, weights[0], which has"),
    "generator": (
        (w for w in (X, X)),
        "got a generator, weights, which is none: give tuple(weights)",
    ),
    "iterator": (
        zip([X], [X], strict=True),
        "got a zip, weights, which is none: give",
    ),
    "view": ({"a": X}.values(), "got a dict_values, weights, which is none: give tuple(weights)"),
    "longdouble": (np.ones(2, np.longdouble), f"got {np.dtype(np.longdouble)}, weights: give wei"),
    "masked": ({"a": np.ma.array([1.0])}, "got a masked array, weights['a']: give weights['a'].fi"),
    "keys": ({"a": X, 1: X}, "give the keys of a dictionary one type"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(kind):
    value, message = REFUSED[kind]
    with pytest.raises(TypeError, match=re.escape(message)) as caught:
        gradcheck(fun, (value, X))
    assert str(caught.value).startswith("gradcheck: expected ")


def test_nothing_but_an_object_that_is_no_pytree():
    plain = types.SimpleNamespace(scale=X)
    with pytest.raises(ValueError, match="weights, a SimpleNamespace, is no pytree, so that weigh"):
        validate(fun, (plain, 3), 1)


def test_an_object_beside_an_array_is_said_to_be_unseen():
    plain = types.SimpleNamespace(parts=[X])
    (said,) = unseen(Arguments((plain, X), ("plain", "x")))
    assert "plain.parts[0] in it is no argument to differentiate" in said
    assert not list(unseen(Arguments((types.SimpleNamespace(n=2), X, "a", None, len, slice(2)))))
