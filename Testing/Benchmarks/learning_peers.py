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
from cases import Case, errors, person
from heat_maps import place, trained
from learning_controls import trimmed
from learning_lessons import Lesson, lessons_of
from learning_rows import ROWS, outcome
from learning_sets import Draw, learning_sets, others

from deepfeatures.matching import Matcher
from deepfeatures.matching.learning.protocol import begin_protocol
from deepfeatures.matching.multi_template import geometric_median

TEMPLATE, TEACHERS, TARGETS, DRAWS = "hippocampus_001", 20, 30, 20
PANEL = 10  # of those who teach are templates, too; more would take too long
COUNTS, PEERS = (3, 5, 10, 20), ("panel", "network")
NETWORKS = {5: 2, 20: 1}  # how many are trained, by the number of people who teach


def compared(out: Path, chosen: Sequence[str]) -> dict[str, dict[str, float]]:
    """Mean errors in mm and seconds of a target, of all draws; printed, too.

    Args:
        out: Where everything is kept.
        chosen: Of `PEERS`.
    """
    rows: dict[str, dict[str, float]] = {}

    def tell(name: str, count: int, distances: Sequence[np.ndarray], **more: float) -> None:
        values = {"mean_mm": float(np.nanmean(distances)), "p95_mm": float(np.nanpercentile(distances, 95)), **more}
        rows[f"peers, {name}, {count}"] = values
        told = ", ".join(f"{key} {value:.2f}" for key, value in values.items())
        print(f"{count} people, {name}: {told}", flush=True)

    taught, folder = lessons_of(learning_sets()["hippocampus"], TEMPLATE, out), out / "peers"
    for count in (0, *COUNTS):
        if count in (0, *NETWORKS):
            one = searched(folder, taught, count)
            tell("search, one draw", count, [in_targets(one["places"])], seconds=float(np.median(one["seconds"])))
            tell("search, one draw, targets cut anew", count, [in_targets(one["cut"], cut)])
        if count == 0:
            continue
        drawn = shared_draws(count)
        every = [_by_head(taught, draw, index) for index, draw in enumerate(drawn)]
        tell("search", count, every, draws=len(every))
        if "panel" in chosen and count <= PANEL:
            agreed = [panel(folder, draw) for draw in drawn]
            seconds = float(np.median([one[1] for one in agreed]))
            found = [in_targets(one[0]) for one in agreed]
            tell("several templates", count, found, seconds=seconds, draws=len(agreed))
        if "network" in chosen and count in NETWORKS:
            nets = [network(folder, count, index) for index in range(NETWORKS[count])]
            seconds, training = (float(np.median([one[key] for one in nets])) for key in ("seconds", "training"))
            more = {"seconds": seconds, "training_seconds": training, "draws": len(nets)}
            tell("network", count, [in_targets(one["places"]) for one in nets], **more)
            tell("network, targets cut anew", count, [in_targets(one["cut"], cut) for one in nets])
            tell("search, draws of the network", count, every[: len(nets)])
    return rows


def in_targets(places: np.ndarray, of: Callable[[str], Case] | None = None) -> np.ndarray:
    """Distances in mm from the truth, `(targets, L)`."""
    targets = [(of or case)(name) for name in _people()[1]]
    return np.array([errors(found, target) for found, target in zip(places, targets, strict=True)])


def _by_head(taught: dict[str, Lesson], draw: Draw, index: int) -> np.ndarray:
    """As `in_targets`, where those who teach in a draw have taught the search."""
    teachers, tests = ([taught[name] for name in names] for names in (draw.accepted, draw.tests))
    return outcome(ROWS["exact"], teachers, tests, np.random.default_rng(index)).after


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


def searched(folder: Path, taught: dict[str, Lesson], count: int) -> dict[str, np.ndarray]:
    """Landmarks by the search once those of the first draw have taught it; by the search alone where `count` is 0.

    Returns:
        As `network`, without training.
    """

    def make() -> dict[str, np.ndarray]:
        known, alone = case(TEMPLATE), Matcher()
        protocol = begin_protocol(known.volume, known.landmarks, alone.features_key)
        names = shared_draws(count)[0].accepted if count else ()
        matcher = Matcher(taught=protocol.with_scans(taught[name].exact for name in names)) if count else alone

        def found(target: Case) -> np.ndarray:
            return matcher.match(known.volume, known.landmarks, target.volume).landmarks.positions

        names_of_targets = _people()[1]
        found(case(names_of_targets[0]))  # what is kept of the template
        in_targets = timed(found, [case(name) for name in names_of_targets])
        return in_targets | {"cut": timed(found, [cut(name) for name in names_of_targets])["places"]}

    return stored(folder / f"search {count}.npz", make)


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
