"""Names that people wrote differently: taken as the same where there is no doubt, told in every case."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfeatures.cli.main import main
from deepfeatures.data.landmark_names import match_names, unify_names
from deepfeatures.data.landmark_notes import notes_of_sets
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.notes import Note, NoteKind
from deepfeatures.errors import InputError
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import write_volume
from deepfeatures.matching import Matcher, MultiTemplateMatcher
from deepfeatures.phantom import make_pair


def named(*names, **described):
    points = [Landmark(name, (0.0, 0.0, 0.0)) for name in names]
    return LandmarkSet((*points, *(Landmark(name, (0.0, 0.0, 0.0), description=described[name]) for name in described)))


@pytest.mark.parametrize(
    ("name", "known"),
    [("AC", "ac"), ("AC ", "AC"), ("left  tip", "Left tip"), ("left_tip", "left tip"), ("a\N{NO-BREAK SPACE}b", "a b")],
)
def test_case_and_blanks_do_not_tell_two_landmarks_apart(name, known):
    match = match_names(named(name), named(known))
    assert match.spelled == {name: known}
    assert [one.name for one in match.renamed(named(name))] == [known]
    assert "case or blanks" in match.notes("A")[0].text


def test_the_description_of_one_rater_is_the_label_of_another():
    numbers, words = named(**{"1": "AC", "2": "pc", "3": ""}), named("AC", "PC", "third")
    match = match_names(numbers, words)
    assert match.described == {"1": "AC", "2": "PC"}
    assert (match.unknown, match.lacking) == (("3",), ("third",))
    assert match_names(words, numbers).described == {"AC": "1", "PC": "2"}
    texts = [note.text for note in match.notes("A")]
    assert len(texts) == 2
    assert "'1' as 'AC'" in texts[0]
    assert "'3'" in texts[1] and "'third'" in texts[1]


@pytest.mark.parametrize(
    ("own", "known"),
    [
        (named("AC", "ac"), named("Ac")),
        (named("ac"), named("AC", "Ac")),
        (named("AC", "ac"), named("AC", "Ac")),
        (named(**{"1": "AC", "2": "AC"}), named("AC")),
        (named("1"), named("AC")),
        (named(**{"1": "AC"}), named("AC", **{"ac point": "1"})),
    ],
)
def test_nothing_is_taken_where_two_names_fit(own, known):
    match = match_names(own, known)
    assert not match.spelled and not match.described
    assert match.unknown == tuple(one.name for one in own if one.name not in {other.name for other in known})


names = st.lists(st.text("aAbB_ 1", max_size=3), unique=True, max_size=6)


@given(names, names, st.lists(st.text("aA1 ", max_size=2), min_size=6, max_size=6))
def test_matched_names_stay_different_and_are_known(own, known, descriptions):
    landmarks = named(**dict(zip(own, descriptions, strict=False)))
    match = match_names(landmarks, named(*known))
    renamed = [one.name for one in match.renamed(landmarks)]
    assert len(set(renamed)) == len(own)
    assert set(renamed) - set(match.unknown) == set(known) - set(match.lacking)
    assert all(name == after for name, after in zip(own, renamed, strict=True) if name in known)


def test_one_odd_file_follows_the_usual_names_of_its_owner_and_of_others():
    sets = [named("AC", "PC"), named("Ac", "Pc"), named("Ac", "Pc"), named("aC", "pC", "more")]
    unified, notes = unify_names(sets, ["A", "A", "A", "B"])
    assert [[one.name for one in landmarks] for landmarks in unified] == [["Ac", "Pc"]] * 3 + [["Ac", "Pc", "more"]]
    assert {note.kind for note in notes} == {NoteKind.NAMES}
    assert [note.text.split(" ")[:5] for note in notes] == [
        ["A:", "in", "1", "of", "3"],
        ["B:", "names", "that", "differ", "from"],
        ["B:", "landmarks", "that", "are", "not"],
    ]


def points_of(generator, names):
    places = np.array([[20, -50, 0], [25, 0, 5], [22, 48, 3], [30, 10, 45], [-30, 10, 44]], float)
    moved = places * generator.uniform(0.95, 1.05) + generator.normal(scale=0.5, size=places.shape)
    return LandmarkSet(tuple(Landmark(name, tuple(at.tolist())) for name, at in zip(names, moved, strict=True)))


AFIDS = ("AC", "PC", "infracollicular sulcus", "PMJ", "superior interpeduncular fossa")


@pytest.fixture
def raters(tmp_path):
    """A function that writes two raters' `.fcsv` files, the second's changed, and returns what `quality` says."""
    pytest.importorskip("statsmodels")

    def quality(capsys, change, files=lambda scan: True, side_files=None):
        generator = np.random.default_rng(0)
        for rater in "AB":
            (tmp_path / rater).mkdir()
        for name, content in (side_files or {}).items():
            (tmp_path / name).write_text(json.dumps(content))
        for number in range(7):
            landmarks = points_of(generator, AFIDS)
            changed = tuple(map(change, landmarks, range(1, 6))) if files(number) else landmarks.landmarks
            write_landmarks(landmarks, tmp_path / f"A/scan{number}.fcsv")
            write_landmarks(LandmarkSet(changed), tmp_path / f"B/scan{number}.fcsv")
        folders = [str(tmp_path / rater) for rater in "AB"]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            code = main(["quality", *folders, "--reference", "A", "--output-dir", str(tmp_path / "out")])
        assert code in (0, 3)
        return capsys.readouterr().err

    return quality


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one, number: replace(one, name=one.name.upper()), "only in case or blanks"),
        (lambda one, number: replace(one, name=f"{one.name} "), "only in case or blanks"),
        (lambda one, number: replace(one, name=str(number), description=one.name), "description"),
    ],
)
@pytest.mark.parametrize("files", [lambda scan: True, lambda scan: scan == 2], ids=["all", "one"])
def test_raters_are_compared_whatever_their_spelling(raters, tmp_path, capsys, change, words, files):
    (line,) = raters(capsys, change, files=files).splitlines()
    assert line.startswith("note: B: in ") and words in line
    for name in ("flagged.csv", "errors.csv"):
        assert "missing" not in (tmp_path / "out" / name).read_text()
    errors = (tmp_path / "out/errors.csv").read_text().splitlines()
    assert len(errors) == 1 + 7 * len(AFIDS)
    assert "taken as the same" in (tmp_path / "out/report.html").read_text()
    assert "taken as the same" in (tmp_path / "out/notes.csv").read_text()


def test_unknown_names_are_told_once_with_what_is_lacking(raters, tmp_path, capsys):
    err = raters(capsys, lambda one, number: replace(one, name="ISF") if number == 3 else one)
    assert err.splitlines() == [
        "note: B: landmarks that are not in A are 'ISF', those only in A are 'infracollicular sulcus': give the same"
        " landmarks the same names"
    ]
    assert (tmp_path / "out/flagged.csv").read_text().count("infracollicular sulcus is missing") == 7


def test_side_files_of_bids_are_left_out_and_named(raters, tmp_path, capsys):
    side_files = {"B/dataset_description.json": {"BIDSVersion": "1.9.0"}, "B/scan1.json": {"EchoTime": 0.003}}
    (line,) = raters(capsys, lambda one, number: one, side_files=side_files).splitlines()
    assert line == "note: B: JSON files without markups are left out: dataset_description.json, scan1.json"
    assert len((tmp_path / "out/errors.csv").read_text().splitlines()) == 1 + 7 * len(AFIDS)
    assert "dataset_description.json" in (tmp_path / "out/report.html").read_text()


def test_a_scan_with_a_side_file_but_no_landmarks_is_no_case_of_a_study(tmp_path):
    from deepfeatures.evaluation.cases import find_cases

    volume, landmarks, *_ = make_pair(24)
    for name in "abc":
        write_volume(volume, tmp_path / f"{name}.nii.gz")
        (tmp_path / f"{name}.json").write_text(json.dumps({"EchoTime": 0.003}))
    for name in "ab":
        write_landmarks(landmarks, tmp_path / f"{name}.fcsv")
    assert [case.name for case in find_cases(tmp_path)] == ["a", "b"]


def test_what_landmark_files_leave_open_is_told_once_with_their_names():
    note = Note(NoteKind.ORIENTATION, "the landmark file says neither LPS nor RAS: taken as LPS mm")
    silent, open_frame = named("AC"), replace(named("AC"), notes=(note,))
    (told,) = notes_of_sets([("a", silent), ("b", open_frame), ("c", open_frame)])
    assert told == note.of("b, c")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("scan8.mrk.json", "{}", "holds no markups"),
        ("scan8.mrk.json", '{"markups": [', "is not JSON"),
        ("scan8.json", '{"markups": [', "is not JSON"),
        ("scan8.json", '{"markups": []}', "holds no landmarks"),
        ("scan8.csv", "name,x\nAC,1\n", "no header with name, x, y, z"),
        ("scan8.csv", "name;x;y;z\nAC;1;2;3\n", "no header with name, x, y, z"),
        ("scan8.csv", "name,posX,posY,posZ\nAC,1,2,3\n", "no header with name, x, y, z"),
        ("scan8.csv", "label,r,a\nAC,1,2\n", "no header with name, x, y, z"),
        ("scan8.csv", "AC,1,2,3\nPC,4,5,6\n", "no header with name, x, y, z"),
        ("scan8.csv", "# coordinate_system = RAS\nname,status\nAC,missing\n", "no header with name, x, y, z"),
        ("scan8.csv", "name", "no header with name, x, y, z"),
        ("scan8.csv", "", "no header with name, x, y, z"),
        ("scan8.csv", 'name,"note\nAC,seen\n', "quotes of its header do not close"),
        ("scan8.csv", "name,n\xf6te\nAC,seen\n".encode("latin-1"), "not text in UTF-8"),
        ("scan8.ants.csv", "name,note\nAC,seen\n", "no header with name, x, y, z"),
    ],
)
def test_damaged_landmarks_are_no_side_file(tmp_path, name, content, words):
    pytest.importorskip("pandas")
    from deepfeatures.quality import read_rater

    write_landmarks(named("AC"), tmp_path / "scan7.mrk.json")
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=words):
        read_rater(tmp_path)


@pytest.mark.parametrize("text", ["kind,note,p\nnames,seen,0.5\n", "\ufeffDatum;Bemerkung\r\n1.2.2026;gut\r\n"])
def test_a_table_without_coordinates_is_a_side_file(tmp_path, text):
    pytest.importorskip("pandas")
    from deepfeatures.quality import read_rater
    from deepfeatures.quality.annotations import sidecar_notes

    write_landmarks(named("AC"), tmp_path / "scan7.csv")
    (tmp_path / "notes.csv").write_bytes(text.encode())
    assert [one.scan for one in read_rater(tmp_path)] == ["scan7"]
    (note,) = sidecar_notes(tmp_path)
    assert note.text == f"{tmp_path.name}: CSV files without coordinates are left out: notes.csv"


def test_the_report_has_what_a_raters_file_leaves_open(tmp_path, capsys):
    pytest.importorskip("statsmodels")
    for rater, suffix in (("A", ".fcsv"), ("B", ".tps")):
        (tmp_path / rater).mkdir()
        write_landmarks(named("1", "2", "3"), tmp_path / rater / f"scan{suffix}")
    main(["quality", str(tmp_path / "A"), str(tmp_path / "B"), "--output-dir", str(tmp_path / "out")])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: scan of B: ") and "LPS" in line
    assert line.removeprefix("note: ") in (tmp_path / "out/notes.csv").read_text()


def test_a_folder_of_side_files_alone_holds_no_landmarks(tmp_path):
    pytest.importorskip("pandas")
    from deepfeatures.quality import read_rater

    (tmp_path / "participants.json").write_text("{}")
    with pytest.raises(InputError, match="holds no landmarks"):
        read_rater(tmp_path)


@pytest.fixture
def templates(tmp_path):
    """Two templates with the same landmarks and a target, as files; in the second the names are written otherwise."""
    template, landmarks, target, _ = make_pair(32)
    known = LandmarkSet(landmarks.landmarks[:4])
    others = [replace(one, name=f" {one.name.upper()}") for one in known]
    others[0] = replace(known[0], name="7", description=known[0].name)
    others[1] = replace(others[1], name="another")
    for name, volume in {"first": template, "second": template, "target": target}.items():
        write_volume(volume, tmp_path / f"{name}.nii.gz")
    write_landmarks(known, tmp_path / "first.mrk.json")
    write_landmarks(LandmarkSet(tuple(others)), tmp_path / "second.mrk.json")
    return known, tmp_path


def test_several_templates_agree_across_spelling_and_say_which_landmarks_one_alone_has(templates, capsys):
    known, folder = templates
    given = [
        argument
        for name in ("first", "second")
        for argument in ("--template", folder / f"{name}.nii.gz", "--landmarks", folder / f"{name}.mrk.json")
    ]
    report = folder / "run.json"
    outputs = "--output-dir", folder / "out", "--report", report
    assert main(["place", *map(str, (*given, *outputs, folder / "target.nii.gz"))]) in (0, 3)
    notes = [line for line in capsys.readouterr().err.splitlines() if "second" in line]
    assert len(notes) == 3
    assert "only in case or blanks" in notes[0] and known[2].name in notes[0]
    assert f"'7' as '{known[0].name}'" in notes[1]
    assert "'another'" in notes[2] and known[1].name in notes[2] and known[2].name not in notes[2]
    kinds = [note["kind"] for note in json.loads(report.read_text())["targets"][0]["notes"]]
    assert kinds.count("names") == 3
    placed = read_landmarks(folder / "out/target.mrk.json")
    assert [one.name for one in placed] == [one.name for one in known]


def test_both_templates_have_their_say_on_a_landmark_of_two_spellings(templates):
    from deepfeatures.io.volume_files import read_volume

    known, folder = templates
    first, target = (read_volume(folder / f"{name}.nii.gz") for name in ("first", "target"))
    moved = LandmarkSet(
        tuple(replace(one, name=one.name.upper(), position=tuple(np.add(one.position, 4.0))) for one in known)
    )
    alone = Matcher().match(first, known, target).landmarks.positions
    both = MultiTemplateMatcher([(first, moved)]).match(first, known, target).landmarks.positions
    assert np.nanmin(np.linalg.norm(both - alone, axis=1)) > 1


def test_a_study_compares_landmarks_across_spelling(tmp_path, capsys):
    pytest.importorskip("statsmodels")
    import pandas as pd

    template, landmarks, target, truth = make_pair(32)
    (tmp_path / "cases").mkdir()
    write_volume(template, tmp_path / "cases/a.nii.gz")
    write_volume(target, tmp_path / "cases/b.nii.gz")
    write_landmarks(landmarks, tmp_path / "cases/a.mrk.json")
    spelled = [replace(one, name=f"{one.name.upper()} ") for one in truth]
    spelled[0] = replace(truth[0], name="odd")
    write_landmarks(LandmarkSet(tuple(spelled)), tmp_path / "cases/b.mrk.json")
    arguments = ["evaluate", str(tmp_path / "cases"), "--method", "default", "--output-dir", str(tmp_path / "out")]
    assert main(arguments) in (0, None)
    err = capsys.readouterr().err
    assert "only in case or blanks" in err and "'odd'" in err
    errors = pd.read_csv(next((tmp_path / "out").glob("*errors*.csv")))
    assert len(errors) == len(landmarks) - 1
