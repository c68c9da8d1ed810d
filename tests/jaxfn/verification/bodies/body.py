"""The registry that each module of cases fills."""

from tests.jaxfn.verification.bodies.case import Case
from tests.jaxfn.verification.bodies.witnesses import differences, gradient


class Body:
    """Collects the cases of a module; both methods decorate the function with the rule."""

    def __init__(self) -> None:
        self.cases: list[Case] = []

    def wrong(self, cause: str, *args, witness=None, tolerance=1e-4, name=None, **kwargs):
        """Registers a wrong rule; `kwargs` are those of `gradcheck`."""

        def register(fun):
            title = name or fun.__name__
            check = witness or gradient()
            self.cases.append(Case(title, fun, args, check, cause, kwargs, tolerance))
            return fun

        return register

    def correct(self, *args, witness=None, tolerance=1e-4, name=None, **kwargs):
        """Registers a correct rule; `kwargs` are those of `gradcheck`."""

        def register(fun):
            title = name or fun.__name__
            check = witness or differences()
            self.cases.append(Case(title, fun, args, check, None, kwargs, tolerance))
            return fun

        return register
