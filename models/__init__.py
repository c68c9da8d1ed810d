"""Flax NNX models over the functional API."""

from models import binary as binary
from models import decoder as decoder
from models import lenet as lenet
from models import quantized as quantized
from models import resnet as resnet
from models import spiking as spiking
from models.binary import BinaryLeNet as BinaryLeNet
from models.decoder import Decoder as Decoder
from models.layers import Conv2d as Conv2d
from models.layers import Conv2dReluMaxPool2d as Conv2dReluMaxPool2d
from models.layers import Linear as Linear
from models.lenet import LeNet as LeNet
from models.quantized import QuantizedLeNet as QuantizedLeNet
from models.regression import TwoLayerRegression as TwoLayerRegression
from models.resnet import ResNet18 as ResNet18
from models.spiking import SpikingLeNet as SpikingLeNet
from models.summary import summary as summary
