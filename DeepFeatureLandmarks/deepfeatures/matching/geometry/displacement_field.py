"""The target bent to the template: a displacement field through points that have settled.

Blocks are rigid, anatomy is not: seen through the pose alone, the outer part of a block lies elsewhere in another
person than its middle. Seen through the field as well, whole blocks fit, and what is left to find is small. So spatial
transformer networks and Quicksilver bend one image before they compare it again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from deepfeatures.matching.geometry.local_affine import Maps, agreement, foretold, nearness
from deepfeatures.matching.geometry.sampling import lattice, sample

STEP = 4  # voxels between the places where the field is fitted; linear between them
ENTRIES = 4 << 20  # of a table of places and points that is held at a time


@dataclass(frozen=True, eq=False)
class Bend:
    """A displacement at each voxel of a grid.

    Args:
        field: Voxels along x, y, z, `(3, D, H, W)`.
    """

    field: torch.Tensor

    @classmethod
    def none(cls, shape: tuple[int, int, int], device: torch.device) -> Bend:
        """No displacement anywhere."""
        return cls(torch.zeros(3, 1, 1, 1, device=device).expand(3, *shape))

    @classmethod
    def through(
        cls, points: torch.Tensor, displacements: torch.Tensor, reach: float, shape: tuple[int, int, int]
    ) -> Bend:
        """The smooth field that displaces points about as they are.

        Who is far from what the others foretell counts less.

        Args:
            points, displacements: In voxels, `(N, 3)`.
            reach: Standard deviation in voxels of the Gaussian by which points count for a place.
            shape: Of the grid, along z, y, x.
        """
        others = nearness(points, points, reach).fill_diagonal_(0)
        expected = foretold(points, displacements, others, points, reach, otherwise=displacements)
        trust = agreement(displacements, expected)
        sizes = tuple(-(-(n - 1) // STEP) + 1 for n in shape)
        places = STEP * lattice(sizes, points.device).reshape(-1, 3)
        parts = places.split(max(1, ENTRIES // len(points)))
        found = torch.cat([_foretold_anywhere(points, displacements, trust, part, reach) for part in parts])
        coarse = found.T.reshape(1, 3, *sizes)
        fine = F.interpolate(coarse, [(n - 1) * STEP + 1 for n in sizes], mode="trilinear", align_corners=True)[0]
        return cls(fine[:, : shape[0], : shape[1], : shape[2]])

    def at(self, points: torch.Tensor) -> torch.Tensor:
        """Displacements in voxels at points `(N, 3)`."""
        return sample(self.field, points)


def _foretold_anywhere(
    points: torch.Tensor, displacements: torch.Tensor, trust: torch.Tensor, places: torch.Tensor, reach: float
) -> torch.Tensor:
    """Also far from all points: there the nearest count, and a gradient goes no further than two reaches."""
    # The squared distance of a place to a point, but for a term that is the same for all points.
    likely = torch.softmax((places @ points.T - points.square().sum(1) / 2) / reach**2, 1)
    maps = Maps.fitted(points, displacements, likely * trust, reach)
    apart = places - maps.middle
    return maps.at(maps.middle + apart * (2 * reach / apart.norm(dim=1, keepdim=True).clamp(min=1e-6)).clamp(max=1))
