"""Cohorts: a local cluster of two workers, one of which is killed; what is done is never done again."""

import json
import os
import signal
import sys
import tarfile
import threading
import time
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from deepfeatures.cli.main import main
from deepfeatures.data.landmarks import Landmark, LandmarkSet
from deepfeatures.data.volume import Volume
from deepfeatures.io.landmark_files import read_landmarks, write_landmarks
from deepfeatures.io.volume_files import read_volume, write_volume

pytest.importorskip("distributed")
pytest.importorskip("pandas")

import distributed
import pandas as pd

from deepfeatures import __version__
from deepfeatures.cli import cohort
from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import ensure_folder
from deepfeatures.io.bids import find_label_maps, find_volumes
from deepfeatures.matching import Matcher
from deepfeatures.matching.settings import MatchSettings
from deepfeatures.pipelines import cohort as cohorts
from deepfeatures.pipelines.cohort import Cohort

SCANS = 10
ANY_PORT = "127.0.0.1:0"


@pytest.fixture
def folder(tmp_path):
    """A template with three landmarks and scans of the same structures, each shifted."""
    generator = np.random.default_rng(0)
    voxels = gaussian_filter(generator.normal(size=(30, 30, 30)), 2) * 1000
    template = Volume(torch.from_numpy(voxels.astype(np.float32)))
    write_volume(template, tmp_path / "template.nii.gz")
    points = LandmarkSet(
        tuple(Landmark(name, position) for name, position in (("a", (10.0, 12, 15)), ("b", (18.0, 15, 11))))
    )
    write_landmarks(points, tmp_path / "template.mrk.json")
    (tmp_path / "scans").mkdir()
    for number in range(SCANS):
        write_volume(replace(template, origin=np.full(3, 5.0 * number)), tmp_path / f"scans/scan{number}.nii.gz")
    return tmp_path


LABEL_MAPS = [
    *("sub-1_desc-brain_mask", "sub-1_dseg", "sub-1_label-GM_probseg", "sub-1_desc-aseg_dseg"),
    *("sub-1_desc-roimask_T1w", "scan_seg", "scan-seg", "scan.seg", "Scan_Label", "scan-label", "scan_labels"),
    *("scan_labelmap", "scan-segmentation", "mask", "sub-1_T1w_defacemask", "sub-1_roi", "brainmask", "aparc+aseg"),
    *("aparc.a2009s+aseg", "aseg", "aseg.auto", "sub-1_aseg_in_T1", "scan_seg_1", "scan-mask_2", "scan_dseg_v2"),
    *("Segmentation_1", "mask003", "scan_lbl", "scan_synthseg", "lungmask", "scan_rois", "scan_mask (1)"),
    *("scan_pve_0", "MNI152_T1_1mm_brain_mask_dil"),
]
SCAN_NAMES = [
    *("sub-1_T1w", "sub-1_desc-preproc_T1w", "labelled", "segmentation_study_3", "unmasked", "mask-free_scan"),
    *("roi3_T1", "brain", "sub-1_acq-unmasked_T1w", "masked_T1w", "T1w_masked", "sub-1_desc-masked_T1w"),
    *("sub-1_acq-mask_T1w", "T1w_defaced", "scan_nomask", "scan_no_mask", "segment_3", "scan_1", "CT_soft_tissue"),
    "scan_final_2",
]


def test_masks_and_segmentations_are_no_scans(folder):
    scan = read_volume(folder / "template.nii.gz")
    for name in (*LABEL_MAPS, *SCAN_NAMES):
        write_volume(scan, ensure_folder(folder / "mixed") / f"{name}.nrrd")
    assert list(find_volumes(folder / "mixed")) == sorted(SCAN_NAMES)
    assert {file.name.removesuffix(".nrrd") for file in find_label_maps(folder / "mixed")} == set(LABEL_MAPS)
    write_volume(scan, ensure_folder(folder / "masks") / "a_mask.nrrd")
    with pytest.raises(InputError, match=r"only masks and segmentations, such as a_mask\.nrrd; give the scans"):
        find_volumes(folder / "masks")


