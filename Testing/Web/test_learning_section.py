"""Learning in a real browser: a protocol is opened, teaches, is taught, forgets, and is taken home."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import read_volume, write_volume
from deepfeatures.matching import Matcher
from deepfeatures.matching.learning.protocol import Definition, begin_protocol
from deepfeatures.matching.learning.protocol_file import read_protocol, write_protocol
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.matching.teaching import teach
from deepfeatures.phantom import make_pair

VOXELS = 48  # of a head from front to back
CPU = MatchSettings(device="cpu")
TEXT = "The middle of the <b>left</b> lens.\nNot the middle of the globe."
LINK = "https://example.org/eye?side=left&n=1"


def picture() -> bytes:
    """A PNG with a cross in a circle."""
    grey = np.zeros((120, 160, 3), np.uint8)
    rows, columns = np.indices(grey.shape[:2]) - np.array([60, 80])[:, None, None]
    grey[np.hypot(rows, columns) < 45] = 110
    grey[(abs(rows) < 2) | (abs(columns) < 2)] = (230, 159, 0)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """A folder: a template with its landmarks, four people's heads, and a protocol that the first three have taught."""
    folder = tmp_path_factory.mktemp("heads")
    template, landmarks, *_ = make_pair(VOXELS)
    write_volume(template, folder / "head.nii.gz")
    write_landmarks(landmarks, folder / "head.mrk.json")
    template = read_volume(folder / "head.nii.gz")
    others = []
    for seed in range(1, 5):
        *_, scan, truth = make_pair(VOXELS, seed)
        write_volume(scan, folder / f"person{seed}.nii.gz")
        others.append((read_volume(folder / f"person{seed}.nii.gz"), truth))
    matcher = Matcher(CPU)
    definitions = {
        "left eye": Definition(TEXT, picture(), LINK),
        "right eye": Definition("See the left eye.", None, "javascript:alert(1)"),
    }
    protocol = begin_protocol(template, landmarks, matcher.features_key, definitions)
    for scan, truth in others[:3]:
        protocol = protocol.with_scan(teach(matcher, protocol, scan, truth, name=scan.name, corrected=["left eye"]))
    write_protocol(protocol, folder / "heads.dflp")
    return folder


def known(visitor, name: str):
    """What the page knows of the protocol."""
    return visitor.state(f"protocol__ProtocolState__{name}")


def wait_for(visitor, name: str, value) -> None:
    visitor.wait_until(f"JSON.stringify(state('protocol__ProtocolState__{name}')) == `{json.dumps(value)}`", 120)


def open_target(visitor, path: Path) -> None:
    visitor.drop(".side-target", path)
    name = path.name.removesuffix(".nii.gz")
    visitor.wait_until(f"state('target__SideState__title') == '{name}' && state('validation_message') == ''")


def accept_next(visitor) -> None:
    before = visitor.state("reviewed")
    visitor.page.keyboard.press("a")
    visitor.wait_until(f"state('reviewed') == {before + 1}")


def is_in_view(visitor, selector: str) -> bool:
    """Whether all of it can be seen above the buttons that learn."""
    box, buttons, panel = (
        visitor.page.locator(what).bounding_box() for what in (selector, ".learning", ".panel .body")
    )
    return panel["y"] <= box["y"] and box["y"] + box["height"] <= buttons["y"] + 1


def test_a_protocol_brings_its_template_places_as_it_was_taught_and_says_what_landmarks_are(visitors, server, heads):
    visitor = visitors(server.url)
    assert known(visitor, "title") == ""
    visitor.drop(".side-template", heads / "heads.dflp")
    wait_for(visitor, "taught", "Taught by 3 scans.")
    assert visitor.state("template__SideState__title") == "head"
    assert (known(visitor, "content"), known(visitor, "misfit")) == ("Template head, 18 landmarks.", "")
    visitor.picture("1-opened")
    open_target(visitor, heads / "person4.nii.gz")
    visitor.place()
    placed = read_landmarks(visitor.export("Placed landmarks, for Slicer")).positions
    protocol, target = read_protocol(heads / "heads.dflp"), read_volume(heads / "person4.nii.gz")
    matcher = Matcher(MatchSettings(device="cpu", protocol=str(heads / "heads.dflp")))
    alone = Matcher(CPU)
    taught, untaught = (
        each.match(protocol.template, protocol.landmarks, target).landmarks.positions for each in (matcher, alone)
    )
    assert np.abs(placed - taught).max() < 0.05 < np.abs(taught - untaught).max()

    note = visitor.page.get_by_role("note", name="Definition")
    visitor.page.locator(".review .row", has_text="left eye").click()
    visitor.wait_until("state('current') == 'left eye'")
    note.wait_for()
    assert note.locator("p").inner_text() == TEXT, "as it was written, and no markup"
    assert note.locator("img").evaluate("async (img) => { await img.decode(); return img.naturalWidth; }") == 160
    link = note.locator("a")
    assert [link.get_attribute(name) for name in ("href", "target", "rel")] == [LINK, "_blank", "noopener noreferrer"]
    visitor.page.wait_for_timeout(500)
    assert is_in_view(visitor, ".review .now") and is_in_view(visitor, ".review .definition")
    visitor.picture("2-defined")
    visitor.page.locator(".review .row", has_text="right eye").click()
    note.get_by_text("See the left eye.").wait_for()
    assert note.locator("a, img").count() == 0, "only links to pages"
    visitor.page.locator(".review .row", has_text="pons").click()
    note.wait_for(state="detached")


