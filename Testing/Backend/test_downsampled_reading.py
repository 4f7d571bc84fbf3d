"""Volumes that do not fit into memory: averaged in the right place, within the limit, and chunk by chunk."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import zoom

from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.notes import NoteKind
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.bids import find_volumes
from deepfeatures.io.chunked import ChunkedVolume, block_means, factors_to_fit, read_averaged
from deepfeatures.io.downsampled_reading import VOXEL_BYTES, WORKING_SPACE, memory_available, read_within_memory
from deepfeatures.io.image_names import image_stem
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import read_volume, write_volume
from deepfeatures.matching import Matcher, MatchSettings

MIB = 2**20


def memory_for(voxels: int) -> int:
    return voxels * VOXEL_BYTES * WORKING_SPACE


def smooth_noise(size: int, seed: int = 0) -> np.ndarray:
    """A cube of structures about a tenth of its edge wide."""
    coarse = np.random.default_rng(seed).normal(size=(20, 20, 20))
    return (1000 * zoom(coarse, size / 20, order=1)).astype(np.float32)


@st.composite
def stored_ramps(draw):
    """A stored volume, oblique, of any shape and chunks, whose voxels are linear in the world; with its slope."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.tuples(*[st.integers(1, 13)] * 3))
    chunk = draw(st.tuples(*[st.integers(1, 5)] * 3))
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    affine = np.column_stack([rotation * random.uniform(0.2, 3, 3), random.uniform(-100, 100, 3)])
    slope = random.normal(size=3)
    z, y, x = np.indices(shape)
    voxels = (np.stack([x, y, z], -1) @ affine[:, :3].T + affine[:, 3]) @ slope
    return ChunkedVolume("ramp", shape, affine, chunk, lambda region: voxels[region].astype(np.float32)), slope


