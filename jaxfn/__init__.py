"""Operations with hand-written gradients, as pure JAX functions."""

from jaxfn.autodiff import CustomRule as CustomRule
from jaxfn.autodiff import autodiff as autodiff
from jaxfn.autodiff import custom_rules as custom_rules
from jaxfn.functional import conv2d as conv2d
from jaxfn.functional import linear as linear
from jaxfn.functional import max_pool2d as max_pool2d
from jaxfn.functional import relu as relu

__version__ = "0.1.0"