def test_derivatives_of_bids_are_passed_over_and_that_is_told(data, folder, capsys):
    with tarfile.open(data / "faults/cohort_counts_masks/bids.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    template = folder / "bids/sub-003/anat/sub-003_T1w.nii.gz"
    centre = tuple(read_volume(template).centre)
    write_landmarks(LandmarkSet((Landmark("a", centre), Landmark("b", centre))), folder / "l.csv")
    given = [str(folder / "bids"), "--template", str(template), "--landmarks", str(folder / "l.csv")]
    assert main(["cohort", *given, "--output-dir", str(folder / "out"), "--workers", "1", "--independent"]) in (0, 3)
    assert sorted(pd.read_csv(folder / "out/summary.csv").target) == ["sub-003_T1w", "sub-004_T1w"]
    (note,) = [line for line in capsys.readouterr().err.splitlines() if "passed over" in line]
    assert note.endswith("sub-003_desc-brain_mask.nii.gz, sub-003_dseg.nii.gz, sub-004_desc-brain_mask.nii.gz, "
                         "sub-004_dseg.nii.gz")  # fmt: skip
    (run,) = json.loads((folder / "out/cohort.json").read_text())["runs"]
    assert len(run["passed_over"]) == 4


def test_a_mask_that_is_given_itself_is_read(folder):
    mask = folder / "a_mask.nrrd"
    write_volume(read_volume(folder / "template.nii.gz"), mask)
    assert cohort._all_targets([mask]) == {"a_mask": mask.resolve()}
    assert cohort._label_maps([mask]) == []


def cohort_of(folder):
    scans = find_volumes(folder / "scans")
    return Cohort(
        folder / "template.nii.gz", folder / "template.mrk.json", scans, folder / "out", MatchSettings(device="cpu")
    )


@pytest.fixture
def client():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def kill_a_worker_at_work(client, cohort):
    """Once the first result is there, kill the process that is busy with another scan."""
    while len(cohort.to_do) == len(cohort.targets):
        time.sleep(0.01)
    busy = [worker for worker, tasks in client.processing().items() if tasks]
    os.kill(client.run(os.getpid, workers=busy[:1])[busy[0]], signal.SIGKILL)


def test_nothing_is_lost_or_doubled_when_a_worker_is_killed(folder, client):
    cohort = cohort_of(folder)
    cohorts.prepare(cohort)
    pids = set(client.run(os.getpid).values())
    killer = threading.Thread(target=kill_a_worker_at_work, args=(client, cohort), daemon=True)
    killer.start()
    summary = cohorts.run(cohort, client)
    killer.join()
    assert not pids <= set(client.run(os.getpid).values())
    assert sorted(summary.target) == sorted(cohort.targets)
    assert set(summary.status) == {"placed"}
    assert len(list((folder / "out").glob("*.mrk.json"))) == SCANS
    for number in range(SCANS):
        placed = read_landmarks(folder / f"out/scan{number}.mrk.json")
        assert np.linalg.norm(placed.positions - [[10, 12, 15], [18, 15, 11]] - 5.0 * number, axis=1).max() < 1
    marks = len(list((folder / "out/attempts").iterdir()))
    assert summary.attempts.sum() == marks
    assert not list((folder / "out").glob(".deepfeatures-*/draft.json"))


def test_what_is_done_is_left_alone_and_what_fails_is_retried_and_listed(folder, client):
    cohort = cohort_of(folder)
    cohorts.prepare(cohort)
    done = folder / "out/scan3.mrk.json"
    known = read_landmarks(folder / "template.mrk.json")
    write_landmarks(replace(known, landmarks=(known[0], replace(known[1], ambiguous=True))), done)
    before = done.read_bytes(), done.stat().st_mtime_ns
    (folder / "scans/scan5.nii.gz").write_bytes(b"broken")
    summary = cohorts.run(cohort, client).set_index("target")
    assert (done.read_bytes(), done.stat().st_mtime_ns) == before
    assert summary.attempts["scan3"] == 0
    assert (summary.ambiguous["scan3"], summary.ambiguous["scan4"]) == (1, 0)
    assert summary.alternative_probability.isna().all()
    assert summary.status["scan5"] == "failed"
    assert "scan5.nii.gz" in summary.failure["scan5"]
    assert summary.attempts["scan5"] == 1 + cohorts.RETRIES
    assert summary.drop("scan5").status.eq("placed").all()
    (folder / "scans/scan5.nii.gz").write_bytes((folder / "scans/scan4.nii.gz").read_bytes())
    again = cohorts.run(cohort, client).set_index("target")
    assert again.status.eq("placed").all()
    assert again.attempts["scan5"] == 2 + cohorts.RETRIES
    assert again.attempts["scan4"] == 1
    for told in ("worker", "seconds"):
        assert again.drop("scan5")[told].equals(summary.drop("scan5")[told]), "what the first run told is kept"


def test_a_result_that_somebody_damaged_is_named_with_the_way_out(folder, client):
    cohort = cohort_of(folder)
    cohorts.prepare(cohort)
    cohort.output_of("scan2").write_text("{}")
    summary = cohorts.run(cohort, client).set_index("target")
    assert summary.status["scan2"] == "failed"
    assert "scan2.mrk.json is damaged; delete it" in summary.failure["scan2"]
    assert summary.drop("scan2").status.eq("placed").all()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names themselves")
def test_a_name_that_is_not_utf8_fails_alone(folder, client):
    (folder / "scans/scan5.nii.gz").rename(folder / "scans/m\udce4dchen.nii.gz")
    cohort = cohort_of(folder)
    cohorts.prepare(cohort)
    summary = cohorts.run(cohort, client).set_index("target")
    assert "is not UTF-8; rename" in summary.failure["m\udce4dchen"]
    status = summary.status.to_dict()
    assert status.pop("m\udce4dchen") == "failed"
    assert set(status.values()) == {"placed"}


def test_threads_of_a_worker_share_a_matcher(folder):
    """Dask gives a worker several threads unless it is told otherwise."""
    cohort = replace(cohort_of(folder), independent=True)
    cohorts.prepare(cohort)
    with (
        distributed.LocalCluster(
            processes=False, n_workers=1, threads_per_worker=4, dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        summary = cohorts.run(cohort, client)
    assert set(summary.status) == {"placed"}
    for number in range(SCANS):
        found = read_landmarks(folder / f"out/scan{number}.mrk.json").positions
        assert np.linalg.norm(found - [[10, 12, 15], [18, 15, 11]] - 5.0 * number, axis=1).max() < 1


@pytest.mark.parametrize("other", [{"intensity": "rank"}, {"search": "dense"}, {"seed": 1}])
def test_results_of_other_settings_are_not_mixed_in(folder, other):
    cohort = cohort_of(folder)
    cohorts.prepare(cohort)
    cohorts.prepare(replace(cohort, settings=MatchSettings(device="auto")))
    with pytest.raises(InputError, match="other settings"):
        cohorts.prepare(replace(cohort, settings=MatchSettings(**other)))


def test_every_option_of_a_search_is_taken(folder, monkeypatch):
    monkeypatch.chdir(folder)
    given = ["--template", "template.nii.gz", "--landmarks", "template.mrk.json", "--output-dir", "out"]
    chosen = ["--network", "mind", "--patch-size", "8", "--search", "dense", "--search-radius", "6"]
    command = ["cohort", "scans/scan1.nii.gz", *given, *chosen, "--intensity", "rank", "--workers", "1"]
    assert main([*command, "--device", "cpu"]) == 0
    settings = json.loads((folder / "out/cohort.json").read_text())["settings"]
    assert settings["search_radius_mm"] == 6
    expected = Matcher(network="mind", patch_size=8, search="dense", search_radius_mm=6, intensity="rank", device="cpu")
    template, points = read_volume(folder / "template.nii.gz"), read_landmarks(folder / "template.mrk.json")
    wanted = expected.match(template, points, read_volume(folder / "scans/scan1.nii.gz")).landmarks
    found = read_landmarks(folder / "out/scan1.mrk.json")
    np.testing.assert_allclose(found.positions, wanted.positions, atol=1e-3)
    wanted_distances = [landmark.feature_distance for landmark in wanted]
    np.testing.assert_allclose([landmark.feature_distance for landmark in found], wanted_distances, rtol=1e-3)


def test_results_of_another_template_are_not_mixed_in(folder):
    cohorts.prepare(cohort_of(folder))
    cohorts.prepare(cohort_of(folder))
    points = read_landmarks(folder / "template.mrk.json")
    write_landmarks(replace(points, landmarks=points.landmarks[:1]), folder / "template.mrk.json")
    with pytest.raises(InputError, match="another template"):
        cohorts.prepare(cohort_of(folder))


def test_results_of_landmarks_of_other_names_are_not_mixed_in(folder):
    cohorts.prepare(cohort_of(folder))
    points = read_landmarks(folder / "template.mrk.json")
    renamed = (replace(points[0], name="A"), *points.landmarks[1:])
    write_landmarks(replace(points, landmarks=renamed), folder / "template.mrk.json")
    with pytest.raises(InputError, match="other landmarks"):
        cohorts.prepare(cohort_of(folder))


def test_another_volume_under_the_same_name_is_another_template(folder):
    cohorts.prepare(cohort_of(folder))
    write_volume(Volume(torch.zeros(30, 30, 30)), folder / "template.nii.gz")
    with pytest.raises(InputError, match="another template"):
        cohorts.prepare(cohort_of(folder))


def test_the_folder_of_a_template_may_be_moved(folder, monkeypatch):
    cohorts.prepare(cohort_of(folder))
    (folder / "elsewhere").mkdir()
    (folder / "template.nii.gz").rename(folder / "elsewhere/template.nii.gz")
    cohorts.prepare(replace(cohort_of(folder), template=folder / "elsewhere/template.nii.gz"))


def as_version_0_1_0_left_it(folder, alone=False):
    """The files that a run of the first version left, one of its results among them."""
    cohort = cohort_of(folder)
    landmarks = read_landmarks(cohort.landmarks)
    positions = np.round(landmarks.positions, 4).tolist()
    content = {"template": str(cohort.template), "names": ["a", "b"], "landmarks": positions, "alone": alone}
    (folder / "out/attempts").mkdir(parents=True)
    (folder / "out/cohort.json").write_text(json.dumps(content))
    (folder / "out/attempts/scan3.1").touch()
    write_landmarks(landmarks, cohort.output_of("scan3"))
    row = "scan3,placed,1,2,,0.1,4,host:7,2.5,,,scans/scan3.nii.gz"
    head = "scan,status,attempts,placed,missing,mean_round_trip_mm,together_with,worker,seconds,note,failure,file"
    (folder / "out/summary.csv").write_text(f"{head}\n{row}\n")
    return cohort


def test_a_folder_of_the_first_version_is_gone_on_with_and_what_it_told_is_kept(folder, client):
    cohort = as_version_0_1_0_left_it(folder)
    cohorts.prepare(cohort)
    assert cohorts.results_of_other_versions(cohort) == {"unknown": 1}
    summary = cohorts.run(replace(cohort, targets=dict(list(cohort.targets.items())[2:5])), client).set_index("target")
    assert summary.version.to_dict() == {"scan2": __version__, "scan3": "unknown", "scan4": __version__}
    assert summary.worker["scan3"] == "host:7"
    assert summary.worker["scan2"] != "host:7"
    with pytest.raises(InputError, match="independently"):
        cohorts.prepare(replace(cohort, independent=True))


def test_the_folder_says_how_it_was_made_and_names_results_of_other_versions(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    given = ["--template", "template.nii.gz", "--landmarks", "template.mrk.json", "--output-dir", "out"]
    command = [*given, "--workers", "1", "--device", "cpu"]
    assert main(["cohort", "scans/scan1.nii.gz", *command]) == 0
    assert "note" not in capsys.readouterr().err
    mark = folder / "out/attempts/scan1.1"
    assert json.loads(mark.read_text())["version"] == __version__
    mark.write_text(mark.read_text().replace(__version__, "0.0.9"))
    assert main(["cohort", "scans/scan1.nii.gz", "scans/scan2.nii.gz", *command]) == 0
    assert "results of other versions of deepfeatures (1 of 0.0.9)" in capsys.readouterr().err
    first, second = json.loads((folder / "out/cohort.json").read_text())["runs"]
    assert first["command"].startswith("deepfeatures cohort scans/scan1.nii.gz --template template.nii.gz")
    assert datetime.fromisoformat(second["date"]) >= datetime.fromisoformat(first["date"])
    assert second["versions"]["deepfeatures"] == __version__
    summary = pd.read_csv(folder / "out/summary.csv").set_index("target")
    assert summary.version.to_dict() == {"scan1": "0.0.9", "scan2": __version__}


def test_the_command_reads_bids_folders(folder, capsys):
    for subject, session in (("sub-01", "ses-1"), ("sub-01", "ses-2"), ("sub-02", "")):
        path = folder / "bids" / subject / session / "anat"
        path.mkdir(parents=True)
        name = "_".join(filter(None, (subject, session, "T1w")))
        (path / f"{name}.nii.gz").write_bytes((folder / "scans/scan1.nii.gz").read_bytes())
        (path / f"{name}.json").write_text("{}")
    (folder / "bids/derivatives").mkdir()
    arguments = ["--template", str(folder / "template.nii.gz"), "--landmarks", str(folder / "template.mrk.json")]
    arguments += ["--output-dir", str(folder / "out"), "--workers", "1", "--device", "cpu"]
    assert main(["cohort", str(folder / "bids"), *arguments]) == 0
    assert "3 placed; 0 took more than one attempt" in capsys.readouterr().out
    names = {"sub-01_ses-1_T1w.mrk.json", "sub-01_ses-2_T1w.mrk.json", "sub-02_T1w.mrk.json"}
    assert {path.name for path in (folder / "out").glob("*.mrk.json")} == names


def test_an_interrupt_is_one_line_however_many_processes_it_reaches(folder, interrupted):
    command = ["cohort", "scans", "--template", "template.nii.gz", "--landmarks", "template.mrk.json"]
    command += ["--output-dir", "out", "--workers", "2", "--device", "cpu"]
    code, said = interrupted(command, folder, lambda: any(folder.glob("out/*.mrk.json")))
    assert code == 130
    assert said.strip() == "interrupted; every file that was written is whole"


@pytest.mark.parametrize(
    ("scans", "options", "words"),
    [
        ("nowhere", [], "does not exist"),
        (".", ["--output-dir", "."], "would replace"),
        ("scans", ["--scheduler", "tcp://127.0.0.1:1"], "no dask scheduler"),
    ],
)
def test_bad_input_ends_in_one_sentence(folder, monkeypatch, capsys, scans, options, words):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("deepfeatures.cli.cohort.CONNECT_S", 1)
    given = ["--template", "template.nii.gz", "--landmarks", "template.mrk.json", "--output-dir", "out"]
    assert main(["cohort", scans, *given, *options]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1


def test_a_scheduler_without_workers_is_refused(monkeypatch):
    monkeypatch.setattr(cohort, "CONNECT_S", 0.5)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=ANY_PORT) as cluster,
        pytest.raises(InputError, match="no dask scheduler with workers"),
        cohort._client(cluster.scheduler_address, None),
    ):
        pass


@pytest.mark.parametrize(
    ("device", "name", "gpus", "own"),
    [
        ("auto", 0, 2, "cuda:0"),
        ("auto", 3, 2, "cuda:1"),
        ("cuda", 1, 4, "cuda:1"),
        ("auto", 1, 1, "auto"),
        ("cpu", 1, 4, "cpu"),
        ("auto", "tcp://host:4000", 4, "auto"),
    ],
)
def test_workers_of_one_machine_share_its_gpus(monkeypatch, device, name, gpus, own):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(distributed, "get_worker", lambda: SimpleNamespace(name=name))
    assert cohorts._own_device(device) == own


def test_there_is_one_process_a_gpu_or_else_a_core(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert cohort._default_workers("cuda") == 3
    assert cohort._default_workers("cpu") == os.cpu_count()


def test_a_cohort_of_a_version_without_the_tolerance_is_gone_on_with(folder):
    cohort = cohort_of(folder)
    cohorts.prepare(cohort)
    path = folder / "out" / cohorts.SETTINGS
    known = json.loads(path.read_text(encoding="utf-8"))
    del known["settings"]["tolerance_mm"]
    path.write_text(json.dumps(known), encoding="utf-8")
    cohorts.prepare(cohort)
    with pytest.raises(InputError, match="other settings"):
        cohorts.prepare(replace(cohort, settings=MatchSettings(device="cpu", tolerance_mm=5.0)))


def test_ambiguous_targets_are_named_once_all_are_placed(folder, capsys):
    rows = {"target": ["a", "b"], "status": "placed", "attempts": 1, "missing": "", "note": None, "failure": ""}
    assert cohort._conclude(pd.DataFrame({**rows, "ambiguous": [0, 2]}), folder / "summary.csv") == 0
    assert "note: targets with ambiguous landmarks: 1 (b); see the column ambiguous of" in capsys.readouterr().err
