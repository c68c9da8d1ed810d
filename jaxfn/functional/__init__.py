"""Operations with hand-written gradients, a module per topic."""

from jaxfn.functional.activation import relu as relu
from jaxfn.functional.convolution import conv2d as conv2d
from jaxfn.functional.linear import linear as linear
from jaxfn.functional.pooling import max_pool2d as max_pool2d
from jaxfn.functional.pooling import relu_max_pool2d as relu_max_pool2d
