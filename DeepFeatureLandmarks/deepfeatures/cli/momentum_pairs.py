"""Annotated scans read, matched to each other, and given momenta, for the command that learns these."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deepfeatures.cli.progress import progress_bar
from deepfeatures.cli.terminal import note
from deepfeatures.cli.volume_notes import tell_notes
from deepfeatures.evaluation.cases import Case, annotated_cases, read_points
from deepfeatures.io.image_names import person_of
from deepfeatures.matching import Matcher
from deepfeatures.training.momentum_pairs import MomentumPair, fitted_pair, posed_pair_of
from deepfeatures.training.pair_plan import planned_pairs
from deepfeatures.training.quicksilver import QuicksilverSettings


def read_pairs(
    folder: Path, settings: QuicksilverSettings, device: str
) -> tuple[list[MomentumPair], list[MomentumPair]]:
    """Pairs of scans of a folder to learn from, and pairs of other people.

    Raises:
        InputError: A file cannot be used, or there are too few people.
    """
    cases = annotated_cases(folder)
    points, notes = read_points(cases)
    for one in notes:
        note(one.text)
    tell_notes([case.image for case in cases])
    s = settings
    plan = planned_pairs([person_of(case.name) for case in cases], s.templates, s.targets, s.held_out_pairs, s.seed)
    matcher = Matcher(device=device)
    with progress_bar(f"{len(plan.learnt) + len(plan.held_out)} pairs") as progress:
        found: list[MomentumPair | None] = []
        both = (*plan.learnt, *plan.held_out)
        for number, (template, target) in enumerate(both, 1):
            found.append(_fitted(cases[template], cases[target], points, matcher, settings))
            progress(number / len(both))
    return _there(found[: len(plan.learnt)]), _there(found[len(plan.learnt) :])


def _fitted(
    template: Case, target: Case, points: dict, matcher: Matcher, settings: QuicksilverSettings
) -> MomentumPair | None:
    """`None` where the template's anatomy is not found in the target."""
    (volume, _), (scan, _) = template.read(), target.read()
    mapping = matcher.match(volume, points[template.name], scan).mapping
    if mapping is None:
        note(f"{template.name} and {target.name}: left out, since one was not found in the other")
        return None
    return fitted_pair(posed_pair_of(volume, scan, mapping, settings.spacing_mm), mapping, settings.fit)


def _there(pairs: Sequence[MomentumPair | None]) -> list[MomentumPair]:
    return [pair for pair in pairs if pair is not None]
