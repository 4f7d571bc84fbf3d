"""DICOM of every shape: voxels lie where their frames say, or one sentence says why they cannot be read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepfeatures.errors import InputError
from deepfeatures.io.volume_files import check_volume, read_volume


def values_at(volume, indices: np.ndarray) -> np.ndarray:
    x, y, z = indices.T
    return volume.voxels.numpy()[z, y, x]


def test_dicom_folder_and_any_of_its_files_are_the_same_volume(dicom_series):
    folder = dicom_series(positions=[(1.0, 2.0, 10 + 2.5 * k) for k in range(5)])
    volume = read_volume(folder)
    assert volume.size == (8, 8, 5)
    np.testing.assert_allclose(volume.origin, [1, 2, 10])
    np.testing.assert_allclose(volume.spacing, [0.5, 0.5, 2.5])
    assert volume.voxels[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert (volume.name, volume.modality) == ("series", "CT")
    for file in folder.iterdir():
        same = read_volume(file)
        assert torch.equal(same.voxels, volume.voxels)
        np.testing.assert_array_equal(same.index_to_world, volume.index_to_world)


def test_dicom_slices_lie_where_their_tags_say(dicom_series):
    axes = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    normal = np.cross(axes[:, 0], axes[:, 1])
    positions = [tuple(np.array([5.0, -3.0, 8.0]) - 3.0 * k * normal) for k in range(4)]
    volume = read_volume(dicom_series(positions=positions, orientation=[*axes[:, 0], *axes[:, 1]]))
    for number, position in enumerate(positions):
        index = volume.to_index(np.array([position]))
        np.testing.assert_allclose(index, index.round(), atol=1e-3)
        assert values_at(volume, index.round().astype(int)) == number


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"positions": [(0, 0, z) for z in (0, 2.5, 7.5, 10)]}, r"not evenly sliced \(steps of 2.5 to 5 mm\)"),
        ({"positions": [(0, 0, z) for z in (0, 0, 2.5, 2.5)]}, "holds 2 volumes at one place; save the right one"),
        ({"positions": [(0, 0, z) for z in (0, 2.5, 2.5, 5)]}, "several slices at 1 of 3 places"),
        ({"positions": [(0, 0, 0), (0, 0, 0)]}, "shows one slice 2 times"),
        ({"positions": [(0, 3 * k, 2.5 * k) for k in range(5)]}, "right angles"),
        ({"positions": [(0, 0, 0)]}, "no DICOM volume"),
        ({"components": 3}, "colour"),
    ],
)
def test_a_dicom_series_that_is_no_grid_is_refused(dicom_series, change, words):
    folder = dicom_series(**change)
    for read in (read_volume, check_volume):
        with pytest.raises(InputError, match=words):
            read(folder)


def test_a_folder_of_two_dicom_volumes_names_them(dicom_series):
    folder = dicom_series("first")
    dicom_series("second", uid="1.2.826.0.1.3680043.2.1125.2", folder=folder)
    with pytest.raises(InputError, match=r"2 DICOM volumes.*--series.*1 \(first, 5 slices, UID 1.*1\), 2 \(second"):
        read_volume(folder)
    assert read_volume(next(folder.glob("second*"))).size == (8, 8, 5)


def test_a_scout_beside_a_dicom_volume_is_left_out(dicom_series):
    folder = dicom_series("scan")
    dicom_series("scout", positions=[(0, 0, 0)], uid="1.2.826.0.1.3680043.2.1125.2", folder=folder)
    (folder / "notes.txt").write_text("nothing")
    assert read_volume(folder).size == (8, 8, 5)


def test_dicom_slices_of_different_size_are_refused(dicom_series):
    folder = dicom_series("a", positions=[(0, 0, 0), (0, 0, 2)])
    dicom_series("b", positions=[(0, 0, 4), (0, 0, 6)], size=10, folder=folder)
    with pytest.raises(InputError, match="different size"):
        read_volume(folder)


@pytest.mark.data
def test_the_real_dicom_series_are_read(data):
    volumes = [read_volume(data / "dicom" / name) for name in ("tumour1_T1", "tumour1_T2")]
    for volume in volumes:
        assert volume.size == (512, 512, 22)
        assert volume.modality == "MR"
        np.testing.assert_allclose(volume.spacing, [0.4297, 0.4297, 6.5], atol=1e-4)
    np.testing.assert_allclose(volumes[0].index_to_world, volumes[1].index_to_world, atol=1e-3)
    one_file = read_volume(data / "dicom" / "tumour1_T1" / "000011.dcm")
    assert torch.equal(one_file.voxels, volumes[0].voxels)
