"""A smooth, invertible change of shape with a formula, so that points are carried exactly."""

from __future__ import annotations

import torch

from deepfeatures.phantom.shapes import Waves

_VENTRICLES = ((14.0, 15.0, 12.0), (-14.0, 15.0, 12.0))


class Deformation:
    """Rigid motion, scaling per axis, a smooth warp and wider ventricles; `seed` fixes the warp.

    Positions are LPS mm, tensors of shape `(3, N)`.
    """

    def __init__(self, seed: int = 0, warp_mm: float = 2.2) -> None:
        self._warp = [Waves(110.0, 97 + 3 * seed + axis, count=8) for axis in range(3)]
        self._warp_mm = warp_mm
        turns = torch.deg2rad(torch.tensor([7.0, -4.0, 6.0], dtype=torch.float64))
        self._matrix = _rotation(turns) @ torch.diag(torch.tensor([0.96, 1.05, 0.98], dtype=torch.float64))
        self._shift = torch.tensor([[6.0], [-9.0], [14.0]], dtype=torch.float64)  # the target's anterior commissure

    def to_template(self, points: torch.Tensor) -> torch.Tensor:
        """Where points of the target lie in the template; computed in the precision of `points`."""
        moved = self._matrix.to(points.dtype) @ (points - self._shift.to(points.dtype))
        warped = moved + self._warp_mm * torch.stack([wave(moved) for wave in self._warp])
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
