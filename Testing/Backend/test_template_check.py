"""The check of templates: offsets that were planted, scans of people made by formulas, and real hippocampi."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from deepfeatures.cli.main import main
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import write_volume

pytest.importorskip("pandas")
pytest.importorskip("scipy")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from deepfeatures.matching import Matcher
from deepfeatures.quality import Annotation
from deepfeatures.quality.annotated_scans import read_annotated_scans
from deepfeatures.quality.placed_pairs import PlacedPair
from deepfeatures.quality.template_check import TARGETS, check_templates, pairs_to_place
from deepfeatures.quality.template_comparison import compare
from deepfeatures.quality.template_offsets import CONFIDENCE, comparable_means, direction_text, offsets

LANDMARKS = 6
QUARTER_TURN = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])


def world(generator, targets, noise_mm=0.8, turn=None, size=1.0):
    """A template's points and where they are placed in targets and annotated there, each with noise of its own."""
    template = generator.normal(scale=30, size=(LANDMARKS, 3))
    truth = template @ (np.eye(3) if turn is None else turn) * size
    placed = truth + generator.normal(scale=noise_mm, size=(targets, LANDMARKS, 3))
    return template, placed, truth + generator.normal(scale=noise_mm, size=(targets, LANDMARKS, 3))


@pytest.mark.parametrize(("turn", "size"), [(np.eye(3), 1.0), (QUARTER_TURN, 1.3)])
def test_a_planted_offset_is_found_in_the_templates_own_frame(turn, size):
    template, placed, annotated = world(np.random.default_rng(0), 10, 0.3, turn, size)
    template[2] += [0, 3, 0]
    placed[:, 2] += np.array([0, 3, 0]) @ turn * size
    found = offsets(template, placed, annotated)
    assert found.mean[2] == pytest.approx([0, 3, 0], abs=0.5)
    assert found.is_unlike.tolist() == [number == 2 for number in range(LANDMARKS)]
    assert found.errors_without_mm[2] < 1 < found.errors_mm[:, 2].min()


def test_all_intervals_of_a_template_hold_as_often_as_they_say():
    generator, held = np.random.default_rng(1), []
    planted = np.zeros((LANDMARKS, 3))
    planted[0] = [1.2, -0.5, 0.3]
    for _ in range(200):
        template, placed, annotated = world(generator, 5)
        low, high = offsets(template, placed + planted, annotated).intervals_mm.T
        true = np.linalg.norm(planted, axis=1)
        held.append(((low <= true) & (true <= high)).all())
    assert np.mean(held) >= CONFIDENCE - 0.03


def test_one_target_tells_an_offset_but_nothing_of_its_certainty():
    template, placed, annotated = world(np.random.default_rng(2), 1)
    found = offsets(template, placed, annotated)
    assert np.isfinite(found.lengths_mm).all()
    assert np.isnan(found.half_width_mm).all()
    assert not found.is_unlike.any()


def test_a_template_is_not_worse_for_having_been_tried_on_harder_targets():
    hardness, own = np.array([1.0, 1, 5, 5]), np.array([0.0, 0.5, 1.0])
    errors = (own[:, None] + hardness)[..., None].repeat(3, axis=2)
    errors[0, :2] = errors[2, 2:] = np.nan
    assert np.nanmean(errors[0]) > np.nanmean(errors[2])
    assert np.diff(comparable_means(errors)) == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
    ("offset", "text"),
    [
        ((3, 0.5, 0), "left of"),
        ((0, -2, 1.9), "in front of and above"),
        ((-1, 1.1, -1.2), "below, behind and right of"),
    ],
)
def test_directions_are_in_words(offset, text):
    assert direction_text(np.array(offset, float)) == text


def annotation(scan, points):
    return Annotation(scan, "one", LandmarkSet(tuple(Landmark(f"p{n}", tuple(p)) for n, p in enumerate(points))))


