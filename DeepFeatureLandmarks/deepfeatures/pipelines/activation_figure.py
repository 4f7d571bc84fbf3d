"""A picture of activation maps: the patch at left, the activation at right, as in the paper's figure 3."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import atomic_write

SLICES_SHOWN = 16
PANEL_INCHES = 1.1


def write_mosaic(patch: torch.Tensor, activation: torch.Tensor, path: str | Path, *, title: str) -> None:
    """Write slices of `patch` and of `activation` beside each other, each with its index in the lower left.

    Args:
        patch: Shape `(depth, height, width)`.
        activation: The same of an activation map; its size may be another.
        path: A `.png` file.
        title: Stands above the picture.

    Raises:
        InputError: Where matplotlib is not installed or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            'pictures need matplotlib; install it with `pip install "deep-feature-landmarks[pictures]"`'
        ) from error

    halves = ("patch", patch.cpu().numpy()), ("activation", activation.cpu().numpy())
    columns = max(_grid(len(voxels))[1] for _, voxels in halves)
    rows = max(_grid(len(voxels))[0] for _, voxels in halves)
    figure = Figure(figsize=(2 * columns * PANEL_INCHES + 0.4, rows * PANEL_INCHES + 0.9), layout="constrained")
    figure.suptitle(title, parse_math=False)  # a landmark's name may hold $
    for half, (name, voxels) in zip(figure.subfigures(1, 2, wspace=0.05), halves, strict=True):
        half.suptitle(name, fontsize="medium")
        panels = half.subplots(*_grid(len(voxels)), squeeze=False).flat
        shown = _shown(len(voxels))
        for panel in panels:
            panel.set_axis_off()
        for panel, index in zip(half.axes, shown, strict=False):
            low, high = float(voxels.min()), float(voxels.max())
            panel.imshow(voxels[index], cmap="gray", vmin=low, vmax=high if high > low else low + 1)
            panel.text(0.04, 0.04, str(index), transform=panel.transAxes, color="yellow", fontsize="small")
    with atomic_write(path, ".png") as draft:
        figure.savefig(draft, dpi=150)


def _shown(depth: int) -> list[int]:
    """Indices of the slices to show, evenly spread."""
    return sorted({round(index) for index in np.linspace(0, depth - 1, min(depth, SLICES_SHOWN))})


def _grid(depth: int) -> tuple[int, int]:
    """Rows and columns that hold the slices shown."""
    count = len(_shown(depth))
    columns = int(np.ceil(np.sqrt(count)))
    return int(np.ceil(count / columns)), columns
