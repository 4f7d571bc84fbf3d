"""A flat hand: five fingers with their phalanges, and the ends of the metacarpals."""

from __future__ import annotations

import numpy as np

from deepfeatures.phantom.body import Body, turned, vary
from deepfeatures.phantom.solids import Block, Solid, bone, limbs, mm

# Foot of each finger, mm; its direction in degrees from straight up; lengths of its phalanges and the width of its
# bones, mm.
FINGERS = {
    "thumb": ((-40, 0, -26), -42, (32, 23), 10.0),
    "index finger": ((-22, 0, 0), -9, (40, 23, 17), 9.0),
    "middle finger": ((-2, 0, 4), -1, (44, 28, 18), 9.4),
    "ring finger": ((17, 0, 0), 6, (41, 26, 18), 8.8),
    "little finger": ((34, 0, -9), 14, (32, 18, 16), 7.6),
}
PHALANGES = {2: ("proximal", "distal"), 3: ("proximal", "middle", "distal")}


def digits(random: np.random.Generator, with_ends: bool) -> Body:
    """One person's hand; without ends neither the thumb and little finger nor the finger tips are in view."""
    size = vary(random, 0.07)
    spread = random.normal(0, 2)
    palm = [_palm("skin", size, 0.0), _palm("fat", size, 1.2), _palm("muscle", size, 4.0)]
    skin: list[Solid] = []
    flesh: list[Solid] = []
    bones: list[Solid] = []
    marks: dict[str, np.ndarray] = {}
    for name, (foot, angle, lengths, width) in FINGERS.items():
        lean = angle * vary(random, 0.08) + spread * angle / 10 + random.normal(0, 1.5)
        start, thick = np.array(foot) * size, width * size * vary(random, 0.04)
        axes = turned(random.normal(0, 3), lean)
        metacarpal = start - turned(0, 0.35 * angle) @ [0, 0, 1.3 * lengths[0] * size]
        bones += _bone(metacarpal, start - axes @ [0, 0, 1.0], thick * 1.05)
        nodes = [start]
        for part, length in zip(PHALANGES[len(lengths)], lengths, strict=True):
            bend = axes @ turned(random.normal(0, 4), random.normal(0, 2))
            end = start + bend @ [0, 0, length * size * vary(random, 0.04)]
            bones += _bone(start + bend @ [0, 0, 1.5], end, thick)
            marks[f"{name} {part} phalanx"] = (start + bend @ [0, 0, 1.5] + end) / 2
            start, thick = end + bend @ [0, 0, 1.0], thick * 0.86
            nodes.append(start)
        marks[f"{name} tip"] = start - bend @ [0, 0, 1.5]
        radii = np.linspace(1.05, 0.82, len(nodes)) * width * size
        skin += limbs("skin", nodes, radii)
        flesh += limbs("fat", nodes, radii - 1.2)
        palm_side = mm(0, -0.55 * width * size, 0)
        bones += limbs("ligament", np.array(nodes[:-1]) + palm_side, 1.6 * size)
        for sign in (-1, 1):
            bones += limbs("blood", np.array(nodes[:-1]) + axes @ [sign * 0.7 * width * size, 0, 0] + palm_side, 0.9)
    low, high = ([-82, -17, -52], [62, 17, 104]) if with_ends else ([-34, -15, 8], [32, 15, 78])
    # Skin of all first: fingers that touch do not cut into their neighbours.
    return Body((*palm, *skin, *flesh, *palm[1:], *bones), marks, np.array(low) * size, np.array(high) * size)


def _palm(tissue: str, size: float, deeper: float) -> Block:
    return Block(tissue, mm(-2, 0, -48) * size, mm(46, 14, 56) * size - deeper, power=4)


def _bone(start: np.ndarray, end: np.ndarray, width: float) -> list[Solid]:
    """A long bone with a wide base, a slim shaft and a round head, capped with cartilage."""
    nodes = start + np.linspace(0.08, 0.94, 5)[:, None] * (end - start)
    radii = width * np.array([0.62, 0.44, 0.4, 0.43, 0.54])
    caps = [Block("cartilage", nodes[k], np.full(3, radii[k] + 0.7)) for k in (0, -1)]
    return [*caps, *bone(nodes, radii, cortex_mm=1.1)]
