"""The checker over both bodies of rules: wrong ones must fail, correct ones must not.

By default one case of each cause runs, and one of each module of correct rules; `pytest -m long`
runs the others.
"""

import pytest

from jaxfn.verification import gradcheck
from tests.jaxfn.verification import bodies

# Of each cause, and of each module of correct rules, one that is cheap to check: about the
# cheapest of its first few when they were chosen.
OF_EACH_CAUSE = {
    "scale": "energy_without_its_two",
    "sign": "complex_reciprocal_with_the_other_sign",
    "transposed": "bilinear_form_with_a_transposed_gradient",
    "exchanged": "product_with_exchanged_gradients",
    "zero": "log_with_a_zero_gradient",
    "zero-region": "doubled_unless_it_is_tiny",
    "region": "elu_whose_rule_forgets_alpha",
    "elements": "reflected_padding_without_its_margins",
    "mean-for-sum": "upsampling_with_a_mean",
    "sum-for-mean": "mean_squared_error_without_its_mean",
    "constant": "sine_plus_one",
    "nonlinear": "sine_with_a_squared_cotangent",
    "dtype": "square_bfloat16_with_a_float32_gradient",
    "primal": "exp_half_per_mille_off_in_forward",
    "vmap": "sine_wrong_under_two_vmaps",
    "second-order": "tanh_whose_slope_has_a_tangent_one_percent_off",
    "nan": "cumulative_product_nan_at_a_zero",
    "conjugate": "complex_square_conjugated",
    "dropped-term": "complex_exp_with_the_gradient_of_the_real_one",
    "extra-term": "triangular_solve_with_a_full_gradient",
    "nondeterministic": "sine_whose_residual_is_kept_outside",
    "symbolic-zero": "product_without_gradients_if_the_first_is_constant",
    "low-precision": "square_with_a_bfloat16_residual",
    "jit": "root_with_a_rounded_residual_when_traced",
    "surrogate": "sign_straight_through_within_one",
    "other": "gelu_with_the_gradient_of_its_approximation",
}
OF_EACH_MODULE = {
    "algebra_correct": "square_of_a_symmetric_matrix",
    "declared_correct": "rounding_straight_through",
    "domains_correct": "sum_of_squares_beside_missing_values",
    "kinks_correct": "relu_half_at_zero",
    "moved_correct": "transport_cost_of_samples",
    "numerics_correct": "very_steep_exponential",
    "precision_correct": "square_bfloat16",
    "programs_correct": "cholesky_by_murrays_rule",
    "reports_correct": "doubled_beside_its_marked_input",
    "rounding_correct": "softmax_that_has_all_but_decided",
    "sequences_correct": "permutation_by_its_inverse",
    "solvers_correct": "square_root_by_newton",
    "structures_correct": "gather_with_a_float0_cotangent",
    "tempting_correct": "complex_modulus_zero_at_zero",
}
DEFAULT = {*OF_EACH_CAUSE.values(), *OF_EACH_MODULE.values()}

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
        pytest.param(case, id=case.name, marks=[] if case.name in DEFAULT else [pytest.mark.long])
        for case in body
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


def test_each_kind_of_case_runs_by_default():
    assert OF_EACH_CAUSE.keys() == set(bodies.CAUSES)
    wrong = {case.name: case.cause for case in bodies.WRONG}
    assert {wrong[name]: name for name in OF_EACH_CAUSE.values()} == OF_EACH_CAUSE
    modules = {m.__name__.rpartition(".")[2]: m.body.cases for m in bodies.CORRECT_MODULES}
    assert OF_EACH_MODULE.keys() == modules.keys()
    for module, name in OF_EACH_MODULE.items():
        assert name in {case.name for case in modules[module]}


def test_tally():
    wrong = [_outcomes[case.name] for case in bodies.WRONG if case.name in _outcomes]
    correct = [_outcomes[case.name] for case in bodies.CORRECT if case.name in _outcomes]
    if len(wrong) < 10 or len(correct) < 5:
        pytest.skip("only some of the cases were run")
    open_ones = [verdict == "inconclusive" for verdict, _ in wrong + correct]
    assert sum(open_ones) <= 0.05 * len(open_ones)
    assert sum(diagnosed for _, diagnosed in wrong) >= 0.8 * len(wrong)
