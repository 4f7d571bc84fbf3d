"""Placing with the defaults on real scans."""

import numpy as np
import pytest

from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.io.volume_files import read_volume
from deepfeatures.matching import Matcher

pytestmark = pytest.mark.data
TARGETS = (3, 4, 6, 11, 14, 17, 19, 20, 25, 26)


def test_the_default_places_hippocampus_landmarks_far_better_than_aligned_centres(data):
    def case(number):
        path = data / "hippocampus" / f"hippocampus_{number:03d}.nii.gz"
        return read_volume(path), read_landmarks(path.with_name(f"hippocampus_{number:03d}.mrk.json"))

    template, landmarks = case(1)
    matcher = Matcher(device="cpu")
    initial, placed = [], []
    for target, truth in map(case, TARGETS):
        guess = landmarks.positions - template.centre + target.centre
        found = matcher.match(template, landmarks, target).landmarks.positions
        initial.append(np.linalg.norm(guess - truth.positions, axis=1).mean())
        placed.append(np.linalg.norm(found - truth.positions, axis=1).mean())
    assert np.mean(placed) < 2.7
    assert np.mean(placed) < 0.8 * np.mean(initial)
