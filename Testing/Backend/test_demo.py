"""The demo: files that others can read, honest numbers, and slices in anatomical orientation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.io.volume_files import read_volume
from deepfeatures.matching import MatchResult, MatchSettings
from deepfeatures.phantom import make_pair
from deepfeatures.phantom.head import LANDMARKS
from deepfeatures.pipelines import demo
from deepfeatures.pipelines.demo_figure import FIELD_MM, PIXELS, SHOWN, VIEWS, slice_through

SIZE = 32


class Shifted:
    """Places every landmark 3 mm to the left of the truth, and misses those named."""

    def __init__(self, *missing):
        self.missing = missing

    def match(self, template, landmarks, target):
        truth = make_pair(SIZE)[3]
        placed = tuple(
            replace(mark, position=None, status="missing")
            if mark.name in self.missing
            else replace(mark, position=(mark.position[0] + 3, *mark.position[1:]))
            for mark in truth
        )
        return MatchResult(LandmarkSet(placed, "placed"), template.name, target.name, MatchSettings())


def test_files_and_numbers(tmp_path, capsys):
    assert demo.run(tmp_path / "new" / "folder", SIZE, matcher=Shifted()) == 0
    folder = tmp_path / "new" / "folder"
    template, landmarks, target, truth = make_pair(SIZE)
    for volume, name in ((template, "template"), (target, "target")):
        again = read_volume(folder / f"{name}.nii.gz")
        np.testing.assert_allclose(again.centre, volume.centre, atol=1e-3)
        assert again.voxels.shape == volume.voxels.shape
    for points, name in ((landmarks, "template"), (truth, "truth")):
        np.testing.assert_allclose(read_landmarks(folder / f"{name}.mrk.json").positions, points.positions, atol=1e-4)
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert f"{len(LANDMARKS)} of {len(LANDMARKS)} landmarks placed" in printed
    assert "mean error 3.00 mm, largest 3.00 mm" in printed
    assert "missing" not in printed


def test_a_missing_landmark_is_named_and_not_counted_as_placed(tmp_path, capsys):
    assert demo.run(tmp_path, SIZE, matcher=Shifted("right eye", "pons")) == 3
    printed = capsys.readouterr().out.replace(str(tmp_path), "")
    assert f"{len(LANDMARKS) - 2} of {len(LANDMARKS)} landmarks placed" in printed
    assert printed.count("missing") == 2
    assert read_landmarks(tmp_path / "placed.mrk.json")[-1].status == "missing"


def test_nothing_found_still_ends_with_a_sentence(tmp_path, capsys):
    assert demo.run(tmp_path, SIZE, matcher=Shifted(*LANDMARKS)) == 3
    assert "None of" in capsys.readouterr().out


def test_a_file_in_the_folders_place_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="taken"):
        demo.run(tmp_path / "taken", SIZE, matcher=Shifted())


def test_every_shown_landmark_exists():
    assert set(SHOWN) <= set(LANDMARKS)


@pytest.mark.parametrize("view", VIEWS)
def test_slices_run_as_their_letters_say_whatever_the_storage(view):
    """A volume stored along permuted and flipped axes, bright towards one side of the patient."""
    direction = np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]], float)  # columns: x backwards, y down, z to the right
    spacing = np.array([2.0, 3.0, 4.0])
    volume = Volume(torch.zeros(60, 80, 110), np.array([120.0, -110.0, 120.0]), spacing, direction)
    z, y, x = np.meshgrid(*(np.arange(n) for n in volume.voxels.shape), indexing="ij")
    world = volume.to_world(np.stack([x, y, z], -1).reshape(-1, 3)).T.reshape(3, *volume.voxels.shape)
    towards = {"L": world[0], "R": -world[0], "P": world[1], "A": -world[1], "S": world[2], "I": -world[2]}
    left, right, top, bottom = VIEWS[view][2]
    for letter, grows in ((right, (0, 1)), (left, (0, -1)), (bottom, (1, 0)), (top, (-1, 0))):
        picture = slice_through(volume.with_voxels(torch.from_numpy(towards[letter]).float()), np.zeros(3), view)
        per_pixel = FIELD_MM / PIXELS
        np.testing.assert_allclose(np.diff(picture[5:-5, 5:-5], axis=0).mean(), grows[0] * per_pixel, atol=1e-3)
        np.testing.assert_allclose(np.diff(picture[5:-5, 5:-5], axis=1).mean(), grows[1] * per_pixel, atol=1e-3)
        assert abs(picture[PIXELS // 2 - 1 : PIXELS // 2 + 1, PIXELS // 2 - 1 : PIXELS // 2 + 1].mean()) < 1e-2
