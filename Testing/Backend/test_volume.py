"""Volumes keep their place in the patient through reading, writing, reordering and resampling."""

from __future__ import annotations

import itertools
import math
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io import itk_files
from deepfeatures.io import nifti as nifti_files
from deepfeatures.io.downsampled_reading import read_within_memory
from deepfeatures.io.image_names import image_stem
from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.io.volume_files import read_volume, write_volume

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@st.composite
def geometries(draw) -> Volume:
    """Oblique or axis-aligned, with permuted axes, left- or right-handed; every voxel has a value of its own."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    direction = np.eye(3)[:, draw(st.permutations(range(3)))]
    if draw(st.booleans()):
        rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
        direction = rotation @ direction
    direction = direction * draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    size = draw(st.tuples(*[st.integers(2, 6)] * 3))
    return Volume(
        torch.arange(float(np.prod(size)), dtype=torch.float32).reshape(size),
        random.uniform(-500, 500, 3),
        random.uniform(0.2, 6, 3),
        direction,
    )


def every_index(volume: Volume) -> np.ndarray:
    return np.array(list(itertools.product(*map(range, volume.size))))


def values_at(volume: Volume, indices: np.ndarray) -> np.ndarray:
    x, y, z = indices.T
    return volume.voxels.numpy()[z, y, x]


@given(geometries(), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_world_and_index_undo_each_other(volume, seed):
    points = np.random.default_rng(seed).uniform(-1000, 1000, (20, 3))
    np.testing.assert_allclose(volume.to_world(volume.to_index(points)), points, atol=1e-6)
    indices = points / 10
    np.testing.assert_allclose(volume.to_index(volume.to_world(indices)), indices, atol=1e-6)


@given(geometries())
@settings(deadline=None)
def test_canonical_leaves_every_voxel_at_its_place(volume):
    canonical = volume.canonical()
    indices = every_index(canonical)
    before = volume.to_index(canonical.to_world(indices))
    np.testing.assert_allclose(before, before.round(), atol=1e-6)
    np.testing.assert_array_equal(values_at(canonical, indices), values_at(volume, before.round().astype(int)))


@given(geometries())
@settings(deadline=None)
def test_canonical_axes_run_along_left_posterior_superior(volume):
    direction = volume.canonical().direction
    assert (np.diag(direction) >= 0).all()
    others = [abs(np.array([direction[world, axis] for world, axis in enumerate(order)])).sum()
              for order in itertools.permutations(range(3))]  # fmt: skip
    assert abs(np.diag(direction)).sum() >= max(others) - 1e-9


def test_canonical_of_canonical_is_the_same_object(scan):
    canonical = scan.canonical()
    assert canonical.canonical() is canonical


@given(geometries(), st.floats(0.5, 4))
@settings(deadline=None, max_examples=50)
def test_resampling_keeps_a_ramp_where_it_is(volume, spacing_mm):
    """A linear intensity is the one that linear interpolation and a symmetric filter must not move."""
    slope = np.array([0.3, -0.2, 0.5])
    ramp = volume.to_world(every_index(volume)) @ slope
    voxels = torch.from_numpy(ramp.reshape(volume.size).transpose(2, 1, 0).copy()).float()
    resampled = volume.with_voxels(voxels).resampled(spacing_mm)
    np.testing.assert_allclose(resampled.centre, volume.centre, atol=1e-6)
    points = resampled.to_world(every_index(resampled))
    # near the border the outermost voxel goes on, so look where the filter does not reach it
    reach = np.ceil(3 * spacing_mm / volume.spacing / 2.355) + 1
    old = volume.to_index(points)
    inside = ((old >= reach) & (old <= np.array(volume.size) - 1 - reach)).all(axis=1)
    np.testing.assert_allclose(
        values_at(resampled, every_index(resampled))[inside], (points @ slope)[inside], atol=1e-3
    )


def test_resampling_covers_the_same_extent(scan):
    resampled = scan.resampled(1.3)
    np.testing.assert_allclose(resampled.spacing, 1.3)
    extent = np.array(resampled.size) * resampled.spacing
    before = np.array(scan.size) * scan.spacing
    assert (extent >= before - 1e-2).all()
    assert (extent < before + 1.3).all()


def test_resampling_to_the_same_spacing_does_nothing():
    volume = Volume(torch.rand(4, 5, 6), spacing=np.array([1.0, 1.0005, 0.9995]))
    assert volume.resampled(1.0) is volume


@pytest.mark.parametrize("unit_mm", [1e-6, 1e-3, 1e3])
def test_resampling_is_the_same_in_every_unit_of_length(scan, unit_mm):
    scaled = replace(scan, origin=scan.origin * unit_mm, spacing=scan.spacing * unit_mm)
    known, found = scan.resampled(1.3), scaled.resampled(1.3 * unit_mm)
    np.testing.assert_allclose(found.spacing, known.spacing * unit_mm)
    torch.testing.assert_close(found.voxels, known.voxels)


def test_coarsening_smooths_what_the_new_grid_cannot_hold():
    checks = (torch.arange(24)[:, None, None] + torch.arange(24)[:, None] + torch.arange(24)) % 2
    coarse = Volume(checks.float()).resampled(3.0).voxels[2:-2, 2:-2, 2:-2]
    assert (coarse - 0.5).abs().max() < 0.05


def test_contains_tells_inside_from_outside_and_from_undefined(scan):
    last = np.array(scan.size) - 1.0
    indices = np.array([[0, 0, 0], last, last / 2, [-0.5, 0, 0], [-0.6, 0, 0], last + np.array([0, 0, 0.6])])
    points = np.vstack([scan.to_world(indices), [np.nan] * 3])
    assert scan.contains(points).tolist() == [True, True, True, True, False, False, False]


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("a/scan.v2.nii.gz", "scan.v2"),
        ("SCAN.NII.GZ", "SCAN"),
        ("scan.nrrd", "scan"),
        ("scan.nhdr", "scan"),
        ("scan.mha", "scan"),
        ("1.2.840.113619", "1.2.840.113619"),
        ("000011.dcm", "000011"),
        ("series.1/", "series.1"),
        (".nii.gz", ".nii.gz"),
    ],
)
def test_image_stem_takes_off_image_suffixes_only(path, stem):
    assert image_stem(path) == stem


@given(geometries(), st.sampled_from([(1, 0), (0, 1), (1, 1), (2, 1), (4, 0)]))
@settings(deadline=None, max_examples=40)
def test_nifti_geometry_is_that_of_its_affine(tmp_path_factory, volume, codes):
    nibabel = pytest.importorskip("nibabel")
    affine = LPS_FROM_RAS @ volume.index_to_world
    image = nibabel.Nifti1Image(volume.voxels.numpy().transpose(2, 1, 0), None)
    sform, qform = codes
    if sform:
        image.set_sform(affine, sform)
    if qform:
        image.set_qform(affine, qform)
    path = tmp_path_factory.mktemp("nifti") / "image.nii"
    nibabel.save(image, path)
    read = read_volume(path)
    np.testing.assert_allclose(read.index_to_world, LPS_FROM_RAS @ nibabel.load(path).affine, atol=2e-4)
    assert torch.equal(read.voxels, volume.voxels)


def nifti(path, sform, qform=None, shape=(20, 21, 22)):
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(np.ones(shape, np.float32), None)
    image.set_sform(sform, 1)
    image.set_qform(qform, 0 if qform is None else 1)
    nibabel.save(image, path)
    return path


def test_nifti_sform_that_is_not_quite_rigid_is_kept_exactly(tmp_path):
    affine = np.eye(4)
    affine[0, 1] = 0.004
    volume = read_volume(nifti(tmp_path / "a.nii.gz", affine))
    np.testing.assert_allclose(volume.index_to_world, LPS_FROM_RAS @ affine, atol=1e-7)


def test_what_itk_is_told_of_a_sform_does_not_outlive_readers_in_two_threads(monkeypatch):
    monkeypatch.delenv(itk_files.PERMISSIVE, raising=False)
    reads, may_end = threading.Event(), threading.Event()

    def read():
        with itk_files._reading(permissive=True):
            reads.set()
            may_end.wait(10)

    other = threading.Thread(target=read)
    with itk_files._reading(permissive=True):
        other.start()
        reads.wait(0.3)
        assert os.environ[itk_files.PERMISSIVE] == "ON"
    may_end.set()
    other.join()
    assert itk_files.PERMISSIVE not in os.environ


@pytest.mark.parametrize("shear", [0.0, 0.004])
def test_the_environment_changes_only_for_a_sform_that_itk_would_refuse(tmp_path, monkeypatch, shear):
    monkeypatch.delenv(itk_files.PERMISSIVE, raising=False)
    affine = np.eye(4)
    affine[0, 1] = shear
    path, seen = nifti(tmp_path / "a.nii.gz", affine), []
    execute = sitk.ImageFileReader.Execute

    def watched(reader):
        seen.append(os.environ.get(itk_files.PERMISSIVE))
        return execute(reader)

    monkeypatch.setattr(sitk.ImageFileReader, "Execute", watched)
    read_volume(path)
    assert seen == ["ON" if shear else None]


def test_a_header_is_read_once(tmp_path, scan, monkeypatch):
    write_volume(scan, tmp_path / "a.nii.gz")
    headers, read_header = [], nifti_files.read_header
    monkeypatch.setattr(nifti_files, "read_header", lambda path: headers.append(path) or read_header(path))
    read_within_memory(tmp_path / "a.nii.gz")
    assert headers == [tmp_path / "a.nii.gz"]


def test_nifti_voxel_size_is_that_of_the_sform(tmp_path):
    """Some programs leave the header's other voxel sizes at 1."""
    volume = read_volume(nifti(tmp_path / "a.nii.gz", np.diag([0.8, 0.8, 3.0, 1.0])))
    np.testing.assert_allclose(volume.spacing, [0.8, 0.8, 3.0], rtol=1e-6)