@given(stored_ramps(), st.tuples(*[st.integers(1, 4)] * 3))
@settings(deadline=None)
def test_the_mean_of_a_block_lies_at_the_centre_of_the_block(given_, factors):
    stored, slope = given_
    voxels, affine = read_averaged(stored, factors)
    assert voxels.shape == tuple(-(-n // f) for n, f in zip(stored.shape, factors, strict=True))
    np.testing.assert_allclose(np.linalg.norm(affine[:, :3], axis=0), stored.spacing * factors[::-1])
    whole = tuple(n // f for n, f in zip(stored.shape, factors, strict=True))  # blocks that are not filled up
    z, y, x = np.indices(whole)
    world = np.stack([x, y, z], -1) @ affine[:, :3].T + affine[:, 3]
    inside = tuple(slice(n) for n in whole)
    np.testing.assert_allclose(voxels[inside], world @ slope, atol=1e-2)


def test_blocks_at_the_end_are_filled_up_with_the_outermost_voxels():
    voxels = np.arange(5, dtype=np.float32).reshape(5, 1, 1)
    np.testing.assert_allclose(block_means(voxels, (3, 1, 1)).ravel(), [1, (3 + 4 + 4) / 3])


@given(st.tuples(*[st.integers(1, 3000)] * 3), st.tuples(*[st.floats(0.01, 5)] * 3), st.integers(1, 10**9))
@settings(deadline=None)
def test_factors_fit_and_are_no_larger_than_needed(shape, spacing, most_voxels):
    factors = factors_to_fit(shape, np.array(spacing), most_voxels)

    def left(chosen):
        return np.prod([-(-n // f) for n, f in zip(shape, chosen, strict=True)])

    assert left(factors) <= most_voxels
    if max(factors) > 1:  # the last step was needed
        fewer = [np.subtract(factors, np.arange(3) == axis) for axis in range(3) if factors[axis] > 1]
        assert max(left(one) for one in fewer) > most_voxels


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_nifti_file_that_fits_is_read_as_it_is_and_a_larger_one_coarser(scan, tmp_path, suffix):
    path = tmp_path / f"scan{suffix}"
    write_volume(scan, path)
    same = read_within_memory(path, memory_for(scan.voxels.numel()))
    assert torch.equal(same.voxels, scan.voxels)
    assert same.note is None
    coarser = read_within_memory(path, memory_for(scan.voxels.numel() - 1))
    assert coarser.size == (4, 7, 6)  # 8 x 7 x 6 voxels of 0.9 x 1.1 x 2.5 mm: x is the finest
    np.testing.assert_allclose(coarser.spacing, [1.8, 1.1, 2.5], rtol=1e-6)
    np.testing.assert_allclose(coarser.centre, scan.centre, atol=1e-4)
    np.testing.assert_allclose(coarser.direction, scan.direction, atol=1e-5)
    np.testing.assert_allclose(coarser.voxels, scan.voxels.reshape(6, 7, 4, 2).mean(-1))
    (note,) = coarser.notes
    assert note.kind == NoteKind.RESAMPLED
    assert note.text == "too large for the memory: read at 1.8 × 1.1 × 2.5 mm instead of 0.9 × 1.1 × 2.5 mm"
    assert coarser.note == f"{image_stem(path)}: {note.text}"


def test_scaled_integers_are_read_as_itk_reads_them(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    voxels = np.random.default_rng(0).integers(-500, 500, (8, 9, 10, 1)).astype(np.int16)
    image = nibabel.Nifti1Image(voxels, np.diag([-0.5, -0.5, 1.0, 1.0]))
    image.header.set_slope_inter(0.25, 10)
    nibabel.save(image, tmp_path / "a.nii.gz")
    whole = read_volume(tmp_path / "a.nii.gz")
    coarser = read_within_memory(tmp_path / "a.nii.gz", memory_for(8 * 9 * 5))
    np.testing.assert_allclose(
        coarser.voxels, block_means(whole.voxels.numpy(), (1, 2, 2))[:, :, :], rtol=1e-5, atol=1e-3
    )


def test_voxels_that_are_not_finite_are_refused_in_a_large_file_too(tmp_path):
    volume = Volume(torch.rand(8, 8, 8))
    volume.voxels[7, 7, 7] = torch.nan
    for suffix in (".nii", ".nii.gz"):
        write_volume(volume, tmp_path / f"a{suffix}")
        with pytest.raises(InputError, match="1 voxel that is not finite"):
            read_within_memory(tmp_path / f"a{suffix}", memory_for(100))


READER = """
import resource, sys, threading, time
import deepfeatures.io.volume_files, nibabel, psutil
from deepfeatures.io.downsampled_reading import read_within_memory
process, peak, done = psutil.Process(), [0], threading.Event()
def watch():
    while not done.is_set():
        peak[0] = max(peak[0], process.memory_info().rss)
        time.sleep(0.001)
read_within_memory(sys.argv[2], 1000 * 64)  # what is imported on the way
before = process.memory_info().rss
watcher = threading.Thread(target=watch)
watcher.start()
volume = read_within_memory(sys.argv[1], int(sys.argv[3]))
done.set()
watcher.join()
print(peak[0] - before, *volume.size)
"""


@pytest.mark.parametrize("kind", ["nii", "nii.gz", "zarr"])
def test_reading_takes_a_fraction_of_the_volumes_own_memory(tmp_path, write_zarr, kind):
    pytest.importorskip("psutil")
    small, large = np.zeros((20, 20, 20), np.float32), np.full((320, 320, 320), 7, np.float32)
    if kind == "zarr":
        small, large = write_zarr(small, name="small.zarr"), write_zarr(large.astype(np.int16), name="large.zarr")
    else:
        for name, voxels in (("small", small), ("large", large)):
            write_volume(Volume(torch.from_numpy(voxels)), tmp_path / f"{name}.{kind}")
        small, large = tmp_path / f"small.{kind}", tmp_path / f"large.{kind}"
    given_ = [str(large), str(small), str(memory_for(80**3))]
    run = subprocess.run([sys.executable, "-c", READER, *given_], capture_output=True, text=True, timeout=300)
    peak, *size = map(int, run.stdout.split() or [0])
    assert size == [80, 80, 80], run.stderr
    assert peak < 40 * MIB  # the volume itself is 125 MiB


def test_landmarks_are_where_they_are_in_the_whole_volume(tmp_path, write_zarr):
    """Read by region at twice the spacing: within half a voxel of what the whole volume gives."""
    voxels = smooth_noise(120)
    spacing = 0.5
    whole = Volume(torch.from_numpy(voxels), np.array([5.0, -3, 2]), np.full(3, spacing))
    template = Volume(torch.from_numpy(block_means(voxels, (2, 2, 2))), np.full(3, 0.25), np.full(3, 1.0), name="t")
    points = LandmarkSet(tuple(Landmark(str(n), p) for n, p in enumerate([(20.0, 25, 30), (35.0, 30, 25)])))
    truth = points.positions + np.array([5.0, -3, 2])
    write_volume(whole, tmp_path / "target.nii.gz")
    write_volume(template, tmp_path / "template.nii.gz")
    chunked = write_zarr(voxels, scale=(spacing,) * 3, translation=(2.0, -3, 5), name="target.zarr")
    matcher = Matcher(device="cpu")
    expected = matcher.match(template, points, whole).landmarks.positions
    assert np.linalg.norm(expected - truth, axis=1).max() < 0.5
    for path in (tmp_path / "target.nii.gz", chunked):
        target = read_within_memory(path, memory_for(60**3))
        np.testing.assert_allclose(target.spacing, 1.0, rtol=1e-6)
        placed = matcher.match(template, points, target).landmarks.positions
        assert np.linalg.norm(placed - expected, axis=1).max() < spacing


def test_the_finest_level_that_fits_is_read_and_a_coarsest_that_does_not_is_averaged(write_zarr):
    fine = np.random.default_rng(0).normal(size=(32, 32, 32)).astype(np.float32)
    coarse = block_means(fine, (2, 2, 2))
    path = write_zarr(fine, coarse)
    assert read_within_memory(path, memory_for(32**3)).note is None
    one = read_within_memory(path, memory_for(32**3 - 1))
    np.testing.assert_array_equal(one.voxels, coarse)
    np.testing.assert_allclose(one.origin, [0.5, 0.5, 0.5])
    assert "read at 2 × 2 × 2 mm instead of 1 × 1 × 1 mm" in one.note
    two = read_within_memory(path, memory_for(8**3))
    np.testing.assert_allclose(two.voxels, block_means(coarse, (2, 2, 2)), rtol=1e-5)
    np.testing.assert_allclose(two.origin, [1.5, 1.5, 1.5])


@pytest.mark.parametrize("package", ["zarr", "nibabel"])
def test_a_package_that_is_missing_is_named(write_zarr, tmp_path, scan, monkeypatch, package):
    path = write_zarr(scan.voxels.numpy()) if package == "zarr" else tmp_path / "scan.nii"
    if package == "nibabel":
        write_volume(scan, path)
    for module in (package, f"{package}.arrayproxy"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"pip install '\.\[large\]'"):
        read_within_memory(path, memory_for(10))


def test_memory_is_what_is_free_or_what_the_container_may_have(tmp_path, monkeypatch):
    psutil = pytest.importorskip("psutil")
    monkeypatch.setattr("deepfeatures.io.downsampled_reading.CONTAINER_LIMIT", tmp_path / "memory.max")
    free = psutil.virtual_memory().total
    assert 0 < memory_available() <= free
    (tmp_path / "memory.max").write_text("max\n")
    assert 1e6 < memory_available() <= free
    (tmp_path / "memory.max").write_text("1000000\n")
    assert memory_available() == 1e6
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert memory_available() == math.inf


def test_place_takes_ome_zarr_and_says_how_coarsely_it_was_read(
    write_zarr, tmp_path, place, fake_matcher, scan, capsys
):
    path = write_zarr(scan.voxels.numpy())
    assert place(str(path), "--report", "report.json") == 0
    assert capsys.readouterr().err == ""
    assert [landmark.name for landmark in read_landmarks(tmp_path / "out/scan.mrk.json")] == ["AC", "PC"]
    assert json.loads((tmp_path / "report.json").read_text())["targets"][0]["note"] is None


def test_place_notes_a_target_that_was_read_coarser(write_zarr, tmp_path, place, fake_matcher, monkeypatch, capsys):
    path = write_zarr(smooth_noise(40))
    monkeypatch.setattr("deepfeatures.io.downsampled_reading.memory_available", lambda: memory_for(30**3))
    assert place(str(path), "--report", "report.json") == 0
    (note,) = capsys.readouterr().err.splitlines()
    assert note == f"note: {image_stem(path)}: too large for the memory: read at 1 × 2 × 2 mm instead of 1 × 1 × 1 mm"
    assert f"note: {json.loads((tmp_path / 'report.json').read_text())['targets'][0]['note']}" == note


def test_folders_of_scans_list_ome_zarr(write_zarr, tmp_path, scan):
    folder = tmp_path / "bids/sub-01/anat"
    folder.mkdir(parents=True)
    write_zarr(scan.voxels.numpy(), name="bids/sub-01/anat/sub-01_T1w.ome.zarr")
    write_volume(scan, folder / "sub-01_T2w.nii.gz")
    assert list(find_volumes(tmp_path / "bids")) == ["sub-01_T1w", "sub-01_T2w"]
    write_zarr(scan.voxels.numpy(), name="flat/sub-01.zarr")  # a folder, but not a subject's
    assert list(find_volumes(tmp_path / "flat")) == ["sub-01"]


def test_a_cohort_reads_what_does_not_fit_into_a_worker_coarser(write_zarr, tmp_path):
    distributed = pytest.importorskip("distributed")
    import dask

    from deepfeatures.pipelines import cohort as cohorts

    voxels = smooth_noise(60)
    template = Volume(torch.from_numpy(block_means(voxels, (2, 2, 2))), np.full(3, 0.5), np.full(3, 2.0))
    write_volume(template, tmp_path / "template.nii.gz")
    points = LandmarkSet((Landmark("a", (20.0, 25, 30)), Landmark("b", (35.0, 30, 25))))
    write_landmarks(points, tmp_path / "template.mrk.json")
    write_zarr(voxels, name="scans/chunked.zarr")
    write_volume(replace(template, voxels=torch.from_numpy(voxels), origin=np.zeros(3), spacing=np.ones(3)),
                 tmp_path / "scans/plain.nii.gz")  # fmt: skip
    scans = find_volumes(tmp_path / "scans")
    given = tmp_path / "template.nii.gz", tmp_path / "template.mrk.json"
    job = cohorts.Cohort(*given, scans, tmp_path / "out", MatchSettings(device="cpu"))
    cohorts.prepare(job)
    # within this process, where dask may not act on so small a limit
    unlimited = {f"distributed.worker.memory.{name}": False for name in ("target", "spill", "pause", "terminate")}
    of_worker = {"processes": False, "threads_per_worker": 1, "memory_limit": memory_for(30**3)}
    with (
        dask.config.set(unlimited),
        distributed.LocalCluster(n_workers=1, dashboard_address="127.0.0.1:0", silence_logs=50, **of_worker) as cluster,
        distributed.Client(cluster) as client,
    ):
        summary = cohorts.run(job, client).set_index("target")
    assert summary.status.eq("placed").all()
    for scan in scans:
        assert "read at 2 × 2 × 2 mm instead of 1 × 1 × 1 mm" in summary.note[scan]
        placed = read_landmarks(tmp_path / f"out/{scan}.mrk.json").positions
        assert np.linalg.norm(placed - points.positions, axis=1).max() < 1
