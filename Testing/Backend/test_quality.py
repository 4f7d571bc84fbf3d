"""Quality of annotations, on people made by formulas."""

import base64
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from deepfeatures.cli.main import main
from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.landmark_files import write_landmarks
from deepfeatures.io.volume_files import write_volume

pytest.importorskip("pandas")
pytest.importorskip("scipy")
pytest.importorskip("statsmodels")
pytest.importorskip("jinja2")

from quality_people import NAMES, PEOPLE, annotate, landmark_set, person_points

from deepfeatures.matching import MatchResult, MatchSettings
from deepfeatures.quality import (
    automatic_rater,
    find_annotation_errors,
    fit_reference_model,
    position_table,
    read_rater,
    review,
)
from deepfeatures.quality.annotations import landmark_names, stack_positions
from deepfeatures.quality.foreground import outside_mm
from deepfeatures.quality.rater_agreement import bland_altman, drift, errors, localisation_error
from deepfeatures.quality.report import write_review


@pytest.fixture
def people():
    generator = np.random.default_rng(0)
    return np.stack([person_points(generator) for _ in range(PEOPLE)])


@pytest.fixture
def model(people):
    return fit_reference_model(NAMES, people, np.full_like(people, np.nan))


@pytest.fixture
def stranger():
    return person_points(np.random.default_rng(99))


def kinds(annotation_errors):
    return {(error.landmark, error.kind, error.other) for error in annotation_errors}


def test_a_good_set_has_no_faults(model, stranger):
    assert not find_annotation_errors(model, stranger)


@pytest.mark.parametrize(("first", "second"), [(0, 6), (1, 2), (5, 9)])
def test_two_swapped_points_are_named_as_a_pair(model, stranger, first, second):
    stranger[[first, second]] = stranger[[second, first]]
    expected = {(NAMES[first], "swapped", NAMES[second]), (NAMES[second], "swapped", NAMES[first])}
    assert kinds(find_annotation_errors(model, stranger)) == expected


def test_a_point_on_the_wrong_side_is_said_to_lie_there(model, stranger):
    stranger[3] = stranger[9] + 0.4
    assert kinds(find_annotation_errors(model, stranger)) == {("L top", "mislabelled", "R top")}


@pytest.mark.parametrize("slip_mm", [6, 40, 300])
def test_a_slip_is_found_and_blames_no_neighbour(model, stranger, slip_mm):
    truth = stranger[7].copy()
    stranger[7] += [0, slip_mm, 0]
    (error,) = find_annotation_errors(model, stranger)
    assert (error.landmark, error.kind) == ("R middle", "misplaced")
    assert error.distance_mm == pytest.approx(slip_mm, abs=2.5)
    assert np.linalg.norm(np.subtract(error.expected, truth)) < 2.5


def test_a_missing_point_is_named_and_its_place_foretold(model, stranger):
    truth = stranger[4].copy()
    stranger[4] = np.nan
    (error,) = find_annotation_errors(model, stranger)
    assert (error.landmark, error.kind) == ("L low", "missing")
    assert np.linalg.norm(np.subtract(error.expected, truth)) < 2.5


def test_a_landmark_that_hardly_anyone_has_is_not_missing(people, stranger):
    people[3:, 4] = stranger[4] = np.nan
    assert not find_annotation_errors(fit_reference_model(NAMES, people, np.full_like(people, np.nan)), stranger)


@pytest.mark.parametrize(("signs", "words"), [((-1, 1, 1), "left and right are"), ((-1, -1, 1), "RAS read as LPS")])
def test_exchanged_axes_are_one_fault_of_the_set(model, stranger, signs, words):
    (error,) = find_annotation_errors(model, stranger * signs)
    assert error.kind == "mirrored"
    assert words in error.sentence


def test_another_rater_finds_slips_that_the_shape_does_not_show(people):
    generator = np.random.default_rng(5)
    vague = person_points(generator)
    people = people + np.pad(generator.normal(scale=6, size=(PEOPLE, 1, 3)), ((0, 0), (2, 9), (0, 0)))
    estimates = people + generator.normal(scale=0.4, size=people.shape)
    slipped = vague.copy()
    slipped[2] += [0, 0, 5]
    assert not find_annotation_errors(fit_reference_model(NAMES, people, np.full_like(people, np.nan)), slipped)
    with_estimates = fit_reference_model(NAMES, people, estimates)
    assert kinds(find_annotation_errors(with_estimates, slipped, vague)) == {("L back", "misplaced", "")}


def test_estimates_of_few_scans_are_of_use_too(people, stranger):
    """An automatic rater may have placed the points of some scans only, and these may be unlike the others."""
    estimates, marked = np.full_like(people, np.nan), people.copy()
    estimates[:2] = people[:2]
    marked[:2] += np.random.default_rng(1).normal(scale=2, size=marked[:2].shape)
    model = fit_reference_model(NAMES, marked, estimates)
    assert np.isfinite(model.spreads_mm).all()
    assert not find_annotation_errors(model, stranger)


