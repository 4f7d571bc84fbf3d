"""Points of curves and surfaces slide to the least bending energy, and stay on what features have settled."""

from __future__ import annotations

import json

import numpy as np
import pytest

from deepfeatures.cli.main import main
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.semi_landmarks import SemiLandmarks, sliders
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import write_volume
from deepfeatures.matching.semi_landmarks import slide, smooth_line
from deepfeatures.phantom import make_pair
from deepfeatures.transforms.thin_plate_spline import bending_energy_matrix, fit_thin_plate_spline

RANDOM = np.random.default_rng(5)
LANDMARKS = RANDOM.uniform(-40, 40, (12, 3))
BEND = fit_thin_plate_spline(LANDMARKS, LANDMARKS @ np.diag([1.1, 0.95, 1]) + 5 * np.sin(LANDMARKS / 30), np.zeros(12))[
    0
]
ANGLES = np.linspace(0, 2 * np.pi, 30, endpoint=False)


def arc(angles):
    return np.stack([30 * np.cos(angles), 30 * np.sin(angles), 8 * np.sin(2 * angles)], 1)


def off_line(points, angles):
    """Distances of points to the bent arc between the first and the last angle."""
    dense = BEND(arc(np.linspace(angles[0], angles[-1], 20001)))
    return np.linalg.norm(points[:, None] - dense, axis=2).min(1)


def energy(known, moved):
    return np.einsum("ni,nm,mi->", moved, bending_energy_matrix(known), moved)


@pytest.mark.parametrize("kind", ["curve", "closed curve"])
def test_points_along_a_curve_slide_back_to_where_they_belong(kind):
    angles = ANGLES[:16] if kind == "curve" else ANGLES
    shape = SemiLandmarks("rim", kind, arc(angles))
    off = RANDOM.uniform(-0.08, 0.08, len(angles))  # of 0.21 between two
    off[list(shape.ends)] = 0
    settled, true = BEND(arc(angles + off)), BEND(shape.positions)
    (slid,) = slide([shape], [settled], LANDMARKS, BEND(LANDMARKS))
    around = np.append(angles, angles[0] + 2 * np.pi) if kind == "closed curve" else angles
    assert off_line(slid, around).max() < 0.1  # between settled points the curve is a spline
    before, after = (np.linalg.norm(one - true, axis=1).mean() for one in (settled, slid))
    assert before > 0.8 and after < 0.35 * before
    known = np.concatenate([LANDMARKS, shape.positions])
    energies = [energy(known, np.concatenate([BEND(LANDMARKS), one])) for one in (settled, slid)]
    assert energies[1] < 0.2 * energies[0]
    np.testing.assert_array_equal(slid[list(shape.ends)], settled[list(shape.ends)])


def test_points_of_a_grid_slide_within_the_surface():
    x, y = (one.ravel() for one in np.meshgrid(np.linspace(-25, 25, 9), np.linspace(-25, 25, 9)))

    def sheet(x, y):
        return np.stack([x, y, 25 - (x**2 + y**2) / 80], 1)

    shape = SemiLandmarks("dome", "surface", sheet(x, y))
    settled = BEND(sheet(x + RANDOM.uniform(-2, 2, x.shape), y + RANDOM.uniform(-2, 2, y.shape)))
    (slid,) = slide([shape], [settled], LANDMARKS, BEND(LANDMARKS))
    wide = np.linspace(-30, 30, 301)
    dense = BEND(sheet(*(one.ravel() for one in np.meshgrid(wide, wide))))
    apart = np.array([np.linalg.norm(dense - place, axis=1).min() for place in slid])
    assert apart.mean() < 0.25
    true = BEND(shape.positions)
    before, after = (np.linalg.norm(one - true, axis=1).mean() for one in (settled, slid))
    assert after < 0.6 * before


