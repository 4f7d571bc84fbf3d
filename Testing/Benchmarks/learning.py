"""What a few accepted people teach: mean error with k of them by the error without, on people who took no part.

    python Testing/Benchmarks/learning.py OUT                        # everything: hours, where there are two cores
    python Testing/Benchmarks/learning.py OUT --sets brain --peers   # one set, no peers
    python Testing/Benchmarks/learning.py OUT --sets hippocampus --rows exact habits --draws 40

Templates are hippocampus 001, 033 and 101, brain 1000 and 1007, and T1 spine 01, of whose scans those count that the
search alone puts at the right level: their median error is below half a level. The k people who teach are drawn at
random, one scan each, and what they teach is tried on all scans of all others; of brains, 10 means that each person is
left out once. The settings of the head are the same for all. Rows:

- `exact`: the true landmarks are taught.
- `habits`: what lies within 1.5 mm is accepted unmoved, all else is dragged to the truth with 0.5 mm noise an axis.
- `careless`: one of the k people has points put at random, 5 mm an axis, or all accepted unmoved.
- `offset`: what all share alone, without any features.
- `shuffled teachers`, `shuffled targets`: features are exchanged between people; their gain over `offset` must vanish.
- `faces`: a regression that sees nothing but the distances to the faces of the crop.

The last four are controls, for the first template of a set. Printed are the mean error before and after in mm, their
ratio over all draws and in the worst, and the gain of landmarks deeper than 8 voxels and of the others. `exact` has the
share of true places within the stated 90 % radius and the mean expected error, of five draws. Peers are of the same
teachers and targets, see `learning_peers.py`. All figures are kept in OUT/learning.json, and scans that have been
placed in OUT, so that the command can be run in pieces; throw OUT away once the search has changed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import learning_peers as peers
import numpy as np
from learning_lessons import Lesson, lessons_of
from learning_rows import ROWS, Row, outcome
from learning_scores import Outcome, keep, summary, told
from learning_sets import DRAWS, LearningSet, draws, learning_sets

from deepfeatures.data.geometry import mean_edge_mm
from deepfeatures.matching import Matcher
from deepfeatures.matching.uncertainty.error_model import ErrorModel, load_error_model

PREDICTED = 5  # draws in which errors are predicted anew; it takes longer than the rest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", nargs="*", choices=learning_sets(), default=list(learning_sets()))
    parser.add_argument("--templates", nargs="*", help="some of the templates alone")
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=list(ROWS))
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--peers", nargs="*", choices=peers.PEERS, default=list(peers.PEERS))
    arguments = parser.parse_args()
    for name in arguments.sets:
        for template in learning_sets()[name].templates:
            if arguments.templates is None or template in arguments.templates:
                curves(learning_sets()[name], template, arguments.rows, arguments.draws, arguments.out)
    if arguments.peers:
        figures = peers.compared(arguments.out, arguments.peers)
        keep(figures, arguments.out / "learning.json")


def curves(one: LearningSet, template: str, rows: list[str], number: int, out: Path) -> None:
    """All numbers of teachers of one template; printed, and kept."""
    taught = lessons_of(one, template, out)
    for name in rows:
        if ROWS[name].is_control and template != one.templates[0]:
            continue
        for count in one.counts:
            predicted = _prediction(one, template) if name == "exact" else None
            values = summary(outcomes(ROWS[name], taught, count, number, predicted))
            print(f"{template}, {count} people, {name}: {told(values)}", flush=True)
            keep({f"{template}, {name}, {count}": values}, out / "learning.json")


def outcomes(
    row: Row, taught: dict[str, Lesson], count: int, number: int, predicted: tuple[ErrorModel, float, str] | None
) -> Iterator[Outcome]:
    for index, draw in enumerate(draws(list(taught), count, number)):
        teachers, tests = ([taught[name] for name in names] for names in (draw.accepted, draw.tests))
        random = np.random.default_rng([count, index])
        yield outcome(row, teachers, tests, random, predicted if index < PREDICTED else None)


def _prediction(one: LearningSet, template: str) -> tuple[ErrorModel, float, str] | None:
    model, volume = load_error_model(Matcher().features_key), one.case(template).volume
    return model and (model, mean_edge_mm(volume.size, volume.spacing), template)


if __name__ == "__main__":
    main()
