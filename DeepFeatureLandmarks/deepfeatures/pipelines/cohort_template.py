"""The groupwise model of a cohort: what some targets show around the template's points, to help to place them all.

Targets that are placed together help one another, see `GroupwiseModel`, but thousands can neither be kept nor wait for
one another. A few of them are as good a picture of what is common to them: these are matched first, and what they show
is kept in one file. So a target's result depends neither on the order of work nor on targets that come later.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import atomic_write
from deepfeatures.matching import GroupwiseModel, Matcher, MatchResult
from deepfeatures.matching.groupwise import FEWEST
from deepfeatures.matching.search_interface import Progress, ignore

FILE = "groupwise_model.safetensors"
MEMBERS = 24  # so many of 198 crops bring most of what all of them bring (`Testing/Benchmarks/cohorts.py`)


@dataclass(frozen=True, eq=False)
class CohortModel:
    """The groupwise model of some targets.

    Args:
        members: Their names.
        group: Of what they show.
    """

    members: frozenset[str]
    group: GroupwiseModel


@dataclass(frozen=True, eq=False)
class MatchedAlone:
    """A target that has been matched alone.

    Args:
        result: Its state on the CPU; without mapping.
        group: Of this target alone, on the CPU; empty where it does not show the template's anatomy.
    """

    result: MatchResult
    group: GroupwiseModel


def chosen_members(targets: Sequence[str]) -> list[str]:
    """Targets to match first, evenly among all, so that they are of different people where names say whose they are.

    None where a target would have too few others.
    """
    count = min(MEMBERS, len(targets)) if len(targets) > FEWEST else 0
    return [targets[index * len(targets) // count] for index in range(count)]


def match_alone(matcher: Matcher, template: Volume, landmarks: LandmarkSet, target: Volume) -> MatchedAlone:
    """Match one target alone, and see what it shows."""
    group = GroupwiseModel()
    result = matcher.match(template, landmarks, target, group=group)
    state = result.state and result.state.on("cpu")
    return MatchedAlone(replace(result, state=state, mapping=None), group.on("cpu"))


def gather(found: Iterable[tuple[str, MatchedAlone]]) -> CohortModel:
    """What targets show, by their names."""
    group, members = GroupwiseModel(), set()
    for name, alone in found:
        group.merge(alone.group)
        members.add(name)
    return CohortModel(frozenset(members), group)


def write(path: Path, model: CohortModel) -> None:
    """Keep it, whole or not at all; raises `InputError` where that cannot be done."""
    from safetensors.torch import save

    kinds, tensors = [], {}
    for number, (kind, (total, count)) in enumerate(model.group.sums.items()):
        kinds.append(kind)
        tensors |= {f"{number}.total": total.contiguous(), f"{number}.count": count}
    metadata = {"kinds": json.dumps(kinds), "members": json.dumps(sorted(model.members))}
    with atomic_write(path) as draft:
        # not by save_file, whose error of a full disk is no OSError
        draft.write_bytes(save(tensors, metadata))


def read(path: Path, device: str) -> CohortModel:
    """What `write` has kept.

    Raises:
        InputError: It cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            kinds, members = json.loads(metadata["kinds"]), json.loads(metadata["members"])
            sums = {
                _as_tuple(kind): (file.get_tensor(f"{number}.total"), file.get_tensor(f"{number}.count"))
                for number, kind in enumerate(kinds)
            }
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path} cannot be read; delete it, and it is made anew") from error
    return CohortModel(frozenset(members), GroupwiseModel(sums).on(device))


class CohortMatcher:
    """Matches one target of a cohort and refines it by the cohort's model.

    Args:
        matcher: With a guided search.
        model: What it shows itself of the target is left out.
        target: The target's name.
        alone: The target, where it has been matched alone just now, so that this need not be done again.
    """

    def __init__(self, matcher: Matcher, model: CohortModel, target: str, alone: MatchedAlone | None = None):
        self._matcher, self._model, self._target, self._alone = matcher, model, target, alone

    def match(
        self,
        template: Volume,
        landmarks: LandmarkSet,
        target: Volume,
        *,
        mask: Volume | None = None,
        progress: Progress = ignore,
    ) -> MatchResult:
        """See `Matcher.match`."""
        matcher, group = self._matcher, GroupwiseModel(self._model.group.sums)
        if self._alone:
            result = self._alone.result
            result = replace(result, state=result.state and result.state.on(matcher.settings.device))
        else:
            added = GroupwiseModel() if self._target in self._model.members else group  # nobody is added twice
            result = matcher.match(template, landmarks, target, mask=mask, progress=progress, group=added)
        return matcher.refine_with_group(template, landmarks, target, replace(result, group_size=0), group)


def _as_tuple(value):
    """JSON knows lists only."""
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
