"""A chest: ribs, spine, sternum, lungs, heart and the dome of the liver."""

from __future__ import annotations

import numpy as np

from deepfeatures.phantom.body import Body, clutter, trunk, turned, vary
from deepfeatures.phantom.column import Vertebra, canal_solids, column, vertebral_solids
from deepfeatures.phantom.solids import Block, Solid, bone, curve, limbs, mm

# From the first rib down: half width and depth of its arc, how far its front lies below its back, all in mm, and the
# angle in degrees at which the bone ends, counted from the spine.
RIBS = (
    (58, 38, 28, 150),
    (78, 52, 42, 152),
    (94, 62, 52, 152),
    (106, 70, 60, 150),
    (115, 76, 66, 148),
    (122, 81, 70, 145),
    (127, 85, 73, 140),
    (130, 88, 75, 132),
    (131, 90, 74, 124),
    (129, 90, 70, 112),
    (122, 86, 58, 84),
    (108, 80, 40, 56),
)
SIDES = (("left", 1), ("right", -1))


def thorax(random: np.random.Generator, with_ends: bool) -> Body:
    """One person's chest; without its ends only the middle ribs are in view, and neither lung tips nor diaphragm."""
    vertebrae = column(random)
    size = vary(random, 0.05)
    marks: dict[str, np.ndarray] = {}
    level = {v.name: v for v in vertebrae}
    centre = level["T7"].body.centre + mm(0, -78 * size, 0)
    solids = _chest_wall(centre, size, random)
    for side, _ in SIDES:
        lung, tip = _lung(side, centre, level, size, random)
        solids += lung
        marks[f"{side} lung tip"] = tip
    organs, named = _organs(centre, level, size, random)
    solids += organs
    marks |= named
    solids += vertebral_solids(vertebrae[3:], random) + canal_solids(vertebrae, level["L5"].canal[None], random)
    sternum = centre[1] - 88 * size
    for side, sign in SIDES:
        for number, shape in enumerate(RIBS, start=1):
            rib, named = _rib(number, shape, sign, level[f"T{number}"], size, sternum, random)
            solids += rib
            marks |= {f"{side} rib {number} {what}": at for what, at in named.items()}
    solids += _sternum(sternum, level, random)
    z = [level[name].body.centre[2] for name in (("T12", "T1") if with_ends else ("T10", "T4"))]
    middle, reach = centre + mm(0, 12, 0), mm(156.0, 134.0, 0.0) * size
    lower, upper = middle - reach, middle + reach
    lower[2], upper[2] = z[0] - (35 if with_ends else 25), z[1] + (25 if with_ends else -5)
    step = level["T9"].body.centre[2] - level["T8"].body.centre[2]
    return Body(tuple(solids), marks, lower, upper, mm(0, 0, 0 if with_ends else step))


def _chest_wall(centre: np.ndarray, size: float, random: np.random.Generator) -> list[Solid]:
    fat = random.uniform(6, 18)
    found = trunk(centre + mm(0, 12, 0), [150 * size, 128 * size], fat)
    for _, sign in SIDES:  # muscles of the back and the shoulder blades
        blade = Block("cortex", centre + mm(sign * 82, 72, 70) * size, mm(34, 4, 62) * size)
        tilted = Block("cortex", blade.centre, blade.radii, turned(6, 0, -sign * 28))
        found += [tilted, tilted.inner("marrow", 1.2)]
    return found + clutter(
        random, 40, centre - mm(140, 100, 170), centre + mm(140, 100, 170), (3, 9), ["fat", "muscle"]
    )


def _rib(
    number: int,
    shape: tuple[float, float, float, float],
    sign: int,
    vertebra: Vertebra,
    size: float,
    sternum: float,
    random: np.random.Generator,
) -> tuple[list[Solid], dict[str, np.ndarray]]:
    """A rib with its cartilage, its head at the spine, and where its bone ends in front."""
    width, depth, drop, end = np.array(shape) * [vary(random, 0.015), vary(random, 0.015), vary(random, 0.05), 1] * size
    end = np.deg2rad(shape[3] * vary(random, 0.02))
    start = vertebra.at(0, vertebra.body.radii[1] * 0.8, vertebra.body.radii[2] * 0.6)

    def place(angle: np.ndarray) -> np.ndarray:
        aside = sign * (14 + (width - 14) * np.sin(angle) ** 0.85)
        back = start[1] + 6 + 16 * np.sin(2 * angle).clip(0) - depth * (1 - np.cos(angle)) * 0.98
        return np.stack([start[0] + aside, back, start[2] - drop * (angle / np.pi) ** 1.15], axis=1)

    nodes = place(np.linspace(0.03, end, 18))
    found = bone(nodes, np.linspace(4.2, 5.2, len(nodes)) * size, cortex_mm=1.3)
    if number <= 10:
        meet = mm(sign * 14.0, sternum, 0.0)
        meet[2] = start[2] - drop * 0.75 + (4 if number < 7 else 14 * (number - 6))
        bend = (nodes[-1] + meet) / 2 - mm(0, 6, 6)
        found += limbs("cartilage", curve([nodes[-1], bend, meet], 6), 4.6 * size)
    return found, {"head": nodes[0], "end": nodes[-1]}


