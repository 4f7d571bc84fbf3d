"""Makes PNG files small: at most 256 colours, and at most 300 kB each.

    python Testing/small_pictures.py FOLDER_OR_FILE …

A picture that is already small and has a palette, or is transparent, is left as it is: a second run changes nothing.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

LIMIT_BYTES = 300_000
COLOURS = (256, 192, 128, 96, 64)  # the most that fit; fewer would show as bands
SMALLER = 0.9  # factor of the edge lengths, where no number of colours fits
COLOURFUL = 16  # of 255, between the strongest and the weakest of red, green and blue
ALIKE = 8  # of 255: colours in one step of this count as one


def small(image: Image.Image) -> bytes:
    """The picture as a PNG file of at most `LIMIT_BYTES`: in fewer colours, and else smaller."""
    image = image.convert("RGB")
    for colours in COLOURS:
        file = io.BytesIO()
        palette = _sample(image).quantize(colours, method=Image.Quantize.MEDIANCUT)
        image.quantize(palette=palette, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        if file.tell() <= LIMIT_BYTES:
            return file.getvalue()
    size = (round(image.width * SMALLER), round(image.height * SMALLER))
    return small(image.resize(size, Image.Resampling.LANCZOS))


def _sample(image: Image.Image) -> Image.Image:
    """Pixels to choose a palette by, as many of them colourful as not.

    Each colour counts once among the colourful, so that thin marks and faint overlays on grey slices keep theirs.
    """
    pixels = np.asarray(image).reshape(-1, 3)
    colourful = pixels[np.ptp(pixels.astype(int), axis=1) > COLOURFUL]
    if len(colourful):
        distinct = np.unique(colourful // ALIKE * ALIKE + ALIKE // 2, axis=0)
        pixels = np.concatenate([pixels, np.resize(distinct, (len(pixels), 3))])
    return Image.fromarray(pixels[None])


def store_small(path: Path) -> None:
    """Replace a PNG file by its small form."""
    with Image.open(path) as image:
        is_small = image.mode == "P" and path.stat().st_size <= LIMIT_BYTES
        if not is_small and not _is_transparent(image):
            path.write_bytes(small(image))


def _is_transparent(image: Image.Image) -> bool:
    return image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255)


def main(places: list[str]) -> None:
    for place in map(Path, places):
        for path in sorted(place.rglob("*.png")) if place.is_dir() else [place]:
            store_small(path)


if __name__ == "__main__":
    main(sys.argv[1:])
