"""`Function` and `function`: write forward and backward, get an operation."""

from jaxfn.function.decorator import function as function
from jaxfn.function.idiom import Function as Function