def _sternum(front: float, level: dict[str, Vertebra], random: np.random.Generator) -> list[Solid]:
    top = level["T2"].body.centre[2] - 20
    parts = (("manubrium", 22, 8, 24, -24), ("body", 16, 6.5, 48, -98), ("xiphoid", 7, 4, 14, -162))
    found: list[Solid] = []
    for name, width, depth, height, below in parts:
        radii = mm(width, depth, height) * vary(random, 0.06)
        part = Block("cortex" if name != "xiphoid" else "cartilage", mm(0, front, top + below), radii, power=4)
        found += [part, part.inner("marrow", 1.2)]
    for _, sign in SIDES:
        clavicle = np.array([[sign * 16, front - 2, top], [sign * 60, front + 6, top + 14], [sign * 120, 40, top + 18]])
        clavicle[2, 1] = front + 50
        found += bone(curve(clavicle, 8), 6.0)
    return found


def _lung(
    side: str, centre: np.ndarray, level: dict[str, Vertebra], size: float, random: np.random.Generator
) -> tuple[list[Solid], np.ndarray]:
    """A lung with its vessels, and its tip."""
    sign = dict(SIDES)[side]
    top = level["T1"].body.centre[2] - random.uniform(2, 14)
    bottom = level["T12"].body.centre[2] - 10
    middle = mm(sign * 68 * size, centre[1] + 6, (top + bottom) / 2)
    radii = mm(56 * size, 82 * size, (top - bottom) / 2)
    lung = Block("lung", middle, radii, turned(random.normal(0, 2), sign * 5))
    hilum = mm(sign * 30 * size, centre[1] + 12, level["T6"].body.centre[2])
    found: list[Solid] = [Block("fat", lung.centre, radii + 1.5, lung.axes), lung]
    for _ in range(26):
        end = middle + lung.axes @ (radii * _unit(random) * random.uniform(0.55, 0.85))
        bend = (hilum + end) / 2 + random.normal(0, 9, 3)
        found += limbs("blood", curve([hilum, bend, end], 6), np.linspace(4.6, 1.0, 6))
    return found, lung.pole(2, 1)


def _organs(
    centre: np.ndarray, level: dict[str, Vertebra], size: float, random: np.random.Generator
) -> tuple[list[Solid], dict[str, np.ndarray]]:
    """Heart, great vessels, windpipe, gullet, and the domes of the diaphragm with liver, stomach and spleen."""
    height = {name: v.body.centre[2] for name, v in level.items()}
    found: list[Solid] = []
    mediastinum = mm(0, centre[1] - 2, (height["T4"] + height["T10"]) / 2)
    found.append(Block("fat", mediastinum, mm(30, 74, 120) * size, power=4))
    lift = random.uniform(-8, 12)
    liver = Block("liver", mm(-58 * size, centre[1], height["T12"] - 8 + lift), mm(84, 92, 66) * size)
    stomach = mm(62 * size, centre[1] + 4, height["T12"] - 22 + lift)
    found += [Block("fat", stomach, mm(66, 84, 62) * size), liver.inner("fat", -2), liver]
    found += clutter(random, 8, liver.centre - mm(50, 50, 40), liver.centre + mm(50, 50, 20), (2, 5), ["blood", "fat"])
    found.append(Block("bowel wall", stomach + mm(-14, -30, -2), mm(34, 36, 38) * size))
    found.append(Block("gas", stomach + mm(-14, -38, 4), mm(26, 22, 26) * size))
    found.append(Block("spleen", stomach + mm(22, 42, -2), mm(28, 34, 44) * size, turned(20, 0, 20)))
    axes = turned(0, 38 + random.normal(0, 6), 0) @ turned(28 + random.normal(0, 5), 0, 0)
    radii = mm(43, 42, 62) * size * vary(random, 0.07)
    heart = Block("heart", mm(14 * size, centre[1] - 34 * size, height["T8"] - 6), radii, axes)
    apex = min((heart.pole(2, sign) for sign in (-1, 1)), key=lambda place: place[2])
    found += [heart.inner("fat", -4), heart, Block("blood", heart.centre, radii * [0.5, 0.55, 0.62], axes)]
    spine = [level[f"T{n}"].at(14, -level[f"T{n}"].body.radii[1] - 8, 0) for n in range(5, 13)]
    arch = [heart.centre + mm(-8, 6, 40), [-14, centre[1] - 14, height["T5"]], [0, centre[1] + 6, height["T4"] + 4]]
    found += limbs("blood", curve([*arch, *spine], 30), 12.5 * vary(random, 0.08))
    cava = np.array([[-26, centre[1] - 8, height["T2"]], [-26, centre[1] - 14, height["T8"]]])
    found += limbs("blood", cava, 9.5)
    fork = mm(0, centre[1] + 22, height["T5"] - 4)
    for _, sign in SIDES:
        found += limbs("gas", [fork, fork + mm(sign * 30, 4, -26)], [7, 5.5])
    found += limbs("gas", np.array([fork, [0, centre[1] + 8, height["T1"] + 60]]), 8.5)
    found += limbs("muscle", np.array([[4, fork[1] + 16, height["T1"] + 60], [6, fork[1] + 18, height["T11"]]]), 6)
    dome = liver.pole(2, 1)
    return found, {"heart apex": apex, "liver dome": dome, "carina": fork}


def _unit(random: np.random.Generator) -> np.ndarray:
    vector = random.standard_normal(3)
    return vector / np.linalg.norm(vector)
