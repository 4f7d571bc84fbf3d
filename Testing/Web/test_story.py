"""The whole story in a real browser, from opening the page to taking the landmarks home."""

import io
import json
import zipfile

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from web_visitors import PICTURES, mean_error_mm

from DeepFeatureLandmarksLib.scene.orientation_arrows import COLOURS, LABEL
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import write_volume
from deepfeatures.phantom import make_pair


def test_demo_pair_in_two_clicks(visitor):  # the first at the server: the page is empty
    visitor.picture("1-empty")
    visitor.button("Try the demo pair").click()
    visitor.wait_until("state('landmarks').length == 18 && state('validation_message') == '' && !state('is_loading')")
    visitor.picture("2-pair")
    visitor.button("Place landmarks").click()
    visitor.wait_until("state('interim_updates') > 0")  # points are there before the run is over
    visitor.wait_until("!state('is_busy') && state('rows').length == 18")
    visitor.picture("3-placed")
    assert visitor.state("quality_note").startswith("18 of 18 found: mean")
    truth = make_pair(96)[3]
    placed = read_landmarks(visitor.export("Placed landmarks, for Slicer"))
    assert len(placed) == 18
    assert mean_error_mm(placed, truth) < 2.5

    rows = visitor.state("rows")
    order = [(row["status_text"] != "◆ ambiguous", -float(row["radius_90_mm"])) for row in rows]
    assert order == sorted(order)  # the most uncertain first
    assert all(row["probability_within_tolerance"].endswith("%") for row in rows)
    shown = visitor.page.locator(".review tbody tr").first.inner_text()
    columns = ("expected_error_mm", "probability_within_tolerance", "radius_90_mm")
    assert visitor.state("known_scores") == list(columns)
    assert all(rows[0][name] in shown for name in columns)
    ringed = is_orange(visitor).sum()
    visitor.page.get_by_label("Circle of the 90 % radius").uncheck()
    visitor.wait_until("!state('are_circles_shown')")
    assert is_orange(visitor).sum() < ringed
    visitor.page.get_by_label("Circle of the 90 % radius").check()


def test_arrows_show_how_points_are_turned(visitor):
    def pixels() -> int:
        return sum(is_coloured(visitor, colour).sum() for colour in COLOURS)

    visitor.open_demo()
    assert not visitor.state("are_points_turned")
    visitor.place()
    box, before = visitor.page.get_by_label(LABEL), pixels()
    box.check()
    visitor.wait_until("state('are_arrows_shown')")
    visitor.picture("1-arrows")
    assert pixels() > before + 50
    box.uncheck()
    visitor.wait_until("!state('are_arrows_shown')")
    assert pixels() == before


def test_review_by_keys_dragging_and_undo(visitor):
    visitor.open_demo()
    visitor.place()
    first = visitor.state("current")
    circle = visitor.page.get_by_label("Circle of the 90 % radius")
    circle.uncheck()
    circle.check()  # the box has the focus now, and nothing is typed into it
    visitor.page.keyboard.press("a")
    visitor.wait_until("state('reviewed') == 1")
    second = visitor.state("current")
    assert second != first
    visitor.page.keyboard.press("x")
    visitor.wait_until("state('reviewed') == 2")
    statuses = {row["name"]: row["status"] for row in visitor.state("rows")}
    assert (statuses[first], statuses[second]) == ("accepted", "rejected")
    visitor.picture("1-reviewed")

    x, y = find_point(visitor)
    visitor.page.mouse.move(x - 1, y)
    visitor.page.mouse.move(x, y)
    visitor.page.wait_for_timeout(200)
    visitor.page.mouse.down()
    visitor.page.mouse.move(x + 20, y + 12, steps=5)
    visitor.page.mouse.up()
    visitor.wait_until("state('rows').some(row => row.status == 'corrected')", 20)
    third = next(row["name"] for row in visitor.state("rows") if row["status"] == "corrected")
    visitor.picture("2-corrected")

    visitor.button("Revert the last run").click()
    visitor.wait_until("!state('can_revert')")
    left = {row["name"] for row in visitor.state("rows") if row["status"] in ("accepted", "corrected")}
    assert left == {first, third}  # what a person has reviewed right stays
    visitor.picture("3-reverted")


def test_review_by_the_buttons_of_a_row(visitor):
    visitor.open_demo()
    visitor.place()
    first, second = (row["name"] for row in visitor.state("rows")[:2])

    def press(button: str, name: str) -> None:
        visitor.page.locator(".review tbody tr").filter(has_text=name).get_by_label(button).click()

    press("Accept", first)
    visitor.wait_until("state('reviewed') == 1", 20)
    press("Reject", second)
    visitor.wait_until("state('reviewed') == 2", 20)
    statuses = {row["name"]: row["status"] for row in visitor.state("rows")}
    assert (statuses[first], statuses[second]) == ("accepted", "rejected")


