"""Which option of `gradcheck` would settle what did not pass."""

from typing import Any

from jaxfn.verification.report import FAIL, PASS, SKIPPED, Check, GradcheckReport

ORACLES = "autodiff", "differences"  # the layers that compare with a derivative
THE_GIVEN_POINT = "the given point"


def hint(report: GradcheckReport, options: dict[str, Any]) -> str:
    """One line on `surrogate=`, `reference=` or `domain=`; empty where none would settle it.

    Args:
        report: of the run.
        options: those of the run; None where they were not given.
    """
    if report.verdict == PASS or options["surrogate"] is not None:
        return ""
    if report.cause == "surrogate":
        return (
            "if another function's gradient is meant (straight-through), surrogate= takes that "
            "function"
        )
    if options["reference"] is None and _no_oracle(report):
        return (
            "autodiff or differences of the function do not decide it: reference= takes a function "
            "of the same value that JAX differentiates"
        )
    failed = [check for check in report.checks if check.verdict == FAIL]
    if options["domain"] is None and failed and all(map(_moved, failed)):
        return (
            "nothing is wrong at the given point: if the function is not meant for the points "
            "named here, domain= says where it is"
        )
    return ""


def _no_oracle(report: GradcheckReport) -> bool:
    """Whether autodiff has no derivative, or one that values refute or leave open."""
    checks = {check.name: check for check in report.checks if check.name in ORACLES}
    autodiff, differences = (checks.get(name) for name in ORACLES)
    if "autodiff is wrong, too" in report.diagnosis:
        return True
    if autodiff is not None and autodiff.verdict == SKIPPED:
        return True
    if differences is None or autodiff is None:
        return False
    refuted = autodiff.verdict == PASS and differences.verdict == FAIL
    return refuted or (differences.verdict not in (PASS, FAIL, SKIPPED))


def _moved(check: Check) -> bool:
    """Whether the check found its worst element at a point that it moved to."""
    return check.worst is not None and check.worst.probe != THE_GIVEN_POINT
