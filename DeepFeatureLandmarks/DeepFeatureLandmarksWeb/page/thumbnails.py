"""Small pictures for the page, as data URLs, so that there are no files."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

GAP_PX = 2
COLUMNS = 8  # of a mosaic
LEVELS = (1.0, 99.0)  # percent that become black and white


def grey(values: np.ndarray) -> np.ndarray:
    """uint8 of the same shape; the darkest and the lightest percent are cut off."""
    low, high = np.percentile(values, LEVELS)
    return (np.clip((values - low) / max(high - low, 1e-12), 0, 1) * 255).astype(np.uint8)


def mosaic(panels: Sequence[np.ndarray], edge_px: int, marked: int | None = None) -> Image.Image:
    """Square panels of grey values in rows; the `marked` one framed in orange."""
    rows = -(-len(panels) // COLUMNS)
    step = edge_px + GAP_PX
    sheet = Image.new("RGB", (COLUMNS * step + GAP_PX, rows * step + GAP_PX))
    for number, panel in enumerate(panels):
        left, top = GAP_PX + number % COLUMNS * step, GAP_PX + number // COLUMNS * step
        sheet.paste(Image.fromarray(panel).resize((edge_px, edge_px), Image.Resampling.NEAREST), (left, top))
        if number == marked:
            ImageDraw.Draw(sheet).rectangle(
                (left - 1, top - 1, left + edge_px, top + edge_px), outline="#E69F00", width=2
            )
    return sheet


def cross_hair(image: Image.Image, colour: str) -> Image.Image:
    """The picture with a small open cross in its middle."""
    image = image.convert("RGB")
    pen, middle = ImageDraw.Draw(image), image.width // 2
    for near, far in ((4, 12), (-12, -4)):
        pen.line((middle + near, middle, middle + far, middle), fill=colour, width=2)
        pen.line((middle, middle + near, middle, middle + far), fill=colour, width=2)
    return image


def data_url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
