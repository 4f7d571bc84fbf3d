"""Sets, templates and draws for `learning.py`: who teaches, and on whom it is tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from cases import Case, data_folder, read_case
from doubt_sets import BRAINS, T1_SPINES, hippocampi, person_of

DRAWS = 20


@dataclass(frozen=True)
class LearningSet:
    """Scans of many people with the same landmarks.

    Args:
        folder: Of the development data.
        templates: Each is tried by itself.
        counts: Numbers of people who teach.
        names: Of all scans.
        repeats: Whether the anatomy repeats along the body, so that a scan may be placed a whole level off.
    """

    folder: str
    templates: tuple[str, ...]
    counts: tuple[int, ...]
    names: tuple[str, ...]
    repeats: bool = False

    def case(self, name: str) -> Case:
        return read_case(data_folder() / self.folder / f"{name}.nii.gz")


def learning_sets() -> dict[str, LearningSet]:
    templates = tuple(f"hippocampus_{number}" for number in ("001", "033", "101"))
    return {
        "hippocampus": LearningSet("hippocampus", templates, (3, 5, 10, 20), tuple(hippocampi())),
        "brain": LearningSet("brain", ("1000", "1007"), (3, 5, 10), BRAINS),
        "spine-t1": LearningSet("spine", ("spine-t1_01",), (3, 5), T1_SPINES, repeats=True),
    }


@dataclass(frozen=True)
class Draw:
    """Who teaches: one scan a person; and the scans of all other people, on which it is tried."""

    accepted: tuple[str, ...]
    tests: tuple[str, ...]


def draws(names: Sequence[str], count: int, number: int = DRAWS) -> Iterator[Draw]:
    """At random, always the same; where all but one person teach, each person is left out once.

    Args:
        names: Scans of people other than the template's.
        count: People who teach.
    """
    people = sorted({person_of(name) for name in names})
    everyone = [[name for name in names if person_of(name) == one] for one in people]
    for index in range(len(people) if count == len(people) - 1 else number):
        random = np.random.default_rng([count, index])
        order = random.permutation(len(people))
        if count == len(people) - 1:
            order = np.roll(np.arange(len(people)), index)
        chosen = [everyone[place] for place in order[:count]]
        accepted = tuple(str(random.choice(scans)) for scans in chosen)
        yield Draw(accepted, tuple(name for place in order[count:] for name in everyone[place]))


def others(one: LearningSet, template: str) -> list[str]:
    """Scans of other people than the template's."""
    return [name for name in one.names if person_of(name) != person_of(template)]
