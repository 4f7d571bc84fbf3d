"""Files into the page and out of it, in a real browser: dropped, uploaded, exported."""

import shutil
import tarfile

import numpy as np
import pytest
from web_visitors import mean_error_mm

from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import write_volume
from deepfeatures.phantom import make_pair


def test_files_and_folders_are_dropped_onto_a_side(visitors, server, tmp_path):
    template, landmarks, target, _ = make_pair(48)
    write_volume(template, tmp_path / "head.nii.gz")
    write_landmarks(landmarks, tmp_path / "head.mrk.json")
    folder = tmp_path / "scan" / "of today"
    folder.mkdir(parents=True)
    write_volume(target, folder / "other.mha")
    visitor = visitors(server.url)
    visitor.drop(".side-template", tmp_path / "head.nii.gz")
    visitor.wait_until("state('template__SideState__title') == 'head' && !state('is_loading')", 20)
    visitor.drop(".side-template", tmp_path / "head.mrk.json")
    visitor.wait_until("state('landmarks').length == 18 && !state('is_loading')", 20)
    visitor.drop(".side-target", tmp_path / "scan")
    visitor.wait_until("state('target__SideState__title') == 'other' && state('validation_message') == ''", 20)
    visitor.page.evaluate("document.addEventListener('drop', (event) => { window.stays = event.defaultPrevented; })")
    visitor.drop(".panel", tmp_path / "head.mrk.json")  # the browser would open it in place of the page
    visitor.page.wait_for_function("window.stays")


def test_landmarks_may_come_before_their_volume_and_are_looked_at_without_a_target(visitors, server, tmp_path):
    template, landmarks, target, truth = make_pair(48)
    for volume, marks, name in ((template, landmarks, "head"), (target, truth, "other")):
        write_volume(volume, tmp_path / f"{name}.nii.gz")
        write_landmarks(marks, tmp_path / f"{name}.mrk.json")
    visitor = visitors(server.url)
    visitor.drop(".side-template", tmp_path / "head.mrk.json")
    visitor.wait_until("state('landmarks').length == 18 && !state('is_loading')", 20)
    visitor.drop(".side-template", tmp_path / "head.nii.gz")
    visitor.wait_until("state('template__SideState__title') == 'head' && !state('is_loading')", 20)
    assert len(visitor.state("landmarks")) == 18
    visitor.page.get_by_label("Name of the landmark").last.click()
    visitor.wait_until("state('current') == state('landmarks').at(-1).name", 20)
    with visitor.page.expect_response("**/upload/reference"):  # the answer comes once it has been read
        visitor.drop(".side-target", tmp_path / "other.mrk.json")
    visitor.wait_until("!state('is_loading')", 20)
    visitor.drop(".side-target", tmp_path / "other.nii.gz")
    visitor.wait_until("state('validation_message') == ''", 20)
    visitor.place()
    assert visitor.state("quality_note").startswith("18 of 18 found")


def test_notes_on_a_volume_stay_beneath_its_name_and_go_into_its_points(visitors, server, tmp_path):
    template, landmarks, target, _ = make_pair(48)
    write_volume(template, tmp_path / "head.nii.gz")
    write_landmarks(landmarks, tmp_path / "head.pts")  # it does not say which frame it is in
    write_volume(target, tmp_path / "doubtful.nii")
    content = bytearray((tmp_path / "doubtful.nii").read_bytes())
    content[252:256] = bytes(4)  # both codes: the file does not say which side is left
    (tmp_path / "doubtful.nii").write_bytes(content)
    visitor = visitors(server.url)
    visitor.drop(".side-target", tmp_path / "doubtful.nii")
    visitor.wait_until("state('target__SideState__title') == 'doubtful' && !state('is_loading')", 20)
    notes = visitor.page.get_by_role("status", name="Notes on the target")
    told = notes.inner_text()
    assert "orientation" in told.lower() or "left" in told
    assert notes.evaluate("box => getComputedStyle(box).backgroundColor") == "rgb(255, 233, 168)"
    assert not visitor.page.get_by_role("status", name="Notes on the template").inner_text()
    visitor.drop(".side-template", tmp_path / "head.nii.gz")
    visitor.wait_until("state('template__SideState__title') == 'head' && !state('is_loading')", 20)
    visitor.drop(".side-template", tmp_path / "head.pts")
    visitor.wait_until("state('landmarks').length == 18 && state('validation_message') == ''", 20)
    about_landmarks = visitor.page.get_by_role("status", name="Notes on the landmarks").inner_text()
    assert "LPS" in about_landmarks
    visitor.place()
    visitor.picture("1-placed")
    assert notes.is_visible() and notes.inner_text() == told
    note = "doubtful: " + told[:1].lower() + told.rstrip(".")[1:]
    assert note in visitor.page.locator(".review tbody td.name").first.get_attribute("title")
    assert note not in visitor.page.get_by_role("status", name="Notes on the run").inner_text()
    placed = read_landmarks(visitor.export("Placed landmarks, for Slicer"))
    assert all(note in mark.note and about_landmarks.rstrip(".")[1:] in mark.note for mark in placed)
    assert note in visitor.export("Report (.html)").read_text()
    visitor.choose_volume("target", tmp_path / "head.nii.gz")
    visitor.wait_until("state('target__SideState__title') == 'head' && !state('is_loading')", 20)
    assert not notes.inner_text()


