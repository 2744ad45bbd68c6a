"""What the trainer asks of a network that is to be its generator."""

from __future__ import annotations

from torch import Tensor, nn


def check_generator(network: nn.Module) -> None:
    """Checks that `network` says what the trainer has to know of it.

    `scale`: high-resolution size / low-resolution size, and `multiple`: what height and width of its inputs must be
    multiples of. Where it has `num_in_ch` and `num_out_ch`, both must be 3: images are RGB. It may have a method
    `stages`, see `stages_of`.

    Raises:
        ValueError: it has no such attribute, or one that is no whole number of at least 1; or other channels.
    """
    name = type(network).__name__
    for attribute in ("scale", "multiple"):
        value = getattr(network, attribute, None)
        if not isinstance(value, int) or value < 1:
            raise ValueError(
                f"a generator must have the attribute {attribute}, a whole number of at least 1 (see SuperResolution), "
                f"and {name} has {'none' if value is None else value}"
            )
    channels = [getattr(network, attribute, 3) for attribute in ("num_in_ch", "num_out_ch")]
    if channels != [3, 3]:
        raise ValueError(
            f"a generator must make RGB of RGB, 3 channels of 3, and this {name} makes {channels[1]} of {channels[0]}"
        )


def stages_of(generator: nn.Module, lr: Tensor) -> tuple[Tensor, ...]:
    """What `generator` makes of `lr`: the images of all its stages, of which the last is its result.

    A network of several stages, each of which makes an image that the next one improves, has them from its method
    `stages`: (B, 3, h, w) to a tuple of (B, 3, scale * h, scale * w). Every other network has one stage.
    """
    stages = getattr(generator, "stages", None)
    return (generator(lr),) if stages is None else stages(lr)
