"""Two scans of a made head: a template with landmarks, and a target that differs as another person's scan does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.phantom.deformation import Deformation
from deepfeatures.phantom.head import LANDMARKS, Head
from deepfeatures.phantom.render import with_rician_noise
from deepfeatures.phantom.shapes import Waves

# What a scan covers, LPS mm around the anterior commissure.
LOWER, UPPER = np.array([-90.0, -118.0, -108.0]), np.array([90.0, 116.0, 100.0])
SMALLEST = 24  # below, structures are thinner than a voxel and nothing can be matched


def make_pair(size: int = 128, seed: int = 0) -> tuple[Volume, LandmarkSet, Volume, LandmarkSet]:
    """Make a template and a target whose landmarks are known exactly.

    The target is the same head turned, shifted, smoothly deformed and with wider ventricles, scanned with another
    contrast, a bias field and noise, on an oblique grid that stores its axes in another order.

    Args:
        size: Voxels of the template from front to back; both heads measure about 220 mm whatever the size.
        seed: Fixes folds, deformation and noise.

    Returns:
        Template, its landmarks, target, and the same landmarks in the target (LPS mm, carried by the formula).

    Raises:
        InputError: The size is too small for structures to be seen.
    """
    if size < SMALLEST:
        raise InputError(
            f"The head needs at least {SMALLEST} voxels from front to back, got {size}: choose a larger size."
        )
    head, deformation = Head(seed), Deformation(seed)
    random = torch.Generator().manual_seed(seed)

    spacing = (UPPER - LOWER)[1] / size
    template = _empty_volume("template", LOWER, UPPER, np.eye(3), np.full(3, spacing))
    intensity = _scan(head, _grid_points(template), spacing)
    template = template.with_voxels(with_rician_noise(intensity, 0.012, random).reshape(template.voxels.shape) * 1000)

    target = target_grid(spacing, deformation)
    points = _grid_points(target)
    intensity = _scan(head, deformation.to_template(points), spacing)
    bias = torch.exp(0.12 * Waves(260.0, 8 * seed + 7, count=5)(points))
    recontrasted = 1.06 * intensity.clamp_min(0) ** 0.8 * bias
    target = target.with_voxels(with_rician_noise(recontrasted, 0.03, random).reshape(target.voxels.shape) * 420)

    landmarks = LandmarkSet(tuple(Landmark(name, position) for name, (position, _) in LANDMARKS.items()), "template")
    carried = deformation.to_target(torch.from_numpy(landmarks.positions.T)).T.tolist()
    truth = LandmarkSet(
        tuple(replace(mark, position=tuple(place)) for mark, place in zip(landmarks, carried, strict=True)), "truth"
    )
    return template, landmarks, target, truth


def target_grid(spacing: float, deformation: Deformation) -> Volume:
    """An empty grid around the deformed head: slightly oblique sagittal slices, 1.15 times `spacing` apart."""
    middle = deformation.to_target(torch.from_numpy((LOWER + UPPER)[:, None] / 2)).numpy()[:, 0]
    axes = np.array([[0, 1, 0], [0, 0, -1], [1, 0, 0]], float).T  # x backwards, y downwards, z to the left
    turn = np.deg2rad(4)
    tilt = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    direction = tilt @ axes
    extent = np.abs(axes.T @ (UPPER - LOWER))
    steps = spacing * np.array([0.95, 0.95, 1.15])
    count = np.ceil(extent / steps).astype(int)
    origin = middle - direction @ (steps * (count - 1) / 2)
    return Volume(torch.zeros(tuple(count[::-1].tolist())), origin, steps, direction, "target", "MR")


def _empty_volume(
    name: str, lower: np.ndarray, upper: np.ndarray, direction: np.ndarray, spacing: np.ndarray
) -> Volume:
    count = np.round((upper - lower) / spacing).astype(int)
    return Volume(torch.zeros(tuple(count[::-1].tolist())), lower + spacing / 2, spacing, direction, name, "MR")


def _grid_points(volume: Volume) -> torch.Tensor:
    """LPS mm of every voxel in storage order, float32 of shape `(3, voxels)`."""
    width, height, depth = volume.size
    z, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in (depth, height, width)), indexing="ij")
    matrix = torch.from_numpy(volume.index_to_world).float()
    return matrix[:3, :3] @ torch.stack([x, y, z]).flatten(1) + matrix[:3, 3:]


def _scan(head: Head, points: torch.Tensor, blur_mm: float) -> torch.Tensor:
    """Intensities, in pieces that fit the processor's cache."""
    return torch.cat([head.scan(piece, blur_mm)[0] for piece in points.split(2**16, dim=1)])
