"""What the check of templates is worth: whether its order of templates holds on other people, and finds moved points.

    python Testing/Benchmarks/template_check.py hippocampus hippocampus_001 hippocampus_074 hippocampus_148 ...
    python Testing/Benchmarks/template_check.py brain 1000 1001 1007 --others 4

The templates are checked on some scans that are no template, and tried on others. Then each landmark of each template
is moved, in a random direction, and all are checked again.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from cases import data_folder, person
from scipy.stats import spearmanr

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.matching import Matcher
from deepfeatures.quality import Annotation
from deepfeatures.quality.annotated_scans import AnnotatedScans, read_annotated_scans
from deepfeatures.quality.placed_pairs import spread_evenly
from deepfeatures.quality.template_check import TARGETS, check_templates
from deepfeatures.quality.template_comparison import TemplateCheck


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", help="folder of the development data")
    parser.add_argument("templates", nargs="+")
    parser.add_argument("--others", type=int, default=TARGETS, help="scans to check on")
    parser.add_argument("--true", type=int, default=20, help="further scans, which tell the true errors")
    parser.add_argument("--moved", type=float, default=3.0, help="mm")
    arguments = parser.parse_args()
    scans = read_annotated_scans([data_folder() / arguments.set])
    templates = [one for one in scans.annotations if one.scan in arguments.templates]
    rest = _of_other_people(scans, templates, arguments.set)
    others = spread_evenly(rest, arguments.others)
    targets = spread_evenly([one for one in rest if one not in others], arguments.true)
    matcher, generator = Matcher(), np.random.default_rng(0)

    def check(candidates: Sequence[Annotation], used: Sequence[Annotation]) -> TemplateCheck:
        with tempfile.TemporaryDirectory() as folder:
            among = replace(scans, annotations=(*candidates, *used))
            return check_templates(among, matcher, folder, [one.scan for one in candidates])

    names = [one.scan for one in templates]
    checked, true = (check(templates, used) for used in (others, targets))
    expected = checked.templates.set_index("template").comparable_error_mm[names]
    errors = true.templates.set_index("template").mean_error_mm[names]
    print(f"mean error on {len(others)} scans {expected.round(2).tolist()}, on {len(targets)} others", end=" ")
    print(f"{errors.round(2).tolist()} mm, rank correlation {spearmanr(expected, errors).statistic:.2f}")
    moved = check([_moved(one, arguments.moved, generator) for one in templates], others)
    before, after = (one.landmarks.set_index(["template", "landmark"]) for one in (checked, moved))
    print(
        f"{len(after)} landmarks moved by {arguments.moved:g} mm: {after.unlike.mean():.0%} named unlike, before"
        f" {before.unlike.mean():.0%}; median offset {after.offset_mm.median():.1f}, before"
        f" {before.offset_mm.median():.1f} mm"
    )


def _of_other_people(scans: AnnotatedScans, templates: Sequence[Annotation], name: str) -> list[Annotation]:
    """One scan a person, none of a template's."""
    whose = person if name == "hippocampus" else str
    taken = {whose(one.scan) for one in templates}
    return list({whose(one.scan): one for one in scans.annotations if whose(one.scan) not in taken}.values())


def _moved(annotation: Annotation, distance_mm: float, generator: np.random.Generator) -> Annotation:
    ways = generator.normal(size=(len(annotation.landmarks), 3))
    shifts = distance_mm * ways / np.linalg.norm(ways, axis=1, keepdims=True)
    points = tuple(
        replace(point, position=tuple(np.add(point.position, shift).tolist()))
        for point, shift in zip(annotation.landmarks, shifts, strict=True)
    )
    return replace(annotation, landmarks=LandmarkSet(points))


if __name__ == "__main__":
    main()
