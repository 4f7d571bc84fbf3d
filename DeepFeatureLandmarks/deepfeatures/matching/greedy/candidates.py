"""Where in a target a landmark is searched: everywhere, in a ball, in a mask, or in both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.features.receptive_window import Box


@dataclass(frozen=True, eq=False)
class Candidates:
    """Voxels that are compared.

    Args:
        box: Their bounding box.
        allowed: Which voxels of the box, bools of its shape, on the CPU.
    """

    box: Box
    allowed: torch.Tensor

    def part(self, box: Box) -> Candidates | None:
        """Those within `box`, `None` where there are none."""
        common = tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(self.box, box, strict=True))
        if any(a >= b for a, b in common):
            return None
        if common == self.box:
            return self
        window = tuple(slice(a - low, b - low) for (a, b), (low, _) in zip(common, self.box, strict=True))
        allowed = self.allowed[window]
        return Candidates(common, allowed) if allowed.any() else None

    @property
    def voxels(self) -> torch.Tensor:
        """Indices along depth, height and width, shape `(N, 3)`."""
        return self.allowed.nonzero() + torch.tensor([start for start, _ in self.box])

    def holds(self, voxels: torch.Tensor) -> torch.Tensor:
        """Which of the voxels, shape `(N, 3)`, are candidates."""
        place = voxels - torch.tensor([start for start, _ in self.box])
        inside = ((place >= 0) & (place < torch.tensor(self.allowed.shape))).all(1)
        inside[inside.clone()] = self.allowed[place[inside].unbind(1)]
        return inside


def everywhere(shape: tuple[int, int, int]) -> Candidates:
    """Every voxel of a volume of `shape`."""
    return Candidates(tuple((0, n) for n in shape), torch.ones(tuple(shape), dtype=torch.bool))


def in_ball(shape: tuple[int, int, int], centre: np.ndarray, radius: float) -> Candidates | None:
    """Voxels within `radius` voxels of the continuous index `centre` (depth, height, width); `None` where none are."""
    box = tuple((int(np.ceil(c - radius)), int(np.floor(c + radius)) + 1) for c in centre)
    inside = tuple((max(a, 0), min(b, n)) for (a, b), n in zip(box, shape, strict=True))
    if any(a >= b for a, b in inside):
        return None
    z, y, x = ((torch.arange(a, b) - c) ** 2 for (a, b), c in zip(inside, centre.tolist(), strict=True))
    allowed = z[:, None, None] + y[:, None] + x <= radius**2
    return Candidates(inside, allowed) if allowed.any() else None


def in_mask(mask: Volume, grid: Volume) -> Candidates:
    """Voxels of `grid` whose centre lies in a voxel of `mask` that is not zero, wherever the mask's own grid lies.

    Raises:
        InputError: There are none.
    """
    matrix = torch.from_numpy(mask.world_to_index @ grid.index_to_world)  # (x, y, z) to (x, y, z)
    depth, height, width = grid.voxels.shape
    x, y, z = (torch.arange(n, dtype=torch.float64) for n in (width, height, depth))
    size = torch.tensor(mask.size)
    marked = mask.voxels.cpu() != 0
    allowed = torch.zeros((depth, height, width), dtype=torch.bool)
    for plane in range(depth):
        seen = [(row[0] * x + row[1] * y[:, None] + row[2] * z[plane] + row[3]).round().long() for row in matrix[:3]]
        inside = torch.stack([(index >= 0) & (index < n) for index, n in zip(seen, size, strict=True)]).all(0)
        i, j, k = (index[inside] for index in seen)
        allowed[plane][inside] = marked[k, j, i]
    if not allowed.any():
        raise InputError(f"The mask {mask.name} marks no voxel of {grid.name}; give a mask of this volume.")
    return _tight(allowed)


def intersect(ball: Candidates | None, mask: Candidates) -> Candidates | None:
    """Voxels that are in the ball and in the mask."""
    marked = ball and mask.part(ball.box)
    if not marked:
        return None
    near = ball.part(marked.box)
    if not near:
        return None
    allowed = near.allowed & marked.allowed
    return Candidates(marked.box, allowed) if allowed.any() else None


def _tight(allowed: torch.Tensor) -> Candidates:
    """The candidates that are true in a whole volume."""
    voxels = allowed.nonzero()
    box = tuple(zip(voxels.amin(0).tolist(), (voxels.amax(0) + 1).tolist(), strict=True))
    return Candidates(box, allowed[tuple(slice(a, b) for a, b in box)])