def test_the_smallest_slip_that_is_found_grows_with_the_spread(people, model):
    noisy = people.copy()
    noisy[:, 2] += np.random.default_rng(1).normal(scale=5, size=(PEOPLE, 3))
    slips = fit_reference_model(NAMES, noisy, np.full_like(people, np.nan)).detectable_shifts_mm()
    assert np.argmax(slips) == 2
    assert slips[2] > 2 * model.detectable_shifts_mm()[2]


def test_only_the_rater_at_fault_is_blamed(people):
    novice = people.copy()
    novice[4, [0, 6]] = novice[4, [6, 0]]
    novice[6, 3] += [0, 8, 0]
    generator = np.random.default_rng(2)
    found = review([*annotate(people, "expert"), *annotate(novice, "novice", generator)]).flagged
    grave = found[found.distance_mm > 4]
    assert set(zip(grave.scan, grave.rater, grave.landmark, strict=True)) == {
        ("scan4", "novice", "L front"),
        ("scan4", "novice", "R front"),
        ("scan6", "novice", "L top"),
    }


def test_too_few_people_still_show_what_is_missing(people):
    people[1, 5] = np.nan
    found = review(annotate(people[:3], "one"))
    assert found.flagged[["scan", "landmark", "kind"]].to_numpy().tolist() == [["scan1", "L tip", "missing"]]
    assert not len(found.sensitivity)


def two_raters(shift=(2.0, 0.0, 0.0)):
    points = np.random.default_rng(3).normal(scale=20, size=(6, 12, 3))
    return position_table(annotate(points, "a") + annotate(points + np.array(shift), "b"))


def test_errors_are_distances_from_the_reference():
    table = errors(two_raters((3.0, 0.0, -4.0)), "a")
    assert set(table.rater) == {"b"}
    assert len(table) == 6 * 12
    assert np.allclose(table.error_mm, 5)
    assert np.allclose(table.dz, -4)


def test_localisation_error_is_half_the_distance_of_two_raters():
    table = localisation_error(two_raters())
    assert np.allclose(table.mean_afle_mm, 1)
    assert np.allclose(table.inter_rater_mm, 2)
    assert set(table.scans) == {6}


def test_bland_altman_gives_bias_and_limits_along_each_axis():
    table = two_raters()
    noise = np.random.default_rng(4).normal(scale=0.5, size=len(table))
    table["y"] += noise
    agreement = bland_altman(table, "a", "b").set_index("axis")
    differences = noise[:72] - noise[72:]
    assert agreement.bias_mm["x"] == pytest.approx(-2)
    assert agreement.bias_mm["y"] == pytest.approx(differences.mean())
    assert agreement.high_mm["y"] - agreement.low_mm["y"] == pytest.approx(2 * 1.96 * differences.std(ddof=1))
    assert agreement.bias_low_mm["y"] < agreement.bias_mm["y"] < agreement.bias_high_mm["y"]


def test_drift_is_told_from_noise(people):
    generator = np.random.default_rng(6)
    steady = annotate(people, "steady", generator)
    sinking = annotate(people + np.arange(PEOPLE)[:, None, None] * [0, 0, -0.3], "sinking", generator)
    table = drift(errors(position_table([*annotate(people, "truth"), *steady, *sinking]), "truth"))
    table = table.set_index(["rater", "measure"])
    assert table.slope_mm["sinking", "dz"] == pytest.approx(-0.3, abs=0.1)
    assert table.p["sinking", "dz"] < 0.001
    assert table.p["steady", "dz"] > 0.05


