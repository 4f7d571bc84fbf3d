"""Image pyramids: both volumes smoothed and resampled, at every spacing, on grids in template millimetres."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import torch

from deepfeatures.data.volume import Volume
from deepfeatures.matching.geometry.displacement_field import DisplacementField
from deepfeatures.matching.geometry.sampling import apply_affine, smooth
from deepfeatures.transforms.samplers import sample_by_faces

Encode = Callable[[torch.Tensor], torch.Tensor]  # intensities (D, H, W) to features (C, D, H, W)
Kept = TypeVar("Kept")  # has `nbytes`
KEPT_BYTES = 512 << 20  # of what a pyramid keeps, the last used first


@dataclass(frozen=True, eq=False)
class Image:
    """A volume made ready for sampling.

    Its own millimetres run along its axes from its first voxel.

    Args:
        grid: In canonical axis order.
        voxels: Its intensities, scaled, on the computing device, `(D, H, W)`.
    """

    grid: Volume
    voxels: torch.Tensor

    @property
    def spacing(self) -> torch.Tensor:
        return torch.tensor(self.grid.spacing, dtype=torch.float32, device=self.voxels.device)

    @property
    def extent(self) -> torch.Tensor:
        """Millimetres along x, y, z that the voxels cover."""
        return self.spacing * torch.tensor(self.grid.size, device=self.voxels.device)

    def from_world(self, points: np.ndarray) -> torch.Tensor:
        """Own millimetres of LPS positions, `(N, 3)`."""
        return torch.from_numpy(self.grid.to_index(points)).float().to(self.voxels.device) * self.spacing

    def to_world(self, points: torch.Tensor) -> np.ndarray:
        """LPS positions of own millimetres, `(N, 3)`."""
        return self.grid.to_world((points / self.spacing).cpu().double().numpy())

    def covers(self, points: torch.Tensor, margin_mm: float = 0.0) -> torch.Tensor:
        """Which of the points, in own millimetres, lie inside the voxels grown by a margin."""
        inside = (points >= -self.spacing / 2 - margin_mm) & (points <= self.extent - self.spacing / 2 + margin_mm)
        return inside.all(-1)

    def depth_mm(self, points: torch.Tensor) -> torch.Tensor:
        """How far inside the voxels points `(N, 3)` in own millimetres lie; negative outside."""
        first = points + self.spacing / 2
        return torch.minimum(first, self.extent - first).amin(-1)


@dataclass(frozen=True, eq=False)
class SamplingGrid:
    """A box of cubic voxels in the template's millimetres.

    Args:
        spacing_mm: Edge of a voxel.
        origin: Millimetres of the centre of the first voxel, `(3,)`.
        shape: Voxels along z, y, x.
    """

    spacing_mm: float
    origin: torch.Tensor
    shape: tuple[int, int, int]

    @classmethod
    def around(
        cls,
        template: Image,
        spacing_mm: float,
        points: torch.Tensor | None = None,
        margin_mm: float = 0.0,
        beyond_mm: float = 0.0,
    ):
        """The grid over the whole template, or over the part of it that lies near the points, and so far beyond."""
        first = (spacing_mm - template.spacing) / 2
        count, beyond = (template.extent / spacing_mm).floor().clamp(min=1), round(beyond_mm / spacing_mm)
        low, high = torch.full_like(first, -beyond), count - 1 + beyond
        if points is not None:
            low = torch.maximum(((points.amin(0) - margin_mm - first) / spacing_mm).floor(), low).minimum(high)
            high = torch.minimum(((points.amax(0) + margin_mm - first) / spacing_mm).ceil(), high).maximum(low)
        x, y, z = (high - low + 1).long().tolist()
        return cls(spacing_mm, first + low * spacing_mm, (z, y, x))

    @property
    def key(self) -> tuple:
        """Equal for equal grids."""
        return self.spacing_mm, tuple(self.origin.tolist()), self.shape

    def to_voxels(self, points: torch.Tensor) -> torch.Tensor:
        return (points - self.origin) / self.spacing_mm

    def to_mm(self, voxels: torch.Tensor) -> torch.Tensor:
        return voxels * self.spacing_mm + self.origin

    def grid_in(self, image: Image, pose: torch.Tensor, field: DisplacementField | None = None) -> torch.Tensor:
        """Where its voxels, displaced by the field and moved by `pose` `(4, 4)`, lie in an image.

        Returns:
            `(3, D, H, W)`, x, y and z from -1 to 1 between the ends of the image.
        """
        scale = 2 / image.extent
        axes = scale[:, None] * pose[:3, :3] * self.spacing_mm  # a step along x, y, z
        first = scale * (apply_affine(pose, self.origin) + image.spacing / 2) - 1
        z, y, x = (
            axis[:, None] * torch.arange(count, device=pose.device)
            for axis, count in zip(axes.T.flip(0), self.shape, strict=True)
        )
        found = (first[:, None] + z)[:, :, None, None] + y[:, None, :, None] + x[:, None, None]
        return found if field is None else found + torch.einsum("ab,bzyx->azyx", axes, field.vectors)


def scale_factor(pose: torch.Tensor) -> float:
    """By how much lengths grow through a pose `(4, 4)`, on average over all directions."""
    return float(pose[:3, :3].det().abs()) ** (1 / 3)


class ImagePyramid:
    """An image smoothed once for each spacing at which it is sampled. Safe between threads."""

    def __init__(self, image: Image):
        self.image = image
        self._smoothed: dict[float, torch.Tensor] = {}
        self._cached: dict[tuple, Any] = {}  # the last used last
        self._lock = Lock()

    def resample(
        self, grid: SamplingGrid, pose: torch.Tensor | None = None, field: DisplacementField | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The image on a grid in template millimetres, displaced by the field first, then by `pose` `(4, 4)`.

        Args:
            pose: Template mm to own mm; the grid is in the image's own mm where `None`.

        Returns:
            Intensities `(D, H, W)`, and which of them are of the image and not replicated beyond it.
        """
        pose = torch.eye(4, device=grid.origin.device) if pose is None else pose
        # In steps, so that people's sizes do not ask for smoothing of their own.
        spacing_mm = grid.spacing_mm * 2 ** (round(2 * math.log2(max(scale_factor(pose), 1e-3))) / 2)
        if spacing_mm not in self._smoothed:
            ratios = (spacing_mm / self.image.spacing).tolist()
            # The Gaussian that turns a point spread of one voxel into one of the coarser voxel.
            sigma = tuple(0.45 * math.sqrt(max(ratio * ratio - 1, 0.0)) for ratio in ratios)
            self._smoothed[spacing_mm] = smooth(self.image.voxels[None], sigma)
        places, image = grid.grid_in(self.image, pose, field), self._smoothed[spacing_mm]
        resampled = sample_by_faces(image[None], places.movedim(0, -1)[None])
        return resampled[0, 0], (places.abs() <= 1).all(0)

    def cached(self, grid: SamplingGrid, make: Callable[[torch.Tensor], torch.Tensor] | None = None) -> torch.Tensor:
        """What is made of the image's own intensities on a grid, `(D, H, W)`; these where nothing is to be made.

        A template is asked for the same for many poses and targets, so it is kept: do not change it.
        """
        return self.kept((make, grid.key), lambda: self.resample(grid)[0] if make is None else make(self.cached(grid)))

    def kept(self, key: tuple, make: Callable[[], Kept]) -> Kept:
        """What `make` returns, or returned for an equal key: do not change it."""
        with self._lock:
            made = self._cached.pop(key, None)
        if made is None:
            made = make()
        with self._lock:
            self._cached[key] = made
            while len(self._cached) > 1 and sum(kept.nbytes for kept in self._cached.values()) > KEPT_BYTES:
                del self._cached[next(iter(self._cached))]
        return made
