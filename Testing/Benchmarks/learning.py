"""What a few accepted people teach: mean error with k of them by the error without, on people who took no part.

    python Testing/Benchmarks/learning.py OUT                        # everything; about an hour on one core
    python Testing/Benchmarks/learning.py OUT --sets brain --peers none
    python Testing/Benchmarks/learning.py OUT --sets hippocampus --rows exact habits --draws 40

Templates are hippocampus 001, 033 and 101, brain 1000 and 1007, and T1 spine 01, of whose targets those count that are
placed at the right level: their median error is below half a level. The k people who teach are drawn at random, one
scan each, and the head is tried on all scans of all others; of the brains' 10 each person is left out once. Rows:

- `exact`: the true landmarks are taught.
- `habits`: what lies within 1.5 mm is accepted unmoved, all else is dragged to the truth with 0.5 mm noise an axis.
- `careless`: one of the k reviewers puts all points at random, or accepts them all.
- `offset`: the shared offset of the head alone, without any features.
- `shuffled teachers`, `shuffled targets`: features are exchanged between people; their gain over `offset` must vanish.
- `faces`: a regression that sees nothing but the distances to the faces of the crop.

It prints the mean error before and after in mm, their ratio over all draws and in the worst one, and for `exact` how
often the stated 90 % radius holds and what gain landmarks have that are deeper than 8 voxels. Peers (`learning_peers.py`)
are several templates, and a network that is trained on the same people (`heat_maps.py`). Figures are kept in
OUT/learning.json; scans that have been placed are kept in OUT, so throw it away once the search has changed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import learning_peers
import numpy as np
import torch
from cases import errors
from learning_controls import by_faces
from learning_lessons import Lesson, accepted_unmoved, as_a_person_does, lessons_of
from learning_scores import Outcome, keep, summary, told
from learning_sets import DRAWS, Draw, LearningSet, draws, learning_sets

from deepfeatures.data.geometry import mean_edge_mm
from deepfeatures.matching import Matcher
from deepfeatures.matching.learning.landmark_head import LandmarkHead, Lessons, fit_head, lessons
from deepfeatures.matching.learning.leave_one_out import leave_one_out, recalibrated_model
from deepfeatures.matching.learning.taught_scan import TaughtScan
from deepfeatures.matching.uncertainty.error_model import ErrorModel, load_error_model

UNMOVED_MM, NOISE_MM = 1.5, 0.5
CALIBRATED = 5  # draws in which errors are predicted anew, which takes longer than all else
PEERS = ("panel", "network")


@dataclass(frozen=True, eq=False)
class Classroom:
    """All scans of a template, each with what it teaches by the rules of one row.

    Args:
        taught: By name, what the scan teaches.
        tested: By name, the scan with its true landmarks.
        fits: See `Lessons`; in the order of `taught`.
    """

    taught: dict[str, TaughtScan]
    tested: dict[str, Lesson]
    size_mm: float

    def errors_of(self, name: str, places: torch.Tensor) -> np.ndarray:
        return self.tested[name].exact.errors_mm(places).numpy()