@pytest.fixture
def ball():
    """A bright ball of radius 30 mm with a dark cavity, in air, on a turned grid of 2 mm."""
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    axes = np.meshgrid(*[np.arange(50) * 2.0 - 49] * 3, indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    bright = (radius < 30) & (radius > 8)
    voxels = torch.from_numpy((bright * 100 + np.random.default_rng(0).normal(size=bright.shape)).astype(np.float32))
    volume = Volume(voxels, spacing=np.full(3, 2.0), direction=turn)
    return replace(volume, origin=-volume.centre)


def test_points_outside_the_head_are_told_from_those_in_cavities(ball):
    points = np.array([[0, 0, 0], [0, 29, 0], [0, 0, 42], [0, 90, 0], [np.nan] * 3])
    distances = outside_mm(ball, points)
    assert distances[:2] == pytest.approx([0, 0], abs=2)
    assert distances[2:4] == pytest.approx([12, 60], abs=3)
    assert np.isnan(distances[4])


AFIDS = """# Markups fiducial file version = 4.6
# CoordinateSystem = 0
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
vtkMRMLMarkupsFiducialNode_1,1.5,2,-5,0,0,0,1,1,1,0,1,AC,
"""


def test_afids_files_belong_to_the_scan_whose_name_they_begin_with(tmp_path):
    (tmp_path / "sub-01_T1w_afids.fcsv").write_text(AFIDS)
    (tmp_path / "._sub-01_T1w_afids.fcsv").write_bytes(b"\0\5\26\7")  # as macOS leaves them on other systems' disks
    (annotation,) = read_rater(tmp_path, scans=("sub-01_T1w", "sub-01", "sub-02_T1w"))
    assert (annotation.scan, annotation.person, annotation.rater) == ("sub-01_T1w", "sub-01", tmp_path.name)
    assert annotation.landmarks[0].position == (-1.5, -2, -5)


def test_two_files_of_one_scan_are_refused(tmp_path):
    for name in ("a_1.fcsv", "a_2.fcsv"):
        (tmp_path / name).write_text(AFIDS)
    with pytest.raises(InputError, match="two landmark files"):
        read_rater(tmp_path, scans=("a",))


def write_raters(folder, people, **others):
    for rater, points in {"expert": people, **others}.items():
        (folder / rater).mkdir()
        for annotation in annotate(points, rater):
            write_landmarks(annotation.landmarks, folder / rater / f"{annotation.scan}.mrk.json")
    return [str(folder / rater) for rater in ("expert", *others)]


def test_the_report_is_one_file_with_a_picture_of_each_flagged_point(people, ball, tmp_path):
    people -= people.mean(axis=1, keepdims=True)
    people *= 0.3
    people[2, 4] = [0, 0, 45]
    found = review(annotate(people, "<one>"), volumes={"scan2": ball})
    page = write_review(found, tmp_path, volumes={"scan2": ball})
    text = page.read_text()
    assert {"outside", "misplaced"} <= set(found.flagged[found.flagged.scan == "scan2"].kind)
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert len(pictures) >= 2
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    assert "<one>" not in text
    assert (tmp_path / "flagged.csv").read_text().startswith("scan,rater,landmark,kind,distance_mm")


def test_what_a_volume_leaves_open_is_told_and_stands_in_the_report(people, ball, tmp_path, capsys):
    import nibabel

    (folder,) = write_raters(tmp_path, people - people.mean(axis=1, keepdims=True))
    scan = tmp_path / "scans/scan2.nii.gz"
    scan.parent.mkdir()
    write_volume(ball, scan)
    image = nibabel.load(scan)
    image.header["sform_code"] = image.header["qform_code"] = 0
    nibabel.Nifti1Image(image.get_fdata(dtype=np.float32), None, image.header).to_filename(scan)
    main(["quality", folder, "--volumes", str(scan.parent), "--output-dir", str(tmp_path / "out")])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: scan2: ")]
    assert "left" in line
    for file in ("notes.csv", "report.html"):
        assert line.removeprefix("note: ") in (tmp_path / "out" / file).read_text()


def test_the_command_says_by_its_exit_code_whether_something_is_flagged(people, tmp_path, capsys):
    novice = people.copy()
    novice[3, 5] += 30
    folders = write_raters(tmp_path, people, novice=novice)
    assert main(["quality", *folders, "--reference", "expert", "--output-dir", str(tmp_path / "out")]) == 3
    assert "report.html" in capsys.readouterr().out
    assert "L tip" in (tmp_path / "out/flagged.csv").read_text()
    assert main(["quality", folders[0], "--output-dir", str(tmp_path / "few")]) in (0, 3)
    (tmp_path / "run=2").mkdir()
    odd = str((tmp_path / "expert").rename(tmp_path / "run=2/expert"))
    for rater in (odd, f"she={odd}"):
        assert main(["quality", rater, "--output-dir", str(tmp_path / "odd")]) in (0, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "not a folder"),
        (["{expert}", "--reference", "nobody"], "no rater 'nobody'"),
        (["{expert}", "--automatic-rater"], "--volumes"),
        (["{expert}", "{expert}"], "same name"),
    ],
)
def test_bad_input_ends_in_one_sentence(people, tmp_path, capsys, arguments, words):
    (expert,) = write_raters(tmp_path, people[:2])
    arguments = [argument.format(expert=expert) for argument in arguments]
    assert main(["quality", *arguments, "--output-dir", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1


class CountingMatcher:
    """Places every landmark where it is in the template, moved by the difference of the volumes' origins."""

    settings = MatchSettings()

    def __init__(self):
        self.calls = []

    def match(self, template, landmarks, target, *, mask=None, progress=None):
        self.calls.append((template.name, target.name))
        shift = target.origin - template.origin
        scores = {"inverse_consistency_error_mm": 0.5}
        moved = tuple(replace(one, position=tuple(np.add(one.position, shift)), **scores) for one in landmarks)
        return MatchResult(LandmarkSet(moved), template.name, target.name, MatchSettings())


@pytest.fixture
def carried():
    """Annotations of five people by an expert, their volumes, and hashes of these."""
    points = np.random.default_rng(0).uniform(1, 8, size=(12, 3))
    origins = np.arange(5)[:, None] * np.array([10.0, 0, 0])
    volumes = {f"scan{k}": Volume(torch.zeros(10, 10, 10), origins[k], name=f"scan{k}") for k in range(5)}
    return annotate(points + origins[:, None], "expert"), volumes, {name: f"hash of {name}" for name in volumes}


def test_the_automatic_rater_goes_on_where_it_stopped(carried, tmp_path):
    annotations, volumes, hashes = carried
    outside = replace(annotations[1].landmarks[0], position=(500.0, 0, 0))
    annotations[1] = replace(annotations[1], landmarks=LandmarkSet((outside, *annotations[1].landmarks.landmarks[1:])))
    first = CountingMatcher()
    placed = automatic_rater.place_from_others(annotations, volumes, hashes, first, tmp_path)
    assert len(first.calls) == 5 * automatic_rater.TEMPLATES
    assert all(template != target for template, target in first.calls)
    found = automatic_rater.consensus(placed, landmark_names(annotations))
    assert np.allclose(found["scan3"], stack_positions(annotations, NAMES)[3])
    assert automatic_rater.inverse_consistency(placed).mean_mm.eq(0.5).all()
    (tmp_path / f"{first.calls[4][1]}_from_{first.calls[4][0]}.mrk.json").unlink()
    second = CountingMatcher()
    again = automatic_rater.place_from_others(annotations, volumes, hashes, second, tmp_path)
    assert second.calls == [first.calls[4]]
    assert np.allclose(automatic_rater.consensus(again, NAMES)["scan3"], found["scan3"])


def test_a_corrected_annotation_is_carried_to_the_others_anew(carried, tmp_path):
    annotations, volumes, hashes = carried
    automatic_rater.place_from_others(annotations, volumes, hashes, CountingMatcher(), tmp_path)
    points = stack_positions(annotations, NAMES)
    points[2] += 0.5
    corrected = [*annotations[:2], replace(annotations[2], landmarks=landmark_set(points[2])), *annotations[3:]]
    second = CountingMatcher()
    placed = automatic_rater.place_from_others(corrected, volumes, hashes, second, tmp_path)
    assert {template for template, _ in second.calls} == {"scan2"}
    assert len(second.calls) == automatic_rater.TEMPLATES
    carried_from_it = [one for found in placed.values() for one in found if one.rater.endswith("from_scan2")]
    assert len(carried_from_it) == automatic_rater.TEMPLATES
    for one in carried_from_it:
        shift = volumes[one.scan].origin - volumes["scan2"].origin
        assert np.allclose(one.landmarks.positions, points[2] + shift)


@pytest.mark.parametrize("changed", ["volume", "settings", "version", "result"])
def test_what_was_placed_otherwise_is_placed_anew(carried, tmp_path, monkeypatch, changed):
    annotations, volumes, hashes = carried
    automatic_rater.place_from_others(annotations, volumes, hashes, CountingMatcher(), tmp_path)
    again = CountingMatcher()
    if changed == "volume":
        hashes["scan0"] = "another scan"
    elif changed == "settings":
        again.settings = MatchSettings(seed=1)
    elif changed == "version":
        monkeypatch.setattr("deepfeatures.io.provenance.__version__", "99")
    else:
        write_landmarks(annotations[0].landmarks, tmp_path / "scan1_from_scan0.mrk.json")
    automatic_rater.place_from_others(annotations, volumes, hashes, again, tmp_path)
    pairs = {"volume": 6, "settings": 15, "version": 15, "result": 1}
    assert len(again.calls) == pairs[changed]


def test_automatic_estimates_are_read_with_the_scans(people, tmp_path, fake_matcher):
    write_raters(tmp_path, people[:4] - people[:4].mean(axis=1, keepdims=True))
    (tmp_path / "scans").mkdir()
    for number in range(4):
        volume = Volume(torch.zeros(60, 70, 60), np.array([-120.0, -140, -120]), np.full(3, 4.0))
        write_volume(volume, tmp_path / f"scans/scan{number}.nii.gz")
    arguments = [str(tmp_path / "expert"), "--volumes", str(tmp_path / "scans"), "--automatic-rater"]
    assert main(["quality", *arguments, "--output-dir", str(tmp_path / "out")]) in (0, 3)
    assert len(list((tmp_path / "out/automatic_rater").glob("*_from_*.mrk.json"))) == 12
