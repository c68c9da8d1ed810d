"""Flax NNX models over the functional API."""

from models import lenet as lenet
from models.layers import Conv2d as Conv2d
from models.layers import Conv2dReluMaxPool2d as Conv2dReluMaxPool2d
from models.layers import Linear as Linear
from models.lenet import LeNet as LeNet
from models.regression import TwoLayerRegression as TwoLayerRegression
from models.summary import summary as summary
