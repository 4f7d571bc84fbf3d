"""A person's body as a list of solids with landmarks, and how people differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from deepfeatures.phantom.solids import Block, Solid, curve, limbs

Point = Sequence[float] | np.ndarray


@dataclass(frozen=True, eq=False)
class Body:
    """What a scan shows, in LPS mm of the body's own.

    Args:
        solids: From the outside in; each is painted over the ones before it.
        landmarks: Position of each, mm, shape `(3,)`.
        lower: Corner of the field of view, mm, shape `(3,)`.
        upper: The opposite corner.
        repeat: From one repeated structure to the next, mm, shape `(3,)`; some scans are shifted along it.
    """

    solids: tuple[Solid, ...]
    landmarks: dict[str, np.ndarray]
    lower: np.ndarray
    upper: np.ndarray
    repeat: np.ndarray = field(default_factory=lambda: np.zeros(3))


def vary(random: np.random.Generator, spread: float) -> float:
    """A factor around 1 by which sizes differ from person to person; `spread` is its standard deviation."""
    return float(np.exp(spread * np.clip(random.standard_normal(), -2, 2)))


def turned(x: float = 0, y: float = 0, z: float = 0) -> np.ndarray:
    """Axes turned by degrees about x, then y, then z, as columns, shape `(3, 3)`."""
    turn = np.eye(3)
    for axis, angle in enumerate(np.deg2rad([x, y, z])):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[a, a] = step[b, b] = np.cos(angle)
        step[b, a], step[a, b] = np.sin(angle), -np.sin(angle)
        turn = step @ turn
    return turn


def trunk(centre: Point, radii: Sequence[float], fat_mm: float) -> list[Solid]:
    """Skin, fat and muscle of a trunk that goes on above and below, the muscle as the last."""
    skin = Block("skin", np.array(centre, float), np.array([radii[0], radii[1], 2000.0]), power=2)
    return [skin, skin.inner("fat", 2.0), skin.inner("muscle", 2.0 + fat_mm)]


def clutter(
    random: np.random.Generator,
    count: int,
    lower: Point,
    upper: Point,
    radius_mm: tuple[float, float],
    tissues: Sequence[str],
) -> list[Solid]:
    """Lumps that lie elsewhere in each person, such as bowel, fat and vessels."""
    found: list[Solid] = []
    for _ in range(count):
        radii = random.uniform(*radius_mm) * random.uniform(0.6, 1.6, 3)
        axes = turned(*random.uniform(-90, 90, 3))
        found.append(Block(str(random.choice(tissues)), random.uniform(lower, upper), radii, axes))
    return found


def loops(random: np.random.Generator, lower: Point, upper: Point, turns: int, radius_mm: float) -> list[Solid]:
    """One bent tube of bowel with a wall, which winds through a box."""
    nodes = curve(random.uniform(lower, upper, (turns, 3)), 5 * turns)
    return limbs("bowel wall", nodes, radius_mm) + limbs("bowel content", nodes, radius_mm - 2.0)
