"""Shapes as signed distances in mm: negative inside, and close to the true distance near the surface.

Points are tensors of shape `(3, N)`, x, y and z each in one piece; distances have shape `(N,)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

Point = Sequence[float]


def ellipsoid(points: torch.Tensor, centre: Point, radii: Point) -> torch.Tensor:
    """Distance to an ellipsoid with half axes `radii` in mm along x, y, z."""
    scaled = (points - _column(points, centre)) / _column(points, radii)
    level = scaled.square().sum(0).sqrt_()
    slope = (scaled / _column(points, radii)).square_().sum(0).sqrt_().clamp_min_(1e-6)
    # A point at the very centre has no direction to the surface: there the shortest half axis is the answer.
    return torch.where(level > 1e-6, level * (level - 1) / slope, -min(radii))


def tube(points: torch.Tensor, nodes: Sequence[Point], radii: Sequence[float]) -> torch.Tensor:
    """Distance to a bent tube through `nodes`, its radius in mm running linearly between those given at the nodes."""
    nearest = torch.full_like(points[0], torch.inf)
    for start, end, r0, r1 in zip(nodes[:-1], nodes[1:], radii[:-1], radii[1:], strict=True):
        offset = points - _column(points, start)
        axis = _column(points, end) - _column(points, start)
        along = (axis[:, 0] / axis.square().sum() @ offset).clamp_(0, 1)
        distance = offset.addcmul_(axis, along, value=-1).square_().sum(0).sqrt_() - (r0 + (r1 - r0) * along)
        nearest = torch.minimum(nearest, distance)
    return nearest


def smooth_union(a: torch.Tensor, b: torch.Tensor, blend_mm: float) -> torch.Tensor:
    """Union of two shapes whose seam is rounded over `blend_mm`."""
    overlap = (blend_mm - (a - b).abs()).clamp_min(0)
    return torch.minimum(a, b) - overlap.square() / (4 * blend_mm)


def smooth_intersection(a: torch.Tensor, b: torch.Tensor, blend_mm: float) -> torch.Tensor:
    """Intersection of two shapes whose edge is rounded over `blend_mm`."""
    return -smooth_union(-a, -b, blend_mm)


class Waves:
    """A sum of random plane waves: smooth, the same at every resolution, with a known gradient.

    Args:
        wavelength_mm: Distance between crests.
        seed: Fixes directions and phases.
        count: Waves to add; more look less regular.
        stretch: Weight of x, y, z in the wave directions; a larger z gives more horizontal layers.
    """

    def __init__(self, wavelength_mm: float, seed: int, count: int = 16, stretch: Point = (1, 1, 1)) -> None:
        random = torch.Generator().manual_seed(seed)
        direction = torch.randn(count, 3, generator=random, dtype=torch.float64) * torch.tensor(stretch)
        self.wave_number = 2 * torch.pi / wavelength_mm  # 1/mm, about the size of the gradient
        self._wave = direction / direction.norm(dim=1, keepdim=True) * self.wave_number
        self._phase = torch.rand(count, generator=random, dtype=torch.float64) * 2 * torch.pi
        self._scale = (2 / count) ** 0.5  # unit variance

    @property
    def peak(self) -> float:
        """No value is larger."""
        return len(self._phase) * self._scale

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        """Value at each point, about standard normal, shape `(N,)`."""
        return torch.cos(self._angle(points)).sum(0) * self._scale

    def value_and_gradient(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Value, shape `(N,)`, and its gradient in 1/mm, shape `(3, N)`."""
        angle = self._angle(points)
        return torch.cos(angle).sum(0) * self._scale, -self._wave.to(points.dtype).T @ torch.sin(angle) * self._scale

    def on_grid(self, index_to_point: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
        """Value at each voxel of a grid, float32 of shape `(depth, height, width)`.

        The same as at points, but quicker: on a grid, each wave is a product of waves along the rows and across them.

        Args:
            index_to_point: Homogeneous `(4, 4)` matrix, float64, from `(x, y, z)` voxel index to mm.
            shape: Depth, height and width of the grid in voxels.
        """
        steps = self._wave @ index_to_point[:3, :3]
        start = self._wave @ index_to_point[:3, 3] + self._phase
        z, y, x = (torch.arange(count, dtype=torch.float64) for count in shape)
        across = (start + z[:, None, None] * steps[:, 2] + y[:, None] * steps[:, 1]).flatten(0, 1)
        along = steps[:, :1] * x
        rows = torch.cat([torch.cos(across), -torch.sin(across)], dim=1).float()
        columns = torch.cat([torch.cos(along), torch.sin(along)]).float()
        return (rows @ columns).reshape(shape) * self._scale

    def _angle(self, points: torch.Tensor) -> torch.Tensor:
        return self._wave.to(points.dtype) @ points + self._phase.to(points.dtype)[:, None]


def _column(points: torch.Tensor, value: Point) -> torch.Tensor:
    return points.new_tensor(value)[:, None]
