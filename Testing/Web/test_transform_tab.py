"""Transforms in a real browser: computed from placed points, seen, downloaded, and used to carry files over.

The world origins of template and target differ by 40 mm along each axis, so that the wrong direction is far off. The
target is larger by a tenth along each axis, so that the Jacobian determinant is known.
"""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import read_volume, write_volume
from deepfeatures.phantom import make_pair

VOXELS = 48  # of a head from front to back
SHIFT_MM = np.array([40.0, -40.0, 40.0])
LARGER = 1.1
AROUND = "pons"  # the landmark in the middle of a ball that is carried over
RADIUS_MM = 22.0
STATE = "transform__TransformState__"
RUN_S = 120
GREY = 12  # of 255: colours differ by no more in a picture without colours


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """A folder: a template with its landmarks, a target, and what belongs to the template: labels, points, a model."""
    folder = tmp_path_factory.mktemp("heads")
    template, landmarks, target, _ = make_pair(VOXELS)
    write_volume(template, folder / "head.nii.gz")
    write_landmarks(landmarks, folder / "head.mrk.json")
    larger = replace(target, spacing=target.spacing * LARGER, origin=target.origin * LARGER + SHIFT_MM)
    write_volume(larger, folder / "person.nii.gz")
    centre = np.array(position_of(landmarks, AROUND))
    index = torch.from_numpy(np.indices(template.voxels.shape)[::-1].reshape(3, -1).T.copy()).double().numpy()
    distance = np.linalg.norm(template.to_world(index) - centre, axis=1).reshape(template.voxels.shape)
    ball = np.where(distance < RADIUS_MM / 2, 7, np.where(distance < RADIUS_MM, 3, 0))
    write_volume(template.with_voxels(torch.from_numpy(ball).float()), folder / "ball.nii.gz")
    write_sphere(centre, folder / "ball.ply")
    return folder


def write_sphere(centre: np.ndarray, path: Path) -> None:
    from vtkmodules.vtkFiltersSources import vtkSphereSource
    from vtkmodules.vtkIOPLY import vtkPLYWriter

    sphere, writer = vtkSphereSource(), vtkPLYWriter()
    sphere.SetCenter(*centre)
    sphere.SetRadius(RADIUS_MM)
    sphere.SetThetaResolution(24)
    sphere.SetPhiResolution(24)
    writer.AddComment("SPACE=LPS")
    writer.SetInputConnection(sphere.GetOutputPort())
    writer.SetFileName(str(path))
    assert writer.Write()


def vertices_of(path: Path) -> np.ndarray:
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkIOPLY import vtkPLYReader

    reader = vtkPLYReader()
    reader.SetFileName(str(path))
    reader.Update()
    assert "SPACE=LPS" in path.read_bytes()[:500].decode(errors="replace")
    return vtk_to_numpy(reader.GetOutput().GetPoints().GetData()).astype(float)


def position_of(landmarks: LandmarkSet, name: str) -> np.ndarray:
    return np.array(next(mark.position for mark in landmarks if mark.name == name))


def known(visitor, name: str):
    """What the page knows of the transform."""
    return visitor.state(STATE + name)


def wait_for(visitor, condition: str, timeout_s: float = RUN_S) -> None:
    """Wait for a condition in which `known(name)` is what the page knows; an error of the page fails the test."""
    condition = condition.replace("known('", f"state('{STATE}")
    visitor.wait_until(f"state('message') != '' || (!state('is_busy') && ({condition}))", timeout_s)
    assert visitor.state("message") == ""


@pytest.fixture
def placed(visitor, heads):
    """A visitor whose points are placed, at the tab Transform, and the points in the target by name."""
    if visitor.state("target__SideState__title") != "person":
        visitor.drop(".side-template", heads / "head.nii.gz")
        visitor.wait_until("state('template__SideState__title') == 'head' && !state('is_loading')")
        visitor.drop(".side-template", heads / "head.mrk.json")
        visitor.wait_until("state('landmarks').length == 18 && !state('is_loading')")
        visitor.drop(".side-target", heads / "person.nii.gz")
        visitor.wait_until("state('target__SideState__title') == 'person' && state('validation_message') == ''")
    if not visitor.state("rows"):
        visitor.place()
    visitor.tab("Transform")
    return visitor


def points_of(visitor) -> LandmarkSet:
    return read_landmarks(visitor.export("Placed landmarks, for Slicer"))


def choose_kind(visitor, title: str) -> None:
    visitor.page.locator(".tab-transform .v-select").click()
    visitor.page.get_by_role("option", name=title, exact=True).click()


def compute(visitor, title: str) -> None:
    choose_kind(visitor, title)
    visitor.button("Compute transform").click()
    wait_for(visitor, f"known('title') == '{title}' && known('outdated') == ''")


def ensure_computed(visitor) -> None:
    if known(visitor, "title") != "Thin plate spline" or known(visitor, "outdated"):
        compute(visitor, "Thin plate spline")


