"""Two bodies of hand-written rules, wrong ones and correct ones, that measure a gradient checker.

The rules are written as users write them. Each wrong one states the cause of its error; each
correct one tempts a checker into a false alarm. Each case has a witness that does not use the
checker, see `witnesses`.
"""

from tests.jaxfn.verification.bodies import (
    algebra_correct,
    analysis_wrong,
    batching_wrong,
    contract_wrong,
    convolution_wrong,
    declared_correct,
    domains_correct,
    elementwise_wrong,
    hidden_wrong,
    indexing_wrong,
    kinks_correct,
    linear_algebra_wrong,
    losses_wrong,
    machinery_wrong,
    moved_correct,
    normalisation_wrong,
    numerics_correct,
    patterns_wrong,
    precision_correct,
    precision_wrong,
    programs_correct,
    programs_wrong,
    rare_wrong,
    regions_wrong,
    reports_correct,
    reports_wrong,
    rounding_correct,
    second_order_wrong,
    sequences_correct,
    sequences_wrong,
    solvers_correct,
    structures_correct,
    tempting_correct,
    transformations_wrong,
    trees_wrong,
    unvisited_wrong,
)
from tests.jaxfn.verification.bodies.case import CAUSES, Case

_WRONG = (
    analysis_wrong,
    batching_wrong,
    contract_wrong,
    convolution_wrong,
    elementwise_wrong,
    hidden_wrong,
    indexing_wrong,
    linear_algebra_wrong,
    losses_wrong,
    machinery_wrong,
    normalisation_wrong,
    patterns_wrong,
    precision_wrong,
    programs_wrong,
    rare_wrong,
    regions_wrong,
    reports_wrong,
    second_order_wrong,
    sequences_wrong,
    transformations_wrong,
    trees_wrong,
    unvisited_wrong,
)
CORRECT_MODULES = (
    algebra_correct,
    declared_correct,
    domains_correct,
    kinks_correct,
    moved_correct,
    numerics_correct,
    precision_correct,
    programs_correct,
    reports_correct,
    rounding_correct,
    sequences_correct,
    solvers_correct,
    structures_correct,
    tempting_correct,
)

WRONG = tuple(case for module in _WRONG for case in module.body.cases)
CORRECT = tuple(case for module in CORRECT_MODULES for case in module.body.cases)

__all__ = ["CAUSES", "CORRECT", "CORRECT_MODULES", "WRONG", "Case"]
