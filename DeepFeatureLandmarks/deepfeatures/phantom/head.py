"""The head: tissues and structures as formulas of the position, so that it can be scanned on any grid.

Coordinates are LPS mm around the anterior commissure: x grows to the left, y backwards, z upwards. Sizes and places
follow an average adult; left and right differ a little, as they do in people.
"""

from __future__ import annotations

import torch

from deepfeatures.phantom.shapes import Point, Waves, ellipsoid, smooth_intersection, smooth_union, tube

# Intensities as in a T1-weighted MR, white matter 0.85.
AIR, BONE, FLUID, MUSCLE, GREY, DEEP_GREY, WHITE, MARROW, FAT = 0.0, 0.06, 0.17, 0.36, 0.5, 0.56, 0.85, 0.55, 0.97

STRUCTURES = (
    "air",
    "soft tissue",
    "skull",
    "fluid",
    "grey matter",
    "white matter",
    "cerebellum",
    "brainstem",
    "commissures",
    "third ventricle",
    "fourth ventricle",
    "left eye",
    "right eye",
    "left lateral ventricle",
    "right lateral ventricle",
    "left caudate",
    "right caudate",
    "left putamen",
    "right putamen",
    "left pallidum",
    "right pallidum",
    "left thalamus",
    "right thalamus",
    "left hippocampus",
    "right hippocampus",
)

# name: position in mm, structure in which it lies
LANDMARKS: dict[str, tuple[Point, str]] = {
    "anterior commissure": ((0.0, 0.0, 0.0), "commissures"),
    "posterior commissure": ((0.0, 27.0, 2.0), "commissures"),
    "genu of corpus callosum": ((0.5, -31.5, 8.0), "white matter"),
    "splenium of corpus callosum": ((0.5, 38.0, 9.0), "white matter"),
    "left frontal horn tip": ((13.0, -28.5, 6.0), "left lateral ventricle"),
    "right frontal horn tip": ((-12.0, -26.5, 6.0), "right lateral ventricle"),
    "left caudate head": ((13.0, -16.0, 5.0), "left caudate"),
    "right caudate head": ((-13.0, -15.0, 5.5), "right caudate"),
    "left putamen": ((26.0, -3.0, 2.0), "left putamen"),
    "right putamen": ((-25.0, -2.0, 2.5), "right putamen"),
    "left thalamus": ((11.5, 17.0, 8.0), "left thalamus"),
    "right thalamus": ((-11.0, 18.0, 8.0), "right thalamus"),
    "left hippocampus head": ((25.0, 13.0, -19.0), "left hippocampus"),
    "right hippocampus head": ((-26.0, 12.0, -19.5), "right hippocampus"),
    "fourth ventricle": ((0.0, 42.5, -33.0), "fourth ventricle"),
    "pons": ((0.0, 23.0, -31.0), "brainstem"),
    "left eye": ((31.0, -67.0, -33.0), "left eye"),
    "right eye": ((-31.5, -67.0, -33.5), "right eye"),
}

_SIDES = (("left", 1.0), ("right", -1.0))


