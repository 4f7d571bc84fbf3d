"""Which scans to review next: typical of what is in doubt, unlike each other, and never those that have taught."""

from __future__ import annotations

import distributed
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfeatures.cli.main import main
from deepfeatures.io.volume_files import read_volume, write_volume
from deepfeatures.matching.learning.protocol_file import read_protocol
from deepfeatures.matching.learning.suggestion import order_of_review
from deepfeatures.pipelines import cohort as cohorts
from deepfeatures.pipelines.cohort_suggestion import SUGGESTIONS, suggest

NOBODY = torch.zeros(0, 2, 4)


def kinds(seed: int, sizes: tuple[int, ...]) -> torch.Tensor:
    """Jets of scans of so many kinds, one after the other; within a kind they differ little."""
    random = torch.Generator().manual_seed(seed)
    middles = torch.eye(4)[: len(sizes)].repeat_interleave(torch.tensor(sizes), 0)[:, None] * 5
    return middles + 0.2 * torch.randn(sum(sizes), 2, 4, generator=random)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99))
def test_one_of_each_kind_is_named_before_a_second_of_any(seed):
    jets = kinds(seed, (6, 5, 4))
    order = order_of_review(jets, torch.ones(15), NOBODY, 3)
    assert sorted(0 if scan < 6 else 1 if scan < 11 else 2 for scan in order) == [0, 1, 2]


def test_a_kind_that_has_taught_already_is_not_named_first():
    jets = kinds(0, (6, 6))
    assert order_of_review(jets, torch.ones(12), jets[:2] + 0.1, 1)[0] >= 6
    assert order_of_review(jets, torch.ones(12), jets[6:8] + 0.1, 1)[0] < 6


def test_a_kind_in_doubt_is_named_first():
    jets = kinds(0, (6, 6))
    doubts = torch.tensor([1.0] * 6 + [4.0] * 6)
    assert order_of_review(jets, doubts, NOBODY, 1)[0] >= 6
    assert order_of_review(jets, doubts.flip(0), NOBODY, 1)[0] < 6


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(0, 9))
def test_each_scan_is_named_once_and_no_more_than_there_are(scans, count):
    jets = torch.randn(scans, 2, 4, generator=torch.Generator().manual_seed(scans))
    order = order_of_review(jets, torch.rand(scans), NOBODY, count)
    assert len(order) == len(set(order)) == min(scans, count)
    assert set(order) <= set(range(scans))


def test_scans_that_all_look_the_same_are_named_all_the_same():
    assert sorted(order_of_review(torch.ones(4, 2, 4), torch.zeros(4), NOBODY, 4)) == [0, 1, 2, 3]


@pytest.fixture
def cohort_folder(family, family_folder):
    """The family's folder with its people as scans, and their true landmarks beside these."""
    _, landmarks, targets, truths = family
    (family_folder / "scans").mkdir()
    for target, truth in zip(targets, truths, strict=True):
        write_volume(target, family_folder / "scans" / f"{target.name}.nii.gz")
        points = [f"{one.name},{x},{y},{z}" for one, (x, y, z) in zip(landmarks, truth, strict=True)]
        (family_folder / f"{target.name}.csv").write_text("\n".join(["name,x,y,z", *points]) + "\n")
    return family_folder


def test_a_cohort_names_scans_to_review_and_not_those_that_have_taught(cohort_folder, capsys):
    scans = {path.name.split(".")[0]: path for path in sorted((cohort_folder / "scans").iterdir())}
    taught = [f"{scans[name]}={name}.csv" for name in ("target0", "target1", "target2")]
    assert main(["learn", "p.dflp", "--template", "template.nii.gz", "--landmarks", "template.mrk.json", *taught]) == 0
    assert len(read_protocol("p.dflp").scans) == 3
    capsys.readouterr()
    command = ["cohort", "scans", "--protocol", "p.dflp", "--output-dir", "out", "--workers", "1", "--suggest", "3"]
    assert main(command) in (0, 3)
    named = pd.read_csv(cohort_folder / "out" / SUGGESTIONS)
    assert len(named) == 3
    assert set(named["target"]) <= {"target3", "target4", "target5", "target6"}
    assert (named["expected_error_mm"] > 0).all()
    printed = capsys.readouterr().out
    assert f"review 1: {named['target'][0]}" in printed


def test_where_nothing_is_left_to_review_that_is_told(cohort_folder):
    template = cohort_folder / "template.nii.gz"
    noise = read_volume(template).with_voxels(torch.rand(32, 32, 32, generator=torch.Generator().manual_seed(8)))
    write_volume(noise, cohort_folder / "noise.nii.gz")
    given_ = template, cohort_folder / "template.mrk.json", {"noise": cohort_folder / "noise.nii.gz"}
    job = cohorts.Cohort(*given_, cohort_folder / "out")
    cohorts.prepare(job)
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, processes=False) as cluster,
        distributed.Client(cluster) as client,
        pytest.raises(Exception, match="No scan of the cohort is left"),
    ):
        suggest(job, client, 2)


def test_a_greedy_search_cannot_learn(cohort_folder, capsys):
    command = ["cohort", "scans", "--template", "template.nii.gz", "--landmarks", "template.mrk.json"]
    assert main([*command, "--output-dir", "out", "--search", "dense", "--suggest", "2"]) == 2
    assert "Only a guided search learns" in capsys.readouterr().err
