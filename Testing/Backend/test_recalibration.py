"""A calibration of one's own: what it changes, the file it is kept in, and the command that makes it."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from calibration_samples import SLOPES, made_matches
from hypothesis import given
from hypothesis import strategies as st

from deepfeatures.cli.main import main
from deepfeatures.errors import InputError
from deepfeatures.evaluation.calibration import MOST_PAIRS, check_people, choose_pairs, recalibrate
from deepfeatures.evaluation.cases import Case
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import write_volume
from deepfeatures.matching import Matcher
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.matching.uncertainty.calibration import fit_error_model
from deepfeatures.matching.uncertainty.calibration_file import calibration_text, read_calibration
from deepfeatures.matching.uncertainty.recalibration import recalibrated
from deepfeatures.phantom import make_pair

FEATURES = "mind/ssc_r1_d2/13"
SHIPPED = fit_error_model([made_matches(2000, 1, people=100)])


def coverage(model, samples) -> float:
    return float((samples.errors <= model.radii_mm(samples.rows, 1.0, 0.9).numpy()).mean())


@pytest.mark.parametrize("shift", [-0.7, 0.7])
def test_radii_hold_again_in_scans_that_are_easier_or_harder(shift):
    own, new = made_matches(600, 2, people=12, shift=shift), made_matches(3000, 3, shift=shift)
    before, after = coverage(SHIPPED, new), coverage(recalibrated(SHIPPED, own), new)
    assert abs(before - 0.9) > 0.06, "the shift tests nothing"
    assert 0.87 < after < 0.97
    larger = recalibrated(SHIPPED, own).errors_mm(new.rows, 1.0) > SHIPPED.errors_mm(new.rows, 1.0)
    assert larger.double().mean().item() == pytest.approx(float(shift > 0), abs=0.05)


def test_the_more_people_the_more_changes():
    new = made_matches(500, 9, shift=1.0)
    changes = [
        (recalibrated(SHIPPED, made_matches(60 * people, 2, people=people, shift=1.0)).log_errors(new.rows)).mean()
        for people in (2, 4, 9, 40)
    ]
    assert changes == sorted(changes)
    true = 0.6 + 1.0 + (new.evidence @ SLOPES).mean()
    assert changes[0].item() < true - 0.3
    assert changes[-1].item() == pytest.approx(true, abs=0.15)


def test_slopes_change_only_with_many_people():
    own = made_matches(3000, 2, people=9)
    flat = replace(own, errors=np.full(3000, 2.0))
    assert recalibrated(SHIPPED, flat).slopes == SHIPPED.slopes
    many = replace(flat, targets=made_matches(3000, 2, people=40).targets)
    assert np.abs(recalibrated(SHIPPED, many).slopes).max() < 0.7 * np.abs(SHIPPED.slopes).max()


def test_what_hardly_differs_among_ones_own_scans_gets_no_slope_of_their_own():
    own = made_matches(600, 2, people=20)
    contrast = own.evidence[:, 19] * 0.001 + 0.02 * np.sign(own.errors - np.median(own.errors))  # all of one contrast
    own = replace(own, evidence=np.column_stack([own.evidence[:, :19], contrast, own.evidence[:, 20:]]))
    change = np.array(recalibrated(SHIPPED, own).slopes) - SHIPPED.slopes
    assert abs(change[19]) < 0.3
    other = made_matches(3000, 3)  # of other contrasts
    assert 0.85 < coverage(recalibrated(SHIPPED, own), other) < 0.95


def test_what_was_outside_is_calibrated_now():
    own = made_matches(600, 2, people=12, centre=4.0)
    assert (SHIPPED.distances(own.rows) > 0.5).double().mean() > 0.9
    assert (recalibrated(SHIPPED, own).distances(own.rows) > 0.5).double().mean() < 0.1


def test_a_model_of_version_1_is_recalibrated_too():
    old = replace(SHIPPED, range=None, spread_slopes=())
    own = made_matches(600, 2, people=12, shift=0.7)
    assert 0.87 < coverage(recalibrated(old, own), made_matches(3000, 3, shift=0.7)) < 0.97


def test_the_figures_are_of_people_left_out():
    own = made_matches(500, 2, people=12, shift=0.7)
    found = recalibrate(SHIPPED, own)
    assert sorted(found.after.errors_mm) == pytest.approx(sorted(own.errors))
    facts = found.facts()
    assert facts["landmarks"] == 500 and len(facts["people"]) == 12
    assert facts["before"]["radius_90_holds"] < 0.85 < facts["after"]["radius_90_holds"]
    assert facts["before"]["median_radius_90_mm"] < facts["after"]["median_radius_90_mm"]


def cases(count: int) -> list[Case]:
    return [Case(f"sub-{number // 2:03d}_{'LR'[number % 2]}", f"{number}.nii.gz", "") for number in range(count)]


@given(st.integers(6, 200))
def test_pairs_are_of_different_people_and_not_too_many(count):
    pairs = choose_pairs(cases(count))
    assert pairs == choose_pairs(cases(count))
    assert len(pairs) <= MOST_PAIRS and len(set(pairs)) == len(pairs)
    assert all(template.name[:7] != target.name[:7] for template, target in pairs)
    assert len({target for _, target in pairs}) == min(count, MOST_PAIRS)
    order = [template for template, _ in pairs]
    assert len(list(itertools.groupby(order))) == len(set(order))


def test_two_people_are_too_few():
    check_people(cases(6), "scans")
    with pytest.raises(InputError, match="scans has annotated scans of 2 people"):
        check_people(cases(4), "scans")


def written(tmp_path, model=SHIPPED):
    path = tmp_path / "own.json"
    path.write_text(calibration_text(model, FEATURES, {"people": ["a"]}), encoding="utf-8")
    return path


def test_the_file_is_read_as_it_was_written(tmp_path):
    path = written(tmp_path)
    found = read_calibration(path, FEATURES)
    rows = made_matches(20, 3).rows
    told, meant = (model.radii_mm(rows, 1.0, 0.9) for model in (found.model, SHIPPED))
    torch.testing.assert_close(told, meant, rtol=0.01, atol=0)
    assert found.report() == {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


DAMAGE = {
    "too short": lambda model: model["slopes"].pop(),
    "no number": lambda model: model["means"].__setitem__(0, "1.0"),
    "not finite": lambda model: model.update(deviation=float("nan")),
    "negative": lambda model: model.update(offset=-1.0),
    "huge": lambda model: model.update(intercept=1e300),
    "out of order": lambda model: model["distribution"]["quantiles"][0].reverse(),
    "a group too few": lambda model: model["distribution"]["quantiles"].pop(),
    "a column that is not": lambda model: model["distribution"]["splits"][0].update(column=999),
    "a word too much": lambda model: model.update(command="rm"),
    "range upside down": lambda model: model["range"].update(low=model["range"]["high"], high=model["range"]["low"]),
    "no range": lambda model: model.pop("range"),
    "a list": lambda model: model.update(range=[1, 2]),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_a_damaged_file_is_refused_in_one_sentence(tmp_path, damage):
    path = written(tmp_path)
    content = json.loads(path.read_text())
    damage(content["model"])
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"own.json is damaged; make it anew"):
        Matcher(calibration=str(path))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is no calibration"),
        (b"\xff\xfe\x00", "is no calibration"),
        (b"[" * 100_000, "is no calibration"),
        (b"[1]", "is no calibration"),
        (b'{"format": "other"}', "is no calibration"),
        (b" " * 2_000_000, "is no calibration"),
        (b'{"format": "deepfeatures calibration", "features": "cifl/fine/13"}', "is for cifl/fine/13, not for mind"),
        (b'{"format": "deepfeatures calibration", "features": "mind/ssc_r1_d2/13"}', "is damaged"),
        (
            b'{"format": "deepfeatures calibration", "features": "mind/ssc_r1_d2/13", "model": {"version": 1}}',
            "of another version",
        ),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_calibration_is_refused(tmp_path, content, says):
    path = tmp_path / "other.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_calibration(path, FEATURES)


def test_a_greedy_search_is_not_calibrated():
    with pytest.raises(InputError, match="Only a guided search is calibrated"):
        MatchSettings(search="dense", calibration="own.json")


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Scans of three made people with their landmarks."""
    folder = tmp_path_factory.mktemp("heads")
    for seed in range(3):
        _, _, scan, truth = make_pair(32, seed)
        write_volume(scan, folder / f"sub-{seed}.nii.gz")
        write_landmarks(truth, folder / f"sub-{seed}.mrk.json")
    return folder


