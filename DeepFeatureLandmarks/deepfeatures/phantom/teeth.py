"""A lower jaw with its arch of teeth."""

from __future__ import annotations

import numpy as np

from deepfeatures.phantom.body import Body, clutter, turned, vary
from deepfeatures.phantom.solids import Block, Solid, bone, curve, limbs, mm

# From the middle outwards: width along the arch, depth across it, height of the crown, length and number of roots, mm.
TEETH = (
    (5.3, 6.0, 8.8, 12.5, 1),
    (5.8, 6.3, 9.2, 14.0, 1),
    (6.9, 7.7, 10.8, 16.0, 1),
    (7.0, 7.6, 8.6, 14.4, 1),
    (7.2, 8.1, 8.0, 14.7, 1),
    (11.2, 10.3, 7.6, 14.0, 2),
    (10.6, 10.1, 7.2, 13.0, 2),
)
LACKS_ONE = 0.25  # of all people


def teeth(random: np.random.Generator, with_ends: bool) -> Body:
    """One person's lower teeth, named as dentists do; without ends the molars are out of view."""
    size, wide = vary(random, 0.05), vary(random, 0.06)
    widths = np.array([tooth[0] for tooth in TEETH]) * size
    middles = np.cumsum(widths) - widths / 2
    lacking = int(random.integers(1, 8)) if random.random() < LACKS_ONE else 0
    lacking_side = int(random.choice([-1, 1]))
    marks: dict[str, np.ndarray] = {}
    found: list[Solid] = []
    arch = _arch(np.linspace(-62, 62, 60) * size, wide)
    for sign, quadrant in ((1, 3), (-1, 4)):
        for number, (along, shape) in enumerate(zip(middles, TEETH, strict=True), start=1):
            if (number, sign) == (lacking, lacking_side):
                continue
            place = _arch(sign * along + np.array([-0.05, 0, 0.05]), wide)
            tooth, named = _tooth(place, shape, size, sign, random)
            found += tooth
            marks |= {f"tooth {quadrant}{number} {what}": at for what, at in named.items()}
    solids = [*_soft_tissue(arch, random), *_jaw(arch, size), *found]
    lower, upper = mm(-40.0, -26.0, -32.0), mm(40.0, 52.0 if with_ends else 18.0, 22.0)
    return Body(tuple(solids), marks, lower * size, upper * size)


def _arch(along: np.ndarray, wide: float) -> np.ndarray:
    """Places on the arch by their way along it from the middle, mm, shape `(N, 3)`; a parabola that opens backwards."""
    x = np.linspace(-40, 40, 801)
    y = 0.04 * x**2 / wide - 14
    way = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    way -= way[400]
    return np.stack([wide * np.interp(along, way, x), np.interp(along, way, y), np.zeros(len(along))], axis=1)


def _tooth(
    place: np.ndarray,
    shape: tuple[float, float, float, float, int],
    size: float,
    sign: int,
    random: np.random.Generator,
) -> tuple[list[Solid], dict[str, np.ndarray]]:
    """A tooth, its crown, and the tip of its root, of two roots the one nearer to the middle of the arch."""
    width, depth, height, length = np.array(shape[:4]) * size * [vary(random, 0.03) for _ in range(4)]
    roots = shape[4]
    forward = place[2] - place[0]
    axes = turned(z=np.rad2deg(np.arctan2(forward[1], forward[0])) + random.normal(0, 5))
    axes = axes @ turned(random.normal(0, 4), random.normal(0, 4))
    neck = place[1] + [0, 0, random.normal(0, 0.7)]
    power = 4 if roots == 2 else 2
    crown = Block("enamel", neck + axes @ [0, 0, height * 0.45], mm(width, depth, height * 1.2) / 2, axes, power)
    found: list[Solid] = []
    pulp: list[Solid] = []
    tips = []
    for offset in (0.0,) if roots == 1 else (-sign * 0.27 * width, sign * 0.27 * width):
        top, bend = neck + axes @ [offset, 0, 0], neck + axes @ [offset * 1.2, 0, -length * 0.5]
        tip = neck + axes @ [offset + 1.2 * sign, 0, -length]
        nodes = curve([top, bend, tip], 7)
        radii = np.linspace(0.36 * width if roots == 1 else 0.22 * width, 0.9, 7)
        found += limbs("ligament", nodes, radii + 0.5) + limbs("dentine", nodes, radii)
        pulp += limbs("pulp", nodes[:-1], np.linspace(0.8, 0.4, 6) * size)
        tips.append(tip)
    inner = Block("dentine", crown.centre - axes @ [0, 0, 0.1 * height], crown.radii - 1.3, axes, power)
    chamber = Block("pulp", neck + axes @ [0, 0, 1.0], mm(width, depth, height) * 0.17, axes)
    return [*found, crown, inner, *pulp, chamber], {"crown": inner.centre, "root": tips[0]}


def _jaw(arch: np.ndarray, size: float) -> list[Solid]:
    """The bone that bears the teeth, thicker below."""
    found: list[Solid] = []
    upper, lower = arch + mm(0, 0, -8.0) * size, arch + mm(0, 0, -20.0) * size
    for tissue, deeper in (("cortex", 0.0), ("marrow", 1.8)):
        found += limbs(tissue, upper, 6.6 * size - deeper) + limbs(tissue, lower, 7.6 * size - deeper)
    found += limbs("nerve", arch[:18] + mm(0, 0, -21), 1.2) + limbs("nerve", arch[-18:] + mm(0, 0, -21), 1.2)
    for end, sign in ((arch[0], -1), (arch[-1], 1)):
        found += bone(mm(end + mm(0, 0, -14), end + mm(sign * 3, 8, 10), end + mm(sign * 5, 14, 40)), [9, 7, 6])
    return found


def _soft_tissue(arch: np.ndarray, random: np.random.Generator) -> list[Solid]:
    """Lips and cheeks, mouth and tongue."""
    face = Block("skin", mm(0, 30, -6), mm(48, 62, 400), power=2)
    mouth = Block("air", mm(0, 22, 4), mm(26, 36, 10))
    tongue = Block("muscle", mm(0, 26, -8), mm(19, 34, 17) * vary(random, 0.05))
    found: list[Solid] = [face, face.inner("fat", 1.5), face.inner("muscle", 5.0)]
    found += clutter(random, 40, [-46, -20, -40], [46, 60, 30], (2, 6), ["fat", "muscle", "blood"])
    return [*found, mouth, *limbs("muscle", arch + mm(0, 0, -3), 5.5), tongue]
