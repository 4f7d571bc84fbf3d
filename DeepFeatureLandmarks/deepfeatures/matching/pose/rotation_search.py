"""A target turned by any angle: the best of all rotations, found on thumbnails of both volumes."""

from __future__ import annotations

from dataclasses import replace

import torch

from deepfeatures.matching.geometry.pyramid import Lattice, Pyramid, Scan
from deepfeatures.matching.geometry.sampling import lattice, translation
from deepfeatures.matching.pose.initialization import centres_aligned, with_centres_aligned
from deepfeatures.matching.pose.refinement import matched_round
from deepfeatures.matching.pose.rotations import candidate_rotations, correlated_poses, structure
from deepfeatures.matching.pose.settings import PoseSettings
from deepfeatures.matching.pose.similarity import Pair


def scales(pair: Pair, spacing: float, sizes: tuple[float, float]) -> tuple[float, ...]:
    """By how much the target may be larger than the template: not at all, and, where their structures spread over
    places of different size, as these do."""
    ours, theirs = _spread_mm(pair.template, spacing), _spread_mm(pair.target, spacing)
    differ = sizes[0] * min(ours, theirs) < max(ours, theirs) < sizes[1] * min(ours, theirs)
    return (1.0, theirs / ours) if differ else (1.0,)


def _spread_mm(pyramid: Pyramid, spacing: float) -> float:
    """Root of the mean squared distance of structure from its middle."""
    on = Lattice.around(pyramid.scan, spacing)
    strength = structure(pyramid.view(on)[0]).flatten()
    shares = strength / strength.sum().clamp(min=1e-12)
    places = lattice(on.shape, strength.device).reshape(-1, 3) * spacing
    return float((shares @ (places - shares @ places).square().sum(1)).sqrt())


def best_rotation(pair: Pair, scale: float, source_mm: float, settings: PoseSettings) -> torch.Tensor:
    """The best of all rotations, on thumbnails of both volumes that are made from the level of `source_mm`.

    Args:
        scale: The target is seen smaller by this factor.
    """
    template, target = pair.template, pair.target
    small, offset = _thumbnail(template, source_mm)
    seen, seen_offset = _thumbnail(target, source_mm, scale)
    fine_enough = float(template.scan.extent.prod()) ** (1 / 3) / settings.search_size
    spacing = max(source_mm, fine_enough, float(seen.scan.extent.norm()) / settings.search_largest)
    # In the world only rotations are tried; both volumes' own axes may be left-handed.
    turns = torch.from_numpy(target.scan.grid.direction.T).float() @ candidate_rotations(settings.step_deg)
    turns = (turns @ torch.from_numpy(template.scan.grid.direction).float()).to(offset.device)
    on, seen_on = Lattice.around(small.scan, spacing), Lattice.around(seen.scan, spacing)
    if min(*on.shape, *seen_on.shape) < 2:  # too thin to tell one rotation from another
        return centres_aligned(template.scan, target.scan)
    structures = structure(small.view(on)[0]), structure(seen.view(seen_on)[0])
    poses, scores = correlated_poses(structures[0], on, structures[1], seen_on, turns)
    poses = poses[scores.topk(min(settings.correlated, len(scores))).indices]
    poses = torch.cat([poses, with_centres_aligned(poses, small.scan, seen.scan)])  # crops are often cut alike

    thumbnails = Pair(small, seen, pair.encode)

    def most_alike(poses: list[torch.Tensor], spacing: float, count: int) -> list[torch.Tensor]:
        return sorted(poses, key=lambda pose: -thumbnails.likeness(pose, spacing))[:count]

    def refined(pose: torch.Tensor, spacing: float) -> torch.Tensor:
        for _ in range(settings.search_rounds):
            pose = matched_round(thumbnails, pose, settings.search, spacing, settings, settings.search_prior, True)
        return pose

    found = [refined(pose, spacing) for pose in most_alike(list(poses), spacing, settings.refined)]
    found = [refined(pose, source_mm) for pose in most_alike(found, source_mm, settings.finished)]
    (best,) = most_alike(found, source_mm, 1)
    enlarged = torch.diag(torch.tensor([scale, scale, scale, 1.0], device=best.device))
    return translation(seen_offset) @ enlarged @ best @ translation(-offset)


def _thumbnail(pyramid: Pyramid, spacing: float, scale: float = 1.0) -> tuple[Pyramid, torch.Tensor]:
    """The scan made smaller by `scale`, with cubic voxels of `spacing` mm, and where its first voxel lies in the scan's
    own millimetres."""
    on = Lattice.around(pyramid.scan, spacing * scale)
    voxels, _ = pyramid.view(on)
    grid = pyramid.scan.grid
    spacings = grid.spacing * 0 + spacing
    origin = pyramid.scan.to_world(on.origin[None])[0]
    return Pyramid(Scan(replace(grid, voxels=voxels, origin=origin, spacing=spacings), voxels)), on.origin
