"""`dec-train predict`: upscale image files with a trained network.

    dec-train predict --weights runs/x/checkpoints/best.ckpt --input photographs --output upscaled

The network is that of `--config`, a training's `config.yaml`. Without it, the weights tell what network they are for:
an RRDBNet, a HINet, or, where spandrel is installed, any other that spandrel knows.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import rich
import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from dec_kernels.console import command_line
from dec_kernels.images import (
    SUFFIXES,
    UnreadableImageError,
    is_for_rgb,
    list_images,
    read_header,
    read_image,
    some_of,
)
from dec_kernels.trainer.errors import is_out_of_memory
from dec_kernels.trainer.files import replacing, require_folder
from dec_kernels.trainer.models import (
    SpandrelNetwork,
    UnknownNetworkError,
    check_generator,
    hinet_from,
    load_weights,
    rrdbnet_from,
)
from dec_kernels.trainer.parser import SuggestingParser
from dec_kernels.trainer.pixels import NonFiniteImageError, quantize, to_float
from dec_kernels.trainer.png import write_png
from dec_kernels.trainer.ranges import NonNegativeInt, check_arguments
from dec_kernels.trainer.tiles import check_tiles, upscale_bands
from dec_kernels.trainer.wording import first_few

PRECISIONS = {"32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class PredictionError(Exception):
    """Images cannot be upscaled; the message says why, and what to do."""


def predict(
    weights: str | Path,
    input: str | Path,
    output: str | Path,
    config: str | Path | None = None,
    tile: NonNegativeInt = 256,
    overlap: NonNegativeInt = 32,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    precision: Literal["32", "bf16", "fp16"] = "32",
    overwrite: bool = False,
) -> dict[Path, str]:
    """Upscales image files into PNG files, or restores them by a network of scale 1; progress is shown.

    Results have 16 bits a channel where the input has 16, otherwise 8.

    Gray images become RGB. An ICC profile for RGB goes into the result. One for gray or CMYK pixels, which PNG does not
    allow beside RGB, is dropped, as alpha channels are. What was carried over and what was dropped is said.

    With tiles, memory holds an image as it was read, what the network needs for one tile with its overlap, and up to
    three rows of tiles of the result, which go into the file as they come: beside the tile, less than 0.4 bytes a byte
    of output at scale 4. Without tiles, the network needs the more the larger the image.

    From 8 pixels of overlap on, what ESRGAN's fresh network of 23 blocks makes of a photograph at scale 4 is the whole
    image's result up to float32's rounding; with ten times larger weights in its blocks, from 16 on. At scale 2, where
    its features have half the input's resolution, it takes twice as many.

    Args:
        weights: checkpoint of dec-train, or a public weight file: of an RRDBNet or a HINet, or, where spandrel is
            installed, of another network that spandrel knows.
        input: image file, or folder, which is searched at any depth.
        output: folder for the results, which keep their paths within the input; made if need be.
        config: config.yaml of the training, for a network that is not read off the weights themselves.
        tile: side of a tile in input pixels; 0 takes images whole.
        overlap: input pixels of context around each tile.
        device: "auto" is an accelerator where there is one.
        precision: what the network computes in.
        overwrite: replace results that exist already.

    Returns:
        The files that could not be read, or whose result has NaN or infinite pixels, and why; all others were
        upscaled.

    Raises:
        FileNotFoundError: there is no such file or folder, or it holds no image.
        FileExistsError: a result exists already and `overwrite` is not set; nothing was done.
        PredictionError: two images would have one result, or a result would be found among the images; there is no
            such device, or it has too little memory.
        ValueError: `output` cannot be written to, the weights are not the network's, or `tile` or `overlap` is not
            what it needs.
    """
    check_arguments(predict, locals())
    weights, output = Path(weights), Path(output)
    targets = _targets(input, output)
    if existing := [target for target in targets.values() if target.exists() and not overwrite]:
        raise FileExistsError(f"--output has these already: {first_few(existing)}. --overwrite replaces them")
    require_folder(output, "--output")
    where = _device(device)
    with _memory_advice("the network", "--device cpu may have more"):
        network = load_network(weights, None if config is None else Path(config)).to(where)
    if tile:
        check_tiles(network, tile, overlap)
        if not getattr(network, "takes_tiles", True):
            _say(f"the network in {weights} looks at whole images, and tiles may show: --tile 0 takes them whole")
    failed: dict[Path, str] = {}
    transparent: list[Path] = []
    profiled: list[Path] = []
    misfitting: list[Path] = []
    started = time.monotonic()
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=rich.get_console()) as progress:
        task = progress.add_task("", total=len(targets), speed="")
        for done, (path, target) in enumerate(targets.items(), start=1):
            try:
                header = read_header(path)
                profile = header.profile if is_for_rgb(header.profile) else None
                with _memory_advice(str(path), _less_memory(tile, overlap)):
                    _upscale_file(network, path, target, profile, where, tile, overlap, PRECISIONS[precision])
            except UnreadableImageError as error:
                failed[path] = str(error)
            except NonFiniteImageError:
                failed[path] = f"{path} is not upscaled: {_why_not_finite(network, weights, precision)}"
            else:
                if header.alpha:
                    transparent.append(path)
                if header.profile is not None:
                    (misfitting if profile is None else profiled).append(path)
            progress.update(task, completed=done, speed=f"{done / (time.monotonic() - started):.2f} it/s")
    if transparent:
        _say(f"upscaled without the alpha channel: {first_few(transparent)}")
    if profiled:
        _say(f"{len(profiled)} of the results have the ICC profile of their image: {first_few(profiled)}")
    if misfitting:
        _say(f"upscaled without the ICC profile, which is not for RGB: {first_few(misfitting)}")
    return failed


def load_network(weights: Path, config: Path | None) -> nn.Module:
    """The network that a training's `config.yaml` describes, or without one that which the weights are for.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: the weights are for neither RRDBNet nor HINet, and spandrel is not installed.
        ValueError: `config` describes no network, or the weights are not for it; or the network is for other images
            than RGB.
    """
    network = _network_of(weights) if config is None else _described_network(config)
    try:
        check_generator(network)
    except ValueError as error:
        raise ValueError(f"the network in {config or weights}: {error}") from error
    if config is not None:
        load_weights(network, weights)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval()


def _network_of(weights: Path) -> nn.Module:
    """The network that the weights themselves tell: an RRDBNet, a HINet, or else one that spandrel knows."""
    readers: tuple[Callable[[Path], nn.Module], ...] = (rrdbnet_from, hinet_from, SpandrelNetwork)
    errors: list[ImportError | UnknownNetworkError] = []
    for network_from in readers:
        try:
            return network_from(weights)
        except (ImportError, UnknownNetworkError) as error:
            errors.append(error)
    reasons = "; ".join(map(str, errors))
    raise type(errors[-1])(f"{reasons}. For the weights of a training, --config takes its config.yaml")


def _described_network(config: Path) -> nn.Module:
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
        generator = content["model"]["generator"]
        # A training's one scale is the data's; its saved config need not repeat it.
        init_args = {**generator.get("init_args", {}), "scale": content["data"]["scale"]}
    except (AttributeError, KeyError, TypeError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{config} is no config.yaml of a training: no model.generator with data.scale") from error
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--generator", type=nn.Module, required=True)
    try:
        settings = parser.parse_object({"generator": {**generator, "init_args": init_args}})
        network: nn.Module = parser.instantiate(settings).generator
    except (ArgumentError, ValueError) as error:
        raise ValueError(f"the network in {config}: {error}") from error
    return network


def _targets(images: str | Path, output: Path) -> dict[Path, Path]:
    """Each file to read, and the file to write for it."""
    folder = Path(os.path.expanduser(images))
    if folder.is_dir() and output.resolve().is_relative_to(folder.resolve()):
        raise PredictionError(f"--output {output} lies in --input {images}: the next run would upscale its results")
    sources: dict[Path, Path] = {}
    listing = list_images(str(images))
    if listing.passed_over:
        _say(f"passed over {some_of(listing.passed_over)}: only {', '.join(SUFFIXES)} are read")
    for path in listing.images:
        inner = path.relative_to(folder) if folder.is_dir() else Path(path.name)
        target = output / inner.with_suffix(".png")
        if target in sources:
            raise PredictionError(f"{sources[target]} and {path} would both become {target}: rename one of them")
        if target.resolve() == path.resolve():
            raise PredictionError(f"--output {output} is where {path} lies, and its result would replace it")
        sources[target] = path
    return {path: target for target, path in sources.items()}


def _device(name: str) -> torch.device:
    if name == "auto":
        name = str(torch.accelerator.current_accelerator()) if torch.accelerator.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise PredictionError("--device cuda: PyTorch sees no CUDA device here")
    return torch.device(name)


def _upscale_file(
    network: nn.Module,
    path: Path,
    target: Path,
    profile: bytes | None,
    device: torch.device,
    tile: int,
    overlap: int,
    dtype: torch.dtype | None,
) -> None:
    """Upscales one image file into a PNG file of as many bits a channel."""
    image = read_image(path)

    def start(window: Tensor) -> Tensor:
        return to_float(window).to(device)

    def finish(sr: Tensor) -> Tensor:
        return quantize(sr.float().cpu(), image.dtype)

    scale: int = network.scale  # type: ignore[assignment]
    height, width = (scale * side for side in image.shape[-2:])
    with torch.autocast(device.type, dtype, enabled=dtype is not None), replacing(target) as file:
        bands = upscale_bands(network, image[None], tile or None, overlap, start, finish)
        write_png(file, (band[0] for band in bands), height, width, image.dtype, profile)


@contextmanager
def _memory_advice(subject: str, advice: str) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise PredictionError(f"out of memory at {subject}: {advice}") from error


def _less_memory(tile: int, overlap: int) -> str:
    """What makes the part of an image smaller that the network has to take at once."""
    if not tile:
        return "set --tile, for example to 256"
    if tile > overlap:
        return f"lower --tile, which is {tile}"
    return f"lower --overlap, which is {overlap} at each side of a tile of {tile}"


def _why_not_finite(network: nn.Module, weights: Path, precision: str) -> str:
    if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
        return f"the weights in {weights} are NaN or infinite themselves"
    found = f"what the network makes of it with --precision {precision} has NaN or infinite pixels"
    others = {"fp16": "bf16 and 32 have", "bf16": "32 has"}
    return f"{found}; --precision {others[precision]} more range" if precision in others else found


def _say(message: str) -> None:
    print(f"dec-train predict: {message}", file=sys.stderr)


@command_line
def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `dec-train predict`: 0 if all is well, 1 if images gave no result, 2 if nothing can be done."""
    parser = SuggestingParser(prog="dec-train predict", description="Upscale image files into PNG files.")
    parser.add_function_arguments(predict, as_group=False, skip={"overwrite"})
    # Without a value, which a bool would want.
    parser.add_argument("--overwrite", action="store_true", help="replace results that exist already")
    settings = parser.parse_args(argv)
    try:
        failed = predict(**vars(settings))
    except BrokenPipeError:
        raise
    except (ImportError, OSError, PredictionError, ValueError) as error:
        _say(str(error))
        return 2
    for message in failed.values():
        _say(message)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