class Head:
    """One person's head; `seed` fixes its cortical folds.

    Structures are painted from the outside in, each over the ones before it.
    """

    def __init__(self, seed: int = 0) -> None:
        self._folds = {side: Waves(21.0, 8 * seed + k, count=20) for k, (side, _) in enumerate(_SIDES)}
        self._bend = [Waves(26.0, 100 + 8 * seed + axis, count=8) for axis in range(3)]
        self._wobble = Waves(45.0, 8 * seed + 2, count=10)
        self._folia = Waves(10.0, 8 * seed + 3, stretch=(0.25, 0.25, 1.0))
        self._fissure = Waves(90.0, 8 * seed + 4, count=6)
        self._tissue = Waves(24.0, 8 * seed + 5, count=12)
        self._mottle = Waves(19.0, 8 * seed + 6, count=12)

    def scan(self, points: torch.Tensor, blur_mm: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        """Look at the head at some points.

        Args:
            points: LPS mm, shape `(3, N)`.
            blur_mm: Width over which a boundary's two intensities mix, as within a voxel of that size.

        Returns:
            T1-like intensity from 0 to about 1, shape `(N,)`, and the index into `STRUCTURES`, int64 of shape `(N,)`.
        """
        intensity = torch.zeros_like(points[0])
        labels = torch.zeros(points.shape[1], dtype=torch.int64)
        outside = self._skin(points)
        near = outside < 2 * blur_mm
        picture = _Picture(points[:, near], blur_mm)
        self._paint_soft_tissue(picture, outside[near])
        self._paint_skull_and_fluid(picture)
        self._paint_cerebellum_and_brainstem(picture)
        self._paint_cerebrum(picture)
        self._paint_deep_structures(picture)
        self._paint_eyes(picture)
        intensity[near], labels[near] = picture.intensity * (1 + 0.025 * self._tissue(points[:, near])), picture.labels
        return intensity, labels

    # Outlines

    def _skin(self, p: torch.Tensor) -> torch.Tensor:
        head = ellipsoid(p, (0, 14.5, 14), (79, 99, 79))
        face = ellipsoid(p, (0, -38, -60), (60, 60, 66))
        nose = tube(p, [(0, -92, -32), (0, -108, -58)], [6, 10])
        neck = tube(p, [(0, 40, -40), (0, 42, -150)], [58, 56])
        ears = torch.minimum(ellipsoid(p, (76, 26, -32), (5, 13, 25)), ellipsoid(p, (-76, 27, -31), (5, 13, 25)))
        body = smooth_union(smooth_union(head, face, 26), neck, 34)
        return smooth_union(smooth_union(body, nose, 10), ears, 10)

    def _cerebrum(self, p: torch.Tensor) -> torch.Tensor:
        # A person's brain is wider behind: the left occipital and right frontal lobes reach a little further.
        hull = ellipsoid(p, (0, 16, 14), (67, 84, 60))
        base = -(p[2] + 18 - 4 * torch.sigmoid((p[1] - 45) / 8))
        upper = smooth_intersection(hull, base, 8)
        left = ellipsoid(p, (43, 6, -20), (21, 40, 20))
        right = ellipsoid(p, (-43, 4, -20), (21, 39, 20))
        return smooth_union(upper, torch.minimum(left, right), 8)

    def _cerebellum(self, p: torch.Tensor) -> torch.Tensor:
        left, right = ellipsoid(p, (24, 62, -39), (28, 30, 23)), ellipsoid(p, (-25, 62, -38), (28, 30, 23))
        vermis = ellipsoid(p, (0, 60, -34), (9, 24, 22))
        return smooth_union(torch.minimum(left, right), vermis, 10)

    def _brainstem(self, p: torch.Tensor) -> torch.Tensor:
        stem = tube(p, [(0, 20, -6), (0, 27, -28), (0, 36, -52), (0, 42, -80), (0, 44, -150)], [13, 11.5, 8, 6, 5])
        pons = ellipsoid(p, (0, 22, -30), (16, 12, 14))
        peduncles = torch.minimum(
            tube(p, [(8, 12, -20), (19, 8, 0)], [6, 6]), tube(p, [(-8, 12, -20), (-19, 8, 0)], [6, 6])
        )
        return smooth_union(smooth_union(stem, pons, 6), peduncles, 5)

    def _cavity(self, p: torch.Tensor) -> torch.Tensor:
        hull = ellipsoid(p, (0, 16, 14), (69, 86, 62))
        upper = smooth_intersection(hull, -(p[2] + 20), 8)
        temporal = torch.minimum(
            ellipsoid(p, (43, 6, -21), (22.8, 42, 22)), ellipsoid(p, (-43, 4, -21), (22.8, 41, 22))
        )
        fossa = ellipsoid(p, (0, 60, -38), (56, 35, 28))
        stem = self._brainstem(p) - 4
        return smooth_union(smooth_union(smooth_union(upper, temporal, 8), fossa, 8), stem, 6)

    # Paint, from the outside in

    def _paint_soft_tissue(self, picture: _Picture, outside: torch.Tensor) -> None:
        p = picture.points
        picture.paint("soft tissue", outside, MUSCLE)
        # Below the skin lies fat; deeper, face and neck are muscle with fat between.
        picture.paint("soft tissue", (outside + 3.8).abs() - 2.2, 0.9 * FAT)
        between = 6 * (1.2 - self._mottle(p * p.new_tensor([1.0, 0.8, 0.5])[:, None]).abs())
        picture.paint("soft tissue", torch.maximum(between, outside + 8), 0.6 * FAT)
        tongue = ellipsoid(p, (0, -45, -92), (23, 34, 20))
        picture.paint("soft tissue", tongue, 0.45)
        palate = ellipsoid(p, (0, -55, -69), (28, 34, 3.5))
        jaw = torch.maximum(ellipsoid(p, (0, -46, -104), (48, 48, 30)), -ellipsoid(p, (0, -40, -104), (40, 42, 60)))
        picture.paint("skull", torch.minimum(palate, jaw), BONE)
        picture.paint("skull", jaw + 3, MARROW)

    def _paint_skull_and_fluid(self, picture: _Picture) -> None:
        p, cavity = picture.points, self._cavity(picture.points)
        base = torch.sigmoid((-28 - p[2]) / 3)  # below, the bone is thinner and irregular
        thickness = 6.5 - 2 * base
        picture.paint("skull", cavity - thickness, BONE)
        picture.paint("skull", (cavity - 3.4).abs() - 1.3 + 3 * base, MARROW)
        clivus = tube(p, [(0, -6, -30), (0, 8, -50)], [7, 5])
        petrous = torch.minimum(
            tube(p, [(20, 24, -44), (58, 36, -42)], [7, 12]), tube(p, [(-20, 24, -44), (-58, 36, -41)], [7, 12])
        )
        picture.paint("skull", torch.minimum(clivus - 2, petrous), BONE)
        picture.paint("skull", clivus, MARROW)
        spine = tube(p, [(0, 13, -58), (0, 21, -90), (0, 22, -150)], [8, 9, 9])
        disc = 3.0 - 8.5 * torch.cos(2 * torch.pi * p[2] / 17)  # positive between two vertebrae
        picture.paint("skull", spine, BONE)
        picture.paint("skull", torch.maximum(spine + 1.5, disc * 0.4), MARROW)
        air = torch.stack(
            [
                ellipsoid(p, (0, -22, -33), (11, 10, 8)),  # sphenoid
                ellipsoid(p, (7, -79, -10), (13, 4, 7)),  # frontal, two unequal halves
                ellipsoid(p, (-9, -79, -9), (11, 4, 9)),
                ellipsoid(p, (29, -58, -60), (13, 16, 15)),  # maxillary
                ellipsoid(p, (-29, -57, -60), (13, 17, 14)),
                ellipsoid(p, (5, -58, -50), (3.5, 28, 17)),  # nasal, beside the septum
                ellipsoid(p, (-5.5, -58, -50), (3.5, 28, 17)),
                tube(p, [(0, -26, -52), (0, -4, -72), (0, 2, -150)], [7, 8, 7]),  # pharynx
                tube(p, [(54, 34, -46), (60, 42, -54)], [4, 6]),  # mastoid
                tube(p, [(-54, 35, -46), (-60, 42, -53)], [4, 6]),
            ]
        ).amin(0)
        picture.paint("skull", air - 1.5, BONE)
        picture.paint("air", air, AIR)
        picture.paint("fluid", cavity, FLUID)
        # Blood in the sinus below the vault's crest and veins over the brain.
        crest = ellipsoid(p, (0, 16, 14), (66, 86, 61.5)).abs()
        sinus = (crest.square() + p[0].square()).sqrt() - 3.2
        picture.paint("fluid", torch.where(p[2] > -5, sinus, torch.full_like(sinus, 9.0)), 0.42)

    def _paint_cerebellum_and_brainstem(self, picture: _Picture) -> None:
        p = picture.points
        cerebellum = self._cerebellum(p)
        inside = cerebellum < picture.blur_mm
        depth = torch.full_like(cerebellum, -1.0)
        depth[inside] = _below_folds(-cerebellum[inside], self._folia, p[:, inside], 12.0)
        picture.paint("cerebellum", cerebellum, 0.9 * GREY)
        picture.paint("cerebellum", torch.where(inside, 1.6 - depth, cerebellum + 1.6), WHITE)
        picture.paint("cerebellum", torch.maximum(depth - 0.35, cerebellum), 0.32)
        picture.paint("brainstem", self._brainstem(p), 0.9 * WHITE)
        colliculi = torch.minimum(ellipsoid(p, (5, 32, -5), (4, 3.5, 7)), ellipsoid(p, (-5, 32, -5), (4, 3.5, 7)))
        picture.paint("brainstem", colliculi, 0.8 * WHITE)
        picture.paint("fluid", tube(p, [(0, 29, 0), (0, 33, -14), (0, 38, -24)], [1.0, 1.1, 1.6]), FLUID)
        fourth = ellipsoid(p, (0, 41.5, -33), (6.5, 4, 10))
        picture.paint("fourth ventricle", fourth, FLUID)

    def _paint_cerebrum(self, picture: _Picture) -> None:
        p = picture.points
        hull = self._cerebrum(p)
        # Brainstem and peduncles rise into it: there is no cortex and no fluid between them.
        stem = self._brainstem(p)
        inside = hull < picture.blur_mm
        pial = torch.full_like(hull, 9.0)
        pial[inside] = -self._below_cortex(p[:, inside], -hull[inside])
        pial = torch.maximum(pial, hull)
        picture.paint("grey matter", torch.maximum(pial + 0.7, -stem), GREY)
        picture.paint("white matter", torch.maximum(pial + 3.3, -stem), WHITE)
        cistern = torch.maximum(torch.maximum((stem - 1.6).abs() - 1.4, (p[2] + 12).abs() - 9), 20 - p[1])
        picture.paint("fluid", torch.maximum(cistern, self._cavity(p)), FLUID)

    def _below_cortex(self, p: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
        """Distance in mm to the nearest place outside of the cortex, folds included; `depth` is without them."""
        in_plane = p * p.new_tensor([0, 1, 1])[:, None]
        x = p[0] - 1.8 * self._fissure(in_plane)
        # The fissure between the hemispheres ends on the corpus callosum and above the midbrain.
        below_callosum = ellipsoid(in_plane, (0, 5, 5), (30, 43, 22)).minimum(
            ellipsoid(in_plane, (0, 20, -20), (30, 28, 26))
        )
        below_callosum = (-below_callosum).clamp_min(0)
        fissure = (x.square() + below_callosum.square()).sqrt()
        # The Sylvian fissure runs from the side inwards, rising backwards, to the insula, over which it spreads.
        sheet = p[2] + 9 - 0.36 * (p[1] + 10) - 2.5 * self._wobble(p)
        core = ellipsoid(p, (0, 5, 3), (40.5, 34, 24))
        ends = torch.maximum(p[1] - 36, -24 - p[1]).clamp_min(0)
        medial = (33 - p[0].abs()).clamp_min(0).square()
        sylvian = (sheet.square() + (-core).clamp_min(0).square() + ends.square() + medial).sqrt() - 0.4
        insula = (core.square() + medial).sqrt() - 0.2
        uncut = torch.minimum(torch.minimum(depth, fissure), torch.minimum(sylvian, insula))

        # No cortex around the midbrain.
        central = (-ellipsoid(p, (0, 14, -8), (21, 28, 22))).clamp_min(0)
        reach = 17 + 5 * self._wobble(p)
        bend = 3.5 * torch.stack([wave(p) for wave in self._bend])
        result = torch.empty_like(depth)
        radial = p - p.new_tensor([0, 16, 8])[:, None]
        for side, sign in _SIDES:
            here = (x > 0) if sign > 0 else (x <= 0)
            r, b = radial[:, here], bend[:, here]
            # Read where the ray from the middle meets the surface, folds run inwards; bent, they wind.
            scale = 1 / (r / r.new_tensor([67, 84, 60])[:, None]).norm(dim=0).clamp_min(0.15)
            surface = r * scale + b
            outer = _below_folds(depth[here], self._folds[side], surface, reach[here], r, scale)
            # On the inner face they run sideways.
            inner = _below_folds(fissure[here], self._folds[side], in_plane[:, here] + b + 300, 0.5 * reach[here])
            inner = torch.maximum(inner, below_callosum[here])
            folds = torch.maximum(torch.minimum(outer, inner), central[here])
            result[here] = torch.minimum(uncut[here], folds)
        return result

    def _paint_deep_structures(self, picture: _Picture) -> None:
        p = picture.points
        picture.paint("fluid", ellipsoid(p, (0, -2, -17), (11, 10, 5)), FLUID)  # suprasellar cistern
        chiasm = tube(p, [(9, -14, -17), (0, -4, -15), (-9, -14, -17)], [1.8, 2.0, 1.8])
        picture.paint("soft tissue", chiasm, 0.75)
        picture.paint("soft tissue", ellipsoid(p, (0, -8, -26), (5.5, 4.5, 3.5)), 0.6)  # pituitary
        for side, s in _SIDES:
            larger = 1.0 if side == "left" else 0.85
            back = 0.0 if side == "left" else 2.0
            caudate = smooth_union(
                ellipsoid(p, (s * 13, -15.5, 5), (6, 9.5, 9)),
                tube(p, [(s * 14, -10, 9), (s * 18, 8, 19), (s * 23, 24, 19)], [5, 3, 1.8]),
                4,
            )
            picture.paint(f"{side} caudate", caudate, DEEP_GREY)
            picture.paint(f"{side} putamen", self._lens(p, s, 26, (5.5, 16, 9.5)), DEEP_GREY)
            picture.paint(f"{side} pallidum", self._lens(p, s, 19, (4.2, 9, 6)), 0.7)
            picture.paint(f"{side} thalamus", ellipsoid(p, (s * 10.5, 17, 8), (8.5, 15, 9)), 0.63)
            nodes = [(s * 24, 8, -20), (s * 27, 20, -17.5), (s * 30, 30, -11), (s * 25, 38, -2)]
            temporal_horn = [(s * 32, 2, -20), (s * 34, 18, -15.5), (s * 34, 30, -8), (s * 28, 38, 3)]
            picture.paint(f"{side} lateral ventricle", tube(p, temporal_horn, [1.8, 1.8, 2.2, 4.5]), FLUID)
            picture.paint(f"{side} hippocampus", tube(p, nodes, [6, 4.6, 3.8, 2.5]), DEEP_GREY)
            front = [(s * 13 - (1 - larger) * 6 * s, -27 + back, 6), (s * 8.5, -10, 11), (s * 7.5, 8, 19)]
            rear = [(s * 14, 28, 21), (s * 25, 42, 12), (s * 25, 64 - 3 * back, 7), (s * 23, 76 - 5 * back, 4)]
            radii = [larger * r for r in (3.2, 4.6, 4.4, 5.5, 7.2, 4.0, 1.8)]
            body = smooth_union(tube(p, front + rear, radii), ellipsoid(p, (s * 5, -5, 10), (4.2, 18, 7)), 4)
            picture.paint(f"{side} lateral ventricle", body, FLUID)
        picture.paint("white matter", ellipsoid(p, (0, -4, 9), (0.6, 22, 9)), 0.7)  # septum
        picture.paint("third ventricle", ellipsoid(p, (0, 12, -2), (2.4, 15, 9.5)), FLUID)
        picture.paint("white matter", ellipsoid(p, (0, 14, 5), (3.6, 4, 3)), 0.63)  # where the thalami touch
        picture.paint("fluid", ellipsoid(p, (0, 37, 0), (11, 5, 6)), FLUID)  # quadrigeminal cistern
        picture.paint("soft tissue", ellipsoid(p, (0, 34.5, 2.5), (3, 4, 2.6)), 0.6)  # pineal
        anterior = tube(
            p, [(22, 5, -5), (8, 0.5, -0.5), (0, 0, 0), (-8, 0.5, -0.5), (-22, 5, -5)], [1.5, 1.6, 1.9, 1.6, 1.5]
        )
        posterior = tube(p, [(6, 27.5, 2), (-6, 27.5, 2)], [1.7, 1.7])
        picture.paint("commissures", torch.minimum(anterior, posterior), WHITE)

    @staticmethod
    def _lens(p: torch.Tensor, s: float, x: float, radii: Point) -> torch.Tensor:
        """Ellipsoid that turns outwards from front to back, as putamen and pallidum do."""
        sheared = p.clone()
        sheared[0] -= s * 0.22 * (p[1] + 2)
        return ellipsoid(sheared, (s * x, -2, 2), radii)

    def _paint_eyes(self, picture: _Picture) -> None:
        p = picture.points
        for side, s in _SIDES:
            z = -33 if side == "left" else -33.5
            orbit = tube(p, [(s * 31, -72, z), (s * 28, -56, z), (s * 13, -28, -24)], [17, 15, 3])
            picture.paint("skull", torch.maximum(orbit - 2.5, -self._front(p)), BONE)
            picture.paint("soft tissue", torch.maximum(orbit, -self._front(p)), FAT)
            for side_of_globe in (-1, 1):  # muscles of the eye
                path = [
                    (s * 31 + side_of_globe * 11.5, -64, z),
                    (s * 28 + side_of_globe * 9, -52, z),
                    (s * 14, -31, -25),
                ]
                picture.paint("soft tissue", tube(p, path, [1.2, 2.2, 1.0]), MUSCLE)
                path = [
                    (s * 31, -64, z + side_of_globe * 11.5),
                    (s * 28, -52, z + side_of_globe * 9),
                    (s * 14, -31, -25),
                ]
                picture.paint("soft tissue", tube(p, path, [1.2, 2.2, 1.0]), MUSCLE)
            picture.paint(
                "soft tissue", tube(p, [(s * 31, -56, z), (s * 22, -38, -29), (s * 9, -14, -17)], [2.2, 2.0, 1.9]), 0.55
            )
            globe = ellipsoid(p, (s * 31, -67, z), (12.3, 12.3, 12.3))
            picture.paint(f"{side} eye", globe, 0.42)
            picture.paint(f"{side} eye", globe + 1.3, 0.2)
            picture.paint(f"{side} eye", ellipsoid(p, (s * 31, -75.5, z), (4.6, 2.2, 4.6)), 0.5)  # lens

    def _front(self, p: torch.Tensor) -> torch.Tensor:
        """Positive at depths of more than 4 mm below the skin, so that the lids stay."""
        return -self._skin(p) - 4


def _below_folds(
    depth: torch.Tensor,
    folds: Waves,
    surface: torch.Tensor,
    reach: torch.Tensor | float,
    radial: torch.Tensor | None = None,
    scale: torch.Tensor | None = None,
) -> torch.Tensor:
    """Distance in mm to a surface with folds cut into it where `folds` is zero.

    Args:
        depth: Distance below the unfolded surface, mm, shape `(N,)`.
        folds: Where its value at `surface` is zero lies the middle of a fold.
        surface: Where to read the folds for each point, shape `(3, N)`.
        reach: How deep folds go, mm.
        radial: Direction along which `surface` was projected; a gradient along it moves no fold.
        scale: By how much the projection stretched distances.
    """
    value, gradient = folds.value_and_gradient(surface)
    if radial is not None:
        unit = radial / radial.norm(dim=0).clamp_min(1e-6)
        gradient = gradient - (gradient * unit).sum(0) * unit
    sideways = value.abs() / gradient.norm(dim=0).clamp_min(0.6 * folds.wave_number)
    if scale is not None:
        sideways = sideways / scale
    fold = (sideways.square() + (depth - reach).clamp_min(0).square()).sqrt()
    return torch.minimum(depth, fold)


class _Picture:
    """Intensity and structure of points while they are painted over, one structure after another."""

    def __init__(self, points: torch.Tensor, blur_mm: float) -> None:
        self.points, self.blur_mm = points, blur_mm
        self.intensity = torch.zeros_like(points[0])
        self.labels = torch.zeros(points.shape[1], dtype=torch.int64)

    def paint(self, structure: str, distance: torch.Tensor, intensity: float) -> None:
        """Cover the inside of a shape; across its surface the new intensity mixes with the one below."""
        cover = (0.5 - distance / self.blur_mm).clamp(0, 1)
        self.intensity.lerp_(torch.full_like(cover, intensity), cover)
        self.labels[distance < 0] = STRUCTURES.index(structure)
