"""The pose of a target: the affine transform that most keypoints of the template agree on.

Keypoint matches find it from a start nearby. World directions are such a start where both heads were scanned alike,
with the volumes' centres in one place or, as with two series of one patient, where the world has them. Whether it was
one is seen from the features, once the pose is found: they must be alike, and more alike than a little further turned.
Else all shifts are tried, since one volume may show a part of the other; and then all rotations on a coarse level,
where one volume holds larger structures than the other also with both made one size. A turned pose that is more alike,
but not by much, is handed on beside the upright one: landmarks placed from both tell them apart. And where too few
points agree on a start that passed for right, rotations are tried after all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from deepfeatures.matching.blocks import ball, block_distances, sub_voxel_minimum
from deepfeatures.matching.consensus import in_proportion, robust_affine
from deepfeatures.matching.frame import Encode, Lattice, Pyramid, Scan
from deepfeatures.matching.grids import apply_affine, box_corners, lattice, translation
from deepfeatures.matching.keypoints import strong_keypoints
from deepfeatures.matching.pair import Pair, attainable_share
from deepfeatures.matching.rotations import candidate_rotations, correlated_poses, structure
from deepfeatures.matching.shifts import best_shift

WAYS = ("auto", "centres", "world", "any")
SMALLEST_LEVEL = 16  # voxels along the shortest axis below which a level holds too little


@dataclass(frozen=True)
class PoseLevel:
    """One round of the pose.

    Args:
        spacing: Of the level, in units of the finest spacing.
        search_radius: Voxels.
        patch_radius: Voxels.
        keypoints: At most so many.
        kind: `"translation"` or `"affine"`.
    """

    spacing: float
    search_radius: int
    patch_radius: int
    keypoints: int
    kind: str


@dataclass(frozen=True)
class PoseSettings:
    """How the pose is found.

    Args:
        coarse: Rounds after which it is known whether the start was right; with too few voxels for their search they
            are done at the next finer spacing.
        fine: Rounds after that.
        patch_step: Every so many voxels of a larger block are compared, along each axis.
        prior: Weight of "the pose changes little" against all matches of a round.
        alike: A start may be right where the pose found from it lies this share of the way from the likeness of upside
            down to that of the same; at the spacing of the last coarse round.
        slight_advantage: The world takes the place of the centres as a start, and a shift that of either, where the
            likeness is higher by more than this.
        advantage: The same of a turned pose, which needs more: small crops allow many that are nearly as like, and
            scans are rarely turned by accident. With less it is left open.
        proportions: No direction is stretched by more than this factor more or less than all are on average; what
            looks alike only when it is flattened is something else.
        sizes: Both are made one size, too, where their structures differ in size by a factor between these; what is
            found so must be as alike as a right start, since smaller volumes fit more easily.
        tilt_deg: A right pose is more like the template than the same pose tilted so far about any axis.
        step_deg: Between neighbours of all rotations.
        search_size: Voxels along an axis, on average, of the template on the level on which all rotations are tried.
        search_largest: Voxels from corner to corner of the target on that level, at most.
        correlated: So many rotations, those whose structure fits best, are compared by features.
        refined: So many of them, the most alike, are refined by keypoints.
        finished: So many of those, the most alike, are refined again at the spacing of the last coarse round.
        search: One of the rounds of a refinement, at whatever spacing.
        search_rounds: So many of them.
        search_prior: As `prior`, for a start that may be half a step of rotation off.
    """

    coarse: tuple[PoseLevel, ...] = (PoseLevel(4, 5, 3, 400, "translation"), PoseLevel(4, 4, 3, 500, "affine"))
    fine: tuple[PoseLevel, ...] = (PoseLevel(2, 4, 4, 500, "affine"),)
    patch_step: int = 2
    prior: float = 0.3
    alike: float = 0.35
    slight_advantage: float = 0.05
    advantage: float = 0.2
    proportions: float = 1.25
    sizes: tuple[float, float] = (1.15, 3.0)
    tilt_deg: float = 12.0
    step_deg: float = 30.0
    search_size: int = 16
    search_largest: int = 72
    correlated: int = 48
    refined: int = 12
    finished: int = 3
    search: PoseLevel = PoseLevel(0, 3, 2, 120, "affine")
    search_rounds: int = 3
    search_prior: float = 0.1


@dataclass(frozen=True, eq=False)
class Pose:
    """Where the target lies.

    Args:
        matrix: Template millimetres to target millimetres, `(4, 4)`.
        way: What it was found from: `"centres"`, `"world"`, `"shift"` or `"any"`.
        likeness: See `Pair.likeness`, at the spacing of the last coarse round.
        is_sure: Whether it looked right or was the user's word, so that rotations were not tried.
    """

    matrix: torch.Tensor
    way: str
    likeness: float
    is_sure: bool = False

    @property
    def is_searched(self) -> bool:
        """Whether it is the best of many, which may look alike by chance."""
        return self.way in ("shift", "any")


def find_poses(
    template: Pyramid, target: Pyramid, way: str, encode: Encode, unit: float, settings: PoseSettings
) -> tuple[Pose, ...]:
    """The pose of the target; or two, an upright and a turned one, where likeness leaves open which of them.

    Args:
        way: `"centres"` starts from equal directions in the world and centres in one place, `"world"` from equal
            places in the world, `"any"` from whatever rotation fits best; `"auto"` from centres or the world, where
            that is not right from equal directions wherever they fit best (`"shift"`), and where that is not right
            from any.
        encode: Features of a view.
        unit: The finest spacing, mm.
    """
    spacing = usable_spacing(template.scan, settings.coarse[-1].spacing, unit)
    aligned = world_aligned(template.scan, target.scan)
    pair = Pair(template, target, encode, attainable_share(template, target, aligned, spacing))
    if way == "any":
        poses = [_turned(pair, spacing, unit, settings)]
    else:
        upright = _upright(pair, aligned, way, spacing, unit, settings)
        poses = [upright]
        if not upright.is_sure:
            turned = _turned(pair, spacing, unit, settings)
            gain = turned.likeness - upright.likeness
            if gain > settings.advantage:
                poses = [turned]
            elif gain > 0:
                poses = [upright, turned]
    return tuple(_fine(pair, pose, unit, settings) for pose in poses)


def _upright(pair: Pair, aligned: torch.Tensor, way: str, spacing: float, unit: float, settings: PoseSettings) -> Pose:
    """The pose of equal directions in the world; the user's word is sure."""
    pose = _coarse(pair, *_start(pair, aligned, way, spacing, settings.slight_advantage), unit, settings)
    if way != "auto" or _is_right(pair, pose, spacing, settings):
        return replace(pose, is_sure=True)
    shifted = _coarse(pair, best_shift(pair, aligned, spacing), "shift", unit, settings)
    if shifted.likeness > pose.likeness + settings.slight_advantage:
        return replace(shifted, is_sure=_is_right(pair, shifted, spacing, settings))
    return pose