def test_the_command_writes_a_calibration_that_place_uses(heads, tmp_path, capfd):
    path = tmp_path / "own.json"
    assert main(["calibrate", str(heads), "--output", str(path)]) == 0
    out, err = capfd.readouterr()
    assert "6 pairs take about" in err
    assert "90 % radius holds" in out
    assert "own.json: 3 people, 6 pairs" in out
    content = json.loads(path.read_text())
    assert content["made_from"]["people"] == ["sub-0", "sub-1", "sub-2"]
    assert content["made_from"]["command"].startswith("deepfeatures calibrate")

    scans = [str(heads / f"sub-{number}.nii.gz") for number in range(2)]
    command = ["place", scans[1], "--template", scans[0], "--landmarks", str(heads / "sub-0.mrk.json")]
    report = tmp_path / "report.json"
    assert main([*command, "--output-dir", str(tmp_path / "shipped")]) in (0, 3)
    own = ["--output-dir", str(tmp_path / "own"), "--calibration", str(path), "--report", str(report)]
    assert main([*command, *own]) in (0, 3)
    told = json.loads(report.read_text())["targets"][0]["report"]["calibration"]
    assert told == {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    shipped, calibrated = (read_landmarks(tmp_path / name / "sub-1.mrk.json") for name in ("shipped", "own"))
    both = [pair for pair in zip(shipped, calibrated, strict=True) if all(one.is_defined for one in pair)]
    assert len(both) > 5
    assert all(one.radius_90_mm != other.radius_90_mm for one, other in both)


def test_the_command_says_why_it_cannot(heads, tmp_path, capfd):
    few = tmp_path / "few"
    few.mkdir()
    for name in ("sub-0.nii.gz", "sub-0.mrk.json", "sub-1.nii.gz", "sub-1.mrk.json"):
        (few / name).write_bytes((heads / name).read_bytes())
    output = tmp_path / "own.json"
    for arguments, says in (
        ([str(few)], "has annotated scans of 2 people; a calibration needs three people or more"),
        ([str(heads), "--network", "mind"], "only the default search states expected errors"),
        ([str(heads), "--search", "dense"], "only the default search states expected errors"),
        ([str(tmp_path / "none")], "is not a folder"),
        ([str(heads), "--output", str(heads / "sub-1.mrk.json")], "would replace a file that was given"),
    ):
        assert main(["calibrate", "--output", str(output), *arguments]) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert says in line
    assert not output.exists()
