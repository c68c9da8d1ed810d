"""Means to know that a hand-written gradient is right."""

from jaxfn.verification.gradcheck import gradcheck as gradcheck
from jaxfn.verification.gradgradcheck import gradgradcheck as gradgradcheck
from jaxfn.verification.report import GradcheckError as GradcheckError
from jaxfn.verification.report import GradcheckReport as GradcheckReport
