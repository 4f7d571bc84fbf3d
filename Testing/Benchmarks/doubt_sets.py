"""The pairs of scans on which doubt is calibrated and checked, by set: people, made people, and what scanners do.

Every set is drawn from fixed seeds. `RIGHT` sets show one anatomy twice, with landmarks that are known in both; `WRONG`
ones show two anatomies, so that no landmark may be placed; in `SPOILT` ones the target cannot be trusted as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from cases import Case, data_folder, person, read_case
from contrasts import deform, heads, rotation
from crops import cropped

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.phantom.anatomies import draw

T1_SPINES = tuple(f"spine-t1_{number:02d}" for number in range(1, 13))
T2_SPINES = ("spine-t2_02", "spine-t2_04")
BRAINS = ("1000", "1001", "1002", "1007", "1008", "1009", "1010", "1011", "1012", "1015", "1017", "1036")


@dataclass(frozen=True, eq=False)
class Pair:
    """A template and a target.

    Args:
        people: Of both, the same names in all sets.
    """

    template: Case
    target: Case
    people: tuple[str, str]


def hippocampi() -> list[str]:
    return sorted(path.name.removesuffix(".nii.gz") for path in (data_folder() / "hippocampus").glob("*.nii.gz"))


def person_of(name: str) -> str:
    """Both hippocampi of a person bear the same name."""
    return f"hippocampus {person(name)}" if name.startswith("hippocampus") else name


def stored(folder: str, names: list[tuple[str, str]]) -> Iterator[Pair]:
    """Pairs of a folder's cases, with the landmarks that both have."""
    kept: dict[str, Case] = {}
    for template, target in names:
        for name in (template, target):
            kept[name] = kept.get(name) or read_case(data_folder() / folder / f"{name}.nii.gz")
        yield shared(kept[template], kept[target], (person_of(template), person_of(target)))


def shared(template: Case, target: Case, people: tuple[str, str]) -> Pair:
    """With the landmarks that both have, in the template's order."""
    of_target = {landmark.name: landmark for landmark in target.landmarks}
    names = [landmark.name for landmark in template.landmarks if landmark.name in of_target]
    of_template = {landmark.name: landmark for landmark in template.landmarks}
    return Pair(
        replace(template, landmarks=LandmarkSet(tuple(of_template[name] for name in names))),
        replace(target, landmarks=LandmarkSet(tuple(of_target[name] for name in names))),
        people,
    )


def cyclic(names: tuple[str, ...], steps: tuple[int, ...]) -> list[tuple[str, str]]:
    return [(name, names[(place + step) % len(names)]) for place, name in enumerate(names) for step in steps]


def random_hippocampi(seed: int, templates: int, targets: int) -> list[tuple[str, str]]:
    random, names = np.random.default_rng(seed), hippocampi()
    chosen = random.choice(names, templates, replace=False)
    pairs = [(str(one), str(other)) for one in chosen for other in random.choice(names, targets, replace=False)]
    return [pair for pair in pairs if person(pair[0]) != person(pair[1])]


def changed(pairs: Iterator[Pair], change: Callable[[Case, np.random.Generator], Case], seed: int) -> Iterator[Pair]:
    """With the target changed, each by draws of its own."""
    for number, pair in enumerate(pairs):
        yield replace(pair, target=change(pair.target, np.random.default_rng([seed, number])))


def mixed(seed: int) -> Iterator[Pair]:
    """Brains, hippocampi and spines whose targets are changed."""
    yield from stored("brain", cyclic(BRAINS, (1 + seed % 5,))[seed % 2 :: 2])
    yield from stored("hippocampus", random_hippocampi(seed, 12, 1))
    yield from stored("spine", cyclic(T1_SPINES[:6], (1 + seed % 4,))[seed % 2 :: 2])


def part(case: Case, random: np.random.Generator) -> Case:
    return cropped(case, random)[0]


def turned(case: Case, random: np.random.Generator) -> Case:
    """In another position, which the header tells."""
    turn, shift, volume = rotation(random, 60.0), random.uniform(-100, 100, 3), case.volume
    moved = replace(volume, direction=turn @ volume.direction, origin=turn @ volume.origin + shift)
    return replace(with_places(case, case.landmarks.positions @ turn.T + shift), volume=moved)


