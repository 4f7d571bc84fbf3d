"""The same anatomy in many files: it lies at the same place, or one sentence says why the file cannot be used."""

from __future__ import annotations

import folder_variants
import landmark_variants
import nifti_variants
import numpy as np
import pytest
import text_header_variants
from anatomy import TRUTHS, assert_in_place

from deepfeatures.io.chunked import read_averaged
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import open_volume, read_volume
from deepfeatures.io.volume_header import volume_of

VARIANTS = [
    *nifti_variants.variants(),
    *text_header_variants.variants(),
    *folder_variants.dicom_variants(),
    *folder_variants.zarr_variants(),
]
TEXTS = list(landmark_variants.texts())


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_the_anatomy_lies_where_it_should(variant, tmp_path):
    path = variant.write(tmp_path)
    truth = TRUTHS["straight" if "straight" in variant.name else "oblique"]
    volume = read_volume(path)
    assert_in_place(volume, truth)
    assert {note.kind for note in volume.notes} == set(variant.told)
    if levels := open_volume(path).levels:  # as a volume that is larger than memory
        assert_in_place(volume_of(path, *read_averaged(levels()[0])), truth)


@pytest.mark.parametrize(("name", "suffix", "text"), TEXTS, ids=[name for name, *_ in TEXTS])
def test_points_lie_where_they_should(name, suffix, text, tmp_path):
    path = tmp_path / f"points{suffix}"
    path.write_bytes(text.encode())
    points = read_landmarks(path)
    np.testing.assert_allclose(points.positions, landmark_variants.POSITIONS, atol=1e-6)
    assert tuple(point.name for point in points) == landmark_variants.NAMES


@pytest.mark.parametrize("suffix", landmark_variants.own_suffixes())
def test_points_lie_where_they_were_written(suffix, tmp_path):
    write_landmarks(landmark_variants.POINTS, tmp_path / f"points{suffix}")
    points = read_landmarks(tmp_path / f"points{suffix}")
    np.testing.assert_allclose(points.positions, landmark_variants.POSITIONS, atol=1e-4)


def test_names_of_variants_differ():
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)
    assert len({name for name, *_ in TEXTS}) == len(TEXTS)
