"""Points that are matched back tell whether two volumes show the same."""

from __future__ import annotations

import pytest
import torch

from deepfeatures.matching.geometry.block_matching import ball
from deepfeatures.matching.geometry.keypoints import subsample
from deepfeatures.matching.geometry.sampling import smooth
from deepfeatures.matching.guided.inverse_consistency import FEWEST, PSEUDOCOUNT, SAMPLE, inverse_consistency
from deepfeatures.matching.guided.same_anatomy import LEAST_CONSISTENT_SHARE

SIZE = 40


def drawn(seed: int) -> torch.Tensor:
    return smooth(torch.randn(12, SIZE, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)), 1.5)


@pytest.fixture(scope="module")
def features() -> torch.Tensor:
    return drawn(0)


@pytest.fixture(scope="module")
def others() -> torch.Tensor:
    return drawn(2)


@pytest.fixture(scope="module")
def points() -> torch.Tensor:
    return torch.rand(60, 3, generator=torch.Generator().manual_seed(1)) * (SIZE - 20) + 10


def asked(features, seen, here, there, inside=None, landmarks=5):
    inside = torch.ones(len(here), dtype=torch.bool) if inside is None else inside
    return inverse_consistency(features, seen, here, there, inside, landmarks, 3, ball(4, 2))


def test_in_the_same_anatomy_all_come_back(features, points):
    shift = torch.tensor([2.0, -1.0, 1.0])
    seen = torch.roll(features, (1, -1, 2), (1, 2, 3))
    distances, agreement = asked(features, seen, points, points + shift)
    assert distances.shape == (5,)
    assert distances.max() < 0.2
    assert agreement == len(points) / (len(points) + PSEUDOCOUNT)


def test_elsewhere_few_do(features, others, points):
    assert asked(features, others, points, points)[1] < LEAST_CONSISTENT_SHARE


def test_what_lies_outside_the_target_does_not_count(features, points):
    inside = torch.arange(len(points)) % 2 == 0
    there = torch.where(inside[:, None], points, points + 3)  # as far off as is searched
    assert asked(features, features, points, there, inside)[1] == 30 / (30 + PSEUDOCOUNT)
    assert asked(features, features, points, there)[1] == pytest.approx(30 / (60 + PSEUDOCOUNT), abs=0.02)


def test_too_few_do_not_tell(features, others, points):
    few = points[: FEWEST - 1]
    assert asked(features, others, few, few, landmarks=2)[1] is None


def test_one_of_five_is_not_yet_agreement(features, points):
    few = points[:FEWEST]
    there = few + torch.tensor([[0.0]] + [[3.0]] * (FEWEST - 1))
    assert asked(features, features, few, there)[1] < LEAST_CONSISTENT_SHARE
    assert asked(features, features, few, few)[1] > 2 * LEAST_CONSISTENT_SHARE


def test_landmarks_are_all_asked_and_keypoints_in_part():
    rows = torch.arange(1000)
    assert len(subsample(rows, SAMPLE)) == SAMPLE
    assert (subsample(rows, SAMPLE)[[0, -1]] == rows[[0, -1]]).all()
    assert (subsample(rows[:7], SAMPLE) == rows[:7]).all()
    assert len(subsample(rows[:0], SAMPLE)) == 0
