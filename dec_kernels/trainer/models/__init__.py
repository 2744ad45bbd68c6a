"""Networks and their weight files."""

from dec_kernels.trainer.models.rrdbnet import RRDBNet
from dec_kernels.trainer.models.weights import load_weights, read_weights, save_weights

__all__ = ["RRDBNet", "load_weights", "read_weights", "save_weights"]
