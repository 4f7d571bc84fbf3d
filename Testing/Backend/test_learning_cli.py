"""A protocol from the command line: learn, forget, merge and show."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import struct
import zipfile
import zlib
from dataclasses import replace

import numpy as np
import pytest
from filelock import FileLock

from deepfeatures.cli.main import main
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import write_volume
from deepfeatures.matching.learning.protocol_file import read_protocol
from deepfeatures.phantom import make_pair
from deepfeatures.pipelines import protocol_update

PEOPLE = range(1, 5)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Scans of made people with the points of a person; `sub-0` is the template."""
    folder = tmp_path_factory.mktemp("heads")
    for seed in (0, *PEOPLE):
        _, _, scan, truth = make_pair(32, seed)
        write_volume(scan, folder / f"sub-{seed}.nii.gz")
        described = [replace(one, description=f"Where the {one.name} is.") for one in list(truth)[:6]]
        write_landmarks(LandmarkSet(tuple(described)), folder / f"sub-{seed}.mrk.json")
    return folder


@pytest.fixture
def template(heads):
    return ["--template", str(heads / "sub-0.nii.gz"), "--landmarks", str(heads / "sub-0.mrk.json")]


@pytest.fixture
def pair(heads):
    """`SCAN=POINTS` of a person, by number."""
    return lambda person: f"{heads / f'sub-{person}.nii.gz'}={heads / f'sub-{person}.mrk.json'}"


@pytest.fixture(scope="module")
def taught(heads, tmp_path_factory):
    """A protocol that all people have taught."""
    path = tmp_path_factory.mktemp("taught") / "heads.dflp"
    scans = [f"{heads / f'sub-{one}.nii.gz'}={heads / f'sub-{one}.mrk.json'}" for one in PEOPLE]
    given = "--template", heads / "sub-0.nii.gz", "--landmarks", heads / "sub-0.mrk.json"
    assert main(["learn", str(path), *map(str, given), *scans]) == 0
    return path


