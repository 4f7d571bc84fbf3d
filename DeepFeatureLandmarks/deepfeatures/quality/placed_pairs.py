"""Landmarks of annotated scans, placed in other annotated scans; what was placed once is used again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.io.atomic_write import ensure_folder
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.provenance import ResultIndex, landmarks_hash, result_key
from deepfeatures.pipelines.place import LandmarkMatcher
from deepfeatures.quality.annotations import Annotation


@dataclass(frozen=True)
class PlacedPair:
    """A template's landmarks in a target.

    Args:
        template: Whose landmarks were placed.
        target: What a person has annotated in the target.
        landmarks: Where they were placed in the target, LPS mm.
    """

    template: Annotation
    target: Annotation
    landmarks: LandmarkSet

    @property
    def name(self) -> str:
        """`TARGET_from_TEMPLATE`, as its file is called."""
        return _name(self.template, self.target)


def place_pairs(
    pairs: Sequence[tuple[Annotation, Annotation]],
    volumes: Mapping[str, Volume],
    hashes: Mapping[str, str],
    matcher: LandmarkMatcher,
    folder: str | Path,
    progress: Callable[[float], None] = lambda _: None,
) -> list[PlacedPair]:
    """Place the landmarks of each pair's first scan in its second.

    What the folder holds is used again where it was made from the same two volumes and the same landmarks, with the
    same settings and version. Else it is made anew.

    Args:
        pairs: Template and target; a template's targets best in a row, as a matcher keeps the last template.
        volumes: Of the scans, by name.
        hashes: Of the content of each volume, by name, as `provenance.content_hash` gives it.
        matcher: Finds the landmarks.
        folder: For one landmark file a pair.
        progress: Called with the fraction done, from 0 to 1.
    """
    folder = ensure_folder(folder)
    index = ResultIndex(folder)
    placed = []
    for number, (template, target) in enumerate(pairs, 1):
        path = folder / f"{_name(template, target)}.mrk.json"
        key = result_key(
            template=hashes[template.scan],
            landmarks=landmarks_hash(template.landmarks),
            target=hashes[target.scan],
            settings=asdict(matcher.settings),
        )
        if not index.is_current(path, key):
            known = _inside(template.landmarks, volumes[template.scan])
            result = matcher.match(volumes[template.scan], known, volumes[target.scan])
            write_landmarks(result.landmarks, path)
            index.add(path, key)
        placed.append(PlacedPair(template, target, read_landmarks(path)))
        progress(number / len(pairs))
    return placed


def spread_evenly(annotations: Sequence[Annotation], count: int) -> list[Annotation]:
    """At most so many of them, evenly from the whole list; the same ones each time."""
    count = min(count, len(annotations))
    return [annotations[number * len(annotations) // count] for number in range(count)]


def _name(template: Annotation, target: Annotation) -> str:
    return f"{target.scan}_from_{template.scan}"


def _inside(landmarks: LandmarkSet, volume: Volume) -> LandmarkSet:
    """Without those outside the volume: a misplaced point must not keep the others from being carried over."""
    inside = volume.contains(landmarks.positions)
    return LandmarkSet(tuple(landmark for landmark, is_in in zip(landmarks, inside, strict=True) if is_in))
