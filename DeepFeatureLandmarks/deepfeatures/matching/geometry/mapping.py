"""Template points to target points, anywhere: the pose and the displacements of all matched points together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from deepfeatures.data.volume import Volume
from deepfeatures.matching.geometry.displacement_field import (
    STEP,
    ScatteredDisplacements,
    interpolate_nodes,
    node_counts,
)
from deepfeatures.matching.geometry.pyramid import Image
from deepfeatures.matching.geometry.sampling import apply_affine
from deepfeatures.transforms.grid import Grid
from deepfeatures.transforms.linear import LinearTransform
from deepfeatures.transforms.sampled_bspline import sample_bspline_within
from deepfeatures.transforms.samplers import voxel_coordinates
from deepfeatures.transforms.transform import CompositeTransform, Transform, as_points

TOLERANCE_MM, MOST_NODES = 0.05, 100_000  # by which, and with how many nodes at most, a mapping becomes a B-spline


@dataclass(frozen=True, eq=False)
class PointMapping(Transform):
    """Where points of the template lie in the target. Called with LPS mm `(N, 3)`, it returns LPS mm `(N, 3)`.

    It is smooth: a landmark is mapped near the place where it was found, but not exactly there. It holds no voxels.

    Args:
        from_world: LPS mm to template millimetres, `(4, 4)`.
        pose: Template millimetres to target millimetres, `(4, 4)`.
        to_world: Target millimetres to LPS mm, `(4, 4)`.
        displacements: Of landmarks and keypoints, in template millimetres, before the pose.
    """

    from_world: np.ndarray
    pose: torch.Tensor
    to_world: np.ndarray
    displacements: ScatteredDisplacements

    @classmethod
    def between(
        cls, template: Image, target: Image, pose: torch.Tensor, displacements: ScatteredDisplacements
    ) -> PointMapping:
        """For two images in whose millimetres pose and displacements are given."""
        from_world = np.diag([*template.grid.spacing, 1.0]) @ template.grid.world_to_index
        to_world = target.grid.index_to_world @ np.diag([*(1 / target.grid.spacing), 1.0])
        return cls(from_world, pose, to_world, displacements)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        known = torch.from_numpy(apply_affine(self.from_world, as_points(points)))
        moved = apply_affine(self.pose.cpu().double(), known + self.displacements.on_cpu().at(known))
        return apply_affine(self.to_world, moved.numpy())

    @property
    def world_pose(self) -> LinearTransform:
        """The pose alone, LPS mm."""
        return LinearTransform(self.to_world @ self.pose.double().cpu().numpy() @ self.from_world)

    def settled(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What was matched; landmarks come before keypoints.

        Returns:
            Template points, their places before the pose, LPS mm, `(N, 3)` each, and how far each agrees with its
            neighbours, `(N,)`, 0 to 1.
        """
        known, to_world = self.displacements.on_cpu(), np.linalg.inv(self.from_world)
        points, moved = (
            apply_affine(to_world, one.numpy()) for one in (known.points, known.points + known.displacements)
        )
        return points, moved, known.weights.numpy()

    def displacements_on(self, volume: Volume) -> np.ndarray:
        """From each voxel centre of a volume in the template's space to its place in the target.

        Args:
            volume: Its grid counts; most often the template. Between every fourth voxel the mapping is linear.

        Returns:
            LPS mm, `(depth, height, width, 3)`, float32.
        """
        shape = tuple(volume.voxels.shape)
        nodes = volume.to_world((STEP * voxel_coordinates(node_counts(shape)).reshape(-1, 3)).numpy())
        moved = torch.from_numpy(self(nodes) - nodes).float()
        return interpolate_nodes(moved, shape).movedim(0, -1).numpy()

    def transform(self, template: Volume) -> CompositeTransform:
        """The mapping as a transform of the kind "field": a B-spline in the template, then an affine transform.

        Both have one meaning in all programs, and an inverse. Beyond the template the B-spline fades.

        Args:
            template: In which it is to be used.
        """
        return sample_bspline_within(self, Grid.of(template), TOLERANCE_MM, MOST_NODES).transform