def scaled(case: Case, random: np.random.Generator) -> Case:
    """Of another size in life, as of a child or another species."""
    factor, volume = random.uniform(0.7, 1.4), case.volume
    places = volume.centre + factor * (case.landmarks.positions - volume.centre)
    origin = volume.centre + factor * (volume.origin - volume.centre)
    return replace(with_places(case, places), volume=replace(volume, origin=origin, spacing=factor * volume.spacing))


def coarser(case: Case, random: np.random.Generator) -> Case:
    """In larger voxels, sometimes in thick slices."""
    factors = [1.0, 1.0, 1.0]
    for axis in (range(3), [int(random.integers(3))])[int(random.integers(2))]:
        factors[axis] = random.uniform(1.5, 3.0)
    volume, shape = case.volume, case.volume.voxels.shape
    size = [max(4, round(count / factor)) for count, factor in zip(shape, reversed(factors), strict=True)]
    voxels = F.interpolate(volume.voxels[None, None], size, mode="area")[0, 0]
    spacing = volume.spacing * np.array(shape[::-1]) / np.array(size[::-1])
    origin = volume.origin + volume.direction @ ((spacing - volume.spacing) / 2)
    return replace(case, volume=replace(volume.with_voxels(voxels), origin=origin, spacing=spacing))


def noisy(case: Case, random: np.random.Generator) -> Case:
    """With noise, a bias field and other grey values."""
    voxels = case.volume.voxels
    peak = float(voxels.quantile(0.99)) if voxels.numel() < 1 << 24 else float(voxels.max())
    axes = [torch.linspace(-1, 1, count) for count in voxels.shape]
    slope = sum(random.uniform(-0.3, 0.3) * axis for axis in torch.meshgrid(*axes, indexing="ij"))
    changed = (voxels / peak).clamp(min=0) ** random.uniform(0.6, 1.6) * (1 + slope)
    noise = torch.from_numpy(random.normal(0, random.uniform(0.01, 0.08), voxels.shape)).float()
    return replace(case, volume=case.volume.with_voxels((changed + noise) * peak))


def inverted(case: Case, random: np.random.Generator) -> Case:
    """Dark where it was bright, as another contrast, but for the air."""
    voxels = case.volume.voxels
    peak = voxels.max()
    return replace(case, volume=case.volume.with_voxels(torch.where(voxels > 0.05 * peak, 1.1 * peak - voxels, voxels)))


def saturated(case: Case, random: np.random.Generator) -> Case:
    """Bright places all alike."""
    voxels = case.volume.voxels
    top = voxels[voxels > voxels.max() * 0.05].float().quantile(0.5) if voxels.numel() < 1 << 24 else voxels.mean()
    return replace(case, volume=case.volume.with_voxels(voxels.clamp(max=float(top))))


def tenfold(case: Case, random: np.random.Generator) -> Case:
    """As when a unit of length is mistaken."""
    volume = case.volume
    larger = replace(volume, origin=10 * volume.origin, spacing=10 * volume.spacing)
    return replace(with_places(case, 10 * case.landmarks.positions), volume=larger)


def mirrored(case: Case, random: np.random.Generator) -> Case:
    """Left and right exchanged in the voxels, as when a header lies; landmarks stay on their anatomy."""
    volume = case.volume
    axis = int(np.abs(volume.direction[0]).argmax())
    index = volume.to_index(case.landmarks.positions)
    index[:, axis] = volume.size[axis] - 1 - index[:, axis]
    flipped = volume.with_voxels(volume.voxels.flip(2 - axis))
    return replace(with_places(case, volume.to_world(index)), volume=flipped)


def with_places(case: Case, places: np.ndarray) -> Case:
    moved = (replace(one, position=tuple(place)) for one, place in zip(case.landmarks, places, strict=True))
    return replace(case, landmarks=LandmarkSet(tuple(moved)))


def made(anatomy: str, contrasts: tuple[str, str], people: range, **given) -> Iterator[Pair]:
    """Made people in a ring, each the template of the next."""
    for one in people:
        other = people[(one - people[0] + 1) % len(people)]
        cases = [
            Case(*draw(anatomy, who, contrast=contrast, seed=number, **given))
            for number, (who, contrast) in enumerate(zip((one, other), contrasts, strict=True))
        ]
        yield shared(*cases, (f"{anatomy} {one}", f"{anatomy} {other}"))


