"""A smooth, invertible change of shape with a formula, so that points are carried exactly."""

from __future__ import annotations

import torch

from deepfeatures.phantom.shapes import Waves

_VENTRICLES = ((14.0, 15.0, 12.0), (-14.0, 15.0, 12.0))


class Warp:
    """A smooth shift of each point by waves of a given length; it is invertible while they are long and low.

    Args:
        wavelength_mm: Distance between crests.
        shift_mm: Standard deviation of the shift along each axis.
        seed: Fixes the waves; the two numbers after it are used, too.
    """

    def __init__(self, wavelength_mm: float, shift_mm: float, seed: int) -> None:
        self._waves = [Waves(wavelength_mm, seed + axis, count=8) for axis in range(3)]
        self._shift_mm = shift_mm

    @property
    def reach_mm(self) -> float:
        """No point is shifted further along an axis."""
        return self._shift_mm * max(wave.peak for wave in self._waves)

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        """Shifted points, mm, shape `(3, N)`; computed in the precision of `points`."""
        return points + self._shift_mm * torch.stack([wave(points) for wave in self._waves])

    def on_grid(self, index_to_point: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
        """Shift at each voxel of a grid, mm, float32 of shape `(3, depth, height, width)`; see `Waves.on_grid`."""
        return self._shift_mm * torch.stack([wave.on_grid(index_to_point, shape) for wave in self._waves])

    def inverse(self, points: torch.Tensor) -> torch.Tensor:
        """Points that the warp shifts to `points`, float64 of shape `(3, N)`, exact to 1e-9 mm."""
        points = points.double()
        found = points
        for _ in range(200):
            miss = points - self(found)
            if miss.abs().max() < 1e-10:
                break
            found = found + miss
        return found


class Deformation:
    """Rigid motion, scaling per axis, a smooth warp and wider ventricles; `seed` fixes the warp.

    Positions are LPS mm, tensors of shape `(3, N)`.
    """

    def __init__(self, seed: int = 0, warp_mm: float = 2.2) -> None:
        self._warp = Warp(110.0, warp_mm, 97 + 3 * seed)
        turns = torch.deg2rad(torch.tensor([7.0, -4.0, 6.0], dtype=torch.float64))
        self._matrix = _rotation(turns) @ torch.diag(torch.tensor([0.96, 1.05, 0.98], dtype=torch.float64))
        self._shift = torch.tensor([[6.0], [-9.0], [14.0]], dtype=torch.float64)  # the target's anterior commissure

    def to_template(self, points: torch.Tensor) -> torch.Tensor:
        """Where points of the target lie in the template; computed in the precision of `points`."""
        moved = self._matrix.to(points.dtype) @ (points - self._shift.to(points.dtype))
        warped = self._warp(moved)
        narrowed = warped
        for centre in _VENTRICLES:
            offset = warped - warped.new_tensor(centre)[:, None]
            reach = torch.exp(-offset.square().sum(0) / (2 * 22.0**2))
            narrowed = narrowed - 0.14 * reach * offset
        return narrowed

    def to_target(self, points: torch.Tensor) -> torch.Tensor:
        """Where points of the template lie in the target: float64, exact to 1e-9 mm.

        A fixed-point iteration of `to_template`; it converges as the warp is a contraction beside the affine part.
        """
        points = points.double()
        inverse = torch.linalg.inv(self._matrix)
        found = inverse @ points + self._shift
        for _ in range(200):
            miss = points - self.to_template(found)
            if miss.abs().max() < 1e-10:
                break
            found = found + inverse @ miss
        return found


def _rotation(turns: torch.Tensor) -> torch.Tensor:
    """Turns in radians about x, then y, then z as a `(3, 3)` matrix."""
    x, y, z = turns
    generator = torch.zeros(3, 3, dtype=torch.float64)
    generator[0, 1], generator[0, 2], generator[1, 2] = -z, y, -x
    return torch.linalg.matrix_exp(generator - generator.T)
