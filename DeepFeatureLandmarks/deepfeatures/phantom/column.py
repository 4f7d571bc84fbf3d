"""A vertebral column: bodies, discs, canal and processes, one person's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepfeatures.phantom.body import turned, vary
from deepfeatures.phantom.solids import Block, Solid, curve, limbs, mm

# Upwards from the lowest: height, depth and width of the body, height of the disc below it in mm, and its forward tilt
# in degrees. Averages of adults.
LEVELS: dict[str, tuple[float, float, float, float, float]] = {
    "L5": (27, 35, 52, 11, 19),
    "L4": (27.5, 35, 50, 12, 8),
    "L3": (27.5, 34.5, 47, 11.5, -2),
    "L2": (27, 33.5, 45, 10, -9),
    "L1": (26, 32, 43, 9, -13),
    "T12": (25, 31, 41, 7.5, -13),
    "T11": (24, 30, 39, 6.5, -11),
    "T10": (23, 29.5, 36, 6, -8),
    "T9": (22, 29, 34, 5.5, -3),
    "T8": (21.5, 28, 32, 5, 1),
    "T7": (21, 27, 31, 5, 4),
    "T6": (20.5, 26, 30, 4.5, 8),
    "T5": (20, 24, 29, 4.5, 12),
    "T4": (19.5, 22, 28, 4.5, 16),
    "T3": (19, 20, 28, 4, 19),
    "T2": (18.5, 18.5, 29, 4, 22),
    "T1": (18, 17, 30, 4, 25),
}
# Downwards: height, depth and width of the segment, and its forward tilt.
SACRUM = ((29, 31, 50, 42), (24, 22, 40, 50), (20, 16, 34, 36), (17, 12, 28, 12), (14, 9, 22, -14))


@dataclass(frozen=True, eq=False)
class Vertebra:
    """One vertebra: its body, whose axes run to the left, backwards and upwards, and the height of the disc below."""

    name: str
    body: Block
    disc_mm: float

    def at(self, left: float, back: float, up: float) -> np.ndarray:
        """A place given in mm from the middle of the body along its own axes."""
        return self.body.centre + self.body.axes @ mm(left, back, up)

    @property
    def canal(self) -> np.ndarray:
        """The middle of the canal at this level, mm."""
        return self.at(0, self.body.radii[1] + 8, 0)


def column(random: np.random.Generator) -> tuple[Vertebra, ...]:
    """Vertebrae from L5 upwards; the middle of L3 lies at the origin."""
    size, bend, lean = vary(random, 0.06), vary(random, 0.2), random.normal(0, 2.5)
    dryness, side = vary(random, 0.15), random.normal(0, 3)
    middle, top, previous = np.zeros(3), np.zeros(3), np.eye(3)
    found = []
    for place, (name, (height, depth, width, disc, tilt)) in enumerate(LEVELS.items()):
        axes = turned(bend * tilt + lean + random.normal(0, 1.2), side * np.sin(0.8 * place + 0.5))
        radii = mm(width, depth, height) / 2 * size * [vary(random, 0.03) for _ in range(3)]
        disc_mm = disc * size * dryness * vary(random, 0.12)
        middle = top + disc_mm / 2 * (previous + axes)[:, 2] + radii[2] * axes[:, 2]
        top, previous = middle + radii[2] * axes[:, 2], axes
        found.append(Vertebra(name, Block("cortex", middle, radii, axes, power=4, waist=0.09), disc_mm))
    origin = found[2].body.centre
    return tuple(
        Vertebra(v.name, Block("cortex", v.body.centre - origin, v.body.radii, v.body.axes, 4, 0.09), v.disc_mm)
        for v in found
    )


def vertebral_solids(vertebrae: tuple[Vertebra, ...], random: np.random.Generator) -> list[Solid]:
    """Discs, bodies, arches and processes."""
    found: list[Solid] = []
    for below, above in zip((None, *vertebrae[:-1]), vertebrae, strict=True):
        found += _disc(below, above, random)
    for vertebra in vertebrae:
        found += _processes(vertebra, random)
    for vertebra in vertebrae:
        body = vertebra.body
        found += [body, body.inner("marrow", 1.3)]
        found += limbs("blood", [vertebra.at(0, body.radii[1], 0), vertebra.at(0, 0.4 * body.radii[1], 0)], [2.2, 1.0])
    return found


def canal_solids(vertebrae: tuple[Vertebra, ...], lower_end: np.ndarray, random: np.random.Generator) -> list[Solid]:
    """The canal with its fluid, the cord, which ends near L1, and the nerves below it; `lower_end` in mm, `(N, 3)`."""
    nodes = curve(np.concatenate([lower_end, [v.canal for v in vertebrae]]), 4 * (len(vertebrae) + len(lower_end)))
    width = 7.5 * vary(random, 0.1)
    radii = np.minimum(width, np.linspace(2.5, 5 * width, len(nodes)))
    found = limbs("fat", nodes + mm(0, 2, 0), radii + 2.5) + limbs("fluid", nodes, radii)
    start = nodes[:, 2] > vertebrae[4].canal[2] + random.normal(0, 12)
    cord = nodes[start]
    found += limbs("nerve", cord, 4.6)
    found += limbs("nerve", [cord[0], cord[0] - mm(0, -2, 22)], [4.6, 0.8])
    for offset in (-3.5, -1.2, 1.2, 3.5):
        found += limbs("nerve", nodes[~start] + mm(offset, 0.45 * width, 0), 0.9)
    return found


def sacrum(lowest: Vertebra, random: np.random.Generator) -> tuple[list[Solid], np.ndarray]:
    """Fused segments below the lowest vertebra, and the end of the canal in them, mm, `(3, 3)`, upwards."""
    size, slope = 2 * lowest.body.radii[1] / LEVELS["L5"][1], random.normal(0, 5)
    top = lowest.at(0, 0, -lowest.body.radii[2]) - lowest.disc_mm * lowest.body.axes[:, 2]
    found: list[Solid] = []
    canal: list[np.ndarray] = []
    for height, depth, width, tilt in SACRUM:
        axes = turned(tilt + slope)
        radii = size * mm(width, depth, height) / 2 * vary(random, 0.03)
        centre = top - radii[2] * axes[:, 2]
        segment = Block("cortex", centre, radii, axes, power=4, waist=0.05)
        found += [Block("annulus", top, mm(0.8 * radii[0], 0.8 * radii[1], 1.6), axes, power=4)]
        found += [segment, segment.inner("marrow", 1.3)]
        wing = mm(radii[0], 0.1 * radii[1], 0)
        for sign in (-1, 1) if len(canal) < 2 else ():
            ala = Block("cortex", centre + axes @ (wing * [sign, 1, 1]), radii * [0.55, 0.75, 0.9], axes)
            found += [ala, ala.inner("marrow", 1.3)]
        crest = Block("cortex", centre + axes @ [0, radii[1] + 15, -2], mm(4, 5, 0.45 * height), axes)
        found += [crest, crest.inner("marrow", 1.2)]
        canal.append(centre + axes @ [0, radii[1] + 6, 0])
        top = centre - radii[2] * axes[:, 2]
    return found, np.array(canal[:3][::-1])


def _disc(below: Vertebra | None, above: Vertebra, random: np.random.Generator) -> list[Solid]:
    under = above.at(0, 0, -above.body.radii[2])
    axes, radii = above.body.axes, above.body.radii
    centre = under - above.disc_mm / 2 * axes[:, 2]
    if below is not None:
        centre = (under + below.at(0, 0, below.body.radii[2])) / 2
        axes = np.linalg.qr(axes + below.body.axes)[0] * [-1, -1, -1]
    size = mm(0.96 * radii[0], 0.97 * radii[1], above.disc_mm / 2 + 1.5)
    nucleus = "disc" if random.random() < 0.75 else "dry disc"
    return [
        Block("annulus", centre, size, axes, power=4),
        Block(nucleus, centre + 0.05 * radii[1] * axes[:, 1], size * [0.66, 0.66, 0.8], axes, power=4),
    ]


def _processes(vertebra: Vertebra, random: np.random.Generator) -> list[Solid]:
    width, depth, height = vertebra.body.radii
    lumbar = vertebra.name.startswith("L")
    droop = 14.0 if lumbar else 30.0 + 12 * (vertebra.name in ("T5", "T6", "T7", "T8"))
    found: list[Solid] = []
    for sign in (-1, 1):
        pedicle = [vertebra.at(sign * 0.62 * width, 0.85 * depth, 5), vertebra.at(sign * 0.68 * width, depth + 9, 4)]
        facets = [vertebra.at(sign * 0.7 * width, depth + 13, k * 0.95 * height) for k in (1, 0, -1)]
        reach = width + (16 if lumbar else 14)
        transverse = [pedicle[1], vertebra.at(sign * reach, depth + (12 if lumbar else 20), 4)]
        lamina = [facets[1], vertebra.at(0, depth + 21, -5)]
        for nodes, radii in ((pedicle, 5), (facets, [4, 6, 5]), (transverse, [5, 3.5]), (lamina, [4.5, 4])):
            inside = np.asarray(radii, float) - 1.3
            found += limbs("cortex", nodes, radii) + limbs("marrow", nodes, inside)
    axes = vertebra.body.axes @ turned(-droop + random.normal(0, 3))
    length = (15.5 if lumbar else 17.0) * vary(random, 0.08)
    size = mm(3.2, length, (10.5 if lumbar else 6.0) * vary(random, 0.08))
    root = vertebra.at(0, depth + 20, -4)
    spinous = Block("cortex", root + length * axes[:, 1] * 0.9, size, axes, power=4)
    return [*found, spinous, spinous.inner("marrow", 1.2)]
