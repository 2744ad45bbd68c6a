"""Networks and their weight files."""

from dec_kernels.trainer.models.discriminators import UNetDiscriminator, VGGDiscriminator
from dec_kernels.trainer.models.rrdbnet import RRDBNet
from dec_kernels.trainer.models.swinir import SwinIR
from dec_kernels.trainer.models.weights import load_weights, read_weights, rrdbnet_from, save_weights

__all__ = [
    "RRDBNet",
    "SwinIR",
    "UNetDiscriminator",
    "VGGDiscriminator",
    "load_weights",
    "read_weights",
    "rrdbnet_from",
    "save_weights",
]
