"""A pelvis with both hips: left and right are mirror images but for a few organs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deepfeatures.phantom.body import Body, clutter, loops, vary
from deepfeatures.phantom.column import canal_solids, column, sacrum, vertebral_solids
from deepfeatures.phantom.solids import Block, Solid, bone, curve, limbs, mm

SIDES = (("left", 1), ("right", -1))


def pelvis(random: np.random.Generator, with_ends: bool) -> Body:
    """One person's pelvis; without its ends no organ in view tells left from right."""
    vertebrae = column(random)
    sacral, canal = sacrum(vertebrae[0], random)
    size, wide = vary(random, 0.06), vary(random, 0.05)
    hips = canal[-1] + mm(0, -58, -72) * size  # the middle between the femoral heads
    skin = Block("skin", hips + mm(0, 22, 0), mm(178, 118, 2000) * size)
    inner = Block("fat", hips + mm(0, 4, 30), mm(92 * wide, 74, 130) * size)
    solids: list[Solid] = [skin, skin.inner("fat", 2.0), skin.inner("muscle", random.uniform(14, 26)), inner]
    solids += clutter(random, 60, hips - mm(150, 90, 110), hips + mm(150, 110, 130), (3, 8), ["fat", "muscle"])
    marks: dict[str, np.ndarray] = {}
    hip_bones: list[Solid] = []
    for side, sign in SIDES:
        muscles, bones, named = _hip(sign, hips, size, wide, random)
        solids += muscles
        hip_bones += bones
        marks |= {f"{side} {name}": place for name, place in named.items()}
    solids += _organs(hips, size, with_ends, random)
    solids += vertebral_solids(vertebrae[:3], random) + sacral + canal_solids(vertebrae[:7], canal, random) + hip_bones
    symphysis = hips + mm(0, -44, -24) * size
    solids += [Block("cartilage", symphysis, mm(3.5, 9, 18) * size)]
    marks["pubic symphysis"] = symphysis
    lower, upper = hips + mm(-184, -108, -96) * size, hips + mm(184, 152, 130) * size
    return Body(tuple(solids), marks, lower, upper)


def _hip(
    sign: int, hips: np.ndarray, size: float, wide: float, random: np.random.Generator
) -> tuple[list[Solid], list[Solid], dict[str, np.ndarray]]:
    """Muscles and bones of one side, and its landmarks; the two sides of a person differ by a few percent."""

    def at(left: float, back: float, up: float) -> np.ndarray:
        return hips + mm(sign * left * wide, back, up) * size * own

    own = np.array([vary(random, 0.015) for _ in range(3)])
    head = at(88, 0, 0)
    crest = [at(112, -34, 62), at(132, -8, 96), at(118, 34, 112), at(78, 66, 92)]
    wing_foot = [at(96, -22, 26), at(104, 2, 38), at(96, 30, 40), at(70, 58, 52)]
    edge, foot = curve(crest, 12), curve(wing_foot, 12)
    bones: list[Solid] = []
    for tissue, deeper in (("cortex", 0.0), ("marrow", 1.5)):
        for outer, inner in zip(edge, foot, strict=True):
            bones += limbs(tissue, [outer, inner], np.array([5.5, 6.5]) - deeper)
    rami = ([at(76, -18, 6), at(44, -46, -4), at(9, -46, -18)], [at(9, -46, -32), at(36, -14, -62), at(54, 22, -58)])
    bones += bone(curve(rami[0], 7), np.linspace(12, 9, 7)) + bone(curve(rami[1], 7), 8.0)
    bones += bone([at(76, 22, 4), at(62, 32, -30), at(56, 26, -56)], [14, 12, 15])
    cup = Block("cortex", head, np.full(3, 28.5) * size)
    bones += [cup, cup.inner("cartilage", 2.0)]
    bones += [Block("fat", head + mm(sign * 24, -4, -26) * size, mm(24, 26, 22) * size)]
    ball = Block("cortex", head, np.full(3, 23.5) * size)
    knob, small, shaft = at(142, 12, 0), at(112, 18, -52), at(128, 8, -150)
    neck = np.array([head, at(126, 6, -16)])
    for tissue, deeper in (("cortex", 0.0), ("marrow", 1.6)):
        bones += [ball.inner(tissue, deeper), *limbs(tissue, neck, [16 - deeper, 18 - deeper])]
        bones += [Block(tissue, knob, mm(13, 19, 22) * size - deeper)]
        bones += limbs(tissue, [at(128, 8, -12), at(124, 8, -56), shaft], mm(20, 17, 14) - deeper)
        bones += [Block(tissue, small, mm(9, 9, 11) * size - deeper)]
    bones += limbs("fat", [at(125, 8, -60), shaft], 8.0)
    muscles = _muscles(at, size, random)
    marks = {"femoral head": head, "greater trochanter": knob, "lesser trochanter": small}
    marks |= {"iliac spine": crest[0], "ischial tuberosity": at(56, 26, -56)}
    return muscles, bones, marks


