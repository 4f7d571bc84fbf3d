"""`--protocol` instead of `--template` and `--landmarks`: place, cohort, evaluate and quality."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import nibabel
import numpy as np
import pytest

from deepfeatures.cli.main import main
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import read_volume, write_volume
from deepfeatures.matching import Matcher
from deepfeatures.matching.learning.protocol_file import read_protocol
from deepfeatures.phantom import make_pair

TAUGHT, NEW = (1, 2, 3, 4), (5, 6)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Scans of made people with their landmarks; `sub-0` is the template."""
    folder = tmp_path_factory.mktemp("heads")
    for seed in (0, *TAUGHT, *NEW):
        _, _, scan, truth = make_pair(32, seed)
        write_volume(scan, folder / f"sub-{seed}.nii.gz")
        write_landmarks(LandmarkSet(tuple(truth)[:6]), folder / f"sub-{seed}.mrk.json")
    return folder


@pytest.fixture(scope="module")
def protocol(heads, tmp_path_factory):
    path = tmp_path_factory.mktemp("protocol") / "heads.dflp"
    scans = [f"{heads / f'sub-{one}.nii.gz'}={heads / f'sub-{one}.mrk.json'}" for one in TAUGHT]
    given = "--template", heads / "sub-0.nii.gz", "--landmarks", heads / "sub-0.mrk.json"
    assert main(["learn", str(path), *map(str, given), *scans]) == 0
    return path


@pytest.fixture(scope="module")
def new_scans(heads, tmp_path_factory):
    """Annotated scans of people who have not taught the protocol."""
    folder = tmp_path_factory.mktemp("new")
    for one in NEW:
        for suffix in (".nii.gz", ".mrk.json"):
            shutil.copyfile(heads / f"sub-{one}{suffix}", folder / f"sub-{one}{suffix}")
    return folder


def run(*arguments):
    return main(list(map(str, arguments)))


def refused(capfd, *arguments):
    """The one line with which a command refuses."""
    capfd.readouterr()
    assert run(*arguments) == 2
    (line,) = capfd.readouterr().err.splitlines()
    return line


def test_place_places_by_what_was_taught(heads, protocol, tmp_path):
    scan, report = heads / "sub-5.nii.gz", tmp_path / "report.json"
    known = read_protocol(protocol)
    assert run("place", scan, "--protocol", protocol, "--output-dir", tmp_path, "--report", report) == 0
    placed = read_landmarks(tmp_path / "sub-5.mrk.json").positions
    wanted = Matcher(protocol=str(protocol)).match(known.template, known.landmarks, read_volume(scan))
    alone = Matcher().match(known.template, known.landmarks, read_volume(scan))
    np.testing.assert_allclose(placed, wanted.landmarks.positions, atol=1e-3)
    assert np.linalg.norm(placed - alone.landmarks.positions, axis=1).max() > 0.05
    (target,) = json.loads(report.read_text())["targets"]
    assert target["report"]["protocol"]["taught_by"] == len(TAUGHT)


def test_two_people_change_no_byte_of_scans_that_are_placed_together(heads, protocol, tmp_path, capfd):
    two, template, points = tmp_path / "two.dflp", tmp_path / "template.nii.gz", tmp_path / "template.mrk.json"
    image = nibabel.load(heads / "sub-0.nii.gz")
    image.header.set_xyzt_units("unknown")
    nibabel.save(image, template)
    write_landmarks(replace(read_landmarks(heads / "sub-0.mrk.json"), name="Six points"), points)
    given = "--template", template, "--landmarks", points
    assert (
        run("learn", two, *given, *(f"{heads / f'sub-{one}.nii.gz'}={heads / f'sub-{one}.mrk.json'}" for one in (1, 2)))
        == 0
    )
    assert "note: template: the file gives no unit of length" in capfd.readouterr().err
    scans = [heads / f"sub-{number}.nii.gz" for number in (4, 5, 6)]
    assert run("place", *scans, *given, "--output-dir", tmp_path / "without") == 0
    assert run("place", *scans, "--protocol", two, "--output-dir", tmp_path / "with") == 0
    for scan in ("sub-4", "sub-5", "sub-6"):
        one, other = (tmp_path / folder / f"{scan}.mrk.json" for folder in ("without", "with"))
        assert one.read_bytes() == other.read_bytes()


def test_a_template_is_needed_once(heads, protocol, tmp_path, capfd):
    scan, template, points = heads / "sub-5.nii.gz", heads / "sub-0.nii.gz", heads / "sub-0.mrk.json"
    for command in ("place", "cohort"):
        start = command, scan, "--output-dir", tmp_path / "out"
        assert "there is no template; give --template and --landmarks, or --protocol" in refused(capfd, *start)
        both = refused(capfd, *start, "--protocol", protocol, "--template", template, "--landmarks", points)
        assert f"the protocol {protocol} holds a template and its landmarks; leave out" in both
        assert "leave out" in refused(capfd, *start, "--protocol", protocol, "--landmarks", points)
        assert "give one for each" in refused(capfd, *start, "--template", template)
        assert "none.dflp" in refused(capfd, *start, "--protocol", tmp_path / "none.dflp")
    masked = "place", scan, "--output-dir", tmp_path / "out", "--protocol", protocol, "--mask", scan
    assert "leave out --mask, or --protocol" in refused(capfd, *masked)
    assert "leave out --protocol" in refused(
        capfd, "calibrate", heads, "--output", tmp_path / "own.json", "--protocol", protocol
    )
    assert not (tmp_path / "out").exists()


