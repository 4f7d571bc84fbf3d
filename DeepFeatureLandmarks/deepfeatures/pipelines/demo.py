"""The demo: make two heads, place the landmarks of one in the other, and show how far from the truth they came."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

import numpy as np
from rich.console import Console
from rich.table import Table

from deepfeatures.data.landmark_scores import BY_NAME, UNKNOWN
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.io.atomic_write import ensure_folder
from deepfeatures.io.landmark_files import write_landmarks
from deepfeatures.io.volume_files import write_volume
from deepfeatures.phantom import make_pair
from deepfeatures.pipelines.demo_figure import Placement, draw

SHOWN = (BY_NAME["expected_error_mm"], BY_NAME["radius_90_mm"])  # beside the true error


class Places(Protocol):
    """What the demo needs of a matcher."""

    def match(self, template: Volume, landmarks: LandmarkSet, target: Volume) -> LandmarkSet: ...


def run(output_dir: str | Path = "demo-output", size: int = 128, *, matcher: Places | None = None) -> int:
    """Make the pair, place the landmarks, print the errors and draw a picture.

    Writes `template.nii.gz`, `template.mrk.json`, `target.nii.gz`, `truth.mrk.json`, `placed.mrk.json` and `demo.png`.

    Args:
        output_dir: Where to write; made if it is not there.
        size: Voxels of the template from front to back.
        matcher: What places the landmarks; `None` takes that of `deepfeatures place` with its defaults.

    Returns:
        Exit code: 0 where all landmarks were placed, 3 where some are missing.

    Raises:
        InputError: The size is too small, or the folder cannot be written.
    """
    folder = ensure_folder(output_dir)
    console = Console()
    with console.status("Making two heads …"):
        template, landmarks, target, truth = make_pair(size)
    for volume, name in ((template, "template"), (target, "target")):
        write_volume(volume, folder / f"{name}.nii.gz")
    for points, name in ((landmarks, "template"), (truth, "truth")):
        write_landmarks(points, folder / f"{name}.mrk.json")

    if matcher is None:
        from deepfeatures.matching import Matcher

        matcher = Matcher()
    started = time.perf_counter()
    with console.status(f"Placing {len(landmarks)} landmarks …"):
        placed = matcher.match(template, landmarks, target).landmarks
    seconds = time.perf_counter() - started
    write_landmarks(placed, folder / "placed.mrk.json")

    initial = np.linalg.norm(landmarks.positions - template.centre + target.centre - truth.positions, axis=1)
    error = np.linalg.norm(placed.positions - truth.positions, axis=1)  # NaN where missing
    console.print(_table(placed, initial, error))
    console.print(_summary(initial, error, seconds), highlight=False, soft_wrap=True)
    placements = [
        Placement(*row) for row in zip(landmarks, truth, placed, initial.tolist(), error.tolist(), strict=True)
    ]
    draw(folder / "demo.png", template, target, placements)
    console.print(f"Picture: {folder / 'demo.png'}", highlight=False, soft_wrap=True)
    return 0 if np.isfinite(error).all() else 3


def _table(placed: LandmarkSet, initial: np.ndarray, error: np.ndarray) -> Table:
    table = Table(title="How far from the truth, in mm")
    table.add_column("landmark")
    table.add_column("centres aligned", justify="right")
    table.add_column("placed", justify="right")
    shown = [score for score in SHOWN if any(getattr(landmark, score.name) is not None for landmark in placed)]
    for score in shown:
        table.add_column(score.label.lower(), justify="right")
    table.add_column("status")
    for landmark, before, after in zip(placed, initial, error, strict=True):
        cells = [landmark.name, f"{before:.1f}", f"{after:.2f}" if np.isfinite(after) else UNKNOWN]
        cells += [score.text(getattr(landmark, score.name)) for score in shown]
        table.add_row(*cells, "ambiguous" if landmark.ambiguous else landmark.status)
    return table


def _summary(initial: np.ndarray, error: np.ndarray, seconds: float) -> str:
    found = error[np.isfinite(error)]
    if not len(found):
        return f"None of {len(error)} landmarks was found, in {seconds:.0f} s."
    return (
        f"{len(found)} of {len(error)} landmarks placed in {seconds:.0f} s: mean error {found.mean():.2f} mm, "
        f"largest {found.max():.2f} mm; with the volumes' centres aligned it was {initial.mean():.1f} mm."
    )
