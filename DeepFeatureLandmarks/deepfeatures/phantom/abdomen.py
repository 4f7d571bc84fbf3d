"""A belly: colon with its folds, bowel loops, two kidneys, liver, spleen, great vessels and a piece of spine."""

from __future__ import annotations

import numpy as np

from deepfeatures.phantom.body import Body, clutter, loops, trunk, turned, vary
from deepfeatures.phantom.column import Vertebra, canal_solids, column, vertebral_solids
from deepfeatures.phantom.solids import Block, Solid, curve, limbs, mm

# The colon from the caecum onwards, mm beside and in front of the middle of L3.
COLON = (
    (-88, -62, -78),
    (-92, -52, -35),
    (-94, -46, 10),
    (-86, -56, 48),
    (-55, -98, 34),
    (0, -108, 8),
    (52, -98, 40),
    (96, -40, 82),
    (102, -22, 40),
    (102, -26, -5),
    (96, -36, -45),
    (84, -48, -85),
)
SIDES = (("left", 1), ("right", -1))
COUNTED = 5  # folds with landmarks at each end of the colon


def abdomen(random: np.random.Generator, with_ends: bool) -> Body:
    """One person's belly; without its ends the view has neither caecum and flexures nor the kidneys' poles."""
    vertebrae = column(random)
    size = vary(random, 0.06)
    solids = trunk([0, -55, 0], [158 * size, 128 * size], random.uniform(8, 26))
    solids += [Block("fat", mm(0, -84, 0), mm(122, 74, 2000) * size)]
    solids += _muscles(vertebrae, size)
    solids += _upper_organs(size, random)
    marks: dict[str, np.ndarray] = {}
    for part in (*(_kidney(side, sign, size, random) for side, sign in SIDES), _vessels(vertebrae, random)):
        solids += part[0]
        marks |= part[1]
    for _ in range(7):
        solids += loops(random, [-74, -130, -100], [76, -52, 20], turns=9, radius_mm=10)
    colon, folds = _colon(size, random)
    solids += colon
    solids += vertebral_solids(vertebrae[:7], random) + canal_solids(vertebrae[:7], vertebrae[0].canal[None], random)
    marks |= folds | {v.name: v.body.centre for v in vertebrae[:5]}
    lower, upper = mm(-162, -186, -112) * size, mm(162, 78, 118) * size
    if not with_ends:
        lower[2], upper[2] = -48 * size, 26 * size
    return Body(tuple(solids), marks, lower, upper, mm(0, 0, 0 if with_ends else 20.0))


def _muscles(vertebrae: tuple[Vertebra, ...], size: float) -> list[Solid]:
    """Psoas and the muscles of the back, beside the column."""
    found: list[Solid] = []
    for _, sign in SIDES:
        psoas = [v.at(sign * (v.body.radii[0] + 10 - 3 * k), 8, 0) for k, v in enumerate(vertebrae[:5])]
        back = [v.at(sign * 34, v.body.radii[1] + 30, 0) for v in vertebrae[:8]]
        found += limbs("fat", back, 30 * size) + limbs("muscle", back, 27 * size)
        found += limbs("muscle", psoas, np.linspace(21, 9, 5) * size)
    return found


def _kidney(
    side: str, sign: int, size: float, random: np.random.Generator
) -> tuple[list[Solid], dict[str, np.ndarray]]:
    """A kidney with cortex, pyramids and a fatty sinus that opens towards the middle."""
    height = (22 if sign > 0 else 8) + random.normal(0, 6)
    centre = mm(sign * 60 * size, -8 + random.normal(0, 4), height)
    axes = turned(-14 + random.normal(0, 4), sign * (14 + random.normal(0, 4)), sign * -25)
    radii = mm(26, 23, 54) * size * [vary(random, 0.08) for _ in range(3)]
    kidney = Block("kidney", centre, radii, axes)
    found: list[Solid] = [kidney.inner("fat", -7), kidney]
    count = int(random.integers(6, 10))
    for angle in np.linspace(-0.8, 0.8, count) * np.pi / 2 + random.normal(0, 0.04, count):
        for back in (-0.35, 0.35):
            place = radii * [sign * 0.6 * np.cos(angle), back, 0.72 * np.sin(angle)]
            found.append(Block("medulla", centre + axes @ place, mm(6.5, 5.5, 6.5) * size))
    sinus = Block("fat", centre - axes[:, 0] * sign * 0.55 * radii[0], radii * [0.62, 0.45, 0.5], axes)
    ureter = [sinus.centre, sinus.centre - mm(sign * 14, 4, 12), sinus.centre - mm(sign * 20, 0, 120)]
    marks = {f"{side} kidney upper pole": kidney.pole(2, 1), f"{side} kidney lower pole": kidney.pole(2, -1)}
    return [*found, sinus, *limbs("fluid", ureter, [7, 4, 2])], marks | {f"{side} kidney hilum": sinus.centre}


