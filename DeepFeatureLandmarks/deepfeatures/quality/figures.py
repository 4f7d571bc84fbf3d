"""Pictures of a flagged point and charts of agreement, as PNG bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from deepfeatures.data.volume import Volume
from deepfeatures.pipelines.demo_figure import PLACED_COLOUR, TRUTH_COLOUR, VIEWS
from deepfeatures.quality import rater_agreement

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FIELD_MM = 80.0  # edge of each slice
PIXELS = 160
MOST_TEMPLATES = 30  # in one chart
AXES = ("left", "back", "up")


def point_picture(volume: Volume, point: np.ndarray, expected: np.ndarray) -> bytes:
    """Three slices around a point, which is a cross, and the place where it is expected, a circle.

    Args:
        volume: The scan.
        point: LPS mm, shape `(3,)`; NaN where it is missing: the slices then go through the expected place.
        expected: LPS mm, shape `(3,)`; NaN where it is not known.
    """
    from matplotlib.figure import Figure

    centre = point if np.isfinite(point).all() else expected
    low, high = np.percentile(volume.voxels.numpy(), (1, 99.7))
    figure = Figure(figsize=(6, 2), facecolor="black")
    figure.subplots_adjust(0, 0, 1, 1, 0.01, 0)
    half = FIELD_MM / 2
    for axes, (right, down, letters) in zip(figure.subplots(1, 3), VIEWS.values(), strict=True):
        directions = np.array([right, down], float)
        image = _slice(volume, centre, directions)
        axes.imshow(image, cmap="gray", vmin=low, vmax=high, extent=(-half, half, half, -half))
        for place, style in ((expected, ("o", TRUTH_COLOUR)), (point, ("+", PLACED_COLOUR))):
            across, along = directions @ (place - centre)
            marker, colour = style
            axes.plot(across, along, marker, ms=11, mfc="none", mec=colour, mew=1.6)
        axes.set(xlim=(-half, half), ylim=(half, -half))
        axes.set_axis_off()
        for letter, place in zip(letters, ((0.04, 0.5), (0.96, 0.5), (0.5, 0.95), (0.5, 0.05)), strict=True):
            axes.text(*place, letter, transform=axes.transAxes, color="white", fontsize=7, ha="center", va="center")
    return _png(figure)


def _slice(volume: Volume, centre: np.ndarray, directions: np.ndarray) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    ticks = (np.arange(PIXELS) + 0.5) / PIXELS * FIELD_MM - FIELD_MM / 2
    across, along = np.meshgrid(ticks, ticks)
    world = centre + across[..., None] * directions[0] + along[..., None] * directions[1]
    indices = volume.to_index(world.reshape(-1, 3))[:, ::-1].T
    return map_coordinates(volume.voxels.numpy(), indices, order=1).reshape(PIXELS, PIXELS)


def bland_altman_chart(positions: pd.DataFrame, first: str, second: str) -> bytes:
    """Differences of two raters along each axis against the mean of both, from the middle of the scan's points."""
    from matplotlib.figure import Figure

    points = positions[positions.rater.isin([first, second])]
    wide = points.pivot_table(index=["scan", "landmark"], columns="rater", values=list("xyz")).dropna()
    figure = Figure(figsize=(10, 2.8), layout="constrained")
    table = rater_agreement.bland_altman(positions, first, second).set_index("axis")
    for axes, axis, name in zip(figure.subplots(1, 3, sharey=True), "xyz", AXES, strict=True):
        one, other = wide[axis, first], wide[axis, second]
        middle = (one + other) / 2
        axes.plot(middle - middle.groupby("scan").transform("mean"), one - other, ".", ms=3, alpha=0.5)
        for column, style in (("bias_mm", "-"), ("low_mm", "--"), ("high_mm", "--")):
            axes.axhline(table[column].get(axis, np.nan), ls=style, color="black", lw=1)
        axes.set(xlabel=f"mm towards {name}", title=f"{axis} (+ {name})")
    figure.axes[0].set_ylabel(f"{first} − {second}, mm")
    return _png(figure)


def drift_chart(errors: pd.DataFrame) -> bytes:
    """Each rater's median error in the order of the session."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axes = figure.subplots()
    for rater, own in errors.groupby("rater", sort=False):
        medians = own.groupby("order").error_mm.median()
        axes.plot(range(1, len(medians) + 1), medians, "o-", ms=3, lw=1, label=rater)
    axes.set(xlabel="scan of the session", ylabel="median error, mm", ylim=(0, None))
    axes.legend(frameon=False)
    return _png(figure)


def offsets_chart(landmarks: pd.DataFrame) -> bytes:
    """Offset of each landmark of the first templates, mm; bold where it is labelled unlike the others'.

    Args:
        landmarks: As `TemplateCheck` has them.
    """
    from matplotlib.figure import Figure

    first = landmarks[landmarks.template.isin(landmarks.template.unique()[:MOST_TEMPLATES])]
    wide, unlike = (
        first.pivot(index="template", columns="landmark", values=value).reindex(
            index=first.template.unique(), columns=first.landmark.unique()
        )
        for value in ("offset_mm", "unlike")
    )
    rows, columns = wide.shape
    figure = Figure(figsize=(2.5 + 0.55 * columns, 1.8 + 0.3 * rows), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(wide.to_numpy(float), cmap="Oranges", vmin=0, aspect="auto")
    for row, column in np.ndindex(rows, columns):
        if np.isfinite(wide.iat[row, column]):
            weight = "bold" if unlike.iat[row, column] else "normal"
            axes.text(column, row, f"{wide.iat[row, column]:.1f}", ha="center", va="center", weight=weight)
    axes.set_xticks(range(columns), wide.columns, rotation=60, ha="right")
    axes.set_yticks(range(rows), wide.index)
    figure.colorbar(image, label="mm")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, facecolor=figure.get_facecolor())
    return buffer.getvalue()
