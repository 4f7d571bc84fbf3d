"""Rotation search: the best of all rotations, found on thumbnails of both volumes."""

from __future__ import annotations

from dataclasses import replace

import torch

from deepfeatures.matching.geometry.pyramid import Image, ImagePyramid, SamplingGrid
from deepfeatures.matching.geometry.sampling import translation
from deepfeatures.matching.pose.image_similarity import ImagePair
from deepfeatures.matching.pose.initialization import centres_aligned, with_centres_aligned
from deepfeatures.matching.pose.refinement import refine_pose
from deepfeatures.matching.pose.rotations import candidate_rotations, correlated_poses, structure
from deepfeatures.matching.pose.settings import PoseSettings
from deepfeatures.transforms.samplers import voxel_coordinates


def scales(pair: ImagePair, spacing: float, sizes: tuple[float, float]) -> tuple[float, ...]:
    """By how much the target may be larger than the template: not at all, and, where their structures spread over
    places of different size, as these do."""
    of_template, of_target = _spread_mm(pair.template, spacing), _spread_mm(pair.target, spacing)
    differ = (
        sizes[0] * min(of_template, of_target) < max(of_template, of_target) < sizes[1] * min(of_template, of_target)
    )
    return (1.0, of_target / of_template) if differ else (1.0,)


def _spread_mm(pyramid: ImagePyramid, spacing: float) -> float:
    """Root of the mean squared distance of structure from its middle."""
    grid = SamplingGrid.around(pyramid.image, spacing)
    strength = structure(pyramid.resample(grid)[0]).flatten()
    shares = strength / strength.sum().clamp(min=1e-12)
    places = voxel_coordinates(grid.shape, strength.device).reshape(-1, 3) * spacing
    return float((shares @ (places - shares @ places).square().sum(1)).sqrt())


def best_rotation(pair: ImagePair, scale: float, source_mm: float, settings: PoseSettings) -> torch.Tensor:
    """The best of all rotations, on thumbnails of both volumes that are made from the level of `source_mm`.

    Args:
        scale: The target is seen smaller by this factor.
    """
    template, target = pair.template, pair.target
    small_template, template_offset = _thumbnail(template, source_mm)
    small_target, target_offset = _thumbnail(target, source_mm, scale)
    fine_enough = float(template.image.extent.prod()) ** (1 / 3) / settings.search_size
    spacing = max(source_mm, fine_enough, float(small_target.image.extent.norm()) / settings.search_largest)
    # In the world only rotations are tried; both volumes' own axes may be left-handed.
    rotations = torch.from_numpy(target.image.grid.direction.T).float() @ candidate_rotations(settings.step_deg)
    rotations = (rotations @ torch.from_numpy(template.image.grid.direction).float()).to(template_offset.device)
    grid, target_grid = (
        SamplingGrid.around(small_template.image, spacing),
        SamplingGrid.around(small_target.image, spacing),
    )
    if min(*grid.shape, *target_grid.shape) < 2:  # too thin to tell one rotation from another
        return centres_aligned(template.image, target.image)
    structures = structure(small_template.resample(grid)[0]), structure(small_target.resample(target_grid)[0])
    poses, scores = correlated_poses(structures[0], grid, structures[1], target_grid, rotations)
    poses = poses[scores.topk(min(settings.correlated, len(scores))).indices]
    poses = torch.cat(
        [poses, with_centres_aligned(poses, small_template.image, small_target.image)]
    )  # crops are often cut alike

    thumbnails = ImagePair(small_template, small_target, pair.encode)

    def most_alike(poses: list[torch.Tensor], spacing: float, count: int) -> list[torch.Tensor]:
        return sorted(poses, key=lambda pose: -thumbnails.similarity(pose, spacing))[:count]

    def refined(pose: torch.Tensor, spacing: float) -> torch.Tensor:
        for _ in range(settings.search_rounds):
            pose = refine_pose(thumbnails, pose, settings.search, spacing, settings, settings.search_prior, True)
        return pose

    found = [refined(pose, spacing) for pose in most_alike(list(poses), spacing, settings.refined)]
    found = [refined(pose, source_mm) for pose in most_alike(found, source_mm, settings.finished)]
    (best,) = most_alike(found, source_mm, 1)
    enlarged = torch.diag(torch.tensor([scale, scale, scale, 1.0], device=best.device))
    return translation(target_offset) @ enlarged @ best @ translation(-template_offset)


def _thumbnail(pyramid: ImagePyramid, spacing: float, scale: float = 1.0) -> tuple[ImagePyramid, torch.Tensor]:
    """The scan made smaller by `scale`, with cubic voxels of `spacing` mm, and where its first voxel lies in the scan's
    own millimetres."""
    grid, volume = SamplingGrid.around(pyramid.image, spacing * scale), pyramid.image.grid
    voxels, _ = pyramid.resample(grid)
    spacings = volume.spacing * 0 + spacing
    origin = pyramid.image.to_world(grid.origin[None])[0]
    return ImagePyramid(Image(replace(volume, voxels=voxels, origin=origin, spacing=spacings), voxels)), grid.origin
