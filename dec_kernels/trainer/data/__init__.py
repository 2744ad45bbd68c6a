"""Images in, training crops and whole images out.

A config names sources; `sources` finds their photographs, `cache` saves reading them twice, `pairs` gives each at
both resolutions, `degradation` makes the low one otherwise than by bicubic, `crops` draws the training's samples, and
`module` is all of it for Lightning. Files are read by `dec_kernels.images`.
"""

from dec_kernels.images import SUFFIXES, UnreadableImageError, find_images, image_size, read_image
from dec_kernels.trainer.data.crops import CropLoader, CropSampler, RandomCrops, TrainingBatch
from dec_kernels.trainer.data.degradation import Degradation, GaussianNoise
from dec_kernels.trainer.data.module import EvaluationBatch, SRDataModule, WholeImages
from dec_kernels.trainer.data.pairs import ImagePairs, Pair, make_pair
from dec_kernels.trainer.data.sources import PairFolders, Photo, Source, find_photos

__all__ = [
    "SUFFIXES",
    "CropLoader",
    "CropSampler",
    "Degradation",
    "EvaluationBatch",
    "GaussianNoise",
    "ImagePairs",
    "Pair",
    "PairFolders",
    "Photo",
    "RandomCrops",
    "SRDataModule",
    "Source",
    "TrainingBatch",
    "UnreadableImageError",
    "WholeImages",
    "find_images",
    "find_photos",
    "image_size",
    "make_pair",
    "read_image",
]
