"""The small model of the patch individual filters' paper, with a head that places landmarks by heat maps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from deepfeatures.errors import InputError
from deepfeatures.networks.patch_individual_filters import PatchIndividualFilters, Size

CELL = 2  # voxels between entries of the heat maps, along each axis


@dataclass(frozen=True)
class RegressorPlan:
    """What a regressor is built from.

    Args:
        size: Of the normalised volumes in voxels, `(depth, height, width)`.
        points: Where each landmark lies in the template, `(x, y, z)` in voxels of the normalised volumes.
        radius: Voxels around these points within which a landmark is looked for.
        width: Channels.
        patch_size: Edge of the patches that have filters of their own, in entries of the heat maps; 0 for filters that
            all places share: the model that the layer is compared with.
        overlap: Whether a second set of patches is shifted by half a patch.
    """

    size: Size
    points: tuple[tuple[float, float, float], ...]
    radius: float = 8.0
    width: int = 16
    patch_size: int = 5
    overlap: bool = False


class LandmarkRegressor(nn.Module):
    """Four blocks of convolution, batch norm and ReLU, a patch individual filter layer, and a heat map a landmark.

    A volume must be spatially normalised: resampled to the template's grid by a transform that was found for it. The
    position is the mean of the heat map (Nibali et al., Numerical coordinate regression with convolutional neural
    networks, 2018).

    Args:
        plan: What it is built from.

    Raises:
        InputError: A landmark has no entry of the heat maps around it, or a size cannot be used.
    """

    def __init__(self, plan: RegressorPlan):
        super().__init__()
        self.plan, width = plan, plan.width
        cells = [-(-edge // CELL) for edge in plan.size]
        self.blocks = nn.Sequential(_block(1, width, CELL), *(_block(width, width) for _ in range(3)))
        self.filters = (
            PatchIndividualFilters(width, width, cells, patch_size=plan.patch_size, overlap=plan.overlap, block=True)
            if plan.patch_size
            else _block(width, width)
        )
        self.head = nn.Conv3d(width, len(plan.points), 1)
        axes = torch.meshgrid(*(torch.arange(n) * float(CELL) for n in cells), indexing="ij")
        centres = torch.stack(axes[::-1], -1).reshape(-1, 3)
        near = torch.cdist(torch.tensor(plan.points).reshape(-1, 3), centres) <= plan.radius
        if not near.any(1).all():
            raise InputError("A landmark lies outside of the normalised volumes; give the template's own landmarks.")
        self.register_buffer("centres", centres, persistent=False)
        self.register_buffer("near", near, persistent=False)

    def log_heat_maps(self, volumes: torch.Tensor) -> torch.Tensor:
        """Logarithms of the chance of each entry, `(N, landmarks, entries)`; -inf beyond the radius.

        Args:
            volumes: Normalised, shape `(N, 1, *size)`, intensities about -1 to 1.
        """
        found = self.head(self.filters(self.blocks(volumes))).flatten(2)
        return found.masked_fill(~self.near, -torch.inf).log_softmax(2)

    def positions(self, log_heat_maps: torch.Tensor) -> torch.Tensor:
        """Means of heat maps, `(N, landmarks, 3)`: `(x, y, z)` in voxels of the normalised volumes."""
        return log_heat_maps.exp() @ self.centres

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        """The positions of the landmarks in volumes."""
        return self.positions(self.log_heat_maps(volumes))


def _block(before: int, after: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv3d(before, after, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(after), nn.ReLU(inplace=True))
