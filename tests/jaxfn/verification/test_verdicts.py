"""The checker over both bodies of rules: wrong ones must fail, correct ones must not.

Every eighteenth case runs by default; `pytest -m long` runs the others.
"""

import pytest

from jaxfn.verification import gradcheck
from tests.jaxfn.verification import bodies

STRIDE = 18

# A report names the cause in these words, the bodies in theirs: each set counts as the same. What
# is said where no pattern fits, that a term is missing or wrong, names no other cause than that.
GENERIC = "a term of the gradient of"
SAME = {
    "other": {
        "dropped-term",
        "extra-term",
        "elements",
        "transposed",
        "exchanged",
        "nan",
        "scale",
        "region",
    },
    "zero-region": {"region", "elements"},
    "region": {"zero-region", "nan"},
    "elements": {"region", "zero-region", "extra-term"},
}

_outcomes: dict[str, tuple[str, bool]] = {}


def _cases(body):
    return [
        pytest.param(case, id=case.name, marks=[pytest.mark.long] if i % STRIDE else [])
        for i, case in enumerate(body)
    ]


def _checked(case):
    report = gradcheck(case.fun, case.args, raise_exception=False, **case.kwargs)
    same = SAME.get(case.cause or "", set()) if GENERIC not in report.diagnosis else set()
    diagnosed = report.cause == case.cause or report.cause in same
    _outcomes[case.name] = report.verdict, diagnosed
    return report


@pytest.mark.parametrize("case", _cases(bodies.WRONG))
def test_wrong_rule_is_caught(case):
    report = _checked(case)
    assert report.verdict == "fail", str(report)
    assert report.diagnosis


@pytest.mark.parametrize("case", _cases(bodies.CORRECT))
def test_correct_rule_is_not_rejected(case):
    report = _checked(case)
    assert report.verdict != "fail", str(report)


def test_tally():
    wrong = [_outcomes[case.name] for case in bodies.WRONG if case.name in _outcomes]
    correct = [_outcomes[case.name] for case in bodies.CORRECT if case.name in _outcomes]
    if len(wrong) < 10 or len(correct) < 5:
        pytest.skip("only some of the cases were run")
    open_ones = [verdict == "inconclusive" for verdict, _ in wrong + correct]
    assert sum(open_ones) <= 0.05 * len(open_ones)
    assert sum(diagnosed for _, diagnosed in wrong) >= 0.8 * len(wrong)
