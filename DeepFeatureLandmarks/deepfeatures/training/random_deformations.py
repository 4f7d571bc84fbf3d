"""Known geometry: where each voxel of a view comes from, so that correspondences are exact."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from deepfeatures.training.noise import Random, smooth_noise
from deepfeatures.transforms.samplers import Interpolation, sample_by_faces


@dataclass(frozen=True)
class DeformationSettings:
    """How the two views of a pair may differ. Lengths in voxels.

    Args:
        zoom: Range of the magnification that both views share; it stands for the spacings of a resolution pyramid.
        scale: Range of the relative scale along each axis.
        rotation_deg: Largest relative rotation about each axis, for most pairs.
        large_rotation_deg: The same for the rest (`large_fraction` of the pairs).
        shift: Largest relative shift of the two crops along each axis.
        displacement: Standard deviation of the smooth deformation at wavelengths of 32, 16 and 8 voxels.
    """

    zoom: tuple[float, float] = (0.65, 1.4)
    scale: tuple[float, float] = (0.82, 1.22)
    rotation_deg: float = 15.0
    large_rotation_deg: float = 35.0
    large_fraction: float = 0.15
    shift: float = 14.0
    displacement: tuple[float, float, float] = (2.5, 1.2, 0.4)


@dataclass(frozen=True)
class Geometry:
    """From the voxels of a view to the canonical label map; both in voxels from the centre, `(z, y, x)` order.

    Args:
        matrix: shape `(batch, 3, 3)`.
        offset: shape `(batch, 3)`.
        displacement: added after the affine part, canonical voxels on the view's grid, shape
            `(batch, 3, size, size, size)`, or `None` for an affine view.
    """

    matrix: torch.Tensor
    offset: torch.Tensor
    displacement: torch.Tensor | None = None

    def canonical_grid(self, size: int) -> torch.Tensor:
        """Canonical positions of all voxels, shape `(batch, 3, size, size, size)`."""
        axis = torch.arange(size, device=self.matrix.device, dtype=torch.float32) - (size - 1) / 2
        grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).flatten(1)
        places = (self.matrix @ grid + self.offset[..., None]).unflatten(-1, (size,) * 3)
        return places if self.displacement is None else places + self.displacement

    def from_canonical(self, places: torch.Tensor) -> torch.Tensor:
        """View positions of canonical ones, shape `(batch, N, 3)`; affine views only, where the inverse is exact."""
        assert self.displacement is None
        return torch.linalg.solve(self.matrix, (places - self.offset[:, None]).mT).mT


def rotations(degrees: torch.Tensor) -> torch.Tensor:
    """Rotation matrices `(batch, 3, 3)` from angles about the three axes, shape `(batch, 3)`."""
    angle = torch.deg2rad(degrees)
    generators = angle.new_zeros((len(angle), 3, 3))
    for axis, (i, j) in enumerate(((1, 2), (0, 2), (0, 1))):
        generators[:, i, j] = -angle[:, axis]
        generators[:, j, i] = angle[:, axis]
    return torch.linalg.matrix_exp(generators.cpu()).to(angle.device)  # Metal lacks it


def random_geometries(
    rng: Random, batch: int, size: int, canonical_size: int, settings: DeformationSettings
) -> tuple[Geometry, Geometry]:
    """Two views of one place: the first affine, the second also deformed and cut at another offset."""
    zoom = rng.log_uniform(*settings.zoom, batch)
    large = rng.chance(settings.large_fraction, batch)
    common = rotations(rng.uniform(-20, 20, batch, 3))
    degrees = torch.where(large, settings.large_rotation_deg, settings.rotation_deg)[:, None]
    relative = rotations(rng.uniform(-1, 1, batch, 3) * degrees)
    scale = torch.diag_embed(rng.log_uniform(*settings.scale, batch, 3))
    first = common * zoom[:, None, None]
    second = first @ relative @ scale
    # Crops lie anywhere in the canonical map, as far as they fit.
    room = ((canonical_size - size * zoom) / 2).clamp_min(0)[:, None] * 0.8
    place = rng.uniform(-1, 1, batch, 3) * room
    shift = rng.uniform(-settings.shift, settings.shift, batch, 3)
    offset = place + (first @ shift[..., None])[..., 0]
    field = sum(
        smooth_noise(rng, batch, 3, size, wavelength)
        * (amount * zoom * rng.uniform(0, 1, batch))[:, None, None, None, None]
        for wavelength, amount in zip((32.0, 16.0, 8.0), settings.displacement, strict=True)
    )
    return Geometry(first, place), Geometry(second, offset, field)


def sample(volume: torch.Tensor, places: torch.Tensor, interpolation: Interpolation = "bilinear") -> torch.Tensor:
    """Values of `volume`, shape `(batch, channels, d, h, w)`, at voxel positions from its centre, replicated beyond it.

    Args:
        places: `(batch, 3, …)` in `(z, y, x)` order: any number of axes from one to three after the first two.

    Returns:
        shape `(batch, channels, …)`.
    """
    half = torch.tensor(volume.shape[2:], device=places.device, dtype=places.dtype) / 2
    grid = (places.movedim(1, -1) / half).flip(-1)
    shape = grid.shape[1:-1]
    grid = grid.reshape(len(grid), *shape[:1], *([1] * (3 - len(shape))), *shape[1:], 3)
    found = sample_by_faces(volume, grid, interpolation=interpolation)
    return found.reshape(*found.shape[:2], *shape)
