"""What some scans of a cohort show around the template's points: kept beside the results, it helps to place them all.

Scans that are placed together help one another, see `Company`, but thousands can neither be kept nor wait for one
another. A few of them are as good a picture of what is common to them: these are looked at once, and what they show is
kept in one file, so that a scan's result depends neither on the order of work nor on scans that come later.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import whole_file
from deepfeatures.matching import Company, Matcher
from deepfeatures.matching.guided.groupwise import FEWEST, Course

FILE = "company.safetensors"
MEMBERS = 24  # so many of 198 crops bring most of what all of them bring (`Testing/Benchmarks/cohorts.py`)


@dataclass(frozen=True, eq=False)
class Gathered:
    """The company of scans that have been looked at.

    Args:
        members: Their names.
        company: Of what they show.
    """

    members: frozenset[str]
    company: Company


@dataclass(frozen=True, eq=False)
class LookedAt:
    """A scan that has been placed alone.

    Args:
        placed: Its landmarks.
        course: How it was matched, on the CPU; `None` where it does not show the template's anatomy.
        report: The matcher's.
        company: Of this scan alone, on the CPU; empty where it does not show the template's anatomy.
    """

    placed: LandmarkSet
    course: Course | None
    report: dict
    company: Company


def chosen_members(scans: Sequence[str]) -> list[str]:
    """Scans to look at, evenly among all, so that they are of different people where names say whose they are.

    None where a scan would have too few others.
    """
    count = min(MEMBERS, len(scans)) if len(scans) > FEWEST else 0
    return [scans[index * len(scans) // count] for index in range(count)]


def look_at(matcher: Matcher, template: Volume, landmarks: LandmarkSet, target: Volume) -> LookedAt:
    """Place the landmarks in one scan alone, and see what it shows."""
    company = Company()
    placed = matcher.match(template, landmarks, target, company=company)
    course = matcher.course and matcher.course.on("cpu")
    return LookedAt(placed, course, matcher.last_report, company.on("cpu"))


def gather(found: Iterable[tuple[str, LookedAt]]) -> Gathered:
    """What scans show, by their names."""
    company, members = Company(), set()
    for scan, looked_at in found:
        company.take_in(looked_at.company)
        members.add(scan)
    return Gathered(frozenset(members), company)


def write(path: Path, gathered: Gathered) -> None:
    """Keep it, whole or not at all; raises `InputError` where that cannot be done."""
    from safetensors.torch import save

    kinds, tensors = [], {}
    for number, (kind, (total, count)) in enumerate(gathered.company.sums.items()):
        kinds.append(kind)
        tensors |= {f"{number}.total": total.contiguous(), f"{number}.count": count}
    metadata = {"kinds": json.dumps(kinds), "members": json.dumps(sorted(gathered.members))}
    with whole_file(path) as draft:
        # not by save_file, whose error of a full disk is no OSError
        draft.write_bytes(save(tensors, metadata))


def read(path: Path, device: str) -> Gathered:
    """What `write` has kept.

    Raises:
        InputError: It cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            said = file.metadata()
            kinds, members = json.loads(said["kinds"]), json.loads(said["members"])
            sums = {
                _as_tuple(kind): (file.get_tensor(f"{number}.total"), file.get_tensor(f"{number}.count"))
                for number, kind in enumerate(kinds)
            }
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path} cannot be read; delete it, and it is made anew") from error
    return Gathered(frozenset(members), Company(sums).on(device))


class Accompanied:
    """A matcher whose targets are each settled once more by what the company shows.

    Args:
        matcher: A guided one.
        gathered: Whose company it is.
        scan: The target's name: what it shows itself is left out of what helps it.
        looked_at: The target, where it has been placed alone just now, so that this need not be done again.

    Attributes:
        last_report: As of the matcher, with the number of other scans that helped.
    """

    def __init__(self, matcher: Matcher, gathered: Gathered, scan: str, looked_at: LookedAt | None = None):
        self._matcher, self._gathered, self._scan, self._looked_at = matcher, gathered, scan, looked_at
        self.last_report: dict = {}

    def match(self, template: Volume, landmarks: LandmarkSet, target: Volume, **more) -> LandmarkSet:
        """See `Matcher.match`, which also takes `more`."""
        matcher, company = self._matcher, Company(self._gathered.company.sums)
        if looked_at := self._looked_at:
            placed, self.last_report = looked_at.placed, looked_at.report
            course = looked_at.course and looked_at.course.on(matcher.settings.device)
        else:
            joined = Company() if self._scan in self._gathered.members else company  # nobody joins twice
            placed = matcher.match(template, landmarks, target, company=joined, **more)
            course, self.last_report = matcher.course, matcher.last_report
        others = 0
        if course is not None and company.tells(course):
            placed = matcher.match_again(template, landmarks, placed, target, course, company)
            others = company.others(course)
        self.last_report = {**self.last_report, "together_with": others}
        return placed


def _as_tuple(value):
    """JSON knows lists only."""
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