def show(visitor, view: str) -> np.ndarray:
    """Choose what lies over the template; returns what its axial view shows then, `(height, width, 3)`."""
    visitor.button(view).click()
    wait_for(visitor, f"known('view') == '{'' if view == 'Off' else view.lower()}'")
    return seen(visitor)


def seen(visitor, side: str = "template") -> np.ndarray:
    visitor.page.mouse.move(640, 10)
    visitor.page.wait_for_timeout(1500)  # until the sharp picture follows the quick one
    picture = visitor.page.locator(f".side-{side} .view-axial").screenshot()
    return np.array(Image.open(io.BytesIO(picture)).convert("RGB"), float)


def download(visitor, suffix: str) -> Path:
    visitor.page.locator(".fit").get_by_role("button", name="Download").click()
    return save(visitor, visitor.page.get_by_text(f"({suffix})", exact=False).last)


def save(visitor, button) -> Path:
    with visitor.page.expect_download(timeout=RUN_S * 1000) as waiting:
        button.click()
    path = Path(waiting.value.path())
    return path.rename(path.with_name(waiting.value.suggested_filename))


def carry(visitor, path: Path, to: str = "target") -> Path:
    """Carry a file over to the other side, and download it."""
    visitor.button("Template → target" if to == "target" else "Target → template").click()
    visitor.wait_until(f"state('{STATE}way') == '{to}'")
    count = len(known(visitor, "carried"))
    visitor.choose("Open a file to carry over", path)
    wait_for(visitor, f"known('carried').length == {count + 1}")
    return save(visitor, visitor.button(f"Download {known(visitor, 'carried')[0]['name']}"))


def set_window(visitor, window: list[float]) -> None:
    """As the sliders of the target's brightness and contrast do."""
    visitor.page.evaluate(f"window.trame.state.set('PageState__target__SideState__window', {window})")


def share(visitor, key: str) -> None:
    """Move the slider of the blend to one of its ends, with the key Home or End."""
    slider = visitor.page.get_by_role("slider", name="Share of the target in the blend")
    slider.focus()
    visitor.page.keyboard.press(key)
    visitor.wait_until(f"state('{STATE}share') == {0 if key == 'Home' else 1}")


def test_files_hold_template_to_target_as_other_programs_read_it(placed, heads):
    sitk = pytest.importorskip("SimpleITK")
    placed.picture("1-nothing-yet")
    compute(placed, "Thin plate spline")
    mean, worst, name = re.match(
        r"18 points, on average (\S+) mm off, at most (\S+) mm \((.*)\)\. It folds nowhere\.", known(placed, "fit")
    ).groups()
    assert 0 <= float(mean) <= float(worst) < 4
    assert known(placed, "details")[0].startswith(f"{name}: ")
    placed.picture("2-computed")
    template, points = read_landmarks(heads / "head.mrk.json"), points_of(placed)
    away = {}
    for suffix in (".h5", ".tfm", ".nrrd"):
        path = download(placed, suffix)
        assert path.name == f"head-to-person{suffix}"
        if suffix == ".nrrd":
            field = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
            transform = sitk.Transform(field)
        else:
            transform = sitk.ReadTransform(str(path))
        carried = {mark.name: np.array(transform.TransformPoint(mark.position)) for mark in template}
        away[suffix] = np.array([np.linalg.norm(carried[mark.name] - mark.position) for mark in points])
        assert away[suffix].max() < float(worst) + 0.3, f"{suffix} goes the wrong way, or is not exact"
    assert np.allclose(away[".h5"], away[".tfm"], atol=0.2) and np.allclose(away[".h5"], away[".nrrd"], atol=0.3)


def test_blend_and_checkerboard_and_jacobian_are_seen_over_the_template_and_go_with_the_tab(placed):
    ensure_computed(placed)
    alone = show(placed, "Off")
    show(placed, "Blend")
    share(placed, "Home")
    assert np.abs(seen(placed) - alone).mean() < 1, "nothing of the target"
    share(placed, "End")
    warped = seen(placed)
    placed.picture("1-warped")
    assert np.abs(warped - alone).mean() > 3, "nothing of the template"
    alike, shifted = (np.corrcoef(warped.ravel(), other.ravel())[0, 1] for other in (alone, np.roll(alone, 25, 1)))
    assert alike > 0.8 and alike > shifted + 0.1, "the warped target lies where the template lies"
    head = placed.page.locator(".side-template .head").inner_text().lower()
    assert "template" in head and "+ warped target" in head

    board = show(placed, "Checkerboard")
    placed.picture("2-checkerboard")
    near_template, near_warped = (np.abs(board - other).max(-1) < 3 for other in (alone, warped))
    for only in (near_template & ~near_warped, near_warped & ~near_template):
        assert only.mean() > 0.03, "both are seen in the checkerboard"

    jacobian = show(placed, "Jacobian")
    placed.picture("3-jacobian")
    red, before = (picture[..., 0] - picture[..., 2] > GREY for picture in (jacobian, alone))
    assert red.mean() > 0.3 > 0.01 > before.mean(), "larger in the target"

    placed.tab("Inspect")
    wait_for(placed, "known('view') == ''")
    assert np.abs(seen(placed) - alone).mean() < 1