@pytest.mark.parametrize("size", [0.0, math.nan])
def test_nifti_without_voxel_size_is_refused_unless_the_sform_has_it(tmp_path, scan, size):
    path = tmp_path / "a.nii"
    write_volume(scan, path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 84, size)  # pixdim along y
    path.write_bytes(content)
    assert np.allclose(read_volume(path).spacing, scan.spacing, atol=1e-4)
    struct.pack_into("<h", content, 254, 0)  # sform_code
    path.write_bytes(content)
    with pytest.raises(InputError, match="no usable voxel size"):
        read_volume(path)


def test_nifti_in_micrometres_is_read_in_millimetres(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    for sform, qform in ((1, 0), (0, 1)):
        image = nibabel.Nifti1Image(np.ones((4, 5, 6), np.float32), np.diag([500.0, 600, 700, 1]))
        image.set_sform(image.affine, sform)
        image.set_qform(image.affine, qform)
        image.header.set_xyzt_units("micron")
        nibabel.save(image, tmp_path / "a.nii.gz")
        np.testing.assert_allclose(read_volume(tmp_path / "a.nii.gz").spacing, [0.5, 0.6, 0.7], rtol=1e-6)


@pytest.mark.parametrize("order", ["<", ">"])
def test_nifti_of_either_byte_order_is_read(tmp_path, order, scan):
    nibabel = pytest.importorskip("nibabel")
    header = nibabel.Nifti1Header(endianness=order)
    affine = LPS_FROM_RAS @ scan.index_to_world
    nibabel.save(nibabel.Nifti1Image(scan.voxels.numpy().transpose(2, 1, 0), affine, header), tmp_path / "a.nii.gz")
    read = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(read.index_to_world, scan.index_to_world, atol=1e-5)
    assert torch.equal(read.voxels, scan.voxels)


def test_sheared_nifti_is_refused(tmp_path):
    affine = np.eye(4)
    affine[0, 1] = 0.3
    with pytest.raises(InputError, match=r"right angles.*resample"):
        read_volume(nifti(tmp_path / "a.nii.gz", affine))
    assert "ITK_NIFTI_SFORM_PERMISSIVE" not in os.environ


def test_sheared_sform_gives_way_to_a_good_qform(tmp_path):
    affine = np.eye(4)
    affine[0, 1] = 0.3
    volume = read_volume(nifti(tmp_path / "a.nii.gz", affine, np.diag([2.0, 1, 1, 1])))
    np.testing.assert_allclose(volume.spacing, [2, 1, 1])


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_written_volume_reads_back(tmp_path, scan, suffix):
    path = tmp_path / f"scan{suffix}"
    write_volume(scan, path)
    read = read_volume(path)
    assert torch.equal(read.voxels, scan.voxels)
    np.testing.assert_allclose(read.index_to_world, scan.index_to_world, atol=1e-4)
    assert read.name == "scan"
    assert list(tmp_path.iterdir()) == [path]


def test_written_nifti_has_the_affine_that_others_expect(tmp_path, scan):
    nibabel = pytest.importorskip("nibabel")
    write_volume(scan, tmp_path / "scan.nii.gz")
    image = nibabel.load(tmp_path / "scan.nii.gz")
    for affine in (image.affine, image.get_qform()):
        np.testing.assert_allclose(LPS_FROM_RAS @ affine, scan.index_to_world, atol=1e-4)


@pytest.mark.parametrize("pixel", [sitk.sitkUInt8, sitk.sitkInt16, sitk.sitkUInt32, sitk.sitkFloat64])
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd", ".nii.gz"])
def test_every_pixel_type_and_header_becomes_float32(tmp_path, pixel, suffix):
    values = np.arange(60).reshape(3, 4, 5)
    sitk.WriteImage(sitk.Cast(sitk.GetImageFromArray(values), pixel), str(tmp_path / f"a{suffix}"))
    voxels = read_volume(tmp_path / f"a{suffix}").voxels
    assert voxels.dtype == torch.float32
    np.testing.assert_array_equal(voxels, values)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
def test_a_fourth_axis_of_length_one_is_dropped(tmp_path, suffix, scan):
    image = sitk.JoinSeries([sitk.GetImageFromArray(scan.voxels.numpy())])
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    assert torch.equal(read_volume(tmp_path / f"a{suffix}").voxels, scan.voxels)


def test_a_volume_of_air_is_read(tmp_path):
    write_volume(Volume(torch.zeros(3, 4, 5)), tmp_path / "air.nii.gz")
    assert read_volume(tmp_path / "air.nii.gz").voxels.abs().max() == 0


@pytest.mark.parametrize("pixel", [np.float32, np.float64])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_voxel_that_is_not_finite_is_refused_wherever_it_is(tmp_path, suffix, pixel, value):
    for place in (0, 12345, -1):
        voxels = np.zeros((60, 70, 80), pixel)
        voxels.flat[place] = value
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(tmp_path / f"a{suffix}"))
        with pytest.raises(InputError, match="1 voxel that is not finite"):
            read_volume(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.95])