def placed_pairs(generator, shifts, scans=4):
    """Every scan from every other; `shifts` of templates: mm by which their first landmark is labelled further back."""
    base = generator.normal(scale=30, size=(LANDMARKS, 3))
    people = {f"scan{k}": base + generator.normal(scale=0.2, size=base.shape) for k in range(scans)}
    for scan, shift in shifts.items():
        people[scan][0] += [0, shift, 0]
    known = {scan: annotation(scan, points) for scan, points in people.items()}
    noise = generator.normal(scale=0.6, size=(scans, scans, LANDMARKS, 3))
    return [
        PlacedPair(known[one], known[other], annotation(other, people[one] + noise[row, column]).landmarks)
        for row, one in enumerate(people)
        for column, other in enumerate(people)
        if one != other
    ]


def test_the_template_that_is_labelled_otherwise_comes_last_and_its_point_is_named():
    check = compare(placed_pairs(np.random.default_rng(3), {"scan1": 4.0}, scans=6))
    last = check.templates.iloc[-1]
    assert (last.template, last.unlike) == ("scan1", "p0")
    assert last.behind_best_low_mm > 0
    assert "behind" in last.advice
    assert "scan1" not in check.advice
    assert list(check.templates.unlike[:-1]) == [""] * 5
    assert check.templates["rank"].tolist() == [1, 2, 3, 4, 5, 6]


def test_two_scans_that_disagree_blame_neither():
    check = compare(placed_pairs(np.random.default_rng(4), {"scan1": 4.0}, scans=2))
    assert "annotate a third" in check.advice
    assert not check.landmarks.unlike.any()


def test_few_scans_are_said_to_be_few():
    assert "first guess" in compare(placed_pairs(np.random.default_rng(5), {}, scans=4)).advice
    assert "first guess" not in compare(placed_pairs(np.random.default_rng(5), {}, scans=6)).advice


def test_points_that_were_not_found_are_counted_and_not_taken_as_good():
    pairs = placed_pairs(np.random.default_rng(6), {}, scans=5)
    lost = [
        replace(pair, landmarks=LandmarkSet(pair.landmarks.landmarks[2:])) if pair.template.scan == "scan2" else pair
        for pair in pairs
    ]
    row = compare(lost).templates.set_index("template").loc["scan2"]
    assert (row.missing, row.points) == (8, 24)
    assert "8 of 24 points were not found" in row.advice


def test_scans_without_a_landmark_in_common_are_refused():
    one, other = annotation("a", np.eye(3)), annotation("b", np.eye(3))
    renamed = tuple(replace(point, name=f"other {point.name}") for point in other.landmarks)
    other = replace(other, landmarks=LandmarkSet(renamed))
    with pytest.raises(InputError, match="same names"):
        compare([PlacedPair(one, other, one.landmarks)])


def test_all_candidates_are_tried_on_the_same_scans_of_other_people():
    annotations = [annotation(f"sub-{k // 2:02}_ses-{k % 2}", np.eye(3)) for k in range(40)]
    pairs = pairs_to_place(annotations, ["sub-00_ses-0", "sub-07_ses-1"])
    tried = {name: [b.scan for a, b in pairs if a.scan == name] for name in ("sub-00_ses-0", "sub-07_ses-1")}
    first, second = map(set, tried.values())
    assert TARGETS - 2 <= len(first & second) <= TARGETS
    assert not any(a.person == b.person for a, b in pairs)
    assert pairs == pairs_to_place(annotations, ["sub-00_ses-0", "sub-07_ses-1"])
    assert len(pairs_to_place(annotations)) <= 40 * TARGETS
    with pytest.raises(InputError, match="no annotated scan 'sub-99'"):
        pairs_to_place(annotations, ["sub-99"])
    with pytest.raises(InputError, match="of one person"):
        pairs_to_place(annotations[:2])