def test_what_was_not_found_can_be_accepted_and_looked_for_again(visitors, server, tmp_path):
    template, landmarks, target, _ = make_pair(64)
    write_volume(template, tmp_path / "head.nii.gz")
    write_landmarks(landmarks, tmp_path / "head.mrk.json")
    write_volume(target, tmp_path / "other.nii.gz")
    whole = sitk.ReadImage(tmp_path / "other.nii.gz")
    sitk.WriteImage(whole[:, : whole.GetHeight() // 2, :], tmp_path / "half.nii.gz")
    visitor = visitors(server.url)
    visitor.choose("Open a volume", tmp_path / "head.nii.gz", side=".side-template")
    visitor.wait_until("state('template__SideState__title') != '' && !state('is_loading')")
    visitor.choose("Open", tmp_path / "head.mrk.json", side=".tab-place")
    visitor.wait_until("state('landmarks').length == 18 && !state('is_loading')")
    visitor.choose("Open a volume", tmp_path / "half.nii.gz", side=".side-target")
    visitor.wait_until("state('validation_message') == ''")
    visitor.place()
    lost = visitor.state("current")
    row = visitor.page.locator(".review tbody tr").filter(has_text=lost)
    assert "○ not found" in row.inner_text()
    visitor.page.keyboard.press("a")
    visitor.wait_until("state('reviewed') == 1 && state('pending') == 17", 20)
    assert "✓ not found" in row.inner_text()
    row.get_by_label("Reject").click()
    visitor.wait_until(f"state('rows').some(row => row.name == '{lost}' && row.status == 'rejected')", 20)


def is_orange(visitor) -> np.ndarray:
    """Which pixels of the target's axial view show proposed points and their circles: nothing else there is orange."""
    return is_coloured(visitor, (230, 158, 0))


def is_coloured(visitor, colour: tuple[int, int, int]) -> np.ndarray:
    """Which pixels of the target's axial view have a colour."""
    box = visitor.page.locator(".side-target .view-axial").bounding_box()
    visitor.page.wait_for_timeout(1000)
    image = Image.open(io.BytesIO(visitor.page.screenshot(clip=box))).convert("RGB")
    found = np.abs(np.asarray(image).astype(int) - colour).sum(axis=2) < 60
    found[:30] = False  # the header's line
    return found


def find_point(visitor) -> tuple[float, float]:
    """Where on the page a proposed point is drawn in the target's axial view."""
    visitor.page.get_by_label("Circle of the 90 % radius").uncheck()
    visitor.wait_until("!state('are_circles_shown')")
    box = visitor.page.locator(".side-target .view-axial").bounding_box()
    rows, columns = np.nonzero(is_orange(visitor))
    assert len(rows), "no point is to be seen"
    near = (np.abs(rows - rows[0]) < 12) & (np.abs(columns - columns[0]) < 12)
    return box["x"] + columns[near].mean(), box["y"] + rows[near].mean()


def test_a_scroll_and_a_click_take_the_other_side_along(visitor):
    def offsets(side: str) -> np.ndarray:
        read = "window.trame.state.get('{}{}__FrameState__offset')"
        return np.array([visitor.page.evaluate(read.format(side, p)) for p in ("Axial", "Coronal", "Sagittal")])

    def at_rest(before: np.ndarray | None = None) -> np.ndarray:
        """Offsets of both sides, `(2, 3)`, once they have changed since `before` and change no more."""
        for _ in range(20):
            known = np.array([offsets("template"), offsets("target")])
            visitor.page.wait_for_timeout(1000)
            now = np.array([offsets("template"), offsets("target")])
            if (now == known).all() and (before is None or (now != before).any(axis=1).all()):
                return now
        pytest.fail("the views do not follow, or do not come to rest")

    visitor.open_demo()
    visitor.place()
    visitor.page.locator(".review tbody tr", has_text="right eye").click()  # far from where the click below leads
    visitor.wait_until("state('current') == 'right eye'")
    start = at_rest()
    box = visitor.page.locator(".side-template .view-axial").bounding_box()
    visitor.page.mouse.move(box["x"] + 150, box["y"] + 150)
    for _ in range(5):
        visitor.page.mouse.wheel(0, -100)
        visitor.page.wait_for_timeout(100)
    scrolled = at_rest(start)
    (moved, *_), (followed, *_) = scrolled - start
    assert abs(moved) > 5
    assert 0.7 < followed / moved < 1.4  # both heads are about as large
    visitor.page.mouse.click(box["x"] + 150, box["y"] + 150)
    template, target = at_rest(scrolled) - start
    assert (np.abs(template[1:]) > 5).all()
    assert (np.sign(template[1:]) == np.sign(target[1:])).all()
    clicked = at_rest()
    visitor.page.locator(".side-template .view-axial .v-slider-thumb").focus()
    visitor.page.keyboard.press("ArrowRight")
    (moved, *_), (followed, *_) = at_rest(clicked) - clicked
    assert moved > 0 and followed > 0  # the slider, too
    visitor.picture("1-linked")


def test_marking_renaming_deleting_by_mouse(visitor):
    visitor.open_demo()
    visitor.button("Mark").click()
    visitor.wait_until("state('is_marking')")
    box = visitor.page.locator(".side-template .view-axial").bounding_box()
    visitor.page.mouse.move(box["x"] + 200, box["y"] + 200, steps=3)
    visitor.page.mouse.click(box["x"] + 200, box["y"] + 200)
    visitor.wait_until("state('landmarks').length == 19", 20)
    visitor.picture("1-marked")
    visitor.button("Done").click()
    visitor.wait_until("!state('is_marking')")
    before = read_landmarks(visitor.export("Template's landmarks"))[-1]
    visitor.page.mouse.move(box["x"] + 200, box["y"] + 200)
    visitor.page.wait_for_timeout(300)
    visitor.page.mouse.down()
    visitor.page.mouse.move(box["x"] + 230, box["y"] + 200, steps=5)
    visitor.page.mouse.up()
    visitor.page.wait_for_timeout(300)
    after = read_landmarks(visitor.export("Template's landmarks"))[-1]
    moved = np.subtract(after.position, before.position)
    assert abs(moved[0]) > 5 and np.allclose(moved[1:], 0, atol=1e-3)  # to the right of an axial view
    names = visitor.page.get_by_label("Name of the landmark")
    names.last.fill("my point")
    names.last.press("Enter")
    visitor.wait_until("state('landmarks').at(-1).name == 'my point'", 20)
    names.last.fill("pons")
    names.last.press("Enter")
    visitor.wait_until("state('message').includes('a name of its own')", 20)
    assert visitor.page.evaluate("document.activeElement.tagName") != "INPUT"  # keys are for the review again
    visitor.button("Delete").first.click()
    visitor.wait_until("state('landmarks').length == 18", 20)
    assert "anterior commissure" not in [row["name"] for row in visitor.state("landmarks")]


def test_marking_ends_where_its_clicks_would_be_lost_or_in_the_way(visitor):
    def start_marking() -> None:
        visitor.tab("Place")
        visitor.button("Mark").click()
        visitor.wait_until("state('is_marking')", 20)
        box = visitor.page.locator(".side-template .view-axial").bounding_box()
        visitor.page.mouse.move(box["x"] + 200, box["y"] + 200, steps=3)  # a point follows that nobody has placed
        visitor.page.wait_for_timeout(500)

    visitor.open_demo()
    start_marking()
    assert len(read_landmarks(visitor.export("Template's landmarks"))) == 18
    start_marking()
    visitor.place()
    assert len(visitor.state("rows")) == 18
    assert not visitor.state("is_marking")  # or points of the target could not be dragged
    start_marking()
    visitor.open_demo()
    assert not visitor.state("is_marking")


def test_own_settings_are_explained_and_a_patch_size_that_cannot_be_used_is_refused(visitor):
    visitor.open_demo()
    visitor.button("My own").click()
    visitor.wait_until("state('preset') == 'own' && state('feature_note').includes('Weights: ')")
    assert "channels; each sees" in visitor.state("feature_note") and "mm wide" in visitor.state("feature_note")
    field = visitor.page.get_by_label("Patch size (voxels)")
    assert (field.get_attribute("min"), field.get_attribute("max")) == ("4", "64")
    for text in ("", "13.5", "500"):
        field.fill(text)
        visitor.wait_until("state('validation_message').startsWith('Give a patch size')", 20)
        assert visitor.button("Place landmarks").is_disabled()
        field.fill("12")
        visitor.wait_until("state('validation_message') == ''", 20)
    visitor.page.get_by_text("How voxels of template and target are scaled").wait_for()
    visitor.page.get_by_role("combobox").filter(has_text="Intensity").click()
    visitor.page.get_by_role("option", name="rank").click()
    visitor.wait_until("state('intensity') == 'rank'", 20)


def test_looking_inside_and_comparing(visitor):
    visitor.open_demo()
    visitor.place()
    visitor.tab("Inspect")
    assert visitor.state("patches").startswith("data:image/png")
    visitor.button("Activation maps").click()
    visitor.wait_until("state('channels') > 0 && state('mosaic') != '' && state('overlay') == 'activations'")
    visitor.picture("1-activations")
    visitor.button("Distance map").click()
    visitor.wait_until("state('overlay') == 'distances'")
    visitor.picture("2-distances")
    visitor.button("Hide").click()
    visitor.wait_until("state('overlay') == ''")
    visitor.tab("Quality")
    visitor.picture("3-quality")
    report = visitor.export("Report (.html)").read_text()
    assert "left thalamus" in report
    assert "http" not in report.lower()
    scene = visitor.export("Everything, as a Slicer scene")
    names = zipfile.ZipFile(scene).namelist()
    assert {".mrml", ".nrrd", ".json"} <= {name[name.rindex(".") :] for name in names if "." in name}
    assert not [name for name in names if "Interim" in name]
    visitor.button("3D views").click()
    visitor.page.wait_for_timeout(2000)
    visitor.picture("4-3d")
    visitor.page.set_viewport_size({"width": 1920, "height": 1080})
    visitor.page.wait_for_timeout(2000)
    visitor.picture("5-wide")
    visitor.button("3D views").click()


def test_the_second_set_is_seen_as_long_as_its_box_is_ticked(visitor, tmp_path):
    def is_seen() -> bool:
        return is_coloured(visitor, (204, 120, 166)).any()

    visitor.open_demo()
    visitor.place()
    for _ in visitor.state("rows"):
        visitor.page.keyboard.press("x")  # the placed points would cover the others
    visitor.wait_until("state('pending') == 0", 20)
    visitor.tab("Quality")
    box = visitor.page.get_by_label("Show the second set in the target's views")
    assert not is_seen()
    box.check()
    visitor.wait_until("state('is_reference_shown')", 20)
    assert is_seen()
    visitor.page.reload()
    visitor.page.locator(".workspace").wait_for()
    visitor.tab("Quality")
    assert box.is_checked()
    write_landmarks(make_pair(96)[3], tmp_path / "again.mrk.json")
    with visitor.page.expect_response("**/upload/reference"):
        visitor.choose("Open", tmp_path / "again.mrk.json", side=".tab-quality")
    assert box.is_checked() and is_seen()
    box.uncheck()
    visitor.wait_until("!state('is_reference_shown')", 20)
    assert not is_seen()


def test_scrolling_and_dragging_answer_while_the_worker_computes(visitor):
    """Times from the wheel, and from the mouse that drags a landmark, to the new picture; kept beside the pictures."""
    visitor.open_demo()
    box = visitor.page.locator(".side-template .view-axial").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    visitor.button("Mark").click()
    visitor.wait_until("state('is_marking')")
    visitor.page.mouse.move(*middle, steps=3)
    visitor.page.mouse.click(*middle)
    visitor.wait_until("state('landmarks').length == 19", 20)
    visitor.button("Done").click()
    visitor.wait_until("!state('is_marking')")
    visitor.be_slow()
    visitor.button("Place landmarks").click()
    visitor.wait_until("state('is_busy') && state('progress_text').startsWith('Placing')", 60)
    visitor.page.wait_for_timeout(2000)  # by now it encodes
    mouse = visitor.page.mouse
    mouse.move(middle[0] - 1, middle[1])
    mouse.move(*middle)
    visitor.page.wait_for_timeout(300)  # until the point knows that it is under the pointer
    mouse.down()
    drag = answer_times(visitor, "mousemove", lambda turn: mouse.move(middle[0] + 6 * (turn + 1), middle[1]))
    mouse.up()
    scroll = answer_times(visitor, "wheel", lambda turn: mouse.wheel(0, 100 if turn % 8 < 4 else -100))
    assert visitor.state("is_busy"), "the worker was to compute all the while"
    visitor.button("Cancel").click()
    visitor.picture("1-answered")
    figures = {
        name: {"median_ms": float(np.median(times)), "p90_ms": float(np.percentile(times, 90)), "all_ms": times}
        for name, times in (("scroll", scroll), ("drag", drag))
    }
    (PICTURES / "answers.json").write_text(json.dumps(figures, indent=1))
    for name, figure in figures.items():
        assert figure["median_ms"] < 150, name  # and nine in ten where nobody else is at work on the machine


def answer_times(visitor, event: str, act, turns: int = 16) -> list[float]:
    """Milliseconds from an event's arrival in the browser to the picture that answers it."""
    visitor.page.evaluate(WATCH, event)
    times = []
    for turn in range(turns):
        visitor.page.wait_for_function("performance.now() - window.changed > 250")  # nothing of the last one is left
        visitor.page.evaluate("window.asked = window.answered = 0")
        act(turn)
        visitor.page.wait_for_function("window.answered > 0", timeout=10_000)
        times.append(visitor.page.evaluate("window.answered - window.asked"))
    return times


WATCH = """(event) => {
  window.changed = performance.now();
  window.asked = window.answered = 0;
  document.addEventListener(event, (happened) => { window.asked ||= happened.timeStamp; }, true);
  new MutationObserver(() => {
    window.changed = performance.now();
    if (window.asked && !window.answered) window.answered = window.changed;
  }).observe(document.querySelector('.side-template .view-axial img'), { attributes: true, attributeFilter: ['src'] });
}"""
