"""A unit of length that was mistaken is told by the sizes of the volumes, and a crop is none."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from deepfeatures.cli.main import main
from deepfeatures.data.landmarks import Landmark
from deepfeatures.data.missing_reason import UNLIKE, missing_text
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.data.size_check import notes_on_size
from deepfeatures.data.volume import Volume
from deepfeatures.io.volume_files import read_volume, write_volume


def volume(extent_mm, spacing_mm) -> Volume:
    """One that reaches so far along x, y and z, whose voxels take no memory."""
    spacing = np.broadcast_to(np.array(spacing_mm, float), 3)
    size = np.round(np.array(extent_mm) / spacing).astype(int)
    return Volume(torch.zeros(1).expand(*size[::-1].tolist()), spacing=spacing)


HEAD = volume((180, 220, 160), 1.0)


@pytest.mark.parametrize("factor", [1e-3, 0.1, 10, 25.4, 1e3])
@pytest.mark.parametrize("other", [HEAD, volume((160, 200, 150), (0.5, 0.5, 3)), volume((70, 80, 70), 1.0)])
def test_a_unit_that_was_mistaken_is_told_with_both_sizes(factor, other):
    target = replace(other, spacing=other.spacing * factor)
    (note,) = notes_on_size(HEAD, target)
    assert note.kind == NoteKind.SIZE
    assert note.text.startswith("template 180 × 220 × 160 mm, target ")
    assert note.text.endswith(" mm: check the unit of length of both")
    assert len(notes_on_size(target, HEAD)) == 1


def test_both_sizes_are_named_in_millimetres():
    (note,) = notes_on_size(HEAD, replace(HEAD, spacing=HEAD.spacing * 10))
    assert note.text.startswith("template 180 × 220 × 160 mm, target 1800 × 2200 × 1600 mm")


@pytest.mark.parametrize(
    "other",
    [
        HEAD,
        volume((60, 70, 55), 1.0),  # a third of it
        volume((35, 51, 35), 0.5),  # a crop around a hippocampus
        volume((500, 500, 1800), (0.9, 0.9, 3)),  # a whole body
        volume((180, 220, 160), 4.0),  # the same head, coarse
        volume((180, 220, 3), (0.3, 0.3, 0.3)),  # a slab
        volume((220, 220, 160), (0.4, 0.4, 6)),  # thick slices
    ],
)
def test_crops_and_other_voxels_are_not_taken_for_another_unit(other):
    assert notes_on_size(HEAD, other) == notes_on_size(other, HEAD) == ()


def test_sizes_are_what_to_check_where_the_target_does_not_look_like_the_template():
    landmarks = [Landmark(name, None, "missing", reason=UNLIKE) for name in "ab"]
    note = Note(NoteKind.SIZE, "t: template 10 mm, target 100 mm: check the unit of length of both")
    assert missing_text(landmarks, notes=[note]) == f"all 2 ({UNLIKE}); {note.text}"
    assert missing_text(landmarks, notes=[Note(NoteKind.UNIT, "u")]).endswith("show the same anatomy")
    assert missing_text([Landmark("a", (0.0, 0, 0))], notes=[note]) == ""


@pytest.mark.parametrize("factor", [0.1, 10])
def test_place_tells_a_target_that_is_ten_times_off(data, tmp_path, capsys, factor):
    template, points = (data / f"hippocampus/hippocampus_001.{suffix}" for suffix in ("nii.gz", "mrk.json"))
    scan = read_volume(data / "hippocampus/hippocampus_003.nii.gz")
    write_volume(replace(scan, spacing=scan.spacing * factor), tmp_path / "scaled.nrrd")
    given = ["place", "--template", str(template), "--landmarks", str(points), "--output-dir", str(tmp_path)]
    report = tmp_path / "report.json"
    assert main([*given, str(tmp_path / "scaled.nrrd"), "--report", str(report)]) in (0, 3)
    lines = [line for line in capsys.readouterr().err.splitlines() if "check the unit of length" in line]
    assert lines[0].startswith("note: scaled: template 35 × 51 × 35 mm, target ")
    notes = json.loads(report.read_text())["targets"][0]["notes"]
    assert [note["kind"] for note in notes] == ["size"]
