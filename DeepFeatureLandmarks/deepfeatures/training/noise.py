"""Random numbers and smooth random fields, the raw material of shapes, deformations, textures and bias fields."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F


class Random:
    """Random draws that depend on the keys alone, so that any step can be drawn again after a restart.

    Tensors are drawn on the device; single numbers on the host, because fetching them would make the device wait.
    """

    def __init__(self, device: torch.device | str, *keys: int):
        self.device = torch.device(device)
        self._host = random.Random(repr(keys))
        self._generator = torch.Generator(self.device).manual_seed(self._host.getrandbits(62))

    def uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Uniform numbers."""
        return low + (high - low) * torch.rand(shape, generator=self._generator, device=self.device)

    def log_uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Numbers whose logarithm is uniform."""
        return low * (high / low) ** torch.rand(shape, generator=self._generator, device=self.device)

    def normal(self, *shape: int) -> torch.Tensor:
        """Numbers of the standard normal distribution."""
        return torch.randn(shape, generator=self._generator, device=self.device)

    def chance(self, probability: float, *shape: int) -> torch.Tensor:
        """True with a probability."""
        return torch.rand(shape, generator=self._generator, device=self.device) < probability

    def integers(self, end: int, *shape: int) -> torch.Tensor:
        """Whole numbers from 0 up to, and not including, `end`."""
        return torch.randint(end, shape, generator=self._generator, device=self.device)

    def permutation(self, n: int) -> torch.Tensor:
        """The numbers below `n` in random order."""
        return torch.randperm(n, generator=self._generator, device=self.device)

    def number(self, low: float, high: float) -> float:
        """One number, log-uniform, on the host."""
        return low * (high / low) ** self._host.random()

    def whole_number(self, low: int, high: int) -> int:
        """One whole number from `low` to `high` inclusive, on the host."""
        return self._host.randint(low, high)


def smooth_noise(rng: Random, batch: int, channels: int, size: int, wavelength: float) -> torch.Tensor:
    """Noise of about unit variance without detail much finer than `wavelength` voxels.

    White noise on a coarse grid, doubled until it covers the volume. Linear doubling at half-voxel offsets is Chaikin's
    subdivision, so the field is smooth (a quadratic B-spline) and shows no creases at the coarse grid.

    Returns:
        shape `(batch, channels, size, size, size)`.
    """
    nodes = max(2, round(size / max(wavelength, 1.0))) + 2
    field = rng.normal(batch, channels, nodes, nodes, nodes)
    # Two border nodes are cut off at the end, where doubling repeats the edge.
    target = size * nodes / (nodes - 2)
    while field.shape[-1] * 2 < target:
        field = F.interpolate(field, scale_factor=2, mode="trilinear", align_corners=False)
    full = round(target)
    field = F.interpolate(field, size=(full,) * 3, mode="trilinear", align_corners=False)
    start = (full - size) // 2
    field = field[..., start : start + size, start : start + size, start : start + size]
    return field / 0.55