def shown(path, capfd):
    """What `show --json` prints."""
    capfd.readouterr()
    assert main(["show", str(path), "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def refused(arguments, capfd):
    """The one line with which a command refuses."""
    capfd.readouterr()
    assert main(list(map(str, arguments))) == 2
    (line,) = capfd.readouterr().err.splitlines()
    return line


def content(path):
    """What a protocol's file holds, part by part, but for the times at which it was begun and taught."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    facts = json.loads(parts.pop("protocol.json"))
    for entry in (facts["made"], *facts["scans"]):
        del entry["time" if entry is facts["made"] else "learnt"]
    return facts, parts


def same(one, other):
    return content(one) == content(other)


def test_learning_in_steps_at_once_and_merged_is_the_same(taught, template, pair, tmp_path, capfd):
    steps, first, second, merged = (tmp_path / f"{name}.dflp" for name in ("steps", "first", "second", "merged"))
    assert main(["learn", str(steps), *template, pair(3)]) == 0
    assert main(["learn", str(steps), pair(1)]) == 0
    assert main(["learn", str(steps), *template, pair(4), pair(2)]) == 0
    assert main(["learn", str(first), *template, pair(4), pair(1)]) == 0
    assert main(["learn", str(second), *template, pair(1), pair(2), pair(3)]) == 0
    assert not same(first, second)
    assert main(["merge", str(second), str(first), "--output", str(merged)]) == 0
    assert same(steps, taught)
    assert same(merged, taught)
    assert shown(steps, capfd)["landmarks"] == shown(taught, capfd)["landmarks"] == shown(merged, capfd)["landmarks"]


def test_what_is_forgotten_was_never_learnt(taught, template, pair, tmp_path, capfd):
    whole, never = tmp_path / "whole.dflp", tmp_path / "never.dflp"
    shutil.copyfile(taught, whole)
    assert main(["learn", str(never), *template, pair(1), pair(4)]) == 0
    assert main(["forget", str(whole), "sub-2", "sub-3"]) == 0
    assert same(whole, never)
    before = whole.read_bytes()
    assert main(["learn", str(whole), pair(2)]) == 0
    assert whole.read_bytes() != before
    assert main(["forget", str(whole), "sub-2"]) == 0
    assert whole.read_bytes() == before
    assert "sub-3 has not taught this protocol; it was taught by sub-1, sub-4." in refused(
        ["forget", whole, "sub-1", "sub-3"], capfd
    )
    assert whole.read_bytes() == before
    assert main(["forget", str(whole), "sub-4", "sub-1", "sub-4"]) == 0
    assert "taught by 0 scans of 0 people" in capfd.readouterr().out


def test_learn_and_show_tell_what_was_taught_and_what_the_file_reveals(taught, template, pair, tmp_path, capfd):
    path = tmp_path / "new.dflp"
    assert main(["learn", str(path), *template, pair(1), pair(2)]) == 0
    out = capfd.readouterr().out
    assert "sub-1: 6 landmarks taught, " in out and " s\n" in out
    assert "taught by 2 scans of 2 people; scans of three people or more are needed" in out
    assert main(["show", str(taught)]) == 0
    out = capfd.readouterr().out
    assert "taught by 4 scans of 4 people; mean error in people left out" in out
    assert "the whole image of the template, and of each taught scan its name" in out
    assert "Where the anterior commissure is." in out
    facts = shown(taught, capfd)
    assert [scan["name"] for scan in facts["scans"]] == ["sub-1", "sub-2", "sub-3", "sub-4"]
    assert all(scan["corrected"] + scan["accepted"] == 6 for scan in facts["scans"])
    assert facts["in_use"] and facts["error_after_mm"] > 0


def test_what_nobody_has_reviewed_is_not_taught(heads, template, pair, tmp_path, capfd):
    path, placed = tmp_path / "new.dflp", tmp_path / "sub-1.mrk.json"
    assert main(["place", str(heads / "sub-1.nii.gz"), *template, "--output-dir", str(tmp_path)]) == 0
    found = list(read_landmarks(placed))
    scan = f"{heads / 'sub-1.nii.gz'}={placed}"
    assert "nobody has reviewed the points of" in refused(["learn", path, *template, scan], capfd)
    assert not path.exists()

    moved = tuple(np.add(found[1].position, (2.0, 0.0, 0.0)))
    reviewed = [
        replace(found[0], locked=True),  # accepted
        Landmark(found[1].name, moved),  # dragged
        Landmark(found[2].name, found[2].position),  # placed by hand where the search puts it
        Landmark(found[3].name, moved, locked=True),  # dragged, then accepted
        replace(found[4], locked=False),  # not reviewed
        Landmark(found[5].name, None, "missing", locked=True),  # accepted as missing
    ]
    write_landmarks(LandmarkSet(tuple(reviewed)), placed)
    capfd.readouterr()
    assert main(["learn", str(path), *template, scan]) == 0
    out, err = capfd.readouterr()
    assert "sub-1: 4 landmarks taught, 2 corrected and 2 accepted" in out
    assert err == f"note: sub-1: not taught, since nobody has accepted or corrected them: {found[4].name}\n"
    (told,) = shown(path, capfd)["scans"]
    assert (told["corrected"], told["accepted"]) == (2, 2)


def test_an_accepted_point_is_accepted_wherever_the_search_alone_puts_it(heads, template, tmp_path, capfd):
    """A protocol that has learnt places points elsewhere; a person may leave them there."""
    path, points = tmp_path / "new.dflp", tmp_path / "sub-1.mrk.json"
    truth = [replace(one, locked=True, feature_distance=1.0) for one in read_landmarks(heads / "sub-1.mrk.json")]
    write_landmarks(LandmarkSet(tuple(truth)), points)
    assert main(["learn", str(path), *template, f"{heads / 'sub-1.nii.gz'}={points}"]) == 0
    assert "6 landmarks taught, 0 corrected and 6 accepted" in capfd.readouterr().out


def test_a_scan_taught_again_replaces_what_it_taught(taught, heads, tmp_path, capfd):
    path, points = tmp_path / "again.dflp", tmp_path / "sub-2.mrk.json"
    shutil.copyfile(taught, path)
    kept = list(read_landmarks(heads / "sub-2.mrk.json"))[:3]
    write_landmarks(LandmarkSet(tuple(kept)), points)
    assert main(["learn", str(path), f"{heads / 'sub-2.nii.gz'}={points}"]) == 0
    counts = {scan["name"]: scan["corrected"] + scan["accepted"] for scan in shown(path, capfd)["scans"]}
    assert counts == {"sub-1": 6, "sub-2": 3, "sub-3": 6, "sub-4": 6}


def test_a_scan_by_another_name_is_the_same_and_a_note_says_so(taught, heads, tmp_path, capfd):
    path, other = tmp_path / "renamed.dflp", tmp_path / "head.nii.gz"
    shutil.copyfile(taught, path)
    shutil.copyfile(heads / "sub-2.nii.gz", other)
    assert main(["learn", str(path), f"{other}={heads / 'sub-2.mrk.json'}"]) == 0
    assert "head: was taught before as sub-2; that is replaced, and the name too" in capfd.readouterr().err
    assert [scan["name"] for scan in shown(path, capfd)["scans"]] == ["head", "sub-1", "sub-3", "sub-4"]


def test_another_scan_of_the_same_name_is_refused(taught, heads, tmp_path, capfd):
    path, other = tmp_path / "again.dflp", tmp_path / "other" / "sub-2.nii.gz"
    shutil.copyfile(taught, path)
    other.parent.mkdir()
    shutil.copyfile(heads / "sub-3.nii.gz", other)
    _, _, scan, _ = make_pair(32, 9)
    write_volume(scan, other)
    line = refused(["learn", path, f"{other}={heads / 'sub-2.mrk.json'}"], capfd)
    assert "Another scan named sub-2 has taught the protocol; rename this one" in line
    assert same(path, taught)


def test_one_bad_scan_does_not_keep_the_others_from_being_taught(heads, template, pair, tmp_path, capfd):
    path, points = tmp_path / "new.dflp", tmp_path / "far.mrk.json"
    write_landmarks(LandmarkSet((Landmark("pons", (1e4, 0.0, 0.0)),)), points)
    given = pair(1), f"{heads / 'sub-2.nii.gz'}={points}", f"{template[1]}={template[3]}", pair(3)
    assert main(["learn", str(path), *template, *given]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "pons" in line or "no landmark of the protocol" in line
    assert line.endswith("sub-0 is the template itself; teach with other scans (the other 2 of 4 scans were taught)")
    assert [scan["name"] for scan in shown(path, capfd)["scans"]] == ["sub-1", "sub-3"]


def test_paths_may_hold_an_equals_sign(heads, template, tmp_path, capfd):
    folder = tmp_path / "age=7"
    folder.mkdir()
    for name in ("sub-1.nii.gz", "sub-1.mrk.json"):
        shutil.copyfile(heads / name, folder / name)
    path = tmp_path / "new.dflp"
    pair = f"{folder / 'sub-1.nii.gz'}={folder / 'sub-1.mrk.json'}"
    assert main(["learn", str(path), *template, pair]) == 0
    assert "sub-1: 6 landmarks taught" in capfd.readouterr().out
    assert "names no scan and its points that exist" in refused(["learn", path, pair + "5"], capfd)


def _learn(arguments, barrier):
    barrier.wait()
    raise SystemExit(main(arguments))


def test_two_who_teach_at_once_lose_nothing(taught, template, pair, tmp_path):
    path = tmp_path / "both.dflp"
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    both = [
        context.Process(target=_learn, args=(["learn", str(path), *template, *map(pair, people)], barrier))
        for people in ((1, 2), (3, 4))
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    # Not bit by bit: two programs at once compute with other numbers of threads than one.
    found, expected = ({scan.name: scan for scan in read_protocol(one).scans} for one in (path, taught))
    assert found.keys() == expected.keys()
    for name, scan in found.items():
        np.testing.assert_allclose(scan.true, expected[name].true, atol=1e-3)


def test_a_file_that_others_write_to_is_not_waited_for_without_end(taught, tmp_path, monkeypatch, capfd):
    path = tmp_path / "heads.dflp"
    shutil.copyfile(taught, path)
    monkeypatch.setattr(protocol_update, "LONGEST_WAIT_S", 0.1)
    with FileLock(tmp_path / ".heads.dflp.lock"):
        assert "another program is writing to" in refused(["forget", path, "sub-1"], capfd)
    assert main(["forget", str(path), "sub-1"]) == 0


def test_a_full_disk_leaves_the_protocol_as_it_was(taught, pair, tmp_path, small_files, capfd):
    path = tmp_path / "heads.dflp"
    shutil.copyfile(taught, path)
    with small_files(10_000):
        assert "cannot write" in refused(["forget", path, "sub-1"], capfd)
    assert path.read_bytes() == taught.read_bytes()


def test_a_protocol_can_be_begun_before_anything_is_taught(template, taught, tmp_path, capfd):
    path = tmp_path / "new.dflp"
    assert main(["learn", str(path), *template]) == 0
    assert "taught by 0 scans of 0 people" in capfd.readouterr().out
    assert "there is nothing to teach" in refused(["learn", path], capfd)


def png(width, height):
    """A grey picture of random dots, which no compression makes small."""
    rows = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (
            b"IDAT",
            zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)),
        ),
    )
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (*parts, (b"IEND", b""))
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_a_landmark_without_a_position_is_left_out_and_a_note_says_so(template, tmp_path, capfd):
    path, points = tmp_path / "new.dflp", tmp_path / "sub-0.mrk.json"
    first, *others = read_landmarks(template[3])
    write_landmarks(LandmarkSet((replace(first, position=None, status="missing"), *others)), points)
    assert main(["learn", str(path), *template[:3], str(points)]) == 0
    note = "sub-0: left out of the protocol, since they have no position: anterior commissure"
    assert note in capfd.readouterr().err
    assert [one.name for one in read_protocol(path).landmarks] == [one.name for one in others]


def test_definitions_come_from_descriptions_and_from_a_file(template, pair, tmp_path, capfd):
    path, file = tmp_path / "new.dflp", tmp_path / "texts" / "definitions.json"
    file.parent.mkdir()
    (file.parent / "pons.png").write_bytes(png(8, 8))
    names = [one.name for one in read_landmarks(template[3])]
    entry = {"text": "In the midline.", "picture": "pons.png", "link": "https://example.org/pons"}
    file.write_text(json.dumps({names[0]: entry, names[1]: {"link": "http://example.org"}}), encoding="utf-8")
    assert main(["learn", str(path), *template, pair(1), "--definitions", str(file)]) == 0
    known = read_protocol(path).definitions
    assert (known[names[0]].text, known[names[0]].link) == ("In the midline.", "https://example.org/pons")
    assert known[names[0]].picture == png(8, 8)
    assert (known[names[1]].text, known[names[1]].link) == (f"Where the {names[1]} is.", "http://example.org")
    assert known[names[2]].text == f"Where the {names[2]} is."
    file.write_text(json.dumps({names[2]: {"text": "New."}}), encoding="utf-8")
    assert main(["learn", str(path), "--definitions", str(file)]) == 0
    facts = shown(path, capfd)
    assert facts["definitions"][names[2]]["text"] == "New."
    assert facts["definitions"][names[0]] == {**entry, "picture": True}
    assert facts["taught_by"] == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read"),
        ("{", "is not JSON"),
        ("[1]", "holds no definitions"),
        ('{"anterior commissure": {"text": "\\ud800"}}', "is not JSON"),
        (json.dumps({"anterior commissure": {"text": 10_001 * "x"}}), "has more than 10000 characters; shorten it"),
        ('{"a": {"text": "b"}}', "defines a, but the landmarks are anterior commissure, "),
        ('{"anterior commissure": {"text": 3}}', "give texts named text, picture, link only"),
        ('{"anterior commissure": {"colour": "red"}}', "give texts named text, picture, link only"),
        ('{"anterior commissure": {"link": "javascript:alert(1)"}}', "give one with http:// or https://"),
        ('{"anterior commissure": {"picture": "none.png"}}', "none.png cannot be read"),
        ('{"anterior commissure": {"picture": "text.png"}}', "is neither PNG nor JPEG"),
        ('{"anterior commissure": {"picture": "large.png"}}', "is larger than 300 kB"),
    ],
)
def test_bad_definitions_are_refused_and_nothing_is_written(template, tmp_path, content, says, capfd):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "large.png").write_bytes(png(600, 600))
    if content is not None:
        (tmp_path / "definitions.json").write_text(content)
    path = tmp_path / "new.dflp"
    assert says in refused(["learn", path, *template, "--definitions", tmp_path / "definitions.json"], capfd)
    assert not path.exists()


def test_bad_input_is_refused_in_one_sentence(taught, heads, template, pair, tmp_path, capfd):
    new, scan = tmp_path / "new.dflp", heads / "sub-1.nii.gz"
    other = ["--template", scan, "--landmarks", heads / "sub-1.mrk.json"]
    text, fewer = tmp_path / "text.dflp", tmp_path / "fewer.mrk.json"
    text.write_text("no protocol")
    write_landmarks(LandmarkSet(tuple(read_landmarks(template[3]))[:5]), fewer)
    for arguments, says in (
        (["learn", new, pair(1)], "new.dflp does not exist; give --template and --landmarks"),
        (["learn", new, *template[:2], pair(1)], "give --template and --landmarks, or neither"),
        (["learn", taught, *other, pair(1)], "sub-1 is not the template of the protocol, sub-0; give that one"),
        (["learn", taught, *template[:2], *other[2:], pair(1)], "from where the protocol has it; put it back"),
        (["learn", taught, *template[:3], fewer, pair(1)], "heads.dflp has other landmarks (anterior commissure"),
        (["learn", new, *template, f"{template[1]}={template[3]}"], "sub-0 is the template itself"),
        (["learn", pair(1)], "does not end in .dflp; give the protocol first"),
        (["learn", new, *template, scan], "names no scan and its points that exist; give SCAN=POINTS"),
        (["learn", new, *template, f"{scan}=none.mrk.json"], "none.mrk.json does not exist"),
        (["learn", new, *template, f"none.nii.gz={template[3]}"], "none.nii.gz does not exist"),
        (["learn", new, *template, pair(1), pair(1)], "bear the same name; give the scan once, or rename one"),
        (["learn", text, pair(1)], "text.dflp"),
        (["show", text], "text.dflp"),
        (["show", new], "new.dflp"),
        (["forget", new, "sub-1"], "new.dflp"),
        (["forget", taught, "sub-77"], "sub-77"),
        (["merge", taught, "--output", new], "give two protocols or more"),
        (["merge", taught, taught, "--output", taught], "exists already; choose another --output"),
        (["merge", taught, taught, "--output", tmp_path / "new.json"], "does not end in .dflp"),
    ):
        assert says in refused(arguments, capfd), arguments
    assert not new.exists()


def test_protocols_of_other_templates_are_not_merged(taught, heads, tmp_path, capfd):
    other, output = tmp_path / "other.dflp", tmp_path / "merged.dflp"
    given = "--template", heads / "sub-1.nii.gz", "--landmarks", heads / "sub-1.mrk.json"
    assert main(["learn", str(other), *map(str, given)]) == 0
    assert "template" in refused(["merge", taught, other, "--output", output], capfd)
    assert not output.exists()
