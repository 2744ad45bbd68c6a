"""What a degradation is, and the random numbers that it draws."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

import numpy as np
from torch import Tensor


class Degradation(ABC):
    """Makes a low-resolution image of a high-resolution one; a config names it by `class_path` in `data.degradation`.

    A degradation is plain data: calls change nothing in it, and all randomness comes from `rng`. So the workers of a
    loader, the processes of a training and a resumed run make the same images.

    Attributes:
        context: how many high-resolution pixels at each side of a training crop are degraded with it and then cut off,
            where the photograph has them; there may be up to 8 low-resolution ones more. Blur and JPEG carry what lies
            there into the crop.
    """

    context: int = 0

    @abstractmethod
    def __call__(self, hr: Tensor, scale: int, rng: np.random.Generator) -> Tensor:
        """Degrades an image.

        Args:
            hr: (3, scale * h, scale * w) uint8 or uint16; not to be written to.
            scale: high-resolution size / low-resolution size, at least 1.
            rng: where all random numbers are drawn from.

        Returns:
            (3, h, w) with the dtype of `hr`.
        """


def sample_stream(seed: int, k: int) -> np.random.Generator:
    """The random numbers of training sample `k`."""
    # Philox is a counter-based generator: each value of the counter's highest word starts an independent stream.
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, k]))


def image_stream(seed: int, name: str) -> np.random.Generator:
    """The random numbers of an image that is evaluated on: none of `sample_stream`'s, and no other name's."""
    digest = int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:8], "little")
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 1, digest]))