def _turned(pair: Pair, spacing: float, unit: float, settings: PoseSettings) -> Pose:
    """The pose of whatever rotation fits best."""
    found = []
    for scale in _scales(pair, spacing, settings.sizes):
        pose = _coarse(pair, _search(pair, scale, spacing, settings), "any", unit, settings)
        if scale == 1 or pose.likeness >= settings.alike:
            found.append(pose)
    return max(found, key=lambda pose: pose.likeness)


def _start(
    pair: Pair, aligned: torch.Tensor, way: str, spacing: float, slight_advantage: float
) -> tuple[torch.Tensor, str]:
    """Where a way starts, given where the world has the target, and the start's name."""
    centres = centres_aligned(pair.template.scan, pair.target.scan)
    if way == "auto":
        better = pair.likeness(aligned, spacing) > pair.likeness(centres, spacing) + slight_advantage
        way = "world" if better else "centres"
    return aligned if way == "world" else centres, way


def centres_aligned(template: Scan, target: Scan) -> torch.Tensor:
    """Template millimetres to target millimetres `(4, 4)`: same directions in the world, centres in one place."""
    return _with_centres_aligned(world_aligned(template, target)[None], template, target)[0]


def world_aligned(template: Scan, target: Scan) -> torch.Tensor:
    """Template millimetres to target millimetres `(4, 4)` of the same places in the world."""
    turn = target.grid.direction.T @ template.grid.direction
    shift = target.grid.direction.T @ (template.grid.origin - target.grid.origin)
    pose = torch.eye(4, device=template.voxels.device)
    pose[:3, :3], pose[:3, 3] = torch.from_numpy(turn), torch.from_numpy(shift)
    return pose


def usable_spacing(template: Scan, wanted: float, unit: float) -> float:
    """Millimetres: `wanted` units, halved until the template has enough voxels, but not below one unit."""
    spacing = wanted * unit
    while spacing > unit and min(Lattice.around(template, spacing).shape) < SMALLEST_LEVEL:
        spacing /= 2
    return spacing