def test_brightness_of_the_target_counts_for_the_warped_target_too(placed):
    ensure_computed(placed)
    show(placed, "Blend")
    share(placed, "End")
    bright = seen(placed)
    low, high = placed.state("target__SideState__window")
    set_window(placed, [low, low + (high - low) / 3])
    board = show(placed, "Checkerboard")
    show(placed, "Blend")
    assert seen(placed).mean() > bright.mean() + 20 and board.mean() > bright.mean()
    set_window(placed, [low, high])


def test_each_kind_is_computed_and_says_how_near_it_comes(placed):
    means = {}
    for title in ("Rigid", "Similarity", "Affine", "B-spline", "Diffeomorphic (CPAB)", "Field of the search"):
        compute(placed, title)
        means[title] = float(re.search(r"on average (\S+) mm", known(placed, "fit")).group(1))
    assert means["Rigid"] >= means["Similarity"] >= means["Affine"] - 0.1
    assert max(means["B-spline"], means["Diffeomorphic (CPAB)"]) < means["Rigid"]


def test_a_decision_makes_the_transform_outdated_until_it_is_computed_again(placed):
    ensure_computed(placed)
    show(placed, "Blend")
    before = placed.state("reviewed")
    placed.page.keyboard.press("a")
    placed.wait_until(f"state('reviewed') == {before + 1}")
    assert known(placed, "outdated") == "Points were moved or reviewed since then; compute it again."
    placed.picture("1-outdated")
    compute(placed, "Thin plate spline")
    wait_for(placed, "known('view') == 'blend'")
    assert known(placed, "outdated") == ""


def test_labels_points_and_models_are_carried_to_the_target_and_back(placed, heads):
    ensure_computed(placed)
    points, target = points_of(placed), read_volume(heads / "person.nii.gz")
    centre = position_of(points, AROUND)

    path = carry(placed, heads / "ball.nii.gz")
    assert path.name == "ball-in-person.nii.gz"
    labels = read_volume(path)
    assert labels.size == target.size and np.allclose(labels.origin, target.origin, atol=1e-3)
    voxels = labels.voxels.numpy()
    assert set(np.unique(voxels)) == {0, 3, 7}, "labels are not mixed"
    index = np.argwhere(voxels > 0)[:, ::-1].astype(float)
    assert np.linalg.norm(labels.to_world(index).mean(0) - centre) < 4

    path = carry(placed, heads / "ball.ply")
    around = vertices_of(path) - centre
    assert path.name == "ball-in-person.ply"
    assert (
        np.linalg.norm(around.mean(0)) < 4 and 0.6 * RADIUS_MM < np.linalg.norm(around, axis=1).mean() < 1.5 * RADIUS_MM
    )

    path = carry(placed, heads / "head.mrk.json")
    carried = read_landmarks(path)
    off = [np.linalg.norm(position_of(carried, mark.name) - mark.position) for mark in points]
    assert np.mean(off) < 2 and max(off) < 4
    placed.picture("1-carried")

    back = read_landmarks(carry(placed, path, to="template"))
    for mark in read_landmarks(heads / "head.mrk.json"):
        assert np.linalg.norm(position_of(back, mark.name) - mark.position) < 0.1, mark.name


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("notes.docx", b"PK", r"notes\.docx is not a volume .* or a model"),
        ("cut.nii.gz", None, r"cut\.nii\.gz .*"),
        ("empty.ply", b"", r"empty\.ply .*"),
    ],
)
def test_what_cannot_be_carried_is_refused_in_one_sentence(name, content, sentence, placed, heads, tmp_path):
    ensure_computed(placed)
    (tmp_path / name).write_bytes((heads / "ball.nii.gz").read_bytes()[:400] if content is None else content)
    count = len(known(placed, "carried"))
    placed.choose("Open a file to carry over", tmp_path / name)
    placed.wait_until("state('message') != '' && !state('is_busy')", RUN_S)
    message = placed.state("message")
    assert re.match(sentence, message, re.IGNORECASE) and "/" not in message.split(name)[0], message
    assert len(known(placed, "carried")) == count
    placed.page.evaluate("window.trame.state.set('PageState__message', '')")


def test_another_target_has_no_transform_and_nothing_to_compute_it_from(placed, heads):
    ensure_computed(placed)
    show(placed, "Blend")
    placed.choose_volume("target", heads / "head.nii.gz")
    placed.wait_until("state('target__SideState__title') == 'head' && !state('is_loading')")
    assert [known(placed, name) for name in ("title", "view", "carried", "refusal")] == [
        "",
        "",
        [],
        "Place the landmarks first.",
    ]
    assert placed.button("Compute transform").is_disabled()
    answer = placed.page.request.get(placed.page.url.split("?")[0].rsplit("/", 1)[0] + "/export/transform.h5")
    assert answer.status == 409 and "compute the transform first" in answer.text()
