"""A template and a target beside each other, and their similarity through a pose."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from deepfeatures.matching.geometry.displacement_field import DisplacementField
from deepfeatures.matching.geometry.pyramid import Encode, ImagePyramid, SamplingGrid
from deepfeatures.matching.geometry.sampling import apply_affine, box_corners
from deepfeatures.matching.pose.rotations import structured

FEWEST = 1000  # voxels of structure; fewer may look alike by chance, wherever they are tried


@dataclass(frozen=True, eq=False)
class ImagePair:
    """Two volumes that are compared.

    Args:
        encode: Features of a view.
        max_overlap: See `max_overlap`; 1 where only poses of the same target are compared with one another.
    """

    template: ImagePyramid
    target: ImagePyramid
    encode: Encode
    max_overlap: float = 1.0

    def similarity(self, pose: torch.Tensor, spacing: float) -> float:
        """How alike the volumes look where the template has structure: 1 the same, 0 by chance.

        The correlation of the features, times the root of a share: of the structure that the target can cover, how much
        it does. Without it a sliver that happens to look alike would win over a half that does.

        Args:
            pose: Template millimetres to target millimetres, `(4, 4)`.
            spacing: On which they are compared, mm.
        """
        correlation, share = self.correlation(SamplingGrid.around(self.template.image, spacing), pose)
        return correlation * share**0.5

    def correlation(
        self, grid: SamplingGrid, pose: torch.Tensor, field: DisplacementField | None = None
    ) -> tuple[float, float]:
        """Of the features where the template has structure; and, of the structure that the target can cover, its share.

        Args:
            grid: Of the template, on which they are compared.
            pose: Template millimetres to target millimetres, `(4, 4)`.
            field: On the grid, by which the target is deformed first.
        """
        features, edges = self.template.cached(grid, self.encode), self.template.cached(grid, structured)
        resampled, within = self.target.resample(grid, pose, field)
        covered = edges & within
        if not covered.any():
            return 0.0, 0.0
        pair = features[:, covered], self.encode(resampled)[:, covered]
        template, target = (values - values.mean(1, keepdim=True) for values in pair)
        correlation = (template * target).sum() / (template.norm() * target.norm()).clamp(min=1e-12)
        share = covered.sum() / edges.sum() / self.max_overlap
        return float(correlation), float(share.clamp(max=1))


def bounding_grid(template: SamplingGrid, target: ImagePyramid, pose: torch.Tensor) -> SamplingGrid:
    """The grid of the template's directions and spacing that holds the target, seen through `pose` `(4, 4)`."""
    first = -target.image.spacing / 2
    there = apply_affine(torch.linalg.inv(pose), box_corners(first, first + target.image.extent))
    low, high = there.amin(0), there.amax(0)
    x, y, z = ((high - low) / template.spacing_mm).ceil().long().clamp(min=1).tolist()
    return SamplingGrid(template.spacing_mm, low + template.spacing_mm / 2, (z, y, x))


def max_overlap(template: ImagePyramid, target: ImagePyramid, pose: torch.Tensor, spacing: float) -> float:
    """The largest share of the template's structure that a box as large as the target holds, wherever it lies.

    It is no less than the share of `FEWEST` voxels, so that what shows less is never quite alike.

    Args:
        pose: Whose directions count, `(4, 4)`.
        spacing: On which structure is told, mm.
    """
    grid = SamplingGrid.around(template.image, spacing)
    edges = template.cached(grid, structured).float()
    held, box = edges[None, None], bounding_grid(grid, target, pose)
    for axis, sizes in enumerate(zip(box.shape, grid.shape, strict=True)):
        window = [1, 1, 1]
        window[axis] = min(sizes)
        held = F.avg_pool3d(held, window, stride=1) * min(sizes)
    return float((held.max().clamp(min=FEWEST) / edges.sum().clamp(min=1)).clamp(max=1))