def _is_right(pair: Pair, pose: Pose, spacing: float, settings: PoseSettings) -> bool:
    def most(tilts: list[torch.Tensor]) -> float:
        return max(pair.likeness(pose.matrix @ tilt, spacing) for tilt in tilts)

    scan = pair.template.scan
    # Coarse or smooth volumes look alike upside down too.
    chance = most(_tilts(scan, 180)[::2])  # both ways are one
    if pose.likeness - chance < settings.alike * (1 - chance):
        return False
    return most(_tilts(scan, settings.tilt_deg)) < pose.likeness


def _tilts(scan: Scan, angle_deg: float) -> list[torch.Tensor]:
    """Rotations about the middle of the scan, both ways about each axis, `(4, 4)`."""
    middle, angle = (scan.extent - scan.spacing) / 2, math.radians(angle_deg)
    tilts = []
    for axis in range(3):
        for sine in (math.sin(angle), -math.sin(angle)):
            tilt = torch.eye(4, device=middle.device)
            a, b = (axis + 1) % 3, (axis + 2) % 3
            tilt[a, a] = tilt[b, b] = math.cos(angle)
            tilt[a, b], tilt[b, a] = -sine, sine
            tilt[:3, 3] = middle - tilt[:3, :3] @ middle
            tilts.append(tilt)
    return tilts


def _coarse(pair: Pair, start: torch.Tensor, way: str, unit: float, settings: PoseSettings) -> Pose:
    matrix = start
    for level in settings.coarse:
        spacing = usable_spacing(pair.template.scan, level.spacing, unit)
        matrix = _round(pair, matrix, level, spacing, settings, settings.prior)
    return Pose(matrix, way, pair.likeness(matrix, spacing))


def _fine(pair: Pair, pose: Pose, unit: float, settings: PoseSettings) -> Pose:
    matrix = pose.matrix
    for level in settings.fine:
        spacing = usable_spacing(pair.template.scan, level.spacing, unit)
        matrix = _round(pair, matrix, level, spacing, settings, settings.prior)
    return replace(pose, matrix=matrix)


def _round(
    pair: Pair,
    pose: torch.Tensor,
    level: PoseLevel,
    spacing: float,
    settings: PoseSettings,
    prior: float,
    covered_only: bool = False,
) -> torch.Tensor:
    """The pose after keypoints have been matched once: those that the search may find in the target, or only those that
    lie a voxel inside it."""
    on = Lattice.around(pair.template.scan, spacing)
    image, features = pair.template.encoded(on, pair.encode)
    keypoints = strong_keypoints(image, level.keypoints)
    margin = -spacing if covered_only else spacing * level.search_radius
    keypoints = keypoints[pair.target.scan.covers(apply_affine(pose, on.to_mm(keypoints)), margin)]
    if len(keypoints) < 4:
        return pose
    scene, covered = pair.target.view(on, pose)
    distances = block_distances(
        features,
        pair.encode(scene),
        keypoints,
        keypoints,
        level.search_radius,
        ball(level.patch_radius, settings.patch_step if level.patch_radius > 3 else 1, keypoints.device),
        covered=covered,
    )
    displacements, _ = sub_voxel_minimum(distances)
    here, there = on.to_mm(keypoints), on.to_mm(keypoints + displacements)
    return in_proportion(pose @ _agreed(here, there, level.kind, prior), settings.proportions, here.mean(0))


def _scales(pair: Pair, spacing: float, sizes: tuple[float, float]) -> tuple[float, ...]:
    """By how much the target may be larger than the template: not at all, and, where their structures spread over
    places of different size, as these do."""
    ours, theirs = _spread_mm(pair.template, spacing), _spread_mm(pair.target, spacing)
    differ = sizes[0] * min(ours, theirs) < max(ours, theirs) < sizes[1] * min(ours, theirs)
    return (1.0, theirs / ours) if differ else (1.0,)


def _spread_mm(pyramid: Pyramid, spacing: float) -> float:
    """Root of the mean squared distance of structure from its middle."""
    on = Lattice.around(pyramid.scan, spacing)
    strength = structure(pyramid.view(on)[0]).flatten()
    shares = strength / strength.sum().clamp(min=1e-12)
    places = lattice(on.shape, strength.device).reshape(-1, 3) * spacing
    return float((shares @ (places - shares @ places).square().sum(1)).sqrt())


