"""Rotations tried one after another: how well does the other volume's structure fit, wherever it lies?"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from deepfeatures.matching.frame import Lattice
from deepfeatures.matching.grids import lattice, smooth

TOGETHER = 32  # rotations whose correlations are held in memory at a time
ROOM = 1.2  # edge of the box of the correlation, in diagonals of the larger volume; the rest wraps around into air


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
    return torch.stack(torch.gradient(smooth(image[None], 0.7)[0])).norm(dim=0)


def correlated_poses(
    template: torch.Tensor, on: Lattice, target: torch.Tensor, seen_on: Lattice, turns: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each rotation the translation that brings most structure of the two volumes together.

    Args:
        template: Its structure, `(D, H, W)`, on the lattice `on` of its own millimetres.
        target: The same, on `seen_on` in the target's millimetres, of the same spacing.
        turns: From directions in the template to directions in the target, `(n, 3, 3)`.

    Returns:
        Poses `(n, 4, 4)`, template to target millimetres, and the correlation of each, at most 1.
    """
    device = template.device
    diagonal = max(math.dist(image.shape, (0, 0, 0)) for image in (template, target))
    size = 4 * math.ceil(ROOM * diagonal / 4)
    offsets = (lattice((size, size, size), device) - (size - 1) / 2).reshape(-1, 3)  # voxels from the box's middle
    known = F.pad(template, [n for edge in reversed(template.shape) for n in (0, size - edge)])
    known = torch.fft.rfftn(known)
    middle, seen_middle = ((_size(image) - 1) / 2 for image in (template, target))
    poses = torch.eye(4, device=device).repeat(len(turns), 1, 1)
    scores = []
    for first in range(0, len(turns), TOGETHER):
        some = turns[first : first + TOGETHER]
        places = offsets @ some.transpose(1, 2) * (2 / _size(target))  # -1 to 1 between the outer faces
        turned = F.grid_sample(
            target.expand(len(some), 1, *target.shape),
            places.view(len(some), size, size, size, 3),
            padding_mode="zeros",
            align_corners=False,
        )[:, 0]
        overlap = torch.fft.irfftn(known * torch.fft.rfftn(turned, dim=(1, 2, 3)).conj(), s=(size,) * 3, dim=(1, 2, 3))
        best, index = overlap.flatten(1).max(1)
        scores.append(best / (template.norm() * turned.flatten(1).norm(dim=1)).clamp(min=1e-12))
        shift = torch.stack((index % size, index // size % size, index // size**2), -1).float()
        # Voxel q of the turned target lies over voxel q + shift of the template; far shifts come around from behind.
        over = (size - 1) / 2 + shift
        over = torch.where(over - middle > size / 2, over - size, over)
        here = on.to_mm(over)
        poses[first : first + TOGETHER, :3, :3] = some
        poses[first : first + TOGETHER, :3, 3] = seen_on.to_mm(seen_middle) - (some @ here[:, :, None])[:, :, 0]
    return poses, torch.cat(scores)


def _size(image: torch.Tensor) -> torch.Tensor:
    """Voxels along x, y, z."""
    return torch.tensor(image.shape[::-1], dtype=torch.float32, device=image.device)