def _colon(size: float, random: np.random.Generator) -> tuple[list[Solid], dict[str, np.ndarray]]:
    """The colon as a row of sacs, each a fold after the other; how many there are differs from person to person."""
    nodes = np.array(COLON) * size + random.normal(0, 5, (len(COLON), 3))
    fine = curve(nodes, 400)
    way = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    count = round(way[-1] / (21 * size * vary(random, 0.05)))
    steps = np.linspace(0, way[-1], count) + random.normal(0, 1.2, count)
    sacs = np.stack([np.interp(steps, way, fine[:, axis]) for axis in range(3)], axis=1)
    radii = np.linspace(24, 16, count) * size * [vary(random, 0.08) for _ in range(count)]
    found: list[Solid] = []
    for tissue, deeper in (("bowel wall", 0.0), ("bowel content", 2.2)):
        found += [Block(tissue, place, np.full(3, radius - deeper)) for place, radius in zip(sacs, radii, strict=True)]
    for place, radius in zip(sacs, radii, strict=True):  # gas lies in front
        if random.random() < 0.6:
            found.append(Block("gas", place - mm(0, 0.3 * radius, 0), mm(0.75, 0.5, 0.75) * radius))
    marks = {"caecum": sacs[0]}
    marks |= {f"ascending fold {k}": sacs[k] for k in range(1, COUNTED)}
    marks |= {f"descending fold {k}": sacs[-k] for k in range(1, COUNTED)}
    return found, marks


def _upper_organs(size: float, random: np.random.Generator) -> list[Solid]:
    """Lower edge of the liver, stomach, spleen and pancreas."""
    lift = random.normal(0, 10)
    liver = Block("liver", mm(-74, -62, 92 + lift) * size, mm(74, 78, 66) * size, turned(0, -18, 0))
    spleen = Block("spleen", mm(98, -22, 108 + lift) * size, mm(26, 36, 44) * size, turned(20, 0, 20))
    stomach = [[78, -66, 130], [56, -92, 92], [14, -100, 66], [-24, -86, 62]]
    path = curve(np.array(stomach) * size + random.normal(0, 5, (4, 3)), 14)
    radii = np.linspace(34, 15, 14) * size
    pancreas = curve(np.array([[-28, -58, 34], [0, -62, 52], [48, -46, 66]]) * size + random.normal(0, 4, (3, 3)), 10)
    found: list[Solid] = [liver, spleen, *limbs("bowel wall", path, radii), *limbs("bowel content", path, radii - 3.5)]
    found += clutter(random, 8, liver.centre - mm(40, 40, 30), liver.centre + mm(40, 40, 30), (2, 5), ["blood"])
    return found + limbs("spleen", pancreas, np.linspace(12, 7, 10) * size)


def _vessels(vertebrae: tuple[Vertebra, ...], random: np.random.Generator) -> tuple[list[Solid], dict[str, np.ndarray]]:
    """Aorta and vena cava with their branches to the kidneys and legs."""
    front = np.array([v.at(0, -v.body.radii[1] - 10, 0) for v in vertebrae[1:8]])
    left, right = curve(front + mm(8, 0, 0), 24), curve(front + mm(-17, 2, 0), 24)
    left[:, 2] += random.normal(0, 7)
    fork = left[0]
    found = limbs("blood", right, 10.5)
    for _, sign in SIDES:
        leg = mm(fork, fork + mm(sign * 24, 6, -42), fork + mm(sign * 44, 26, -90))
        found += limbs("blood", curve(leg, 8), 6)
        start = left[np.argmin(np.abs(left[:, 2] - 24))]
        found += limbs("blood", [start, [sign * 34, -16, 18]], 3.4)
    return found + limbs("blood", left, 9.5 * vary(random, 0.1)), {"aortic bifurcation": fork}