def test_points_that_were_not_found_go_where_the_others_say():
    shape = SemiLandmarks("rim", "curve", arc(ANGLES[:16]))
    true = BEND(shape.positions)
    settled = true.copy()
    settled[[0, 6, 7]] = np.nan
    (slid,) = slide([shape], [settled], LANDMARKS, BEND(LANDMARKS))
    assert np.linalg.norm(slid - true, axis=1)[[0, 6, 7]].max() < 1.0
    assert not np.isnan(slid).any()


def test_no_point_slides_further_than_its_expected_error():
    shape = SemiLandmarks("rim", "closed curve", arc(ANGLES))
    settled = BEND(arc(ANGLES + 0.5))  # 16 mm along the curve
    errors = np.full(len(ANGLES), 2.0)
    errors[5] = np.nan
    (slid,) = slide([shape], [settled], LANDMARKS, BEND(LANDMARKS), [errors])
    moved = np.delete(np.linalg.norm(slid - settled, axis=1), 5)
    assert moved.mean() > 1.5 and moved.max() < 2.2


def test_a_point_that_is_a_landmark_stays_with_it():
    positions = arc(ANGLES[:16])
    landmarks = np.concatenate([LANDMARKS, positions[[5]]])
    places = BEND(landmarks)
    places[-1] += 0.7
    (slid,) = slide([SemiLandmarks("rim", "curve", positions)], [BEND(positions)], landmarks, places)
    np.testing.assert_allclose(slid[5], places[-1])


def test_a_spline_goes_through_its_points():
    points = arc(ANGLES)
    for is_closed in (False, True):
        line = smooth_line(points, is_closed)
        assert np.linalg.norm(points[:, None] - line, axis=2).min(1).max() < 1e-12
        assert np.linalg.norm(np.diff(line, axis=0), axis=1).max() < 0.5


