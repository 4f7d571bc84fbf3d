"""A lumbar spine as a sagittal block shows it, with the sacrum in view or without."""

from __future__ import annotations

import numpy as np

from deepfeatures.phantom.body import Body, clutter, loops, trunk, vary
from deepfeatures.phantom.column import Vertebra, canal_solids, column, sacrum, vertebral_solids
from deepfeatures.phantom.solids import Block, Solid, curve, limbs, mm

NAMED = 5  # vertebrae with landmarks, L5 to L1


def spine(random: np.random.Generator, with_ends: bool) -> Body:
    """One person's lumbar spine; without its lower end, nothing tells the levels for certain."""
    vertebrae = column(random)
    sacral, canal_end = sacrum(vertebrae[0], random)
    back = max(*(v.at(0, v.body.radii[1] + 52, 0)[1] for v in vertebrae[:8]), canal_end[0, 1] + 26)
    solids = [
        *_soft_tissue(vertebrae, back, random),
        *_vessels(vertebrae, random),
        *vertebral_solids(vertebrae, random),
        *sacral,
        *canal_solids(vertebrae, canal_end, random),
    ]
    level = vertebrae[2].body.centre - vertebrae[0].body.centre
    lowest = vertebrae[0].body.centre[2] + (-78 if with_ends else -4)
    height = random.uniform(215, 265)
    lower, upper = mm(-32.0, back - 165, lowest), mm(32.0, back + 12, lowest + height)
    marks = {name: place for vertebra in vertebrae[:NAMED] for name, place in landmarks_of(vertebra).items()}
    repeat = mm(0, 0, (-0.5 if with_ends else 0.5) * level[2])
    return Body(tuple(solids), marks, lower, upper, repeat)


def landmarks_of(vertebra: Vertebra) -> dict[str, np.ndarray]:
    """The middle of a vertebral body, and of its anterior, posterior, upper and lower surface, mm."""
    name, body = vertebra.name, vertebra.body
    return {
        name: body.centre,
        f"{name} anterior": body.pole(1, -1),
        f"{name} posterior": body.pole(1, 1),
        f"{name} top": body.pole(2, 1),
        f"{name} bottom": body.pole(2, -1),
    }


def _soft_tissue(vertebrae: tuple[Vertebra, ...], back: float, random: np.random.Generator) -> list[Solid]:
    fat, deep = random.uniform(8, 26), 105 * vary(random, 0.06)
    found = trunk([0, back - deep, 0], [165 * vary(random, 0.06), deep], fat)
    front = min(v.at(0, -v.body.radii[1], 0)[1] for v in vertebrae[:6]) - 12
    fatty = Block("fat", mm(0, front - 70, 0), mm(110, 72 * vary(random, 0.1), 2000))
    found.append(fatty)
    box = [-60, back - 2 * deep + fat + 12, -150], [60, front, 260]
    found += clutter(random, 90, *box, (8, 20), ["fat", "bowel wall", "bowel wall", "muscle", "bowel content", "gas"])
    for _ in range(2):
        found += loops(random, *box, turns=12, radius_mm=10)
    behind = [-40, back - 45, -150], [40, back - fat - 4, 260]
    return found + clutter(random, 70, *behind, (2, 6), ["fat", "muscle", "fat"])


def _vessels(vertebrae: tuple[Vertebra, ...], random: np.random.Generator) -> list[Solid]:
    """Aorta, which divides in front of L4, and vena cava, in fat in front of the bodies."""
    front = np.array([v.at(0, -v.body.radii[1] - 10, 0) for v in vertebrae])
    path = curve(front[1:], 40)
    found = limbs("fat", curve(front, 40), 12)
    left = path + mm(random.uniform(4, 12), 0, random.normal(0, 8))
    right = path + mm(random.uniform(-19, -13), 3, 0)
    for side in (-1, 1):
        branch = [left[0], left[0] + mm(side * 22, 4, -38), left[0] + mm(side * 36, 20, -75)]
        found += limbs("blood", curve(branch, 6), 5.5)
    return found + limbs("blood", left, 8.5 * vary(random, 0.1)) + limbs("blood", right, 9 * vary(random, 0.12))
