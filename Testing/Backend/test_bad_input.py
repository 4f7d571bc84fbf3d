"""Whatever is wrong with files and arguments: exit code 2, one line on standard error, nothing written."""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from deepfeatures.cli.main import main
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import write_volume


def image(path: str, voxels, *, vector: bool = False, **geometry) -> None:
    picture = sitk.GetImageFromArray(np.asarray(voxels), isVector=vector)
    for setter, value in geometry.items():
        getattr(picture, setter)(value)
    sitk.WriteImage(picture, path)


def cut(path: str, keep: float) -> None:
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: int(len(content) * keep)])


def noise(*shape: int):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def header(path: str, old: bytes, new: bytes) -> None:
    image(path, noise(4, 5, 6))
    content = Path(path).read_bytes()
    assert old in content
    Path(path).write_bytes(content.replace(old, new))


def text(path: str, content: str = "hello") -> None:
    Path(path).write_text(content)


def nifti2(path: str) -> None:
    header = (540).to_bytes(4, "little") + b"n+2\0\r\n\x1a\n"
    Path(path).write_bytes(gzip.compress(header.ljust(2000, b"\0")))


def cut_image(path: str, keep: float) -> None:
    image(path, noise(20, 20, 20))
    cut(path, keep)


def points(path: str, *landmarks: Landmark) -> None:
    write_landmarks(LandmarkSet(landmarks), path)


INSIDE = (-10.0, 30.0, 10.0)
OUTSIDE = (900.0, 900.0, 900.0)