def _search(pair: Pair, scale: float, source_mm: float, settings: PoseSettings) -> torch.Tensor:
    """The best of all rotations, on thumbnails of both volumes that are made from the level of `source_mm`.

    Args:
        scale: The target is seen smaller by this factor.
    """
    template, target = pair.template, pair.target
    small, offset = _thumbnail(template, source_mm)
    seen, seen_offset = _thumbnail(target, source_mm, scale)
    fine_enough = float(template.scan.extent.prod()) ** (1 / 3) / settings.search_size
    spacing = max(source_mm, fine_enough, float(seen.scan.extent.norm()) / settings.search_largest)
    # In the world only rotations are tried; both volumes' own axes may be left-handed.
    turns = torch.from_numpy(target.scan.grid.direction.T).float() @ candidate_rotations(settings.step_deg)
    turns = (turns @ torch.from_numpy(template.scan.grid.direction).float()).to(offset.device)
    on, seen_on = Lattice.around(small.scan, spacing), Lattice.around(seen.scan, spacing)
    if min(*on.shape, *seen_on.shape) < 2:  # too thin to tell one rotation from another
        return centres_aligned(template.scan, target.scan)
    structures = structure(small.view(on)[0]), structure(seen.view(seen_on)[0])
    poses, scores = correlated_poses(structures[0], on, structures[1], seen_on, turns)
    poses = poses[scores.topk(min(settings.correlated, len(scores))).indices]
    poses = torch.cat([poses, _with_centres_aligned(poses, small.scan, seen.scan)])  # crops are often cut alike

    thumbnails = Pair(small, seen, pair.encode)

    def most_alike(poses: list[torch.Tensor], spacing: float, count: int) -> list[torch.Tensor]:
        return sorted(poses, key=lambda pose: -thumbnails.likeness(pose, spacing))[:count]

    def refined(pose: torch.Tensor, spacing: float) -> torch.Tensor:
        for _ in range(settings.search_rounds):
            pose = _round(thumbnails, pose, settings.search, spacing, settings, settings.search_prior, True)
        return pose

    found = [refined(pose, spacing) for pose in most_alike(list(poses), spacing, settings.refined)]
    found = [refined(pose, source_mm) for pose in most_alike(found, source_mm, settings.finished)]
    (best,) = most_alike(found, source_mm, 1)
    enlarged = torch.diag(torch.tensor([scale, scale, scale, 1.0], device=best.device))
    return translation(seen_offset) @ enlarged @ best @ translation(-offset)


def _with_centres_aligned(poses: torch.Tensor, template: Scan, target: Scan) -> torch.Tensor:
    """The same rotations, `(n, 4, 4)`, with the volumes' centres in one place."""
    here, there = (template.extent - template.spacing) / 2, (target.extent - target.spacing) / 2
    aligned = poses.clone()
    aligned[:, :3, 3] = there - poses[:, :3, :3] @ here
    return aligned


def _thumbnail(pyramid: Pyramid, spacing: float, scale: float = 1.0) -> tuple[Pyramid, torch.Tensor]:
    """The scan made smaller by `scale`, with cubic voxels of `spacing` mm, and where its first voxel lies in the scan's
    own millimetres."""
    on = Lattice.around(pyramid.scan, spacing * scale)
    voxels, _ = pyramid.view(on)
    grid = pyramid.scan.grid
    spacings = grid.spacing * 0 + spacing
    origin = pyramid.scan.to_world(on.origin[None])[0]
    return Pyramid(Scan(replace(grid, voxels=voxels, origin=origin, spacing=spacings), voxels)), on.origin


def _agreed(here: torch.Tensor, there: torch.Tensor, kind: str, prior: float) -> torch.Tensor:
    """The transform that most matches agree on, held back by the corners of their box, which would rather stay."""
    if kind == "translation":
        return _agreed_translation(here, there)
    corners = box_corners(here.amin(0), here.amax(0))
    weights = torch.ones(len(here) + 8, device=here.device)
    weights[-8:] = prior * len(here) / 8
    matrix, _ = robust_affine(torch.cat([here, corners]), torch.cat([there, corners]), weights)
    return matrix


def _agreed_translation(here: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    moves = there - here
    mean = moves.median(0).values
    for _ in range(10):
        lengths = (moves - mean).norm(dim=1)
        weights = 1 / (1 + (lengths / lengths.median().clamp(min=1e-6)) ** 2) ** 2
        mean = weights @ moves / weights.sum()
    return translation(mean)
