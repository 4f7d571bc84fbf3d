"""Files of public bug reports, kept beside the development volumes: each is read right, with a note, or refused."""

from __future__ import annotations

import itertools
import tarfile

import numpy as np
import pytest

from deepfeatures.data.notes import NoteKind
from deepfeatures.errors import InputError
from deepfeatures.io.bids import find_volumes
from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.io.volume_files import read_volume

pytestmark = pytest.mark.data


@pytest.fixture
def faults(data):
    folder = data / "faults"
    if not folder.is_dir():
        pytest.skip(f"no files of bug reports in {folder}")
    return folder


@pytest.fixture
def unpacked(faults, tmp_path):
    """A function that unpacks an archive and returns the folder in it."""

    def unpack(name):
        with tarfile.open(faults / name) as archive:
            archive.extractall(tmp_path, filter="data")
        (folder,) = tmp_path.iterdir()
        return folder

    return unpack


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("enh_2t_kfirst/a.dcm", "holds 2 volumes at one place"),
        ("multiframe_between_ignored/a.dcm", "does not say where its slices lie"),
        ("us_cine/a.dcm", "does not say where its slices lie"),
        ("nrrd_bzip2/enc_bzip2.nrrd", "compressed by bzip2"),
    ],
)
def test_what_cannot_be_placed_is_refused(faults, name, sentence):
    with pytest.raises(InputError, match=sentence):
        read_volume(faults / name)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("enh_interleaved/a.dcm", []),
        ("enh_perframe_slope/a.dcm", []),
        ("enh_tilt/a.dcm", [NoteKind.SHEAR]),
        ("nifti_codes0_mirrored/target_codes0.nii.gz", [NoteKind.ORIENTATION]),
        ("nifti_sform2_qform1/template_sform2_qform1.nii.gz", [NoteKind.MATRICES]),
        ("nrrd_scanner_xyz/template.nrrd", [NoteKind.ORIENTATION]),
        ("nrrd_no_space/template.nrrd", [NoteKind.ORIENTATION, NoteKind.ORIENTATION]),
    ],
)
def test_what_is_doubtful_has_a_note(faults, name, kinds):
    assert [note.kind for note in read_volume(faults / name).notes] == kinds


@pytest.mark.parametrize("name", ["enh_interleaved/a.dcm", "enh_perframe_slope/a.dcm"])
def test_neighbouring_frames_look_alike(faults, name):
    """In the order of the file the likeness is 0.61; with one slope for all, slices differ by twice their mean."""
    slices = read_volume(faults / name).voxels.flatten(1).numpy()
    means = slices.mean(axis=1)
    assert np.mean([np.corrcoef(*pair)[0, 1] for pair in itertools.pairwise(slices)]) > 0.8
    assert np.abs(np.diff(means)).max() < 0.1 * means.mean()


def test_voxels_do_not_begin_within_the_header(faults):
    volumes = [read_volume(faults / "nifti_vox_offset_0" / name) for name in ("u8.nii.gz", "u8_offset0.nii.gz")]
    np.testing.assert_array_equal(*(volume.voxels.numpy() for volume in volumes))


def test_a_folder_by_ngff_zarr_lies_where_its_image_lay(faults, unpacked):
    read = read_volume(unpacked("ome_zarr_ngff_zarr/itk.ome.zarr.tar.gz"))
    right = read_volume(faults / "ome_zarr_ngff_zarr/same_volume.nrrd")
    np.testing.assert_allclose(read.index_to_world, right.index_to_world, atol=1e-6)


def test_a_series_without_pixel_size_is_refused(unpacked):
    with pytest.raises(InputError, match="does not say how large its pixels are"):
        read_volume(unpacked("dicom_zero_spacing/series.tar.gz"))


def test_masks_are_no_scans(unpacked):
    assert sorted(find_volumes(unpacked("cohort_counts_masks/bids.tar.gz"))) == ["sub-003_T1w", "sub-004_T1w"]


def test_every_row_of_an_old_file_is_a_point(faults):
    assert len(read_landmarks(faults / "fcsv_label_starts_with_quote/quote_start.fcsv")) == 5