def write_scans(folder, people):
    """A flat folder with a volume and a landmark file of each person."""
    folder.mkdir(exist_ok=True)
    for scan, points in people.items():
        write_volume(Volume(torch.zeros(40, 40, 40), np.full(3, -80.0), np.full(3, 4.0)), folder / f"{scan}.nii.gz")
        write_landmarks(annotation(scan, points).landmarks, folder / f"{scan}.mrk.json")
    return folder


@pytest.fixture
def people():
    generator = np.random.default_rng(7)
    base = generator.uniform(-40, 40, size=(LANDMARKS, 3))
    return {f"scan{k}": base + generator.normal(scale=0.5, size=base.shape) for k in range(6)}


def test_placed_points_that_nobody_accepted_are_left_out(people, tmp_path):
    folder = write_scans(tmp_path / "scans", people)
    points = read_landmarks(folder / "scan1.mrk.json")
    found = [replace(point, feature_distance=1.0, locked=number == 0) for number, point in enumerate(points)]
    write_landmarks(LandmarkSet(tuple(found)), folder / "scan1.mrk.json")
    scans = read_annotated_scans([folder])
    (own,) = [one for one in scans.annotations if one.scan == "scan1"]
    assert [point.name for point in own.landmarks] == ["p0"]
    assert any("5 placed points of scan1 are left out" in note.text for note in scans.notes)


def test_points_without_a_volume_are_left_out_with_a_note(people, tmp_path):
    folder = write_scans(tmp_path / "scans", people)
    (folder / "scan3.nii.gz").unlink()
    scans = read_annotated_scans([folder])
    assert [one.scan for one in scans.annotations] == ["scan0", "scan1", "scan2", "scan4", "scan5"]
    assert any("no volume for scan3" in note.text for note in scans.notes)


def test_the_command_writes_tables_page_and_json_and_goes_on_where_it_stopped(people, tmp_path, capsys, fake_matcher):
    people["scan4"][3] += [0, 0, 9]
    folder = write_scans(tmp_path / "scans", people)
    command = ["quality", str(folder), "--template-check", "--output-dir", str(tmp_path / "out")]
    assert main(command) == 0
    assert "Take scan" in capsys.readouterr().out
    content = json.loads((tmp_path / "out/template_check.json").read_text())
    assert content["templates"][-1]["template"] == "scan4"
    assert content["templates"][-1]["unlike"].startswith("p3")
    assert len(content["templates"][0]["landmarks"]) == LANDMARKS
    page = (tmp_path / "out/template_check.html").read_text()
    assert content["advice"] in page
    assert "data:image/png" in page
    assert (tmp_path / "out/template_check.csv").read_text().startswith("rank,template,targets")
    placed = {file: file.stat().st_mtime_ns for file in (tmp_path / "out/automatic_rater").glob("*.mrk.json")}
    assert len(placed) == 30
    assert main([*command, "--template", "scan4"]) == 0
    assert all(file.stat().st_mtime_ns == time for file, time in placed.items())
    rows = (tmp_path / "out/template_check.csv").read_text().splitlines()
    assert len(rows) == 2