# what is tried: (what to prepare in the folder, what to type, words of the answer)
TARGETS = {
    "absent file": (lambda: None, "absent.nii.gz", "does not exist"),
    "empty file": (lambda: text("x.nii.gz", ""), "x.nii.gz", "not a volume"),
    "text named NIfTI": (lambda: text("x.nii.gz"), "x.nii.gz", "not a volume"),
    "text named NRRD": (lambda: text("x.nrrd"), "x.nrrd", "not a volume"),
    "text named DICOM": (lambda: text("x.dcm"), "x.dcm", "not a volume"),
    "NIfTI-2": (lambda: nifti2("x.nii.gz"), "x.nii.gz", "is NIfTI-2"),
    "a landmark file": (lambda: None, "template.mrk.json", "not a volume"),
    "a picture": (lambda: image("x.png", np.zeros((8, 8), np.uint8)), "x.png", "not a volume"),
    "cut NIfTI": (lambda: cut_image("x.nii", 0.9), "x.nii", "cut short"),
    "cut gzip": (lambda: cut_image("x.nii.gz", 0.5), "x.nii.gz", "cut short"),
    "cut NRRD": (lambda: cut_image("x.nrrd", 0.5), "x.nrrd", "cut short"),
    "cut NRRD header": (lambda: cut_image("x.nrrd", 0.002), "x.nrrd", "cut short"),
    "cut MetaImage": (lambda: cut_image("x.mha", 0.5), "x.mha", "cut short"),
    "cut MetaImage header": (lambda: cut_image("x.mha", 0.002), "x.mha", "cut short"),
    "MetaImage without its voxels": (lambda: (image("x.mhd", noise(4, 5, 6)), Path("x.raw").unlink()), "x.mhd", "cut"),
    "four axes": (lambda: image("x.nii.gz", noise(3, 4, 5, 6)), "x.nii.gz", "4 axes"),
    "five axes": (lambda: image("x.nii.gz", noise(2, 1, 4, 5, 6)), "x.nii.gz", "5 axes"),
    "colour": (lambda: image("x.nrrd", np.zeros((4, 5, 6, 3), np.uint8), vector=True), "x.nrrd", "values a voxel"),
    "complex": (lambda: image("x.mha", np.zeros((4, 5, 6), np.complex64)), "x.mha", "values a voxel"),
    "one slice": (lambda: image("x.nii.gz", noise(1, 5, 6)), "x.nii.gz", "single slice"),
    "two axes": (lambda: image("x.nii.gz", noise(5, 6)), "x.nii.gz", "single slice"),
    "no voxels": (lambda: header("x.mha", b"DimSize = 6 5 4", b"DimSize = 6 0 4"), "x.mha", "empty"),
    "no voxel size": (lambda: header("x.mha", b"ing = 1 1 1", b"ing = 1 1 0"), "x.mha", "no usable voxel size"),
    "shear": (lambda: header("x.mha", b"Matrix = 1 0 0 0", b"Matrix = 1 0 0 .3"), "x.mha", "right angles"),
    "sheared NRRD": (lambda: header("x.nrrd", b"(1,0,0) (0,1,0)", b"(1,0,0) (1,1,0)"), "x.nrrd", "right angles"),
    "NaN": (lambda: image("x.nii.gz", np.full((4, 5, 6), np.nan, np.float32)), "x.nii.gz", "finite"),
    "infinity": (lambda: image("x.nrrd", np.full((4, 5, 6), 1e300)), "x.nrrd", "finite"),
    "folder without DICOM": (lambda: Path("x").mkdir(), "x", "no DICOM volume"),
    "two targets of one name": (lambda: None, "a.nii.gz b.nrrd a.nii.gz", "both be written"),
    "names that differ by case": (lambda: image("A.nrrd", noise(4, 5, 6)), "a.nii.gz A.nrrd", "both be written"),
    "a name that is too long": (lambda: None, "x" * 300 + ".nii.gz", "cannot read"),
    "absent among good ones": (lambda: None, "a.nii.gz absent.nii.gz b.nrrd", "does not exist"),
}
OPTIONS = {
    "no target": (lambda: None, "", "Missing argument"),
    "unknown option": (lambda: None, "a.nii.gz --colour red", "No such option"),
    "option without value": (lambda: None, "a.nii.gz --seed", "--seed"),
    "patch too small": (lambda: None, "a.nii.gz --patch-size 3", "--patch-size"),
    "patch that is no number": (lambda: None, "a.nii.gz --patch-size big", "--patch-size"),
    "unknown search": (lambda: None, "a.nii.gz --search wild", "--search"),
    "unknown device": (lambda: None, "a.nii.gz --device tpu", "no device 'tpu'"),
    "unknown precision": (lambda: None, "a.nii.gz --precision float8", "--precision"),
    "negative radius": (lambda: None, "a.nii.gz --search-radius -3", "search radius of -3.0 mm"),
    "radius that is no number": (lambda: None, "a.nii.gz --search-radius nan", "search radius of nan mm"),
    "negative seed": (lambda: None, "a.nii.gz --seed -1", "--seed"),
    "absent template": (lambda: None, "a.nii.gz --template t.nii.gz", "t.nii.gz does not exist"),
    "template with NaN": (
        lambda: image("x.nii.gz", np.full((4, 5, 6), np.nan, np.float32)),
        "a.nii.gz --template x.nii.gz",
        "finite",
    ),
    "absent landmarks": (lambda: None, "a.nii.gz --landmarks l.mrk.json", "l.mrk.json does not exist"),
    "landmarks that are no JSON": (lambda: text("l.mrk.json"), "a.nii.gz --landmarks l.mrk.json", "not JSON"),
    "landmarks that are a volume": (lambda: None, "a.nii.gz --landmarks a.nii.gz", ".mrk.json"),
    "landmarks without points": (
        lambda: text("l.mrk.json", json.dumps({"markups": [{"controlPoints": []}]})),
        "a.nii.gz --landmarks l.mrk.json",
        "no landmarks",
    ),
    "landmark outside the template": (
        lambda: points("l.csv", Landmark("in", INSIDE), Landmark("out", OUTSIDE)),
        "a.nii.gz --landmarks l.csv",
        "out of l.csv lie outside",
    ),
    "two landmarks of one name": (
        lambda: points("l.csv", Landmark("F", INSIDE), Landmark("F", INSIDE)),
        "a.nii.gz --landmarks l.csv",
        "several landmarks F",
    ),
    "no landmark placed": (
        lambda: points("l.csv", Landmark("F", None, "undefined")),
        "a.nii.gz --landmarks l.csv",
        "no landmark with a position",
    ),
    "absent mask": (lambda: None, "a.nii.gz --mask m.nii.gz", "m.nii.gz does not exist"),
    "one mask for two targets": (lambda: None, "a.nii.gz b.nrrd --mask a.nii.gz", "--mask"),
    "output folder that is a file": (lambda: text("file"), "a.nii.gz --output-dir file", "cannot write file"),
    "output folder in a file": (lambda: text("file"), "a.nii.gz --output-dir file/out", "cannot write file"),
    "output over the landmarks": (
        lambda: Path("template.mrk.json").rename("a.mrk.json"),
        "a.nii.gz --landmarks a.mrk.json --output-dir .",
        "replace",
    ),
    "report over the template": (lambda: None, "a.nii.gz --report template.nii.gz", "replace"),
    "report over a result": (lambda: None, "a.nii.gz --report out/a.mrk.json", "replace"),
    "report in a file": (lambda: text("file"), "a.nii.gz --report file/run.json", "cannot write file"),
}
CASES = {**TARGETS, **OPTIONS}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_code_2(name, place, fake_matcher, capfd):
    prepare, arguments, words = CASES[name]
    prepare()
    capfd.readouterr()
    assert place(*arguments.split()) == 2
    captured = capfd.readouterr()
    assert len(captured.err.splitlines()) == 1, captured.err
    assert words in captured.err
    assert captured.out == ""
    assert not list(Path().glob("out/*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "no command"),
        ("fly", "No such command"),
        ("place", "Missing"),
        ("--colour", "No such option"),
        ("networks --layers", "--layers"),
        ("activations --volume a.nii.gz", "Missing option"),
    ],
)
def test_bad_commands_are_one_line_and_code_2(arguments, words, capfd):
    assert main(arguments.split()) == 2
    captured = capfd.readouterr()
    assert len(captured.err.splitlines()) == 1
    assert words in captured.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--output x.jpg", "NAME.png"),
        ("--output x.png --network vgg", "vgg"),
        ("--output x.png --layer conv9_9", "conv9_9"),
        ("--output x.png --patch-size 3", "--patch-size"),
        ("--output x.png --landmark XY", "choose one of AC, PC"),
        ("--output x.png --volume absent.nii.gz", "does not exist"),
        ("--output x.png --landmarks absent.mrk.json", "does not exist"),
        ("--output template.nii.gz/x.png", "cannot write"),
    ],
)
def test_bad_input_of_activations_is_one_line_and_code_2(case, monkeypatch, arguments, words, capfd):
    monkeypatch.chdir(case)
    given = {"--volume": "template.nii.gz", "--landmarks": "template.mrk.json", "--patch-size": "8"}
    typed = arguments.split()
    words_before = [word for pair in given.items() if pair[0] not in typed for word in pair]
    assert main(["activations", *words_before, *typed]) == 2
    captured = capfd.readouterr()
    assert len(captured.err.splitlines()) == 1
    assert words in captured.err
    assert not Path("x.png").exists()