def _muscles(at: Callable[..., np.ndarray], size: float, random: np.random.Generator) -> list[Solid]:
    """Gluteal muscles, iliopsoas and thigh, with fat between them, and the great vessels."""
    found: list[Solid] = []
    paths = (
        ([(60, 92, 70), (100, 88, 10), (136, 50, -40)], 27),
        ([(130, 30, 90), (150, 22, 50), (150, 14, 10)], 20),
        ([(46, 6, 110), (78, -26, 50), (92, -32, -4), (110, 4, -50)], 17),
        ([(108, -44, 40), (114, -44, -20), (116, -40, -100)], 16),
        ([(48, -34, -30), (80, -16, -80), (96, 0, -130)], 20),
        ([(62, 40, -60), (86, 40, -100), (100, 36, -150)], 18),
    )
    for nodes, radius in paths:
        path = curve([at(*node) for node in nodes], 8)
        radius_mm = radius * size * vary(random, 0.08)
        found += limbs("fat", path, radius_mm + 3) + limbs("muscle", path, radius_mm)
    for aside in (64, 76):
        vessel = [at(aside - 34, 10, 110), at(aside - 6, -30, 40), at(aside, -56, -10), at(aside + 14, -50, -100)]
        found += limbs("blood", curve(vessel, 10), 5.5)
    return found


def _organs(hips: np.ndarray, size: float, one_sided: bool, random: np.random.Generator) -> list[Solid]:
    """Bladder and rectum in the middle; caecum and sigmoid, each on one side, where wanted."""
    full = vary(random, 0.2)
    bladder = Block("muscle", hips + mm(0, -28, 14) * size, mm(36, 26, 24) * size * full)
    rectum = curve(hips + np.array([[0, 40, -50], [0, 44, -10], [0, 56, 36], [0, 40, 70]]) * size, 12)
    found: list[Solid] = [bladder, bladder.inner("fluid", 3.5)]
    found += [Block("muscle", hips + mm(0, 4, 10) * size, mm(22, 14, 16) * size)]
    found += limbs("bowel wall", rectum, 16 * size) + limbs("bowel content", rectum, 12 * size)
    if one_sided:
        caecum = Block("bowel wall", hips + mm(-66, -30, 92) * size, mm(30, 28, 36) * size)
        gas = Block("gas", caecum.centre - mm(0, 8, 0), mm(22, 15, 26) * size)
        bend = np.array([[80, -20, 110], [74, -30, 70], [40, -38, 52], [12, 4, 74], [0, 40, 70]]) * size
        sigmoid = curve(hips + bend + random.normal(0, 5, bend.shape), 20)
        found += [caecum, caecum.inner("bowel content", 2.5), gas]
        found += limbs("bowel wall", sigmoid, 14 * size) + limbs("bowel content", sigmoid, 11 * size)
        found += loops(random, hips + mm(-40, -60, 60), hips + mm(50, -10, 120), turns=10, radius_mm=10)
    return found