def test_a_template_is_checked_by_what_people_have_accepted_and_corrected_in_its_cohort(
    people, tmp_path, capsys, fake_matcher
):
    write_scans(tmp_path / "scans", people)
    template = tmp_path / "template"
    template.mkdir()
    for suffix in (".nii.gz", ".mrk.json"):
        (tmp_path / f"scans/scan0{suffix}").rename(template / f"scan0{suffix}")
    targets = [str(tmp_path / f"scans/scan{number}.nii.gz") for number in range(1, 6)]
    given = ["--template", str(template / "scan0.nii.gz"), "--landmarks", str(template / "scan0.mrk.json")]
    assert main(["place", *given, "--output-dir", str(tmp_path / "results"), *targets]) == 0
    generator = np.random.default_rng(8)
    for file in sorted((tmp_path / "results").glob("*.mrk.json")):
        points = list(read_landmarks(file))
        points[:2] = [replace(point, locked=True) for point in points[:2]]
        left, back, up = points[2].position + generator.normal(scale=0.2, size=3)
        points[2] = Landmark(points[2].name, (left, back - 2, up), locked=True)
        write_landmarks(LandmarkSet(tuple(points)), file)
    folders = [str(template), str(tmp_path / "results"), "--volumes", str(tmp_path / "scans")]
    check = ["--template-check", "--template", "scan0", "--output-dir", str(tmp_path / "out")]
    assert main(["quality", *folders, *check]) == 0
    told = capsys.readouterr()
    assert "15 placed points of scan1, scan2, scan3, scan4, scan5 are left out" in told.err
    (row,) = json.loads((tmp_path / "out/template_check.json").read_text())["templates"]
    assert (row["targets"], row["points"], row["unlike"]) == (5, 15, "p2")
    assert row["landmarks"][0]["mean_error_mm"] == pytest.approx(0, abs=0.01)
    assert row["landmarks"][2]["back_mm"] == pytest.approx(2, abs=0.3)
    assert row["landmarks"][5]["targets"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{one}", "--template-check"], "there is only scan0"),
        (["{points}", "--template-check"], "folder of the volumes"),
        (["{scans}", "--template-check", "--template", "nobody"], "no annotated scan 'nobody'"),
        (["{scans}", "--template", "scan0"], "--template-check"),
        (["{scans}", "--template-check", "--automatic-rater"], "not raters"),
        (["{scans}", "{one}", "--template-check"], "several landmark files for scan0"),
    ],
)
def test_bad_input_ends_in_one_sentence(people, tmp_path, capsys, arguments, words):
    folders = {
        "scans": write_scans(tmp_path / "scans", people),
        "one": write_scans(tmp_path / "one", {"scan0": people["scan0"]}),
        "points": tmp_path / "points",
    }
    folders["points"].mkdir()
    write_landmarks(annotation("scan0", people["scan0"]).landmarks, folders["points"] / "scan0.mrk.json")
    arguments = [argument.format(**folders) for argument in arguments]
    assert main(["quality", *arguments, "--output-dir", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1


CANDIDATES = tuple(f"hippocampus_{number:03}" for number in (1, 74, 148, 210, 269, 333))


@pytest.fixture(scope="module")
def hippocampi(data):
    """Scans of people, one side each, evenly among all: six candidates, and others to check them on."""
    scans = read_annotated_scans([data / "hippocampus"])
    sides = {(int(one.scan.rsplit("_", 1)[1]) + 1) // 2: one for one in scans.annotations}
    kept = [one for one in scans.annotations if one.scan in CANDIDATES]
    known = {(int(name.rsplit("_", 1)[1]) + 1) // 2 for name in CANDIDATES}
    others = [one for person, one in sides.items() if person not in known]
    return scans, kept, others[1::8][:TARGETS]


@pytest.mark.data
def test_a_point_that_was_moved_on_purpose_is_found(hippocampi, tmp_path):
    scans, candidates, others = hippocampi
    matcher, found = Matcher(), {}
    for shift in (0.0, 3.0):
        points = list(candidates[3].landmarks)
        left, back, up = points[1].position
        points[1] = replace(points[1], position=(left, back - shift, up))
        moved = replace(candidates[3], landmarks=LandmarkSet(tuple(points)))
        used = replace(scans, annotations=(moved, *others))
        found[shift] = check_templates(used, matcher, tmp_path / "placed", [moved.scan]).landmarks
    assert not found[0.0].unlike[1]
    assert found[3.0].unlike[1]
    assert found[3.0].back_mm[1] - found[0.0].back_mm[1] == pytest.approx(-3, abs=0.7)
    others_changed = (found[3.0].offset_mm - found[0.0].offset_mm).drop(1)
    assert others_changed.abs().max() < 0.7