def test_one_click_learns_from_the_scan_and_one_forgets_it_exactly(visitors, server, heads):
    visitor = visitors(server.url)
    visitor.drop(".side-template", heads / "heads.dflp")
    wait_for(visitor, "taught", "Taught by 3 scans.")
    open_target(visitor, heads / "person4.nii.gz")
    visitor.place()
    learn, forget = visitor.button("Learn from this scan"), visitor.button("Forget this scan")
    section = visitor.page.locator(".learning")
    assert learn.is_disabled() and "Accept or correct at least one point first." in section.inner_text()
    while visitor.state("pending"):
        accept_next(visitor)
    assert known(visitor, "refusal") == ""
    assert known(visitor, "taught") == "Taught by 3 scans.", "nothing is learnt unasked"
    assert forget.count() == 0
    learn.click()
    wait_for(visitor, "taught", "Taught by 4 scans.")
    assert "Taught by 4 scans. This scan is among them." in section.inner_text()
    before, after = map(float, re.fullmatch(r"Mean error (\S+) → (\S+) mm, .*", known(visitor, "errors")).groups())
    visitor.page.locator("summary").click()
    visitor.picture("1-learnt")
    with visitor.page.expect_download() as download:
        visitor.button("Download protocol").click()
    assert download.value.suggested_filename == "heads.dflp"
    summary = read_protocol(download.value.path()).summary()
    assert summary["taught_by"] == 4
    assert [round(summary[f"error_{when}_mm"], 2) for when in ("before", "after")] == [before, after]
    scans = {scan["name"]: (scan["accepted"], scan["corrected"]) for scan in summary["scans"]}
    assert scans["person4"] == (18, 0)
    wait_for(visitor, "is_downloaded", True)
    visitor.button("Download protocol").wait_for(state="detached")

    forget.click()
    wait_for(visitor, "taught", "Taught by 3 scans.")
    forget.wait_for(state="detached")
    assert (
        visitor.export("Landmark protocol, with what it has learnt").read_bytes() == (heads / "heads.dflp").read_bytes()
    )


def test_learning_begins_a_protocol_that_the_next_scan_extends(visitors, server, heads):
    visitor = visitors(server.url)
    visitor.drop(".side-template", heads / "head.nii.gz")
    visitor.wait_until("state('template__SideState__title') == 'head' && !state('is_loading')")
    visitor.drop(".side-template", heads / "head.mrk.json")
    visitor.wait_until("state('landmarks').length == 18 && !state('is_loading')")
    learn = visitor.button("Learn from this scan")
    for count, sentence in ((1, "Taught by 1 scan."), (2, "Taught by 2 scans.")):
        open_target(visitor, heads / f"person{count}.nii.gz")
        visitor.place()
        accept_next(visitor)
        visitor.picture(f"{count}-reviewed")
        learn.click()
        wait_for(visitor, "taught", sentence)
        assert known(visitor, "errors").startswith("Nothing changes yet")
    assert known(visitor, "title") == "head.dflp"
    visitor.tab("Place")
    visitor.picture("3-begun")

    visitor.button("As in the paper").click()
    wait_for(visitor, "unused", "The present search does not use it; choose Best measured below.")
    assert known(visitor, "refusal").startswith("Only the best measured settings can learn")
    visitor.button("Best measured").click()
    wait_for(visitor, "unused", "")

    visitor.choose_volume("template", heads / "person3.nii.gz")
    visitor.wait_until("state('protocol__ProtocolState__misfit') != '' && !state('is_loading')")
    assert known(visitor, "misfit").startswith("person3 is not the template of the protocol, head;")
    visitor.picture("4-other-template")
    visitor.button("Open its template and landmarks").click()
    visitor.wait_until("state('template__SideState__title') == 'head' && state('landmarks').length == 18")
    wait_for(visitor, "misfit", "")

    asked = []
    for answer in ("dismiss", "accept"):
        visitor.page.once("dialog", lambda dialog, answer=answer: (asked.append(dialog), getattr(dialog, answer)()))
        visitor.button("Close the protocol").click()
        wait_for(visitor, "title", "head.dflp" if answer == "dismiss" else "")
    assert [dialog.message for dialog in asked] == [asked[0].message] * 2 and "was not downloaded" in asked[0].message


@pytest.mark.parametrize("name", ["damaged", "text"])
def test_what_is_no_protocol_is_refused_in_a_sentence(name, visitor, heads, tmp_path):
    content = {"damaged": (heads / "heads.dflp").read_bytes()[:-5000], "text": b"left eye: the middle of the lens"}
    (tmp_path / f"{name}.dflp").write_bytes(content[name])
    visitor.choose("Open a protocol", tmp_path / f"{name}.dflp")
    visitor.wait_until("state('message') != '' && !state('is_loading')", 20)
    assert re.match(rf"(The protocol )?{name}\.dflp is ", visitor.state("message")), visitor.state("message")
    assert known(visitor, "title") == ""
    visitor.page.evaluate("window.trame.state.set('PageState__message', '')")
