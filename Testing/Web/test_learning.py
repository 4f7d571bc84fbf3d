"""Learning in a real browser: a protocol is opened, teaches, is taught, forgets, and is taken home."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import read_volume, write_volume
from deepfeatures.matching import Matcher
from deepfeatures.matching.learning.protocol import Definition, begin_protocol
from deepfeatures.matching.learning.protocol_file import read_protocol, write_protocol
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.matching.teaching import teach
from deepfeatures.phantom import make_pair

VOXELS = 48  # of a head from front to back
CPU = MatchSettings(device="cpu")
TEXT = "The middle of the <b>left</b> lens.\nNot the middle of the globe."
LINK = "https://example.org/eye?side=left&n=1"


def picture() -> bytes:
    """A PNG with a cross in a circle."""
    grey = np.zeros((120, 160, 3), np.uint8)
    rows, columns = np.indices(grey.shape[:2]) - np.array([60, 80])[:, None, None]
    grey[np.hypot(rows, columns) < 45] = 110
    grey[(abs(rows) < 2) | (abs(columns) < 2)] = (230, 159, 0)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """A folder: a template with its landmarks, four other heads, and a protocol that the first three have taught."""
    folder = tmp_path_factory.mktemp("heads")
    template, landmarks, *_ = make_pair(VOXELS)
    write_volume(template, folder / "head.nii.gz")
    write_landmarks(landmarks, folder / "head.mrk.json")
    template = read_volume(folder / "head.nii.gz")
    others = []
    for seed in range(1, 5):
        *_, scan, truth = make_pair(VOXELS, seed)
        write_volume(scan, folder / f"person{seed}.nii.gz")
        others.append((read_volume(folder / f"person{seed}.nii.gz"), truth))
    matcher = Matcher(CPU)
    definitions = {
        "left eye": Definition(TEXT, picture(), LINK),
        "right eye": Definition("See the left eye.", None, "javascript:alert(1)"),
    }
    protocol = begin_protocol(template, landmarks, matcher.features_key, definitions)
    for scan, truth in others[:3]:
        protocol = protocol.with_scan(teach(matcher, protocol, scan, truth, name=scan.name, corrected=["left eye"]))
    write_protocol(protocol, folder / "heads.dflp")
    return folder