def test_a_file_cut_short_is_refused(tmp_path, suffix, kept, compressed):
    noise = np.random.default_rng(0).normal(size=(20, 21, 22)).astype(np.float32)
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(path), useCompression=compressed)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(InputError):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_damaged_byte_of_compressed_voxels_is_noticed(tmp_path, suffix):
    noise = np.random.default_rng(0).normal(size=(20, 21, 22)).astype(np.float32)
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(path), useCompression=True)
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_volume(path)


@pytest.mark.data
def test_real_nifti_files_agree_with_nibabel(data):
    nibabel = pytest.importorskip("nibabel")
    for path in (data / "heads" / "1000_3.nii.gz", data / "hippocampus" / "hippocampus_001.nii.gz"):
        volume, image = read_volume(path), nibabel.load(path)
        np.testing.assert_allclose(volume.index_to_world, LPS_FROM_RAS @ image.affine, atol=1e-4)
        np.testing.assert_allclose(volume.voxels.permute(2, 1, 0), image.get_fdata(dtype=np.float32), rtol=1e-6)


@pytest.mark.parametrize("name", ["a.mhd", "a.nhdr", "a.png", "a"])
def test_only_formats_of_one_file_are_written(tmp_path, scan, name):
    with pytest.raises(InputError, match=r"\.nii\.gz"):
        write_volume(scan, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_writing_where_nothing_can_be_written_says_so(tmp_path, scan):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(InputError, match=r"cannot write.*choose"):
            write_volume(scan, folder / "a.nii.gz")


def test_writing_to_a_name_that_is_not_utf8_is_refused(tmp_path, scan):
    with pytest.raises(InputError, match="is not UTF-8"):
        write_volume(scan, tmp_path / "m\udce4dchen.nii.gz")


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a POSIX matter")
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("room", [0, 100, 20_000])
def test_a_full_disk_is_noticed_and_leaves_nothing(tmp_path, suffix, room):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write .*room"):
            write_volume(Volume(torch.rand(32, 32, 32)), tmp_path / f"a{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is a POSIX matter")
def test_a_kill_while_writing_leaves_only_whole_files(tmp_path):
    """Files of two kinds are written over and over and the writer is killed at odd moments."""
    script = """
import itertools, sys, torch
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.io.landmark_files import write_landmarks
from deepfeatures.data.volume import Volume
from deepfeatures.io.volume_files import write_volume
folder = sys.argv[1]
points = LandmarkSet(tuple(Landmark(f"point {k}", (k, k, k)) for k in range(2000)))
for round in itertools.count():
    write_landmarks(points, f"{folder}/points{round % 2}.mrk.json")
    write_volume(Volume(torch.rand(32, 32, 32)), f"{folder}/volume{round % 2}.nii.gz")
    print("round", flush=True)
"""
    random = np.random.default_rng(0)
    for _ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE)
        for _ in range(2):
            assert writer.stdout.readline() == b"round\n"
        time.sleep(random.uniform(0, 0.1))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        points, volumes = list(tmp_path.glob("*.json")), list(tmp_path.glob("*.nii.gz"))
        assert len(points) == len(volumes) == 2
        assert {len(read_landmarks(path)) for path in points} == {2000}
        assert {read_volume(path).size for path in volumes} == {(32, 32, 32)}
