"""Annotated scans read, matched and normalised to a template, for commands that learn from them."""

from __future__ import annotations

from pathlib import Path

from deepfeatures.cli.progress import progress_bar
from deepfeatures.cli.terminal import note
from deepfeatures.cli.volume_notes import tell_notes
from deepfeatures.data.landmark_checks import check_inside
from deepfeatures.errors import InputError
from deepfeatures.evaluation.cases import Case, annotated_cases, read_points
from deepfeatures.io.image_names import image_stem, person_of
from deepfeatures.matching import Matcher
from deepfeatures.training.landmark_regression import Example
from deepfeatures.training.normalised_scans import TemplateFrame, normalise, points_in_frame


def read_examples(
    folder: Path, template: Path, landmarks: Path, spacing_mm: float, device: str
) -> tuple[TemplateFrame, list[Example]]:
    """The template's frame, and the annotated scans of a folder in it; without the template's own person.

    Raises:
        InputError: A file cannot be used, or the template has no landmarks.
    """
    own = Case(image_stem(template), template, landmarks)
    cases = [case for case in annotated_cases(folder) if person_of(case.name) != person_of(own.name)]
    points, notes = read_points([own, *cases])
    for one in notes:
        note(one.text)
    tell_notes([own.image, *(case.image for case in cases)])
    volume, _ = own.read()
    check_inside(points[own.name], volume, landmarks, template)
    frame = TemplateFrame.of(volume, points[own.name], spacing_mm)
    if not len(frame.landmarks):
        raise InputError(f"{landmarks} has no landmark with a position; give those of the template")
    matcher = Matcher(device=device)
    with progress_bar(f"{len(cases)} scans") as progress:
        examples = []
        for number, case in enumerate(cases, 1):
            scan = normalise(frame, case.read()[0], matcher)
            if scan is None:
                note(f"{case.name}: left out, since the template's anatomy was not found in it")
            else:
                where = points_in_frame(frame, scan.mapping, points[case.name])
                examples.append(Example(person_of(case.name), scan.voxels, where))
            progress(number / len(cases))
    return frame, examples
