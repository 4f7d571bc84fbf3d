"""Displacement fields: smooth fields through matched points, by which the target is resampled onto the template.

Blocks are rigid, anatomy is not: seen through the pose alone, the outer part of a block lies elsewhere in another
person than its middle. Seen through the field as well, whole blocks fit, and what is left to find is small. So spatial
transformer networks and Quicksilver resample one image before they compare it again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from deepfeatures.matching.geometry.local_affine import LocalAffineModel, gaussian_weights, predict, robust_weights
from deepfeatures.transforms.samplers import sample, voxel_coordinates

STEP = 4  # voxels between the nodes where the field is fitted; linear between them
ENTRIES = 4 << 20  # of a table of nodes and points that is held at a time


@dataclass(frozen=True, eq=False)
class ScatteredDisplacements:
    """Displacements at scattered points, from which one follows for any place.

    Args:
        points, displacements: `(N, 3)`, in one unit of length.
        weights: How far each point agrees with its neighbours, `(N,)`, 0 to 1.
        sigma: Standard deviation of the Gaussian by which points count for a place.
    """

    points: torch.Tensor
    displacements: torch.Tensor
    weights: torch.Tensor
    sigma: float

    @classmethod
    def fit(
        cls, points: torch.Tensor, displacements: torch.Tensor, sigma: float, voxel: float = 1.0
    ) -> ScatteredDisplacements:
        """Weighs each point by how near its displacement is to what its neighbours predict.

        Args:
            points, displacements: `(N, 3)`.
            sigma: See above.
            voxel: Edge of a voxel in the unit of the points: of what size disagreement counts.
        """
        others = gaussian_weights(points, points, sigma).fill_diagonal_(0)
        expected = predict(points, displacements, others, points, sigma, otherwise=displacements)
        return cls(points, displacements, robust_weights(displacements / voxel, expected / voxel), sigma)

    def on_cpu(self) -> ScatteredDisplacements:
        """The same in float64, which Metal lacks, on the CPU."""
        parts = (one.cpu().double() for one in (self.points, self.displacements, self.weights))
        return ScatteredDisplacements(*parts, self.sigma)

    def at(self, places: torch.Tensor) -> torch.Tensor:
        """Displacements at places `(Q, 3)`.

        Far from all points the nearest count, and a gradient goes no further than two standard deviations.
        """
        parts = places.split(max(1, ENTRIES // max(1, len(self.points))))
        return torch.cat([self._at(part) for part in parts])

    def _at(self, places: torch.Tensor) -> torch.Tensor:
        points, sigma = self.points, self.sigma
        # The squared distance of a place to a point, but for a term that is the same for all points.
        likely = torch.softmax((places @ points.T - points.square().sum(1) / 2) / sigma**2, 1)
        model = LocalAffineModel.fit(points, self.displacements, likely * self.weights, sigma)
        apart = places - model.middle
        reach = (2 * sigma / apart.norm(dim=1, keepdim=True).clamp(min=1e-6)).clamp(max=1)
        return model.at(model.middle + apart * reach)


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """A displacement at each voxel of a grid.

    Args:
        vectors: Voxels along x, y, z, `(3, D, H, W)`.
    """

    vectors: torch.Tensor

    @classmethod
    def identity(cls, shape: tuple[int, int, int], device: torch.device) -> DisplacementField:
        """No displacement anywhere."""
        return cls(torch.zeros(3, 1, 1, 1, device=device).expand(3, *shape))

    @classmethod
    def fit(
        cls, points: torch.Tensor, displacements: torch.Tensor, sigma: float, shape: tuple[int, int, int]
    ) -> DisplacementField:
        """The smooth field that displaces points about as they are; see `ScatteredDisplacements`.

        Args:
            points, displacements, sigma: In voxels, as `ScatteredDisplacements.fit` has them.
            shape: Of the grid, along z, y, x.
        """
        scattered = ScatteredDisplacements.fit(points, displacements, sigma)
        sizes = node_counts(shape)
        nodes = STEP * voxel_coordinates(sizes, points.device).reshape(-1, 3)
        return cls(interpolate_nodes(scattered.at(nodes), shape))

    def at(self, points: torch.Tensor) -> torch.Tensor:
        """Displacements in voxels at points `(N, 3)`."""
        return sample(self.vectors, points)


def node_counts(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """How many nodes, `STEP` voxels apart, span a grid along z, y, x."""
    return tuple(-(-(n - 1) // STEP) + 1 for n in shape)


def interpolate_nodes(values: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    """Vectors of the nodes, `(nodes, 3)`, at every voxel between them, `(3, D, H, W)`."""
    sizes = node_counts(shape)
    coarse = values.T.reshape(1, 3, *sizes)
    fine = F.interpolate(coarse, [(n - 1) * STEP + 1 for n in sizes], mode="trilinear", align_corners=True)[0]
    return fine[:, : shape[0], : shape[1], : shape[2]]
