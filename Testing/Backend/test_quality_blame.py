"""A rater whose file is grossly wrong does not bring the right points of another rater into question."""

import numpy as np
import pytest

pytest.importorskip("pandas")
pytest.importorskip("scipy")

from quality_people import NAMES, annotate, person_points

from deepfeatures.quality import review

PEOPLE = 8
SIDES = [0, 2, 3, 6, 8, 9]  # three pairs, to be quick
GRAVE_MM = 4.0  # beyond the scatter of good points, of which about 4 % are flagged


def people_of(number, generator):
    """Some people's landmarks, `(N, 12, 3)`."""
    people = np.full((number, len(NAMES), 3), np.nan)
    people[:, SIDES] = np.stack([person_points(generator) for _ in range(number)])[:, SIDES]
    return people


def points_of(number, generator):
    """Some people's landmarks as one rater has them and, half a mm off, as another: two arrays `(N, 12, 3)`."""
    right = people_of(number, generator)
    return right, right + generator.normal(scale=0.5, size=right.shape)


def grave(flagged, rater):
    """Scan and landmark of what is said of a rater and is more than scatter."""
    own = flagged[(flagged.rater == rater) & ~(flagged.distance_mm < GRAVE_MM) & (flagged.kind != "missing")]
    return set(zip(own.scan, own.landmark, strict=True))


@pytest.mark.parametrize("signs", [(-1, 1, 1), (-1, -1, 1)], ids=["left and right", "RAS read as LPS"])
@pytest.mark.parametrize(("seed", "reference"), [(0, "right"), (1, "right"), (2, None)])
def test_a_mirrored_set_and_a_point_at_the_origin_are_the_fault_of_their_rater_alone(seed, reference, signs):
    generator = np.random.default_rng(seed)
    right, wrong = points_of(PEOPLE, generator)
    mirrored, scan = generator.choice(PEOPLE, 2, replace=False)
    landmark = generator.choice(SIDES)
    wrong[mirrored] *= signs
    wrong[scan, landmark] = 0
    found = review([*annotate(right, "right"), *annotate(wrong, "wrong")], reference)
    flagged = found.flagged
    assert not found.notes
    assert not grave(flagged, "right")
    assert grave(flagged, "wrong") == {(f"scan{mirrored}", ""), (f"scan{scan}", NAMES[landmark])}


def test_a_rater_who_mirrors_several_sets_is_found_each_time():
    generator = np.random.default_rng(3)
    right, wrong = points_of(PEOPLE, generator)
    wrong[[1, 4, 6]] *= (-1, 1, 1)
    wrong[2, 6] += [0, 20, 0]
    flagged = review([*annotate(right, "right"), *annotate(wrong, "wrong")], "right").flagged
    assert not grave(flagged, "right")
    assert grave(flagged, "wrong") == {("scan1", ""), ("scan4", ""), ("scan6", ""), ("scan2", NAMES[6])}


@pytest.mark.parametrize("seed", [0, 2])
def test_three_who_agree_on_an_unusual_place_are_right_though_other_sets_are_grossly_wrong(seed):
    generator = np.random.default_rng(seed)
    right = people_of(PEOPLE + 1, generator)
    right[4, 6] += generator.permutation([5, 0, 0])
    one, other, third = (right + generator.normal(scale=0.4, size=right.shape) for _ in range(3))
    other[[1, 5]] *= (-1, -1, 1)
    other[7, 2] = third[7, 8] = 0
    raters = [*annotate(one, "one"), *annotate(other, "other"), *annotate(third, "third")]
    flagged = review(raters, "one").flagged
    assert not grave(flagged, "one")
    assert grave(flagged, "other") == {("scan1", ""), ("scan5", ""), ("scan7", NAMES[2])}
    assert grave(flagged, "third") == {("scan7", NAMES[8])}


@pytest.mark.parametrize(("people", "signs"), [(2, (-1, 1, 1)), (2, (-1, -1, 1)), (PEOPLE, (-1, -1, 1))])
def test_raters_who_are_mirror_images_of_each_other_are_told_where_it_is_open_who_is_right(people, signs):
    right, mirrored = points_of(people, np.random.default_rng(4))
    raters = [*annotate(right, "one"), *annotate(mirrored * signs, "other")]
    (note,) = review(raters).notes
    assert f"between one and other in the whole set of {people} scans" in note.text


def test_raters_who_agree_are_no_mirror_images():
    right, other = points_of(2, np.random.default_rng(4))
    assert not review([*annotate(right, "one"), *annotate(other, "other")]).notes


def test_with_a_reference_the_other_rater_is_flagged_and_needs_no_note():
    right, mirrored = points_of(PEOPLE, np.random.default_rng(4))
    found = review([*annotate(right, "right"), *annotate(mirrored * (-1, 1, 1), "wrong")], "right")
    assert {(f"scan{number}", "") for number in range(PEOPLE)} <= grave(found.flagged, "wrong")
    assert not found.notes
