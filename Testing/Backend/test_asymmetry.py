"""Pairs are found by their names, and their asymmetry in the mirror of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from deepfeatures.data.asymmetry import asymmetry
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.symmetric_pairs import find_pairs
from deepfeatures.io.landmark_files import read_landmarks
from deepfeatures.phantom.head import LANDMARKS

TURN = np.array([(0.96, -0.28, 0.0), (0.28, 0.96, 0.0), (0.0, 0.0, 1.0)])
SHIFT = np.array([30.0, -20.0, 15.0])


def named(*names):
    return LandmarkSet(tuple(Landmark(name, (0.0, 0.0, 0.0)) for name in names))


def body(moved=None, error=None):
    """A symmetric body, turned; the right ear is moved by a vector in its own axes."""
    places = {
        "ear L": (40.0, 5.0, 2.0),
        "eye L": (20.0, -30.0, 9.0),
        "tip L": (25.0, 20.0, -30.0),
        "tooth L": (9, -35, -20),
    }
    places |= {f"{name[:-1]}R": (-x, y, z) for name, (x, y, z) in places.items()}
    places |= {"nose": (0.0, -45.0, 0.0), "chin": (0.0, -40.0, -40.0), "mole": (17.0, -38.0, -9.0)}
    if moved is not None:
        places["ear R"] = tuple(np.array(places["ear R"]) + moved)
    return LandmarkSet(
        tuple(
            Landmark(name, tuple(TURN @ np.array(place) + SHIFT), expected_error_mm=error)
            for name, place in places.items()
        )
    )


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left eye", "right eye"),
        ("L_eye", "R_eye"),
        ("eye_l", "eye_r"),
        ("Eye (left)", "eye (RIGHT)"),
        ("eyeL", "eyeR"),
        ("leftEye", "rightEye"),
        ("LPC", "RPC"),
        ("7L", "7R"),
        ("L frontal horn tip 2", "R frontal horn tip 2"),
        ("l", "r"),
    ],
)
def test_names_of_pairs(left, right):
    assert find_pairs(named("AC", right, left)) == ((left, right),)


@pytest.mark.parametrize(
    "names", [("lip", "rip"), ("L1", "R1"), ("left eye", "left ear"), ("Lateral", "Rateral"), ("L", "l", "R")]
)
def test_names_that_are_no_pairs(names):
    assert not find_pairs(named(*names))


def test_names_with_two_sides_are_no_pair_where_it_is_open_which_one():
    assert find_pairs(named("left side left", "right side left", "left side right")) == ()


def test_pairs_of_the_made_head_and_of_real_files(data):
    assert len(find_pairs(named(*LANDMARKS))) == 6
    assert len(find_pairs(read_landmarks(data / "brain" / "1000.mrk.json"))) == 18
    assert len(find_pairs(read_landmarks(next((data / "mni152").glob("*.fcsv"))))) == 11  # by their descriptions


def test_a_symmetric_body_has_none_and_the_moved_point_is_told_in_its_own_axes():
    template, moved = body(), np.array([-3.0, 2.0, 1.0])
    found = asymmetry(template, body(moved), find_pairs(template))
    assert found.midline == ("nose", "chin")
    np.testing.assert_allclose(found.plane.axes, TURN.T, atol=0.02)
    by_name = {pair.left: pair for pair in found.pairs}
    np.testing.assert_allclose(by_name["ear L"].vector_mm, -moved, atol=0.3)
    assert all(pair.length_mm < 0.7 for name, pair in by_name.items() if name != "ear L")
    assert all(np.linalg.norm(pair.template_mm) < 1e-6 for pair in found.pairs)


def test_an_asymmetry_below_its_expected_error_says_so():
    template = body()
    found = asymmetry(template, body(np.array([-3.0, 2.0, 1.0]), error=1.5), find_pairs(template))
    by_name = {pair.left: pair for pair in found.pairs}
    assert by_name["eye L"].expected_error_mm == pytest.approx(1.5 * 2**0.5)
    assert by_name["eye L"].is_within_error and not by_name["ear L"].is_within_error
    assert by_name["eye L"].report()["within_expected_error"]


def test_too_few_pairs_give_no_plane():
    template = body()
    few = LandmarkSet(tuple(one for one in template if one.name in ("ear L", "ear R", "eye L", "eye R")))
    assert asymmetry(template, few, find_pairs(template)) is None