@pytest.mark.data
@pytest.mark.parametrize("name", ["cd", "mrnames"])
def test_a_disc_of_dicom_is_dropped_with_all_that_lies_on_it(name, visitors, server, data, tmp_path):
    with tarfile.open(data / "faults" / "web_folder_with_readme" / "cd.tar.gz") as disc:
        disc.extractall(tmp_path, filter="data")
    visitor = visitors(server.url)
    visitor.drop(".side-target", tmp_path / name)
    visitor.wait_until("state('target__SideState__title') != '' && !state('is_loading')", 20)
    assert visitor.state("target__SideState__facts") == "MR · 34 × 52 × 35 voxels of 1 × 1 × 1 mm"
    assert visitor.state("message") == ""


@pytest.mark.data
def test_of_several_series_in_a_folder_one_is_chosen(visitors, server, data, tmp_path):
    for name in ("tumour1_T1", "tumour1_T2"):  # their files have the same names
        shutil.copytree(data / "dicom" / name, tmp_path / "patient" / name)
    visitor = visitors(server.url)
    visitor.drop(".side-target", tmp_path / "patient")
    offered = visitor.page.get_by_role("group", name="Series for the target")
    offered.wait_for()
    visitor.picture("1-offered")
    lines = offered.locator(".v-list-item").all_inner_texts()
    assert [line.split("\n")[0] for line in lines] == ["T1pre_reg", "T2_reg"]
    assert all("MR · 22 slices" in line for line in lines)
    assert visitor.state("target__SideState__title") == ""
    offered.get_by_text("T2_reg").click()
    visitor.wait_until("state('target__SideState__title') == 'T2_reg' && !state('is_loading')", 20)
    assert not offered.is_visible()
    assert visitor.state("target__SideState__facts").startswith("MR · 512 × 512 × 22 voxels")


@pytest.mark.data
def test_real_volumes_from_upload_to_export(visitors, server, data):
    visitor = visitors(server.url)
    folder = data / "hippocampus"
    template, target = (sorted(folder.rglob(f"hippocampus_{number}.nii.gz"))[0] for number in ("001", "003"))
    marks, truth = (sorted(folder.rglob(f"hippocampus_{number}.mrk.json"))[0] for number in ("001", "003"))
    visitor.choose("Open a volume", template, side=".side-template")
    visitor.wait_until("state('template__SideState__title') != '' && !state('is_loading')")
    assert "landmarks" in visitor.state("validation_message")
    visitor.picture("1-template")
    visitor.choose("Open", marks, side=".tab-place")
    visitor.wait_until("state('landmarks').length > 0")
    visitor.choose("Open a volume", target, side=".side-target")
    visitor.wait_until("state('validation_message') == ''")
    visitor.picture("2-ready")
    visitor.place()
    visitor.picture("3-placed")
    placed = read_landmarks(visitor.export("Placed landmarks, for Slicer"))
    assert mean_error_mm(placed, read_landmarks(truth)) < 4
    visitor.tab("Quality")
    visitor.choose("Open", truth, side=".tab-quality")
    visitor.wait_until("state('quality_rows').length > 0")
    visitor.picture("4-compared")
    table = read_landmarks(visitor.export("Placed landmarks, as a table"))
    assert [mark.name for mark in table] == [mark.name for mark in placed]
    others = read_landmarks(visitor.export("MITK (.mps)", "Placed landmarks, for another program"))
    np.testing.assert_allclose(others.positions, placed.positions)
    visitor.wait_until("state('message').includes('keeps no names')")  # it may come after the file


@pytest.mark.data
def test_dicom_series_and_fcsv(visitors, server, data):
    visitor = visitors(server.url)
    series = next(folder for folder in sorted((data / "dicom").rglob("*")) if len(list(folder.glob("*.dcm"))) > 5)
    visitor.choose("Open a volume", *sorted(series.glob("*.dcm")), side=".side-target")
    visitor.wait_until("state('target__SideState__title') != '' && !state('is_loading')")
    assert visitor.state("target__SideState__facts").startswith("MR")
    brain = sorted((data / "mni152").rglob("*.nii.gz"))[0]
    visitor.choose("Open a volume", brain, side=".side-template")
    visitor.wait_until("state('template__SideState__title') != '' && !state('is_loading')")
    visitor.choose("Open", sorted((data / "mni152").rglob("*.fcsv"))[0], side=".tab-place")
    visitor.wait_until("state('landmarks').length == 32")
    visitor.picture("1-dicom")
