"""Each wrong rule is wrong and each correct rule is correct, by witnesses without `gradcheck`.

Every third case runs by default; `pytest -m long` runs the others.
"""

import collections

import jax.numpy as jnp
import numpy as np
import pytest

from tests.jaxfn.verification import bodies
from tests.jaxfn.verification.bodies.witnesses import disagreement

STRIDE = 6


def _cases(body):
    return [
        pytest.param(case, id=case.name, marks=[pytest.mark.long] if i % STRIDE else [])
        for i, case in enumerate(body)
    ]


@pytest.mark.parametrize("case", _cases(bodies.WRONG))
def test_wrong_rule_is_wrong(case):
    seen, expected = case.witness(case)
    assert disagreement(seen, expected) > case.tolerance


@pytest.mark.parametrize("case", _cases(bodies.CORRECT))
def test_correct_rule_is_correct(case):
    seen, expected = case.witness(case)
    assert disagreement(seen, expected) <= case.tolerance


def test_bodies_are_large_and_names_differ():
    assert len(bodies.WRONG) >= 170
    assert len(bodies.CORRECT) >= 95
    names = collections.Counter(case.name for case in bodies.WRONG + bodies.CORRECT)
    assert [name for name, count in names.items() if count > 1] == []


def test_causes_are_of_the_vocabulary_and_all_occur():
    assert {case.cause for case in bodies.WRONG} == set(bodies.CAUSES)
    assert {case.cause for case in bodies.CORRECT} == {None}


def test_disagreement():
    x = np.ones(3, np.float32)
    assert disagreement({"a": x}, {"a": x}) == 0
    assert disagreement({"a": x}, [x]) == np.inf
    assert disagreement(1.5 * x, x) == 0.5
    assert disagreement(np.full(3, np.nan), x) == np.inf
    assert disagreement(np.full(3, np.inf), np.full(3, np.inf)) == 0
    assert disagreement(x[:2], x) == np.inf
    assert disagreement("float32", "bfloat16") == np.inf
    assert disagreement(jnp.ones(3, jnp.bfloat16), x) == 0