PROGRAM = """
import sys
from conftest import FakeMatcher
import deepfeatures.matching
from deepfeatures.cli.main import main
deepfeatures.matching.Matcher = FakeMatcher
sys.exit(main())
"""


def run(case: Path, *arguments: str, **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    given = ["place", "--template", "template.nii.gz", "--landmarks", "template.mrk.json", "--output-dir", "out"]
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *given, *arguments],
        cwd=case, env=environment, capture_output=True, encoding="utf-8", check=False, **options,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["cut MetaImage", "no voxels", "folder without DICOM", "NaN", "unknown option"])
def test_a_real_process_prints_one_line_too(name, case, monkeypatch):
    prepare, arguments, words = CASES[name]
    monkeypatch.chdir(case)
    prepare()
    result = run(case, *arguments.split())
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert words in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a POSIX matter")
def test_a_full_disk_is_one_line_and_leaves_nothing(case):
    many = LandmarkSet(tuple(Landmark(f"F{k}", INSIDE) for k in range(300)))
    write_landmarks(many, case / "template.mrk.json")
    write_volume(Volume(torch.zeros(4, 60, 60), np.array([-30.0, 0, 8])), case / "template.nii.gz")
    limit = 20_000  # bytes a file
    result = run(case, "a.nii.gz", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "cannot write" in result.stderr
    assert list((case / "out").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_one_line(case):
    (case / "out").mkdir(mode=0o500)
    result = run(case, "a.nii.gz")
    assert result.returncode == 2
    assert "cannot write" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names themselves")
def test_a_name_that_is_not_utf8_is_one_line_and_ends_no_process(case):
    (case / "a.nii.gz").rename(case / "m\udce4dchen.nii.gz")
    result = run(case, "b.nrrd", "m\udce4dchen.nii.gz")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "is not UTF-8; rename" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are closed as POSIX does it")
@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_closed_standard_streams_keep_nothing_from_being_placed(case, closed):
    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    assert run(case, "a.nii.gz", preexec_fn=close).returncode == 0
    assert len(read_landmarks(case / "out/a.mrk.json")) == 2


def test_what_a_terminal_cannot_show_is_shown_otherwise(case, monkeypatch):
    (case / "a.nii.gz").rename(case / "mädchen→.nii.gz")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    result = run(case, "mädchen→.nii.gz")
    assert result.returncode == 0, result.stderr
    assert r"m\xe4dchen\u2192.mrk.json: 2 of 2" in result.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_output_that_goes_nowhere_is_one_line(case):
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "deepfeatures", "networks"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "No space left on device" in result.stderr


def test_there_are_thirty_kinds_of_bad_input_and_a_good_one(place, fake_matcher):
    assert len(CASES) >= 30
    assert place("a.nii.gz") == 0
    assert len(read_landmarks("out/a.mrk.json")) == 2