def across(contrasts: tuple[str, str], draws: range) -> Iterator[Pair]:
    """MNI152 in two contrasts, the target deformed."""
    both = heads()
    for number in draws:
        yield shared(
            both[contrasts[0]], deform(both[contrasts[1]], number, 6.0, 24.0), (f"mni {number}", f"mni {number}")
        )


def spines_across(templates: tuple[str, ...], targets: tuple[str, ...]) -> Iterator[Pair]:
    return stored("spine", [(one, other) for one in templates for other in targets if one != other])


def noise() -> Case:
    voxels = torch.from_numpy(np.random.default_rng(0).normal(100, 30, (64, 64, 64))).float()
    return Case(Volume(voxels, np.zeros(3), np.ones(3), np.eye(3), "noise"), LandmarkSet(()))


def strangers() -> Iterator[Pair]:
    """Templates and targets of different anatomies, and noise."""
    cases = {
        "brain": read_case(data_folder() / "brain/1000.nii.gz"),
        "brain 2": read_case(data_folder() / "brain/1012.nii.gz"),
        "hippocampus": read_case(data_folder() / "hippocampus/hippocampus_001.nii.gz"),
        "hippocampus 2": read_case(data_folder() / "hippocampus/hippocampus_033.nii.gz"),
        "spine": read_case(data_folder() / "spine/spine-t1_01.nii.gz"),
        "spine 2": read_case(data_folder() / "spine/spine-t2_02.nii.gz"),
        **{name: Case(*draw(name, 50)) for name in ("thorax", "abdomen", "pelvis", "teeth", "digits", "mouse")},
        "noise": noise(),
    }
    for number, one in enumerate(cases):
        for place, other in enumerate(cases):
            kinds = one.split()[0], other.split()[0]
            alike = kinds[0] == kinds[1] or set(kinds) in ({"brain", "hippocampus"}, {"thorax", "mouse"})
            if one != "noise" and not alike and (number + place) % 2 == 0:
                yield Pair(cases[one], cases[other], (one, other))


RIGHT: dict[str, Callable[[], Iterator[Pair]]] = {
    "hippocampus": lambda: stored("hippocampus", random_hippocampi(1, 50, 3)),
    "brain": lambda: stored("brain", cyclic(BRAINS, (1, 3, 5))),
    "spine T1": lambda: stored("spine", cyclic(T1_SPINES, (1, 4, 7))),
    "spine T1 to T2": lambda: spines_across(T1_SPINES[::2], T2_SPINES[:1]),
    "spine T2 to T1": lambda: spines_across(T2_SPINES[1:], T1_SPINES[1::2]),
    "spine T2": lambda: spines_across(T2_SPINES, T2_SPINES),
    "MNI T1 to T2": lambda: across(("T1", "T2"), range(3)),
    "MNI T2 to T1": lambda: across(("T2", "T1"), range(5, 8)),
    "parts": lambda: changed(mixed(1), part, 1),
    "turned": lambda: changed(mixed(2), turned, 2),
    "scaled": lambda: changed(mixed(3), scaled, 3),
    "coarser": lambda: changed(mixed(4), coarser, 4),
    "noisy": lambda: changed(mixed(5), noisy, 5),
    "inverted": lambda: changed(mixed(6), inverted, 6),
    **{
        f"made {anatomy}": lambda anatomy=anatomy: made(anatomy, ("t1", "t1"), range(6))
        for anatomy in ("spine", "thorax", "abdomen", "pelvis", "teeth", "digits", "mouse")
    },
    **{
        f"made {anatomy} to T2": lambda anatomy=anatomy: made(anatomy, ("t1", "t2"), range(20, 23))
        for anatomy in ("spine", "abdomen", "pelvis")
    },
    "made thorax CT": lambda: made("thorax", ("ct", "ct"), range(30, 34)),
    "made spine without ends": lambda: made("spine", ("t1", "t1"), range(40, 44), with_ends=False),
}
SPOILT: dict[str, Callable[[], Iterator[Pair]]] = {
    "saturated": lambda: changed(mixed(7), saturated, 7),
    "tenfold": lambda: changed(stored("brain", cyclic(BRAINS[:6], (2,))), tenfold, 8),
    "mirrored": lambda: changed(stored("hippocampus", random_hippocampi(9, 12, 1)), mirrored, 9),
    "mirrored brains": lambda: changed(stored("brain", cyclic(BRAINS[:6], (2,))), mirrored, 9),
}
WRONG: dict[str, Callable[[], Iterator[Pair]]] = {"strangers": strangers}
