"""The two samplers through which every dense resampling goes, one for each way to count a grid's units.

**Direction.** A sampler pulls: for each place of the output a grid says where in the input its value is taken. So a
transform from template to target, evaluated at the template's voxels, shows the target on the template's grid.

**Order.** Volumes run `(batch, channels, z, y, x)`, grids `(batch, z, y, x, 3)` with the last axis x, y, z.

**Units.** -1 to 1 along each axis of the input, whatever its length:

- `sample_by_faces` counts between the outer faces of the first and of the last voxel. Voxels of any size then cover the
  same extent, so this is right where an image is known by its extent (PyTorch: `align_corners=False`).
- `sample_by_centres` counts between the centres of the first and of the last voxel. These are its nodes, so this is
  right for fields and points in voxels (PyTorch: `align_corners=True`). An axis of one voxel has no units: any is its
  centre.

The same numbers mean different places: on an axis of n voxels they lie apart by up to half a voxel, at the ends.

**Beyond the input.** `"border"` repeats the outermost voxel. `"zeros"` fades to 0 within one voxel. The gradient by the
grid is 0 beyond a border; that of zeros is steep in the fading voxel.

Where a resampling is separable, or takes rows of whole voxels, it is faster without a grid: `data.resampling` and
`matching.geometry.sampling.extract_windows` do so.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F

Padding = Literal["border", "zeros"]
Interpolation = Literal["bilinear", "nearest"]  # "bilinear" is trilinear in 3D; PyTorch names it so


def sample_by_faces(
    volumes: torch.Tensor,
    grid: torch.Tensor,
    *,
    padding: Padding = "border",
    interpolation: Interpolation = "bilinear",
) -> torch.Tensor:
    """Values of volumes at a grid that counts between outer faces; differentiable by both.

    Args:
        volumes: Shape `(batch, channels, D, H, W)`.
        grid: Shape `(batch, d, h, w, 3)`; see `face_units`.
        padding: What lies beyond the volumes.
        interpolation: Between voxels.

    Returns:
        Shape `(batch, channels, d, h, w)`.
    """
    return F.grid_sample(volumes, grid, mode=interpolation, padding_mode=padding, align_corners=False)


def sample_by_centres(
    volumes: torch.Tensor,
    grid: torch.Tensor,
    *,
    padding: Padding = "border",
    interpolation: Interpolation = "bilinear",
) -> torch.Tensor:
    """Values of volumes at a grid that counts between outer centres, see `centre_units`; else as `sample_by_faces`."""
    return F.grid_sample(volumes, grid, mode=interpolation, padding_mode=padding, align_corners=True)


def sample(image: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Trilinear values of `image` `(C, D, H, W)` at `points` `(..., 3)`: shape `(..., C)`; borders are replicated."""
    values = sample_by_centres(image[None], centre_units(points, image.shape).reshape(1, 1, 1, -1, 3))
    return values.reshape(image.shape[0], -1).T.reshape(*points.shape[:-1], image.shape[0])


def voxel_coordinates(
    shape: tuple[int, ...], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """The `(x, y, z)` coordinates of each voxel of a `(D, H, W)` grid: shape `(D, H, W, 3)`."""
    z, y, x = torch.meshgrid(*(torch.arange(n, device=device, dtype=dtype) for n in shape), indexing="ij")
    return torch.stack((x, y, z), -1)


def face_units(index: torch.Tensor, shape: torch.Size | tuple[int, ...]) -> torch.Tensor:
    """Voxel indices `(..., 3)`, x, y, z, of a grid `(..., D, H, W)` in units of `sample_by_faces`."""
    return 2 * (index + 0.5) / _sizes(index, shape) - 1


def centre_units(index: torch.Tensor, shape: torch.Size | tuple[int, ...]) -> torch.Tensor:
    """Voxel indices `(..., 3)`, x, y, z, of a grid `(..., D, H, W)` in units of `sample_by_centres`."""
    return 2 * index / (_sizes(index, shape) - 1).clamp(min=1) - 1


def _sizes(like: torch.Tensor, shape: torch.Size | tuple[int, ...]) -> torch.Tensor:
    return torch.tensor(tuple(shape)[-3:][::-1], device=like.device, dtype=like.dtype)
