"""Solids of one tissue, of which bodies are built: blocks and limbs, each with the box that it fills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from deepfeatures.phantom.shapes import tube


@dataclass(frozen=True, eq=False)
class Block:
    """An ellipsoid, or with a higher power a block with rounded edges, turned in any way.

    Args:
        tissue: A name of `TISSUES`.
        centre: mm, shape `(3,)`.
        radii: Half axes in mm along its own axes, shape `(3,)`.
        axes: Its own axes as columns, orthonormal, shape `(3, 3)`.
        power: 2 for an ellipsoid, 4 for a block with rounded edges.
        waist: By how much it is thinner halfway along its third axis than it would be, as a part of the radius.
    """

    tissue: str
    centre: np.ndarray
    radii: np.ndarray
    axes: np.ndarray = field(default_factory=lambda: np.eye(3))
    power: int = 2
    waist: float = 0.0

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper corner in mm of a box around it."""
        reach = np.abs(self.axes) @ np.asarray(self.radii, float)
        return self.centre - reach, self.centre + reach

    def distance(self, points: torch.Tensor) -> torch.Tensor:
        """Distance in mm to its surface, negative inside, shape `(N,)`; `points` in mm, shape `(3, N)`."""
        axes, radii = points.new_tensor(self.axes), points.new_tensor(np.asarray(self.radii, float))[:, None]
        scaled = (axes.T @ (points - points.new_tensor(np.asarray(self.centre, float))[:, None])).div_(radii).abs_()
        if self.waist:
            scaled[:2] *= 1 + self.waist * (1 - scaled[2].clamp_max(1).square())
        slope = scaled if self.power == 2 else scaled.pow(self.power - 1)
        level = (slope * scaled).sum(0).pow(1 / self.power)
        steepness = (slope / radii).square_().sum(0).sqrt_().clamp_min_(1e-9)
        near = (level - 1) * level.pow(self.power - 1) / steepness
        return torch.where(level > 1e-2, near, -float(min(self.radii)))

    def pole(self, axis: int, sign: int) -> np.ndarray:
        """Where one of its own axes leaves it, mm, shape `(3,)`; `sign` chooses the end."""
        radius = self.radii[axis] / (1 if axis == 2 else 1 + self.waist)
        return self.centre + sign * radius * self.axes[:, axis]

    def inner(self, tissue: str, depth_mm: float) -> Block:
        """The same block of another tissue, its surface `depth_mm` deeper."""
        return replace(self, tissue=tissue, radii=np.asarray(self.radii, float) - depth_mm)


@dataclass(frozen=True, eq=False)
class Limb:
    """A straight rod with round ends, its radius in mm running from one end to the other."""

    tissue: str
    start: np.ndarray
    end: np.ndarray
    start_radius: float
    end_radius: float

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper corner in mm of a box around it."""
        lower = np.minimum(self.start - self.start_radius, self.end - self.end_radius)
        return lower, np.maximum(self.start + self.start_radius, self.end + self.end_radius)

    def distance(self, points: torch.Tensor) -> torch.Tensor:
        """Distance in mm to its surface, negative inside, shape `(N,)`; `points` in mm, shape `(3, N)`."""
        return tube(points, [self.start.tolist(), self.end.tolist()], [self.start_radius, self.end_radius])


Solid = Block | Limb


Nodes = np.ndarray | Sequence[np.ndarray | Sequence[float]]
Radii = float | Sequence[float] | np.ndarray


def mm(left: float, back: float, up: float) -> np.ndarray:
    """A place, or a way to go, in LPS mm, shape `(3,)`."""
    return np.array([left, back, up], float)


def limbs(tissue: str, nodes: Nodes, radii: Radii) -> list[Solid]:
    """A bent tube through `nodes`, mm, shape `(N, 3)`, with one radius or one at each node."""
    places = np.asarray(nodes, float)
    sizes = np.broadcast_to(np.asarray(radii, float), len(places)).tolist()
    return [Limb(tissue, *pair) for pair in zip(places[:-1], places[1:], sizes[:-1], sizes[1:], strict=True)]


def bone(nodes: Nodes, radii: Radii, cortex_mm: float = 1.2) -> list[Solid]:
    """A bent tube of bone: a cortex with marrow inside."""
    inside = np.maximum(np.asarray(radii, float) - cortex_mm, 0.4)
    return limbs("cortex", nodes, radii) + limbs("marrow", nodes, inside)


def curve(nodes: Nodes, count: int) -> np.ndarray:
    """`count` places on a smooth curve through `nodes`, shape `(N, 3)` (Catmull and Rom, 1974)."""
    given = np.asarray(nodes, float)
    padded = np.concatenate([2 * given[:1] - given[1:2], given, 2 * given[-1:] - given[-2:-1]])
    place = np.linspace(0, len(given) - 1, count)
    first = np.minimum(place.astype(int), len(given) - 2)
    t = (place - first)[:, None]
    a, b, c, d = (padded[first + k] for k in range(4))
    return b + t * ((c - a) / 2 + t * (a - 2.5 * b + 2 * c - d / 2 + t * (1.5 * (b - c) + (d - a) / 2)))
