"""Which scans are matched to which: people who are held out are never learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepfeatures.errors import InputError

HELD_OUT = 5  # one person in so many
FEWEST_PEOPLE = 4
Pair = tuple[int, int]


@dataclass(frozen=True)
class PairPlan:
    """Templates and targets, by their places in a list of scans.

    Args:
        learnt, held_out: Pairs of different people.
    """

    learnt: tuple[Pair, ...]
    held_out: tuple[Pair, ...]


def planned_pairs(people: Sequence[str], templates: int, targets: int, held_out_pairs: int, seed: int) -> PairPlan:
    """Pairs drawn at random. The last fifth of the people, in the order in which they come, is held out.

    Args:
        people: Whose each scan is.
        templates: Scans that are matched to others.
        targets: Others for each of them.
        held_out_pairs: Pairs of people who are held out.
        seed: Decides the draw.

    Raises:
        InputError: There are fewer than four people.
    """
    known = list(dict.fromkeys(people))
    if len(known) < FEWEST_PEOPLE:
        raise InputError(
            f"There are annotated scans of {len(known)} people; networks need four or more, two of whom they are"
            " judged by and never see."
        )
    last = set(known[-max(2, len(known) // HELD_OUT) :])
    rng = np.random.default_rng(seed)
    groups = [
        [scan for scan, person in enumerate(people) if (person in last) == held_out] for held_out in (False, True)
    ]
    learnt = _drawn(rng, people, groups[0], templates, targets)
    held_out = _drawn(rng, people, groups[1], held_out_pairs, 1)
    return PairPlan(tuple(learnt), tuple(held_out))


def _drawn(
    rng: np.random.Generator, people: Sequence[str], scans: Sequence[int], templates: int, targets: int
) -> list[Pair]:
    pairs = []
    for template in rng.permutation(scans)[:templates]:
        others = [scan for scan in scans if people[scan] != people[template]]
        pairs += [(int(template), int(other)) for other in rng.permutation(others)[:targets]]
    return pairs
