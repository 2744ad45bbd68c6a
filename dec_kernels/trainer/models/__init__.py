"""Networks and their weight files."""

from dec_kernels.trainer.models.discriminators import UNetDiscriminator, VGGDiscriminator
from dec_kernels.trainer.models.generator import check_generator, stages_of
from dec_kernels.trainer.models.hinet import HINet
from dec_kernels.trainer.models.rrdbnet import RRDBNet
from dec_kernels.trainer.models.spandrel_network import SpandrelNetwork
from dec_kernels.trainer.models.swinir import SwinIR
from dec_kernels.trainer.models.weights import (
    UnknownNetworkError,
    hinet_from,
    load_weights,
    read_weights,
    rrdbnet_from,
    save_weights,
)

__all__ = [
    "HINet",
    "RRDBNet",
    "SpandrelNetwork",
    "SwinIR",
    "UNetDiscriminator",
    "UnknownNetworkError",
    "VGGDiscriminator",
    "check_generator",
    "hinet_from",
    "load_weights",
    "read_weights",
    "rrdbnet_from",
    "save_weights",
    "stages_of",
]
