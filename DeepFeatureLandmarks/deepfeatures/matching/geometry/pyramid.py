"""One frame for both volumes: millimetres along the template's axes, in which every level of resolution is sampled."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from deepfeatures.data.volume import Volume
from deepfeatures.matching.geometry.displacement_field import Bend
from deepfeatures.matching.geometry.sampling import apply_affine, smooth

Encode = Callable[[torch.Tensor], torch.Tensor]  # intensities (D, H, W) to features (C, D, H, W)
KEPT_BYTES = 512 << 20  # of what a pyramid keeps, the last used first


@dataclass(frozen=True, eq=False)
class Scan:
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
class Lattice:
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
        template: Scan,
        spacing_mm: float,
        points: torch.Tensor | None = None,
        margin_mm: float = 0.0,
        beyond_mm: float = 0.0,
    ):
        """The lattice over the whole template, or over the part of it that lies near the points, and so far beyond."""
        first = (spacing_mm - template.spacing) / 2
        count, beyond = (template.extent / spacing_mm).floor().clamp(min=1), round(beyond_mm / spacing_mm)
        low, high = torch.full_like(first, -beyond), count - 1 + beyond
        if points is not None:
            low = torch.maximum(((points.amin(0) - margin_mm - first) / spacing_mm).floor(), low).minimum(high)
            high = torch.minimum(((points.amax(0) + margin_mm - first) / spacing_mm).ceil(), high).maximum(low)
        x, y, z = (high - low + 1).long().tolist()
        return cls(spacing_mm, first + low * spacing_mm, (z, y, x))

    def to_voxels(self, points: torch.Tensor) -> torch.Tensor:
        return (points - self.origin) / self.spacing_mm

    def to_mm(self, voxels: torch.Tensor) -> torch.Tensor:
        return voxels * self.spacing_mm + self.origin

    def seen_in(self, scan: Scan, pose: torch.Tensor, bend: Bend | None = None) -> torch.Tensor:
        """Where its voxels, displaced by the bend, lie in a scan through `pose` `(4, 4)`, template mm to the scan's.

        Returns:
            `(3, D, H, W)`, x, y and z from -1 to 1 between the ends of the scan.
        """
        scale = 2 / scan.extent
        axes = scale[:, None] * pose[:3, :3] * self.spacing_mm  # a step along x, y, z
        first = scale * (apply_affine(pose, self.origin) + scan.spacing / 2) - 1
        z, y, x = (
            axis[:, None] * torch.arange(count, device=pose.device)
            for axis, count in zip(axes.T.flip(0), self.shape, strict=True)
        )
        found = (first[:, None] + z)[:, :, None, None] + y[:, None, :, None] + x[:, None, None]
        return found if bend is None else found + torch.einsum("ab,bzyx->azyx", axes, bend.field)


def enlargement(pose: torch.Tensor) -> float:
    """By how much lengths grow through a pose `(4, 4)`, on average over all directions."""
    return float(pose[:3, :3].det().abs()) ** (1 / 3)


class Pyramid:
    """A scan smoothed once for each spacing at which it is sampled."""

    def __init__(self, scan: Scan):
        self.scan = scan
        self._smoothed: dict[float, torch.Tensor] = {}
        self._own: dict[tuple, torch.Tensor] = {}  # the last used last

    def view(
        self, on: Lattice, pose: torch.Tensor | None = None, bend: Bend | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What a lattice of the template shows of the scan, bent first and then seen through `pose` `(4, 4)`.

        Args:
            pose: Template mm to own mm; the lattice is the scan's own where `None`.

        Returns:
            Intensities `(D, H, W)`, and which of them are of the scan and not replicated beyond it.
        """
        pose = torch.eye(4, device=on.origin.device) if pose is None else pose
        # In steps, so that people's sizes do not ask for smoothing of their own.
        spacing_mm = on.spacing_mm * 2 ** (round(2 * math.log2(max(enlargement(pose), 1e-3))) / 2)
        if spacing_mm not in self._smoothed:
            ratios = (spacing_mm / self.scan.spacing).tolist()
            # The Gaussian that turns a point spread of one voxel into one of the coarser voxel.
            sigma = tuple(0.45 * math.sqrt(max(ratio * ratio - 1, 0.0)) for ratio in ratios)
            self._smoothed[spacing_mm] = smooth(self.scan.voxels[None], sigma)
        places, image = on.seen_in(self.scan, pose, bend), self._smoothed[spacing_mm]
        seen = F.grid_sample(image[None], places.movedim(0, -1)[None], padding_mode="border", align_corners=False)
        return seen[0, 0], (places.abs() <= 1).all(0)

    def own(self, on: Lattice, make: Callable[[torch.Tensor], torch.Tensor] | None = None) -> torch.Tensor:
        """What is made of the scan's own intensities on a lattice, `(D, H, W)`; these where nothing is to be made.

        A template is asked for the same for many poses and targets, so it is kept: do not change it.
        """
        key = (make, on.spacing_mm, tuple(on.origin.tolist()), on.shape)
        if key not in self._own:
            self._own[key] = self.view(on)[0] if make is None else make(self.own(on))
        made = self._own[key] = self._own.pop(key)
        while len(self._own) > 1 and sum(kept.nbytes for kept in self._own.values()) > KEPT_BYTES:
            del self._own[next(iter(self._own))]
        return made
