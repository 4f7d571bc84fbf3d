"""OME-Zarr of every version and writer: read where the writer meant it to lie, or refused in one sentence."""

from __future__ import annotations

import json
import runpy
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from deepfeatures.data.notes import NoteKind
from deepfeatures.errors import InputError
from deepfeatures.io.downsampled_reading import VOXEL_BYTES, WORKING_SPACE, read_within_memory
from deepfeatures.io.image_names import image_stem
from deepfeatures.io.ome_zarr import read_levels
from deepfeatures.io.volume_files import check_volume, read_volume

FILES = Path(__file__).parent / "files"
WRITTEN = runpy.run_path(str(FILES / "make_ome_zarr.py"))  # what ome_zarr_of_writers.zip holds
AXES = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
RAS = ("inferior-to-superior", "posterior-to-anterior", "left-to-right")  # of z, y, x


def oriented(*towards: str | None) -> list[dict]:
    """The axes z, y, x with their orientation as RFC 4 has it."""
    pairs = zip(AXES, towards, strict=True)
    return [{**axis, "orientation": {"type": "anatomical", "value": way}} if way else axis for axis, way in pairs]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folders that ngff-zarr and ome-zarr wrote."""
    pytest.importorskip("zarr", minversion="3")
    folder = tmp_path_factory.mktemp("written")
    with zipfile.ZipFile(FILES / "ome_zarr_of_writers.zip") as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.parametrize("source", ["itk", "nifti"])
@pytest.mark.parametrize(
    ("geometry", "version"), [(name, version) for name, versions in WRITTEN["VERSIONS"].items() for version in versions]
)
def test_what_ngff_zarr_wrote_lies_where_its_source_lay(written, source, geometry, version):
    path = written / f"{source}_{geometry}_{version}.ome.zarr"
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels, WRITTEN["VOXELS"])
    np.testing.assert_allclose(volume.origin, WRITTEN["ORIGIN"])
    np.testing.assert_allclose(volume.spacing, WRITTEN["SPACING"])
    np.testing.assert_allclose(volume.direction, WRITTEN["GEOMETRIES"][geometry])
    coarser = read_within_memory(path, (volume.voxels.numel() - 1) * VOXEL_BYTES * WORKING_SPACE)
    shift = WRITTEN["SPACING"] * np.array(coarser.spacing / volume.spacing - 1) / 2
    np.testing.assert_allclose(coarser.origin, volume.origin + volume.direction @ shift)
    kinds = [note.kind for note in volume.notes]
    assert kinds[0] == NoteKind.UNIT  # ngff-zarr writes no unit
    # RFC 4 counts positions along the axes; where ngff-zarr did otherwise, that is told
    along_axes = {"itk": ("lps",), "nifti": ("ras",)}[source]
    assert kinds[1:] == ([] if geometry in along_axes else [NoteKind.ORIENTATION])


def test_the_reported_file_lies_where_the_volume_lay_of_which_it_was_made(data, tmp_path):
    fault = data / "faults/ome_zarr_ngff_zarr"
    with tarfile.open(fault / "itk.ome.zarr.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    volume, source = read_volume(tmp_path / "itk.ome.zarr"), read_volume(fault / "same_volume.nrrd")
    np.testing.assert_array_equal(volume.voxels, source.voxels)
    np.testing.assert_allclose(volume.index_to_world, source.index_to_world)


JUNK = (None, "", "x", 0, -1, 1e308, float("nan"), [], {}, [1], [[1]], {"a": 1}, True)


def places_in(content, found=None) -> list[tuple]:
    """Every container of some metadata with each of its keys."""
    found = [] if found is None else found
    keys = content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in list(keys):
        found.append((content, key))
        places_in(content[key], found)
    return found


@pytest.mark.parametrize("name", ["itk_ras_0.5", "nifti_las_0.6"])
def test_metadata_with_anything_missing_or_odd_are_read_or_refused_in_one_sentence(written, tmp_path, name):
    path = tmp_path / "odd.ome.zarr"
    shutil.copytree(written / f"{name}.ome.zarr", path)
    text, random = (path / "zarr.json").read_text(), np.random.default_rng(0)
    refused = 0
    for _ in range(120):
        content = json.loads(text)
        places = places_in(content["attributes"])
        container, key = places[random.integers(len(places))]
        if random.random() < 0.3:
            del container[key]
        else:
            container[key] = JUNK[random.integers(len(JUNK))]
        (path / "zarr.json").write_text(json.dumps(content))
        try:
            read_volume(path)
        except InputError as error:
            refused += 1
            assert str(path) in str(error)
            assert "\n" not in str(error)
    assert 20 < refused < 120


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_what_ome_zarr_wrote_is_taken_as_l_p_s_and_that_is_told(written, version):
    volume = read_volume(written / f"ome-zarr_{version}.ome.zarr")
    np.testing.assert_array_equal(volume.voxels, WRITTEN["VOXELS"])
    np.testing.assert_allclose(volume.spacing, WRITTEN["SPACING"])
    np.testing.assert_allclose(volume.direction, np.eye(3))
    (note,) = volume.notes
    assert note.kind == NoteKind.ORIENTATION
    assert note.text.endswith("x, y, z are taken as L, P, S")


def test_a_nifti_file_that_lost_its_orientation_on_the_way_is_refused(written, tmp_path):
    path = tmp_path / "lost.ome.zarr"
    (written / "nifti_las_0.5.ome.zarr").rename(path)
    try:
        text = (path / "zarr.json").read_text()
        content = json.loads(text)
        for axis in content["attributes"]["ome"]["multiscales"][0]["axes"]:
            del axis["orientation"]
        (path / "zarr.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match=r"made of a NIfTI file.*give the NIfTI file"):
            check_volume(path)
        (path / "zarr.json").write_text(text)
    finally:
        path.rename(written / "nifti_las_0.5.ome.zarr")


def test_an_orientation_in_an_attribute_of_zarrnii_is_not_passed_over(write_zarr):
    import zarr

    path = write_zarr(np.ones((4, 5, 6), np.float32), axes=AXES)
    zarr.open_group(str(path), mode="r+").attrs["xyz_orientation"] = "RAS"
    with pytest.raises(InputError, match=r"attribute xyz_orientation of zarrnii.*save it as NIfTI"):
        check_volume(path)


def test_a_zipped_folder_is_refused_with_the_way_out(tmp_path):
    for name in ("scan.ozx", "scan.ome.zarr.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("zarr.json", "{}")
        with pytest.raises(InputError, match="zipped OME-Zarr; unzip it"):
            check_volume(tmp_path / name)


@pytest.mark.parametrize(
    ("towards", "named"),
    [((None,) * 3, "x, y, z are taken as L, P, S"), ((RAS[0], RAS[1], None), "x are taken as L"), (RAS, None)],
)
def test_axes_without_orientation_are_named(write_zarr, towards, named):
    notes = read_volume(write_zarr(np.ones((4, 5, 6), np.float32), axes=oriented(*towards))).notes
    assert [note.kind for note in notes] == [NoteKind.ORIENTATION] * (named is not None)
    assert named is None or named in notes[0].text


def test_a_position_along_axes_that_run_against_l_p_s_is_told(write_zarr):
    path = write_zarr(np.ones((4, 5, 6), np.float32), axes=oriented(*RAS), translation=(1.0, 2.0, 3.0))
    volume = read_volume(path)
    np.testing.assert_allclose(volume.origin, [-3, -2, 1])
    (note,) = volume.notes
    assert note.kind == NoteKind.ORIENTATION
    assert "along its axes, as RFC 4 has it" in note.text


def test_two_axes_along_one_line_of_the_patient_are_refused(write_zarr):
    axes = oriented("inferior-to-superior", "right-to-left", "left-to-right")
    with pytest.raises(InputError, match="two axes along one direction of the patient"):
        check_volume(write_zarr(np.ones((4, 5, 6), np.float32), axes=axes))


@pytest.mark.parametrize(("spacing", "is_patient"), [(1.0, True), (400.0, True), (900.0, False), (0.5, False)])
def test_without_a_unit_millimetres_are_taken_of_what_has_a_patients_size(write_zarr, spacing, is_patient):
    axes = [{**axis, "unit": None} for axis in oriented(*RAS)]
    path = write_zarr(np.ones((4, 5, 6), np.float32), axes=axes, scale=(spacing,) * 3)
    if is_patient:
        (note,) = read_volume(path).notes
        assert note.kind == NoteKind.UNIT
        np.testing.assert_allclose(read_volume(path).spacing, spacing)
    else:
        with pytest.raises(InputError, match="gives its x axis no unit"):
            read_volume(path)


def turned(degrees: float) -> np.ndarray:
    """A rotation about the first of three axes."""
    angle = np.radians(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])


@pytest.fixture
def write_version_6(write_zarr):
    """A function that writes an OME-Zarr 0.6 with these transformations of its one level, and more systems."""
    import zarr

    def write(own: list[dict], axes=None, more=(), others=(), arrays=(), shape=(4, 5, 6)):
        path = write_zarr(np.ones(shape, np.float32), scale=(1.0,) * len(shape))
        group = zarr.open_group(str(path), mode="r+")
        for name, values in dict(arrays).items():
            group.create_array(name, data=np.array(values, float))
        transformation = {"type": "sequence", "input": {"path": "0"}, "output": {"name": "own"}, "transformations": own}
        image = {
            "coordinateSystems": [{"name": "own", "axes": axes or oriented(*RAS)}, *others],
            "datasets": [{"path": "0", "coordinateTransformations": [transformation]}],
            "coordinateTransformations": list(more),
        }
        group.attrs["ome"] = {"version": "0.6", "multiscales": [image]}
        return path

    return write


SCALE = {"type": "scale", "scale": [3.0, 2.0, 1.0]}
SHIFT = {"type": "translation", "translation": [30.0, 20.0, 10.0]}


def test_version_6_applies_a_sequence_from_first_to_last(write_version_6):
    volume = read_volume(write_version_6([SHIFT, SCALE, SHIFT]))
    np.testing.assert_allclose(volume.spacing, [1, 2, 3])
    np.testing.assert_allclose(volume.origin, [-(10 * 1 + 10), -(20 * 2 + 20), 30 * 3 + 30])


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("kind", ["rotation", "affine"])
def test_version_6_keeps_the_rotation_of_an_oblique_volume(write_version_6, kind, stored):
    matrix = turned(20) if kind == "rotation" else np.column_stack([turned(20), [0, 0, 0]])
    given = {"type": kind, "path": "matrix"} if stored else {"type": kind, kind: matrix.tolist()}
    path = write_version_6([SCALE, given, SHIFT], arrays={"matrix": matrix} if stored else {})
    volume = read_volume(path)
    np.testing.assert_allclose(volume.spacing, [1, 2, 3])
    np.testing.assert_allclose(volume.origin, [-10, -20, 30])
    # turned about the file's z axis: y moves to x
    index = np.array([[0.0, 1, 0]])
    along_z, along_y, along_x = turned(20) @ [0, 2, 0]
    np.testing.assert_allclose(volume.to_world(index)[0] - volume.origin, [-along_x, -along_y, along_z], atol=1e-12)


def test_version_6_permutes_axes(write_version_6):
    swap = {"type": "mapAxis", "mapAxis": [1, 0, 2]}
    volume = read_volume(write_version_6([SCALE, swap]))
    np.testing.assert_allclose(volume.to_world(np.array([[0.0, 1, 0]]))[0], [0, 0, 2])  # the file's y is the third axis
    np.testing.assert_allclose(volume.to_world(np.array([[0.0, 0, 1]]))[0], [0, -3, 0])


def test_version_6_applies_transformations_of_some_axes_and_bijections(write_version_6):
    parts = [
        {"transformation": {"type": "scale", "scale": [2.0, 3.0]}, "inputAxes": [1, 0], "outputAxes": [1, 0]},
        {"transformation": {"type": "translation", "translation": [5.0]}, "inputAxes": [2], "outputAxes": [2]},
    ]
    both = {"type": "bijection", "forward": {"type": "byDimension", "transformations": parts}, "inverse": SHIFT}
    volume = read_volume(write_version_6([both]))
    np.testing.assert_allclose(volume.spacing, [1, 2, 3])
    np.testing.assert_allclose(volume.origin, [-5, 0, 0])


def test_version_6_is_read_in_the_one_system_that_tells_how_it_lies_in_the_patient(write_version_6):
    scanner = {"name": "scanner", "axes": oriented(*RAS)}
    grid = {"name": "grid", "axes": AXES}
    turn = {"type": "rotation", "rotation": turned(30).tolist()}
    there = {**turn, "input": {"name": "own"}, "output": {"name": "scanner"}}
    back = {"type": "rotation", "rotation": turned(-30).tolist(), "input": there["output"], "output": there["input"]}
    unread = {"type": "displacements", "path": "field", "input": {"name": "own"}, "output": {"name": "grid"}}
    for more in (there, back):
        volume = read_volume(write_version_6([SCALE], AXES, [unread, more], [grid, scanner]))
        along_z, along_y, along_x = turned(30) @ [0, 1, 0]
        np.testing.assert_allclose(volume.direction[:, 1], [-along_x, -along_y, along_z], atol=1e-12)
        (note,) = volume.notes
        assert note.text == "its coordinate system 'scanner' is used, not own, grid"


def test_version_6_with_several_systems_in_the_patient_is_refused(write_version_6):
    systems = [{"name": name, "axes": oriented(*RAS)} for name in ("scanner", "mni")]
    with pytest.raises(InputError, match=r"2 coordinate systems.*\(scanner, mni\); save it with one of them"):
        check_volume(write_version_6([SCALE], AXES, (), systems))


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ([{"type": "displacements", "path": "field"}], "transformation 'displacements', which cannot be read"),
        ([{"type": "projectAxis", "droppedInputs": [0]}], "transformation 'projectAxis'"),
        ([{"type": "rotation", "rotation": [[1, 0], [0, 1]]}], "transformation 'rotation'"),
        ([{"type": "mapAxis", "mapAxis": [0, 0, 1]}], "transformation 'mapAxis'"),
        ([{"type": "affine", "path": "absent"}], "transformation 'affine'"),
        ([{"type": "scale", "scale": [1, 2, float("inf")]}], "transformation 'scale'"),
        ([{"type": "scale", "scale": [1, 0, 1]}], "no usable voxel size"),
        ([{"type": "affine", "affine": [[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]}], "not at right angles"),
        ([{}], "transformation None"),
    ],
)
def test_version_6_with_what_cannot_be_read_is_refused(write_version_6, own, message):
    with pytest.raises(InputError, match=message):
        check_volume(write_version_6(own))


def test_axes_in_space_that_mix_with_channels_are_refused(write_version_6):
    axes = [{"name": "c", "type": "channel"}, *oriented(*RAS)]
    mixed = np.eye(4, 5)
    mixed[1, 0] = 1
    own = [{"type": "affine", "affine": mixed.tolist()}]
    with pytest.raises(InputError, match="mixes its axes in space with others"):
        check_volume(write_version_6(own, axes, shape=(1, 4, 5, 6)))


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr_lies_where_its_metadata_say(write_zarr, version):
    voxels = np.random.default_rng(0).normal(size=(18, 20, 34)).astype(np.float32)
    path = write_zarr(voxels, scale=(3.0, 2.0, 0.5), translation=(10.0, 20.0, 30.0), version=version)
    check_volume(path)
    volume = read_volume(path)
    assert volume.name == image_stem(path) == "scan"
    np.testing.assert_array_equal(volume.voxels, voxels)
    np.testing.assert_allclose(volume.spacing, [0.5, 2, 3])
    np.testing.assert_allclose(volume.origin, [30, 20, 10])
    np.testing.assert_allclose(volume.direction, np.eye(3))


def test_what_an_old_zarr_cannot_read_is_told_from_what_is_damaged(write_zarr, monkeypatch):
    old, new = (write_zarr(np.zeros((4, 5, 6)), name=f"{version}.ome.zarr", version=version) for version in (2, 3))
    monkeypatch.setattr("zarr.__version__", "2.18.3")
    assert read_levels(old)
    with pytest.raises(InputError, match=r"install zarr 3, which needs Python 3\.11"):
        read_levels(new)


def test_units_channels_axis_order_and_the_scale_of_all_levels_count(write_zarr):
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "xzy"]
    voxels = np.random.default_rng(0).normal(size=(1, 4, 5, 6)).astype(np.float32)
    shared = [{"type": "scale", "scale": [1, 2, 2, 2]}, {"type": "translation", "translation": [0, 7000, 0, 0]}]
    path = write_zarr(
        voxels,
        axes=axes,
        scale=(1, 1000, 2000, 3000),
        translation=(0, 500, 0, 0),
        coordinateTransformations=shared,
    )
    canonical = read_volume(path).canonical()
    np.testing.assert_array_equal(canonical.voxels, voxels[0].transpose(1, 2, 0))  # to z, y, x
    np.testing.assert_allclose(canonical.spacing, [2, 6, 4])
    np.testing.assert_allclose(canonical.origin, [2 * 0.5 + 7, 0, 0])


BAD = {
    "no multiscales": "without multiscales",
    "no unit": "gives its x axis no unit",
    "odd unit": "unit 'parsec'",
    "five axes": r"5 axes \(t 2, c 1, z 4, y 4, x 4\); give one of its 3D volumes",
    "two axes": "axes c, y, x",
    "single slice": "single slice",
    "complex": "complex64",
    "affine": "placed by the transformation 'affine', which cannot be read",
    "no scale": "no usable voxel size",
    "no group": "not a Zarr group",
    "no level": "damaged",
    "chunk": "damaged",
}


def bad_zarr(kind: str, write_zarr, tmp_path):
    voxels = np.random.default_rng(0).normal(size=(4, 4, 4)).astype(np.float32)
    time = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    if kind == "no unit":
        return write_zarr(voxels, axes=[{"name": name, "type": "space"} for name in "zyx"])
    if kind == "odd unit":
        return write_zarr(voxels, axes=[{**axis, "unit": "parsec"} for axis in AXES])
    if kind == "five axes":
        return write_zarr(np.stack([voxels] * 2)[:, None], axes=time + AXES, scale=(1.0,) * 5)
    if kind == "two axes":
        return write_zarr(voxels, axes=time[1:] + AXES[1:])
    if kind == "single slice":
        return write_zarr(voxels[:1])
    if kind == "complex":
        return write_zarr(voxels.astype(np.complex64))
    if kind == "affine":
        return write_zarr(voxels, coordinateTransformations=[{"type": "affine", "affine": [[1]]}])
    path = write_zarr(voxels)
    if kind == "no group":
        (path / "zarr.json").unlink()
    elif kind == "chunk":
        chunk = next(file for file in (path / "0").rglob("*") if file.is_file() and file.name != "zarr.json")
        chunk.write_bytes(b"no chunk")
    else:
        content = json.loads((path / "zarr.json").read_text())
        scales = content["attributes"]["ome"].pop("multiscales")
        if kind == "no scale":
            scales[0]["datasets"][0]["coordinateTransformations"] = []
        elif kind == "no level":
            scales[0]["datasets"][0]["path"] = "9"
        if kind != "no multiscales":
            content["attributes"]["ome"]["multiscales"] = scales
        (path / "zarr.json").write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_ome_zarr_ends_in_one_sentence(write_zarr, tmp_path, kind):
    path = bad_zarr(kind, write_zarr, tmp_path)
    for read in (read_volume, read_within_memory, *([check_volume] if kind != "chunk" else [])):
        with pytest.raises(InputError, match=BAD[kind]) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
