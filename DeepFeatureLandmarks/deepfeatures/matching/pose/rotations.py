"""Rotations tried one after another: how well does the other volume's structure fit, wherever it lies?"""

from __future__ import annotations

import math

import torch

from deepfeatures.matching.geometry.pyramid import SamplingGrid
from deepfeatures.matching.geometry.sampling import edge_strength
from deepfeatures.transforms.samplers import sample_by_faces, voxel_coordinates

TOGETHER = 32  # rotations whose correlations are held in memory at a time
ROOM = 1.2  # edge of the box of the correlation, in that of the larger volume; what wraps around meets air
AIR = 0.05  # of the strongest edge: less than this is air, or noise in it


def candidate_rotations(step_deg: float) -> torch.Tensor:
    """A nearly even cover of all rotations, always the same one, with no rotation at all in the first place.

    The quaternions lie on a super-Fibonacci spiral (Alexa, "Super-Fibonacci Spirals", CVPR 2022, algorithm 1).

    Args:
        step_deg: Neighbours are about so many degrees apart.

    Returns:
        Shape `(n, 3, 3)`.
    """
    # Rotations fill a volume of pi² where a step of 1 radian is a cube with an edge of 1/2.
    count = math.ceil(math.pi**2 / math.radians(step_deg / 2) ** 3)
    place = torch.arange(count, dtype=torch.float64) + 0.5
    inner, outer = (place / count).sqrt(), (1 - place / count).sqrt()
    alpha, beta = 2 * math.pi * place / math.sqrt(2), 2 * math.pi * place / 1.533751168755204288118041
    x, y, z, w = inner * alpha.sin(), inner * alpha.cos(), outer * beta.sin(), outer * beta.cos()
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    spiral = torch.stack([torch.stack(row, -1) for row in rows], -2)
    return torch.cat([torch.eye(3, dtype=torch.float64)[None], spiral]).float()


def structure(image: torch.Tensor) -> torch.Tensor:
    """Strength of the edges of an image `(D, H, W)`: nearly the same in all contrasts, and nothing in air."""
    return edge_strength(image, 0.7)


def structured(image: torch.Tensor) -> torch.Tensor:
    """Which voxels of an image `(D, H, W)` have structure."""
    strength = structure(image)
    return strength > 0.1 * strength.max()


def correlated_poses(
    template: torch.Tensor, grid: SamplingGrid, target: torch.Tensor, target_grid: SamplingGrid, rotations: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each rotation the translation that brings most structure of the two volumes together.

    Args:
        template: Its structure, `(D, H, W)`, on `grid` in its own millimetres.
        target: The same, on `target_grid` in the target's millimetres, of the same spacing.
        rotations: From directions in the template to directions in the target, `(n, 3, 3)`.

    Returns:
        Poses `(n, 4, 4)`, template to target millimetres, and the correlation of each, at most 1.
    """
    template, grid = _without_air(template, grid)
    target, target_grid = _without_air(target, target_grid)
    box = math.ceil(math.dist(target.shape, (0, 0, 0)))  # holds the target however it is rotated
    size = 4 * math.ceil(ROOM * max(box, *template.shape) / 4)
    whole = (size,) * 3
    of_template = torch.fft.rfftn(template, s=whole)
    # In voxels from the box's middle.
    offsets = (voxel_coordinates((box, box, box), target.device) - (box - 1) / 2).reshape(-1, 3)
    target_middle = target_grid.to_mm((_size(target) - 1) / 2)
    poses = torch.eye(4, device=target.device).repeat(len(rotations), 1, 1)
    scores = []
    for first in range(0, len(rotations), TOGETHER):
        some = rotations[first : first + TOGETHER]
        places = offsets @ some.transpose(1, 2) * (2 / _size(target))  # -1 to 1 between the outer faces
        rotated = sample_by_faces(
            target.expand(len(some), 1, *target.shape), places.view(len(some), box, box, box, 3), padding="zeros"
        )[:, 0]
        of_target = torch.fft.rfftn(rotated, s=whole, dim=(1, 2, 3))
        together, index = torch.fft.irfftn(of_template * of_target.conj(), s=whole, dim=(1, 2, 3)).flatten(1).max(1)
        scores.append(together / (template.norm() * rotated.flatten(1).norm(dim=1)).clamp(min=1e-12))
        # Voxel q of the rotated target lies over voxel q + shift of the template, shifts taken around the box.
        shift = torch.stack((index % size, index // size % size, index // size**2), -1)
        over = shift + (box - 1) / 2
        over = torch.where(over - (_size(template) - 1) / 2 > size / 2, over - size, over)
        poses[first : first + TOGETHER, :3, :3] = some
        poses[first : first + TOGETHER, :3, 3] = target_middle - (some @ grid.to_mm(over)[:, :, None])[:, :, 0]
    return poses, torch.cat(scores)


def _without_air(image: torch.Tensor, grid: SamplingGrid) -> tuple[torch.Tensor, SamplingGrid]:
    """The box of an image, and of its grid, that holds its structure."""
    found = (image > AIR * image.max()).nonzero()
    if len(found) == 0:
        return image, grid
    low, high = found.amin(0), found.amax(0) + 1
    inside = image[tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))]
    return inside, SamplingGrid(grid.spacing_mm, grid.to_mm(low.flip(0)), tuple(inside.shape))


def _size(image: torch.Tensor) -> torch.Tensor:
    """Voxels along x, y, z."""
    return torch.tensor(image.shape[::-1], dtype=torch.float32, device=image.device)
