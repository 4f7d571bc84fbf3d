"""Spatial transformers: a network looks at volumes, says how to move them, and they are resampled, all differentiable.

After Jaderberg et al., Spatial transformer networks (NeurIPS 2015): a localisation net gives parameters, a grid
generator turns them into places, and a sampler takes the values there.

**Direction.** As in every transform here, parameters map places of the output (the template's frame) to places of the
input (the target). A shift by +x shows what lay further along x: the picture itself moves the other way.

**Units.** -1 to 1 along each axis, counted as the sampler counts, see `samplers`. On volumes that are no cubes, a
rotation of these units is none of millimetres.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import nn

from deepfeatures.errors import InputError
from deepfeatures.transforms import thin_plate_spline
from deepfeatures.transforms.samplers import (
    Padding,
    centre_units,
    face_units,
    sample_by_centres,
    sample_by_faces,
)

Units = Literal["faces", "centres"]

SAMPLERS = {"faces": (face_units, sample_by_faces), "centres": (centre_units, sample_by_centres)}
WIDTHS = (8, 16, 32, 64)  # channels of the localisation net, each at half the size of the one before
HIDDEN = 48  # numbers between its convolutions and the parameters


class GridGenerator(nn.Module, ABC):
    """Turns parameters into places. Parameters that are all 0 change nothing."""

    count: int  # parameters of one volume

    @abstractmethod
    def forward(self, parameters: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Where points of the output lie in the input.

        Args:
            parameters: Shape `(batch, count)`.
            points: x, y, z from -1 to 1, shape `(N, 3)`.

        Returns:
            Shape `(batch, N, 3)`.
        """


class AffineGrid(GridGenerator):
    """An affine transform: the 12 numbers of a `(3, 4)` matrix, less those of the identity."""

    count = 12

    def forward(self, parameters: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        change = parameters.unflatten(1, (3, 4))
        return points + points @ change[:, :, :3].mT + change[:, None, :, 3]


class AttentionGrid(GridGenerator):
    """One scale for all axes and a shift: a box to look at. The scale is the exponential of the first parameter."""

    count = 4

    def forward(self, parameters: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        return parameters[:, None, :1].exp() * points + parameters[:, None, 1:]


class ThinPlateGrid(GridGenerator):
    """A thin plate spline through the shifts of control points, which are the parameters, `(points, 3)` in a row.

    Args:
        control_points: Along each axis, at equal distances from -1 to 1; two or more.
    """

    def __init__(self, control_points: int = 4) -> None:
        super().__init__()
        if control_points < 2:
            raise InputError(f"A thin plate needs two control points or more along each axis, got {control_points}.")
        axis = torch.linspace(-1, 1, control_points, dtype=torch.float64)
        controls = torch.cartesian_prod(axis, axis, axis)
        # The spline is linear in its values: solved once for each unit vector, it serves all parameters.
        coefficients, affine = thin_plate_spline.solve(
            controls, torch.eye(len(controls), dtype=torch.float64), torch.zeros(len(controls), dtype=torch.float64)
        )
        self.count = 3 * len(controls)
        self.register_buffer("controls", controls, persistent=False)
        self.register_buffer("coefficients", coefficients, persistent=False)
        self.register_buffer("affine", affine, persistent=False)

    def forward(self, parameters: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        known = (one.to(points.dtype) for one in (self.controls, self.coefficients, self.affine))
        return points + thin_plate_spline.evaluate(points, *known) @ parameters.unflatten(1, (-1, 3))


class LocalisationNet(nn.Module):
    """Four convolutions, each of which halves the size, and two full layers; the last one begins with 0.

    Args:
        channels: Of the volumes that it looks at.
        count: Parameters that it gives for each.
    """

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((channels, *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Conv3d(before, after, 3, padding=1, stride=2), nn.ReLU()]
        last = nn.Linear(HIDDEN, count)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        pooled = [nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.Linear(8 * WIDTHS[-1], HIDDEN), nn.ReLU(), last]
        self.layers = nn.Sequential(*layers, *pooled)

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        """Parameters `(batch, count)` for volumes `(batch, channels, D, H, W)`."""
        return self.layers(volumes)


class SpatialTransformer(nn.Module):
    """Moves volumes as its localisation net says.

    Args:
        localisation: From what it looks at to parameters, `(batch, grid.count)`.
        grid: What the parameters mean.
        units: `"faces"` or `"centres"`: which sampler, see `samplers`.
        padding: What lies beyond the volumes.

    Example:
        >>> grid = AffineGrid()
        >>> transformer = SpatialTransformer(LocalisationNet(1, grid.count), grid)
        >>> volumes = torch.rand(2, 1, 24, 32, 28)
        >>> bool(torch.isclose(transformer(volumes), volumes, atol=1e-5).all())
        True
    """

    def __init__(
        self, localisation: nn.Module, grid: GridGenerator, *, units: Units = "faces", padding: Padding = "border"
    ) -> None:
        super().__init__()
        self.localisation, self.grid, self.padding = localisation, grid, padding
        self.units_of, self.sampler = SAMPLERS[units]

    def forward(self, volumes: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
        """Volumes `(batch, channels, D, H, W)` after the move, of the same shape.

        Args:
            volumes: What is moved.
            seen: What the localisation net looks at, if something else: a coarser view, or a pair.
        """
        return self.resample(volumes, self.localisation(volumes if seen is None else seen))

    def resample(self, volumes: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
        """Volumes moved by given parameters `(batch, count)`."""
        shape = volumes.shape[2:]
        axes = [torch.arange(n, dtype=volumes.dtype, device=volumes.device) for n in shape]
        z, y, x = torch.meshgrid(*axes, indexing="ij")
        points = self.units_of(torch.stack((x, y, z), -1).reshape(-1, 3), shape)
        return self.sampler(volumes, self.grid(parameters, points).unflatten(1, shape), padding=self.padding)
