"""What else the same annotated people are good for: several templates, and a trained network; for `learning.py`.

Peers and the search that learnt have the same template, teachers and targets: hippocampus 001, twenty people of whom
one scan each may teach, and thirty scans of other people, all with even numbers. Ten teachers or fewer are drawn from
the first ten, so that there are no more templates than these. What takes long is kept in a folder, and not done again.
Seconds are those of one processor core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from cases import Case, person
from heat_maps import place, trained
from learning_controls import trimmed
from learning_sets import Draw, learning_sets, others

from deepfeatures.matching import Matcher
from deepfeatures.matching.multi_template import geometric_median

TEMPLATE, TEACHERS, TARGETS, DRAWS = "hippocampus_001", 20, 30, 20
PANEL = 10  # of those who teach are templates, too; more would take too long
NETWORKS = {5: 4, 20: 2}  # how many are trained, by the number of people who teach


def shared_draws(count: int) -> list[Draw]:
    """Of the same teachers and targets for all; one where ten, or all twenty, teach."""
    teachers, targets = _people()
    teachers = teachers[:PANEL] if count <= PANEL else teachers
    number = 1 if count == len(teachers) else DRAWS
    drawn = (np.random.default_rng([count, index]).choice(teachers, count, replace=False) for index in range(number))
    return [Draw(tuple(map(str, accepted)), targets) for accepted in drawn]


def _people() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Scans of those who teach, one each, and targets of others; nothing was chosen on people of even numbers."""
    names = [name for name in others(learning_sets()["hippocampus"], TEMPLATE) if person(name) % 2 == 0]
    mixed = [str(name) for name in np.random.default_rng(0).permutation(names)]
    teachers = list({person(name): name for name in mixed}.values())[:TEACHERS]
    taken = {person(name) for name in teachers}
    return tuple(teachers), tuple([name for name in mixed if person(name) not in taken][:TARGETS])


def panel(folder: Path, draw: Draw) -> tuple[np.ndarray, float]:
    """Landmarks `(targets, L, 3)` as the template and those who teach agree on them, and the seconds of a target."""
    found = [proposals(folder, name) for name in (TEMPLATE, *draw.accepted)]
    places = np.array([positions for positions, _ in found])  # (templates, targets, L, 3)
    agreed = np.full(places.shape[1:], np.nan)
    for target, landmark in np.ndindex(agreed.shape[:2]):
        of_each = places[:, target, landmark]
        known = of_each[np.isfinite(of_each[:, 0])]
        if 2 * len(known) > len(places):
            agreed[target, landmark] = geometric_median(known)
    return agreed, float(sum(seconds for _, seconds in found))


@cache
def proposals(folder: Path, template: str) -> tuple[np.ndarray, float]:
    """Where one template puts its landmarks in the targets, `(targets, L, 3)`, and the median seconds of a target."""

    def make() -> dict[str, np.ndarray]:
        matcher, known = Matcher(), case(template)
        return timed(
            lambda target: matcher.match(known.volume, known.landmarks, target.volume).landmarks.positions,
            [case(name) for name in _people()[1]],
        )

    kept = stored(folder / f"panel {template}.npz", make)
    return kept["places"], float(np.median(kept["seconds"]))


def network(folder: Path, count: int, index: int) -> dict[str, np.ndarray]:
    """Landmarks by a network that was trained on the template and those who teach in a draw.

    Where all teach, `index` is the seed of the training.

    Returns:
        `places` `(targets, L, 3)`, `cut` the same in targets that are cut anew, the `seconds` of each target, and those
        of `training`.
    """
    drawn = shared_draws(count)
    draw = drawn[index % len(drawn)]

    def make() -> dict[str, np.ndarray]:
        started = time.process_time()
        learnt = trained([case(name) for name in (TEMPLATE, *draw.accepted)], seed=index)
        training = np.array(time.process_time() - started)
        in_targets = timed(lambda target: place(learnt, target), [case(name) for name in draw.tests])
        in_cut = timed(lambda target: place(learnt, target), [cut(name) for name in draw.tests])
        return in_targets | {"cut": in_cut["places"], "training": training}

    return stored(folder / f"network {count} {index}.npz", make)


@cache
def case(name: str) -> Case:
    return learning_sets()["hippocampus"].case(name)


@cache
def cut(name: str) -> Case:
    """The same scan with other faces."""
    return trimmed(case(name), np.random.default_rng(int(name[-3:])))


def timed(placed: Callable[[Case], np.ndarray], targets: Sequence[Case]) -> dict[str, np.ndarray]:
    found, seconds = [], []
    for target in targets:
        started = time.process_time()
        found.append(placed(target))
        seconds.append(time.process_time() - started)
    return {"places": np.array(found), "seconds": np.array(seconds)}


def stored(path: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What a file holds, made where there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partly = path.with_suffix(".part.npz")
        np.savez(partly, **make())
        partly.rename(path)
        print(f"{path.stem} is ready", flush=True)
    with np.load(path) as arrays:
        return dict(arrays)