def test_sliders_are_those_of_geomorph():
    shapes = [
        SemiLandmarks("a", "curve", np.zeros((4, 3))),
        SemiLandmarks("b", "closed curve", np.zeros((4, 3))),
        SemiLandmarks("c", "surface", np.zeros((6, 3))),
    ]
    rows = [(3, 4, 5), (4, 5, 6), (10, 7, 8), (7, 8, 9), (8, 9, 10), (9, 10, 7)]
    assert sliders(shapes, 2) == rows


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Volumes, landmarks, and curves of a made head, as files; and the true landmarks in the target."""
    folder = tmp_path_factory.mktemp("pair")
    template, landmarks, target, truth = make_pair(64)
    for volume, name in ((template, "template"), (target, "target")):
        write_volume(volume, folder / f"{name}.nii.gz")
    write_landmarks(landmarks, folder / "template.mrk.json")
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = np.array([26.0, -1.0, 2.0]) + 8 * np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1)
    line = np.stack([np.zeros(7), np.linspace(-31, 38, 7), np.linspace(12, 14, 7)], 1)
    write_markup(folder / "ring.mrk.json", "ClosedCurve", ring, {"display": {"opacity": 0.5}})
    write_markup(folder / "line.mrk.json", "Curve", line)
    write_markup(folder / "grid.mrk.json", "Fiducial", ring)
    return folder, truth


def write_markup(path, kind, positions, more=None):
    points = [
        {"id": str(n), "label": f"C-{n}", "position": position, "locked": False, "positionStatus": "defined"}
        for n, position in enumerate(positions.tolist(), 1)
    ]
    markup = {"type": kind, "name": path.name.split(".")[0], "coordinateSystem": "LPS", "controlPoints": points}
    path.write_text(json.dumps({"@schema": "s", "markups": [{**markup, **(more or {})}]}))


def placing(folder, output, *options):
    template = ["--template", str(folder / "template.nii.gz"), "--landmarks", str(folder / "template.mrk.json")]
    return ["place", *template, "--output-dir", str(output), *map(str, options), str(folder / "target.nii.gz")]


def test_curves_are_placed_beside_the_landmarks(pair, tmp_path, capsys):
    folder, truth = pair
    given = ["--curves", folder / "ring.mrk.json", "--curves", folder / "line.mrk.json"]
    report = tmp_path / "report.json"
    grid = ["--surfaces", folder / "grid.mrk.json"]
    assert main(placing(folder, tmp_path / "a", *given, *grid, "--report", report, "--asymmetry")) in (0, 3)
    assert "ring, 12 points" in (shown := capsys.readouterr().out) and "left putamen / right putamen" in shown
    assert main(placing(folder, tmp_path / "b")) in (0, 3)
    alone, beside = (read_landmarks(tmp_path / one / "target.mrk.json") for one in "ab")
    np.testing.assert_array_equal(alone.positions, beside.positions)  # curves do not move landmarks

    content = json.loads((tmp_path / "a" / "curves" / "target.mrk.json").read_text())
    assert [markup["type"] for markup in content["markups"]] == ["Fiducial", "ClosedCurve", "Curve", "Fiducial"]
    assert content["markups"][1]["display"] == {"opacity": 0.5}
    ring = np.array([point["position"] for point in content["markups"][1]["controlPoints"]])
    putamen = truth.positions[[one.name for one in truth].index("left putamen")]
    assert len(ring) == 12 and np.linalg.norm(ring.mean(0) - putamen) < 4
    rows = (tmp_path / "a" / "curves" / "sliders.csv").read_text().splitlines()
    assert rows[0] == "before,slide,after" and rows[1] == "30,19,20" and len(rows) == 1 + 12 + 5

    (target,) = json.loads(report.read_text())["targets"]
    assert [one["name"] for one in target["curves"]] == ["ring", "line", "grid"]
    pairs = {one["left"]: one for one in target["asymmetry"]["pairs"]}
    assert len(pairs) == 6 and pairs["left eye"]["expected_error_mm"] > 0
    assert main(["convert", str(tmp_path / "a" / "curves" / "target.mrk.json"), str(tmp_path / "all.tps")]) == 0
    assert len(read_landmarks(tmp_path / "all.tps")) == 18 + 12 + 7 + 12


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--curves", "grid.mrk.json"], "--surfaces"),
        (["--surfaces", "line.mrk.json"], "--curves"),
        (["--curves", "nothing.mrk.json"], "does not exist"),
        (["--curves", "target.nii.gz"], "cannot hold curves"),
        (["--curves", "short.mrk.json"], "give at least 3 for a curve"),
        (["--curves", "outside.mrk.json"], "lie outside the volume"),
        (["--pairs", "wrong.csv"], "no columns left and right"),
        (["--pairs", "unknown.csv"], "no landmark"),
        (["--pairs", "twice.csv"], "twice"),
    ],
)
def test_curves_and_pairs_that_cannot_be_used_are_refused(pair, tmp_path, capsys, options, told):
    folder, _ = pair
    write_markup(folder / "short.mrk.json", "Curve", np.zeros((2, 3)))
    write_markup(folder / "outside.mrk.json", "Curve", np.full((4, 3), 900.0))
    (folder / "wrong.csv").write_text("a,b\nleft eye,right eye\n")
    (folder / "unknown.csv").write_text("left,right\nleft eye,right ear\n")
    (folder / "twice.csv").write_text("left,right\nleft eye,right eye\nleft eye,right putamen\n")
    assert main(placing(folder, tmp_path, options[0], folder / options[1])) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.glob("*.mrk.json"))


def test_locked_points_of_a_curve_are_not_replaced(pair, tmp_path, capsys):
    folder, _ = pair
    (tmp_path / "curves").mkdir()
    write_landmarks(LandmarkSet((Landmark("a", (1, 2, 3), locked=True),)), tmp_path / "curves" / "target.mrk.json")
    assert main(placing(folder, tmp_path, "--curves", folder / "ring.mrk.json")) == 2
    assert "locked" in capsys.readouterr().err