def test_a_cohort_is_placed_by_one_state_of_the_protocol(heads, protocol, new_scans, tmp_path, capfd):
    pytest.importorskip("distributed")
    own, out = tmp_path / "own.dflp", tmp_path / "out"
    shutil.copyfile(protocol, own)
    command = "cohort", new_scans, "--protocol", own, "--output-dir", out, "--workers", 1
    assert run(*command) == 0
    assert run("place", new_scans / "sub-6.nii.gz", "--protocol", protocol, "--output-dir", tmp_path) == 0
    placed, wanted = (read_landmarks(folder / "sub-6.mrk.json").positions for folder in (out, tmp_path))
    np.testing.assert_allclose(placed, wanted, atol=1e-3)
    assert (out / "protocol.dflp").read_bytes() == protocol.read_bytes()
    assert run("forget", own, "sub-1") == 0
    changed = refused(capfd, *command)
    assert f"before the protocol changed; go on with its copy, --protocol {out / 'protocol.dflp'}, or choose" in changed
    assert "holds results of another template" in refused(capfd, *command, "--tolerance", "7")
    assert run(*command[:3], out / "protocol.dflp", *command[4:]) == 0
    assert (out / "protocol.dflp").read_bytes() == protocol.read_bytes()


def test_evaluate_judges_a_protocol_by_people_who_have_not_taught_it(heads, protocol, tmp_path, capfd):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("statsmodels")
    start = "evaluate", heads, "--output-dir", tmp_path, "--method", "default"
    assert run(*start, "--protocol", protocol) == 0
    assert "have taught the protocol: sub-1, sub-2, sub-3, sub-4" in capfd.readouterr().err
    errors = pd.read_csv(tmp_path / "errors.csv")
    assert set(errors.template) == {"sub-0"}
    assert set(errors.target) == {"sub-5", "sub-6"}
    known, scan = read_protocol(protocol), read_volume(heads / "sub-5.nii.gz")
    placed = Matcher(protocol=str(protocol)).match(known.template, known.landmarks, scan).landmarks.positions
    wanted = np.linalg.norm(placed - read_landmarks(heads / "sub-5.mrk.json").positions, axis=1)
    np.testing.assert_allclose(errors[errors.target == "sub-5"].error_mm, wanted, atol=0.01)
    assert "leave out --template" in refused(capfd, *start, "--protocol", protocol, "--template", "sub-0")


def test_evaluate_needs_a_person_who_has_not_taught_the_protocol(heads, protocol, tmp_path, capfd):
    pytest.importorskip("statsmodels")
    for one in TAUGHT:
        for suffix in (".nii.gz", ".mrk.json"):
            shutil.copyfile(heads / f"sub-{one}{suffix}", tmp_path / f"sub-{one}{suffix}")
    command = "evaluate", tmp_path, "--output-dir", tmp_path / "out", "--method", "default", "--protocol", protocol
    assert run(*command) == 2
    assert "has no annotated scan of a person who has not taught the protocol" in capfd.readouterr().err


def test_the_automatic_rater_places_from_a_protocol(heads, protocol, tmp_path, capfd):
    pytest.importorskip("statsmodels")
    start = "quality", heads, "--volumes", heads, "--output-dir", tmp_path, "--protocol", protocol
    assert "give --automatic-rater or --template-check too" in refused(capfd, *start)
    assert run(*start, "--automatic-rater") in (0, 3)
    assert "have taught the protocol: sub-1, sub-2, sub-3, sub-4" in capfd.readouterr().err
    files = sorted((tmp_path / "automatic_rater").glob("*.mrk.json"))
    assert [file.name for file in files] == ["sub-5_from_sub-0.mrk.json", "sub-6_from_sub-0.mrk.json"]
    assert run("place", heads / "sub-6.nii.gz", "--protocol", protocol, "--output-dir", tmp_path) == 0
    placed, wanted = (read_landmarks(file).positions for file in (files[1], tmp_path / "sub-6.mrk.json"))
    np.testing.assert_allclose(placed, wanted, atol=1e-3)


def test_the_template_of_a_protocol_is_checked(heads, protocol, tmp_path, capfd):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("statsmodels")
    start = "quality", heads, "--output-dir", tmp_path, "--protocol", protocol, "--template-check"
    assert "leave out --template" in refused(capfd, *start, "--template", "sub-1")
    assert run(*start) == 0
    assert "have taught the protocol: sub-1, sub-2, sub-3, sub-4" in capfd.readouterr().err
    (row,) = pd.read_csv(tmp_path / "template_check.csv").to_dict("records")
    assert (row["template"], row["targets"]) == ("sub-0", 2)
