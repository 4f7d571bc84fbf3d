"""Initialization of the pose from the headers alone: equal places in the world, or centres in one place."""

from __future__ import annotations

import torch

from deepfeatures.matching.geometry.pyramid import Image


def centres_aligned(template: Image, target: Image) -> torch.Tensor:
    """Template millimetres to target millimetres `(4, 4)`: same directions in the world, centres in one place."""
    return with_centres_aligned(world_aligned(template, target)[None], template, target)[0]


def world_aligned(template: Image, target: Image) -> torch.Tensor:
    """Template millimetres to target millimetres `(4, 4)` of the same places in the world."""
    turn = target.grid.direction.T @ template.grid.direction
    shift = target.grid.direction.T @ (template.grid.origin - target.grid.origin)
    pose = torch.eye(4, device=template.voxels.device)
    pose[:3, :3], pose[:3, 3] = torch.from_numpy(turn), torch.from_numpy(shift)
    return pose


def with_centres_aligned(poses: torch.Tensor, template: Image, target: Image) -> torch.Tensor:
    """The same rotations, `(n, 4, 4)`, with the volumes' centres in one place."""
    template_centre, target_centre = (template.extent - template.spacing) / 2, (target.extent - target.spacing) / 2
    aligned = poses.clone()
    aligned[:, :3, 3] = target_centre - poses[:, :3, :3] @ template_centre
    return aligned
