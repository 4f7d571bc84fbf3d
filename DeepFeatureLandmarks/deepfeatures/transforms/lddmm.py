"""Diffeomorphic mappings by geodesic shooting (LDDMM): an initial momentum decides a whole flow, and its inverse.

A momentum on a grid, smoothed by a kernel, is a velocity. Both change in time as on a geodesic (Younes, Arrate and
Miller, Evolutions equations in computational anatomy, 2009). Points that go along with the velocity are mapped without
folds. Operator and steps are those of Quicksilver (Yang, Kwitt, Styner and Niethammer, 2017), but for one thing: their
kernel undoes one application of the operator, here it undoes two, so that mappings are smoother.

Tensors run `(3, D, H, W)`, components along x, y, z. Lengths are voxels of a periodic grid; time runs from 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from deepfeatures.transforms.samplers import sample, voxel_coordinates

STEPS = 10  # of the momentum, by Runge and Kutta's method; even, since a step of points takes two of them


@dataclass(frozen=True)
class KernelSettings:
    """The operator L = −α∇² − β∇(∇·) + γ that the kernel undoes twice.

    Args:
        alpha_mm2, beta_mm2: The larger, the smoother are velocities; with β, the less do they squeeze.
        gamma: At 1, a momentum that is the same everywhere is its own velocity.
    """

    alpha_mm2: float = 10.0
    beta_mm2: float = 10.0
    gamma: float = 1.0


class Kernel:
    """K = (L²)⁻¹ with L's differences between voxels, by Fourier's transform.

    Args:
        shape: Of the grid, `(D, H, W)`.
        spacing_mm: Edge of its cubic voxels.
        settings: Of the operator.
        like: Whose type and device count.
    """

    def __init__(self, shape: Sequence[int], spacing_mm: float, settings: KernelSettings, like: torch.Tensor):
        self._shape = tuple(shape)
        waves = [2 * math.pi * torch.fft.fftfreq(n, dtype=like.dtype, device=like.device) for n in self._shape]
        waves[2] = waves[2][: self._shape[2] // 2 + 1]
        z, y, x = torch.meshgrid(*waves, indexing="ij")
        frequencies = torch.stack((x, y, z))
        slopes = frequencies.sin()  # of central differences
        plain = settings.gamma + settings.alpha_mm2 / spacing_mm**2 * (2 - 2 * frequencies.cos()).sum(0)
        steep = slopes.square().sum(0)
        squeezing = plain + settings.beta_mm2 / spacing_mm**2 * steep
        self._across = plain**-2
        self._along = (squeezing**-2 - self._across) / steep.clamp(min=torch.finfo(like.dtype).eps)
        self._slopes = slopes

    def __call__(self, momentum: torch.Tensor) -> torch.Tensor:
        """The velocity of a momentum, both `(3, D, H, W)`."""
        waves = torch.fft.rfftn(momentum, dim=(1, 2, 3))
        waves = self._across * waves + self._along * self._slopes * (self._slopes * waves).sum(0)
        return torch.fft.irfftn(waves, s=self._shape, dim=(1, 2, 3))


def geodesic(momentum: torch.Tensor, kernel: Kernel, steps: int = STEPS) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Momentum and velocity at all steps along the geodesic of an initial momentum, each `(3, D, H, W)`."""
    h, velocity = 1 / steps, kernel(momentum)
    yield momentum, velocity
    for _ in range(steps):
        first = _rate(momentum, velocity)
        second = _rate_at(momentum + h / 2 * first, kernel)
        third = _rate_at(momentum + h / 2 * second, kernel)
        fourth = _rate_at(momentum + h * third, kernel)
        momentum = momentum + h / 6 * (first + 2 * second + 2 * third + fourth)
        velocity = kernel(momentum)
        yield momentum, velocity


def shoot(momentum: torch.Tensor, kernel: Kernel, steps: int = STEPS) -> torch.Tensor:
    """Velocities along the geodesic of an initial momentum `(3, D, H, W)`, at all steps, `(steps + 1, 3, D, H, W)`.

    Args:
        momentum: In voxels.
        kernel: Of the grid.
        steps: Even.
    """
    return torch.stack([velocity for _, velocity in geodesic(momentum, kernel, steps)])


def flow(points: torch.Tensor, velocities: torch.Tensor) -> torch.Tensor:
    """Where points go from the first to the last time, both `(…, 3)`, `(x, y, z)` in voxels.

    Args:
        points: At the first time.
        velocities: As `shoot` gives them. `reversed_in_time` of them carries points back.
    """
    h = 2 / (len(velocities) - 1)
    for start, middle, end in zip(velocities[:-2:2], velocities[1::2], velocities[2::2], strict=True):
        first = sample(start, points)
        second = sample(middle, points + h / 2 * first)
        third = sample(middle, points + h / 2 * second)
        fourth = sample(end, points + h * third)
        points = points + h / 6 * (first + 2 * second + 2 * third + fourth)
    return points


def warped(target: torch.Tensor, velocities: torch.Tensor) -> torch.Tensor:
    """The target as it looks on the template's grid, both `(D, H, W)`."""
    nodes = voxel_coordinates(target.shape, target.device, target.dtype)
    return sample(target[None], flow(nodes, velocities))[..., 0]


def reversed_in_time(velocities: torch.Tensor) -> torch.Tensor:
    """The velocities of the way back."""
    return -velocities.flip(0)


def energy(momentum: torch.Tensor, kernel: Kernel) -> torch.Tensor:
    """The squared length of the geodesic, in voxels to the fifth power; the same at all times."""
    return (momentum * kernel(momentum)).sum()


def _rate_at(momentum: torch.Tensor, kernel: Kernel) -> torch.Tensor:
    return _rate(momentum, kernel(momentum))


def _rate(momentum: torch.Tensor, velocity: torch.Tensor) -> torch.Tensor:
    """How fast the momentum changes: −∇·(m ⊗ v) − (∇v)ᵀ m, which keeps the energy with central differences."""
    carried = sum(_slope(momentum * velocity[axis], axis) for axis in range(3))
    turned = torch.stack([(_slope(velocity, axis) * momentum).sum(0) for axis in range(3)])
    return -carried - turned


def _slope(field: torch.Tensor, axis: int) -> torch.Tensor:
    """Central differences along x, y or z (0, 1, 2)."""
    return (field.roll(-1, -1 - axis) - field.roll(1, -1 - axis)) / 2
