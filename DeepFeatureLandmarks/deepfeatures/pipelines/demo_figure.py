"""The demo's picture: for each landmark the template's slice beside the target's, truth and placed point marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepfeatures.data.landmarks import Landmark
from deepfeatures.data.volume import Volume
from deepfeatures.transforms.samplers import centre_units, sample_by_centres

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Blue and orange stay apart for every kind of colour vision.
TRUTH_COLOUR, PLACED_COLOUR = "#56B4E9", "#E69F00"
BACKGROUND, TEXT, FAINT = "#000000", "#F2F2F2", "#B0B0B0"
FIELD_MM = 130.0  # edge of each slice
PIXELS = 390

# LPS directions that run to the right and downwards on the screen, and the letters at left, right, top and bottom:
# the patient's right is at the left, as radiologists look at slices.
VIEWS = {
    "axial": ((1, 0, 0), (0, 1, 0), "RLAP"),
    "coronal": ((1, 0, 0), (0, 0, -1), "RLSI"),
    "sagittal": ((0, 1, 0), (0, 0, -1), "APSI"),
}

# The most telling landmarks, each in the plane in which a reader would look for it.
SHOWN = {
    "anterior commissure": "sagittal",
    "left frontal horn tip": "axial",
    "right caudate head": "axial",
    "left thalamus": "coronal",
    "right hippocampus head": "coronal",
    "fourth ventricle": "sagittal",
    "left putamen": "coronal",
    "right eye": "axial",
}


@dataclass(frozen=True)
class Placement:
    """One landmark and how it came out; distances in mm, `error` NaN where it is missing."""

    template: Landmark
    truth: Landmark
    placed: Landmark
    initial: float
    error: float


def draw(path: str | Path, template: Volume, target: Volume, placements: Sequence[Placement]) -> None:
    """Write the picture of the landmarks in `SHOWN` as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [(p, SHOWN[p.truth.name]) for p in placements if p.truth.name in SHOWN]
    rows = (len(shown) + 1) // 2
    figure = Figure(figsize=(12, 3.42 * rows + 0.75), facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    top, bottom = 1 - 0.1 / figure.get_figheight(), 0.6 / figure.get_figheight()
    halves = figure.add_gridspec(rows, 2, left=0.012, right=0.988, top=top, bottom=bottom, wspace=0.035, hspace=0.0)
    windows = [tuple(np.percentile(v.voxels.numpy(), (1, 99.7))) for v in (template, target)]
    for cell, (placement, view) in zip(halves, shown, strict=False):
        # A strip for the words, the two slices below it.
        words, slices = cell.subgridspec(2, 1, height_ratios=(0.42, 2.9), hspace=0.0)
        _draw_words(figure.add_subplot(words), placement, view)
        pair = slices.subgridspec(1, 2, wspace=0.012)
        axes = [figure.add_subplot(pair[0, k]) for k in range(2)]
        for ax, volume, at, window in zip(
            axes, (template, target), (placement.template, placement.truth), windows, strict=True
        ):
            _draw_slice(ax, volume, np.array(at.position), view, window)
            ax.plot(0, 0, "o", markersize=12, markerfacecolor="none", markeredgecolor=TRUTH_COLOUR, markeredgewidth=1.8)
        if placement.placed.is_defined:
            u, v = _on_screen(np.subtract(placement.placed.position, placement.truth.position), view)
            axes[1].plot(u, v, "+", markersize=13, markeredgecolor=PLACED_COLOUR, markeredgewidth=2.0)
    _draw_legend(figure)
    figure.savefig(path, dpi=110, facecolor=BACKGROUND)


def slice_through(
    volume: Volume, point: np.ndarray, view: str, field_mm: float = FIELD_MM, pixels: int = PIXELS
) -> np.ndarray:
    """A slice of edge `field_mm` around an LPS point, in patient axes whatever the storage; `(pixels, pixels)`."""
    right, down, _ = VIEWS[view]
    ticks = (np.arange(pixels) + 0.5) / pixels * field_mm - field_mm / 2
    across, along = np.meshgrid(ticks, ticks)
    world = point + across[..., None] * np.array(right) + along[..., None] * np.array(down)
    index = volume.to_index(world.reshape(-1, 3))
    grid = centre_units(torch.from_numpy(index), volume.voxels.shape).float().reshape(1, 1, pixels, pixels, 3)
    sampled = sample_by_centres(volume.voxels[None, None], grid, padding="zeros")
    return sampled[0, 0, 0].numpy()


def _on_screen(offset_mm: np.ndarray, view: str) -> tuple[float, float]:
    right, down, _ = VIEWS[view]
    return float(offset_mm @ np.array(right)), float(offset_mm @ np.array(down))


def _draw_slice(ax: Axes, volume: Volume, point: np.ndarray, view: str, window: tuple[float, float]) -> None:
    from matplotlib.patheffects import withStroke

    half = FIELD_MM / 2
    ax.imshow(
        slice_through(volume, point, view),
        cmap="gray",
        vmin=window[0],
        vmax=window[1],
        extent=(-half, half, half, -half),
        interpolation="bicubic",
    )
    ax.set_axis_off()
    outline = [withStroke(linewidth=2.5, foreground=BACKGROUND)]  # letters stay readable on bright tissue
    places = ((0.03, 0.5), (0.97, 0.5), (0.5, 0.96), (0.5, 0.04))
    for letter, (x, y) in zip(VIEWS[view][2], places, strict=True):
        ax.text(
            x,
            y,
            letter,
            transform=ax.transAxes,
            color=TEXT,
            fontsize=11,
            ha="center",
            va="center",
            path_effects=outline,
        )


def _draw_words(ax: Axes, placement: Placement, view: str) -> None:
    ax.set_axis_off()
    result = f"{placement.error:.1f} mm" if np.isfinite(placement.error) else "not found"
    first = {"transform": ax.transAxes, "va": "center", "fontsize": 12.5}
    ax.text(0.0, 0.64, placement.truth.name, color=TEXT, weight="bold", **first)
    ax.text(1.0, 0.64, result, color=PLACED_COLOUR, weight="bold", ha="right", **first)
    second = {"transform": ax.transAxes, "va": "center", "fontsize": 9.5, "color": FAINT}
    ax.text(0.0, 0.2, f"template, {view}", **second)
    ax.text(0.506, 0.2, "target", **second)
    ax.text(1.0, 0.2, f"centres aligned: {placement.initial:.1f} mm", ha="right", **second)


def _draw_legend(figure) -> None:
    from matplotlib.lines import Line2D

    circle = {"marker": "o", "markerfacecolor": "none", "markeredgecolor": TRUTH_COLOUR, "markersize": 12}
    cross = {"marker": "+", "markeredgecolor": PLACED_COLOUR, "markersize": 13}
    handles = [
        Line2D(
            [], [], linestyle="none", markeredgewidth=2, label="landmark, and its true place in the target", **circle
        ),
        Line2D([], [], linestyle="none", markeredgewidth=2, label="placed", **cross),
    ]
    figure.legend(handles=handles, loc="lower left", ncols=2, frameon=False, labelcolor=TEXT, fontsize=11.5)
    note = f"slices through landmark and truth, {FIELD_MM:.0f} mm wide"
    figure.text(0.988, 0.26 / figure.get_figheight(), note, color=FAINT, fontsize=10, ha="right", va="center")
