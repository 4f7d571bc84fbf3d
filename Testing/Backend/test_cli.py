"""What the command line writes, prints and answers."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from deepfeatures.cli.main import main
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.missing_reason import OUTSIDE
from deepfeatures.data.volume import Volume
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import write_volume
from deepfeatures.matching.settings import MatchSettings


def test_place_writes_one_file_a_target(place, fake_matcher, capfd):
    assert place("a.nii.gz", "b.nrrd") == 0
    template = read_landmarks("template.mrk.json")
    for name in ("a", "b"):
        placed = read_landmarks(f"out/{name}.mrk.json")
        assert [landmark.name for landmark in placed] == ["AC", "PC"]
        assert placed[0].description == "expert"
        assert placed[0].feature_distance == 2
        np.testing.assert_allclose(placed.positions, template.positions + np.array([1, 0, 0]))
    captured = capfd.readouterr()
    assert captured.out.splitlines() == ["out/a.mrk.json: 2 of 2 landmarks", "out/b.mrk.json: 2 of 2 landmarks"]
    assert captured.err == ""


def test_options_reach_the_matcher_and_absent_ones_leave_it_the_choice(place, fake_matcher, case):
    assert place("a.nii.gz") == 0
    assert fake_matcher.made[-1].settings == MatchSettings()
    options = "--network n --layer l --patch-size 12 --search patch --search-radius 7.5 --device cpu"
    assert place("a.nii.gz", *options.split(), "--precision", "bfloat16", "--seed", "3", "--mask", "b.nrrd") == 0
    matcher = fake_matcher.made[-1]
    assert matcher.settings == MatchSettings(
        network="n",
        layer="l",
        patch_size=12,
        search="patch",
        search_radius_mm=7.5,
        device="cpu",
        precision="bfloat16",
        seed=3,
    )
    ((_, _, target, mask),) = matcher.calls
    assert (target.name, mask.name) == ("a", "b")


def test_missing_landmarks_are_named_and_answered_with_3(place, fake_matcher, capfd):
    fake_matcher.missing = ("PC",)
    assert place("a.nii.gz") == 3
    (line,) = capfd.readouterr().err.splitlines()
    assert line == "landmarks missing in a.nii.gz: PC (outside the target)"
    assert read_landmarks("out/a.mrk.json")[1] == Landmark("PC", None, "missing", reason=OUTSIDE)


def test_report_tells_what_was_done(place, fake_matcher):
    fake_matcher.missing = ("PC",)
    assert place("a.nii.gz", "b.nrrd", "--report", "reports/run.json", "--seed", "5") == 3
    with open("reports/run.json", encoding="utf-8") as file:  # noqa: PTH123
        report = json.load(file)
    assert report["command"].startswith("deepfeatures place --template template.nii.gz")
    assert report["command"].endswith("a.nii.gz b.nrrd --report reports/run.json --seed 5")
    assert report["versions"]["torch"] == torch.__version__
    assert report["settings"]["seed"] == 5
    assert [target["target"] for target in report["targets"]] == ["a.nii.gz", "b.nrrd"]
    assert report["targets"][0]["output"] == "out/a.mrk.json"
    assert report["targets"][0]["status"] == "some landmarks missing"
    assert report["targets"][0]["missing"] == ["PC"]
    assert report["targets"][0]["report"]["settings"]["network"] == "fake"


def test_a_target_that_fails_late_does_not_stop_the_others(place, fake_matcher, case, scan, capfd):
    voxels = scan.voxels.clone()
    voxels[0, 0, 0] = float("nan")
    write_volume(scan.with_voxels(voxels), case / "hole.nii.gz")
    assert place("a.nii.gz", "hole.nii.gz", "b.nrrd", "--report", "run.json") == 2
    captured = capfd.readouterr()
    (line,) = captured.err.splitlines()
    assert "hole.nii.gz" in line
    assert "finite" in line
    assert "2 of 3" in line
    assert sorted(path.name for path in (case / "out").iterdir()) == ["a.mrk.json", "b.mrk.json"]
    statuses = [target["status"] for target in json.loads((case / "run.json").read_text())["targets"]]
    assert statuses == ["placed", "failed", "placed"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: not enough memory: you tried"),
    ],
)
def test_want_of_memory_is_one_sentence_with_a_way_out(place, fake_matcher, capfd, error):
    fake_matcher.failures = {"a": error}
    assert place("a.nii.gz", "b.nrrd") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "not enough memory for a.nii.gz" in line
    assert "crop" in line and "--search-radius" not in line  # which would choose another search
    assert len(read_landmarks("out/b.mrk.json")) == 2


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([Landmark("AC", (1.0, 2.0, 3.0), feature_distance=2.0), Landmark("PC", (4.0, 5.0, 6.0))], "placed or locked"),
        ([Landmark("AC", (1.0, 2.0, 3.0), feature_distance=2.0, locked=True)], "placed or locked"),
        ([Landmark("AC", None, "missing", locked=True)], "placed or locked"),
        ([Landmark("AC", (1.0, 2.0, 3.0), feature_distance=2.0), Landmark("PC", None, "missing")], ""),
    ],
)
def test_points_of_a_person_are_not_replaced_and_found_ones_are(place, fake_matcher, case, capfd, points, words):
    path = case / "out/b.mrk.json"
    path.parent.mkdir()
    write_landmarks(LandmarkSet(tuple(points)), path)
    before = path.read_bytes()
    assert place("a.nii.gz", "b.nrrd") == (2 if words else 0)
    assert words in capfd.readouterr().err
    assert (path.read_bytes() == before) == bool(words)
    assert (case / "out/a.mrk.json").exists() != bool(words)


def test_an_error_that_no_user_caused_is_not_hidden(place, fake_matcher):
    fake_matcher.failures = {"a": RuntimeError("mat1 and mat2 shapes cannot be multiplied")}
    with pytest.raises(RuntimeError, match="mat1"):
        place("a.nii.gz")


def test_an_interrupt_is_one_line_and_leaves_whole_files(place, fake_matcher, case, capfd):
    fake_matcher.failures = {"b": KeyboardInterrupt()}
    assert place("a.nii.gz", "b.nrrd") == 130
    assert len(capfd.readouterr().err.splitlines()) == 1
    assert [path.name for path in (case / "out").iterdir()] == ["a.mrk.json"]
    assert len(read_landmarks("out/a.mrk.json")) == 2


def test_undefined_template_landmarks_are_passed_on_and_named(place, fake_matcher, case, capfd):
    points = read_landmarks(case / "template.mrk.json")
    write_landmarks(LandmarkSet((*points, Landmark("later", None, "undefined"))), case / "template.mrk.json")
    assert place("a.nii.gz") == 3
    assert "later" in capfd.readouterr().err


def test_a_target_in_another_folder_with_an_odd_name_is_named_after_its_file(place, fake_matcher, case, scan):
    (case / "ö ß").mkdir()
    write_volume(scan, case / "ö ß" / "scan v1.2 (final).nii.gz")
    assert place("ö ß/scan v1.2 (final).nii.gz") == 0
    assert [path.name for path in (case / "out").iterdir()] == ["scan v1.2 (final).mrk.json"]


def test_slices_of_one_series_that_are_given_one_by_one_are_one_target(place, fake_matcher, case, dicom_series, capsys):
    slices = sorted(map(str, dicom_series("knee").iterdir()))
    other = sorted(map(str, dicom_series("hip", uid="1.2.826.0.1.3680043.2.1125.2", folder=case / "knee").iterdir()))
    given = [*slices, "a.nii.gz", *(file for file in other if "hip" in file)]
    assert place(*given, "--report", "report.json") == 0
    notes = capsys.readouterr().err.splitlines()
    first = [next(file for file in given if name in file) for name in ("knee", "hip")]
    assert notes[:2] == [f"note: 5 files are slices of one series, which is placed once: {file}" for file in first]
    targets = [entry["target"] for entry in json.loads((case / "report.json").read_text())["targets"]]
    assert targets == [first[0], "a.nii.gz", first[1]]


def test_one_slice_alone_stands_for_its_series_without_a_word(place, fake_matcher, case, dicom_series, capsys):
    assert place(str(min(dicom_series("knee").iterdir()))) == 0
    assert "slices of one series" not in capsys.readouterr().err


def test_a_dicom_folder_is_a_target(place, fake_matcher, case, dicom_series):
    dicom_series("series")
    assert place("series") == 0
    assert (case / "out" / "series.mrk.json").is_file()


def python(code: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False, **options)


def test_import_and_help_do_not_wait_for_torch():
    result = python(
        "import sys, deepfeatures\n"
        "from deepfeatures.cli.main import main\n"
        "code = main(['--help'])\n"
        "assert not {'torch', 'numpy', 'SimpleITK'} & set(sys.modules), sys.modules.keys()\n"
        "sys.exit(code)"
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "place" in result.stdout


def test_public_names_are_there():
    import deepfeatures

    for name in ("read_volume", "write_volume", "read_landmarks", "write_landmarks", "Volume", "Landmark",
                 "LandmarkSet", "InputError"):  # fmt: skip
        assert getattr(deepfeatures, name).__name__ == name
    assert set(dir(deepfeatures)) >= {"Matcher", "read_volume"}
    with pytest.raises(AttributeError):
        _ = deepfeatures.nothing


def test_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip()[0].isdigit()


def test_networks_lists_every_network_with_its_parameters(capsys):
    catalog = pytest.importorskip("deepfeatures.networks.catalog")
    assert main(["networks"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in catalog.names())
    assert "60,058,688" in printed


def test_networks_lists_the_layers_of_one(capsys):
    catalog = pytest.importorskip("deepfeatures.networks.catalog")
    assert main(["networks", "--layers", "vgg19-3d-random"]) == 0
    printed = capsys.readouterr().out
    assert all(layer in printed for layer in catalog.describe("vgg19-3d-random").layers)


@pytest.fixture
def real_matcher():
    import deepfeatures.matching

    if not hasattr(deepfeatures.matching, "Matcher"):
        pytest.skip("needs deepfeatures.matching.Matcher")


@pytest.fixture
def blobs(case) -> np.ndarray:
    """Template and target `moved.nii.gz` with the same blobs, moved by whole voxels; returns the move in LPS mm."""
    random = torch.Generator().manual_seed(0)
    noise = torch.nn.functional.avg_pool3d(torch.rand(1, 1, 44, 44, 44, generator=random), 5, 1)[0, 0]
    template = Volume(noise[4:36, 4:36, 4:36].contiguous())
    write_volume(template, case / "template.nii.gz")
    write_volume(Volume(noise[2:34, 5:37, 4:36].contiguous()), case / "moved.nii.gz")
    points = LandmarkSet((Landmark("one", (14.0, 15.0, 16.0)), Landmark("two", (18.0, 14.0, 15.0))))
    write_landmarks(points, case / "template.mrk.json")
    return np.array([0.0, -1.0, 2.0])


def test_place_finds_moved_blobs(place, case, blobs, real_matcher):
    assert place("moved.nii.gz", "--report", "run.json") == 0
    moved = read_landmarks("out/moved.mrk.json").positions - read_landmarks("template.mrk.json").positions
    np.testing.assert_allclose(moved, np.tile(blobs, (2, 1)), atol=0.6)
    assert json.loads((case / "run.json").read_text())["targets"][0]["report"]


@pytest.mark.parametrize("output", ["map.nrrd", "maps", "picture.png"])
def test_activations_are_written(case, blobs, output, capsys):
    target = case / "new" / output
    arguments = ["--volume", f"{case}/template.nii.gz", "--landmarks", f"{case}/template.mrk.json"]
    arguments += ["--landmark", "two", "--layer", "conv1_2", "--patch-size", "12", "--output", str(target)]
    assert main(["activations", *arguments]) == 0
    files = sorted(path for path in (case / "new").rglob("*") if path.is_file())
    if output.endswith(".png"):
        assert files == [target]
        assert target.read_bytes().startswith(b"\x89PNG")
    else:
        assert len(files) == 64
        assert files[0].name == ("map_000.nrrd" if output == "map.nrrd" else "conv1_2_000.nrrd")


def test_imported_weights_make_layers_available(case, monkeypatch, capsys):
    from deepfeatures.networks import catalog

    rng = np.random.default_rng(0)
    arrays = {}
    for name, colours, filters in (("block1_conv1", 3, 64), ("block1_conv2", 64, 64)):
        arrays[f"{name}.kernel"] = rng.normal(size=(3, 3, colours, filters)).astype(np.float32)
        arrays[f"{name}.bias"] = np.zeros(filters, np.float32)
    np.savez(case / "vgg.npz", **arrays)
    monkeypatch.setenv("DEEPFEATURES_WEIGHTS", str(case / "weights"))
    assert main(["weights", "import", "vgg19-3d-pseudo", f"{case}/vgg.npz"]) == 0
    assert capsys.readouterr().out.strip().endswith(".safetensors")
    layers = catalog.describe("vgg19-3d-pseudo").layers
    assert layers["conv1_2"].available and not layers["conv2_1"].available


def test_weights_of_the_wrong_shape_name_the_layer(case, monkeypatch, capsys):
    monkeypatch.setenv("DEEPFEATURES_WEIGHTS", str(case / "weights"))
    wrong = {"block1_conv1.kernel": np.zeros((3, 3, 3, 32), np.float32), "block1_conv1.bias": np.zeros(32, np.float32)}
    np.savez(case / "wrong.npz", **wrong)
    assert main(["weights", "import", "vgg19-3d-pseudo", f"{case}/wrong.npz"]) == 2
    assert "conv1_1" in capsys.readouterr().err
    assert not list((case / "weights").glob("*.safetensors"))
