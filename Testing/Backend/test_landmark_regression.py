"""Landmarks learnt from normalised scans: what only filters of each place can learn, and runs that can be relied on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deepfeatures.cli.main import main
from deepfeatures.errors import InputError
from deepfeatures.io.landmark_files import write_landmarks
from deepfeatures.io.volume_files import write_volume
from deepfeatures.matching import Matcher
from deepfeatures.networks.landmark_regressor import LandmarkRegressor, RegressorPlan
from deepfeatures.phantom import make_pair
from deepfeatures.training import checkpoint
from deepfeatures.training.distributed import Process
from deepfeatures.training.landmark_regression import (
    Example,
    RegressionSettings,
    RegressionTrainer,
    load_regressor,
    predict,
    split_people,
)
from deepfeatures.training.normalised_scans import TemplateFrame, inverse, normalise, points_in_frame
from deepfeatures.training.trainer import run

ALONE = Process(torch.device("cpu"))
SIZE, MIDDLE = (16, 16, 50), (24.5, 7.5, 7.5)
QUICK = RegressionSettings(
    validate_every=20, steps=100, patience=100, learning_rate=1e-2, radius_mm=16.0, width=8, mixed_precision=False
)


@pytest.fixture(autouse=True)
def one_thread():
    """Sums in the same order, however many cores there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def blob(centre) -> torch.Tensor:
    z, y, x = torch.meshgrid(*(torch.arange(n) for n in SIZE), indexing="ij")
    apart = torch.stack((x, y, z), -1) - torch.tensor(centre)
    return torch.exp(-apart.square().sum(-1) / (2 * 1.5**2)).float()


def made_examples(count: int, seed: int = 0) -> list[Example]:
    """A bright and a dark blob, both in one place of two. In one place the landmark is the bright one, else the dark.

    The places are patches of their own, and further from the faces than the model sees.
    """
    rng, examples = np.random.default_rng(seed), []
    for number in range(count):
        in_first = number % 2 == 0
        x = rng.uniform(12.5, 16.5) if in_first else rng.uniform(32.5, 36.5)
        ends = [(x, y + rng.uniform(-1, 1), 7.5) for y in rng.permutation([4.0, 11.0])]
        voxels = blob(ends[0]) - blob(ends[1]) + torch.from_numpy(rng.normal(0, 0.02, SIZE)).float()
        examples.append(Example(str(number), voxels, np.array([ends[0] if in_first else ends[1]])))
    return examples


def trainer_of(settings: RegressionSettings, process: Process = ALONE) -> RegressionTrainer:
    plan = settings.plan(SIZE, np.array([MIDDLE]))
    return RegressionTrainer(plan, made_examples(48), made_examples(16, seed=1), settings, process, ["end"])


def test_a_rule_that_changes_from_place_to_place_is_learnt_by_patch_individual_filters_alone(tmp_path):
    found = {}
    for patch_size in (5, 0):
        trainer = trainer_of(replace(QUICK, patch_size=patch_size))
        run(trainer, tmp_path / str(patch_size))
        found[patch_size] = trainer.best_scores["mm"]
    assert found[5] < 1.0
    assert found[0] > 2.5  # the blobs are 7 mm apart: it cannot know which


def test_the_model_of_shared_filters_differs_in_one_layer_only():
    own, shared = (LandmarkRegressor(RegressorPlan(SIZE, (MIDDLE,), patch_size=size)) for size in (5, 0))
    differing = {key.split(".")[0] for key in own.state_dict().keys() ^ shared.state_dict().keys()}
    assert differing == {"filters"}
    assert len(own.blocks) == 4


def test_positions_are_the_means_of_heat_maps_in_voxels():
    regressor = LandmarkRegressor(RegressorPlan((8, 10, 12), ((5.0, 4.0, 3.0),), radius=4.0))
    maps = torch.full((1, 1, 4 * 5 * 6), -torch.inf)
    places = {(z, y, x): (z * 5 + y) * 6 + x for z, y, x in ((1, 2, 3), (1, 2, 2))}
    for entry in places.values():
        maps[0, 0, entry] = float(np.log(0.5))
    assert regressor.positions(maps).tolist() == [[[5.0, 4.0, 2.0]]]
    found = regressor.log_heat_maps(torch.randn(1, 1, 8, 10, 12)).exp()
    assert float(found.detach().sum()) == pytest.approx(1)
    apart = (regressor.centres - torch.tensor([5.0, 4.0, 3.0])).norm(dim=1)
    assert (found[0, 0, apart > 4] == 0).all()


def test_a_landmark_outside_of_the_volumes_is_refused():
    with pytest.raises(InputError, match="outside of the normalised volumes"):
        LandmarkRegressor(RegressorPlan((8, 8, 8), ((30.0, 4.0, 4.0),)))


def test_a_landmark_that_scans_lack_is_not_learnt_and_spoils_nothing():
    two = [replace(one, points=np.vstack([one.points, [[np.nan] * 3]])) for one in made_examples(4)]
    settings = replace(QUICK, batch=4, weight_decay=0.0)
    trainer = RegressionTrainer(settings.plan(SIZE, np.array([MIDDLE, MIDDLE])), two, two, settings, ALONE)
    before = trainer.regressor.head.weight.detach().clone()
    assert torch.isfinite(trainer.advance()["total"])
    moved = (trainer.regressor.head.weight != before).flatten(1).any(1)
    assert moved.tolist() == [True, False]
    assert np.isfinite(trainer.validate()["mm"])


def test_a_run_ends_once_people_held_out_gain_nothing_more(tmp_path):
    trainer = trainer_of(replace(QUICK, learning_rate=0.0, weight_decay=0.0, validate_every=2, patience=3))
    run(trainer, tmp_path)
    assert trainer.best_step < trainer.step < QUICK.steps
    assert trainer.step - trainer.best_step == 6


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(tmp_path):
    settings = replace(QUICK, steps=12, validate_every=4)
    run(trainer_of(settings), tmp_path / "whole")
    run(trainer_of(settings), tmp_path / "stopped", seconds=0)
    run(trainer_of(settings), tmp_path / "stopped", resume=True)
    whole, resumed = (load_regressor(tmp_path / name / RegressionTrainer.file_name)[0] for name in ("whole", "stopped"))
    assert all(torch.equal(value, resumed.state_dict()[key]) for key, value in whole.state_dict().items())


def test_a_model_is_kept_with_all_that_placing_needs(tmp_path):
    trainer = trainer_of(replace(QUICK, overlap=True))
    trainer.advance()
    trainer.on_validation(trainer.validate())
    trainer.save_weights(tmp_path / "model.safetensors")
    regressor, names = load_regressor(tmp_path / "model.safetensors")
    volumes = torch.stack([example.voxels for example in made_examples(2, seed=3)])[:, None]
    assert names == ("end",)
    assert regressor.plan == trainer.regressor.plan
    assert torch.equal(predict(regressor, volumes), predict(trainer.regressor, volumes))


@pytest.mark.parametrize("content", [None, b"", b"not a model"])
def test_another_file_is_no_model(tmp_path, content):
    if content is not None:
        (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="holds no model"):
        load_regressor(tmp_path / "model.safetensors")


def test_the_two_sides_of_a_person_are_never_parted():
    examples = [Example(f"sub-{k // 2}", torch.zeros(SIZE), np.zeros((1, 3))) for k in range(20)]
    learnt, held_out = split_people(examples)
    assert not {one.person for one in learnt} & {one.person for one in held_out}
    assert (len(learnt), len(held_out)) == (16, 4)
    with pytest.raises(InputError, match="scans of 2 people"):
        split_people(examples[:4])


def test_the_inverse_of_a_mapping_leads_back_also_where_it_turns():
    rng = np.random.default_rng(0)
    turn = np.array([[0.0, -1.2, 0], [1.2, 0, 0], [0, 0, 0.8]])

    def mapping(points):
        return points @ turn.T + [40, -20, 5] + 2 * np.sin(points[:, ::-1] / 15)

    points = rng.uniform(0, 60, (50, 3))
    anchors = rng.uniform(0, 60, (200, 3))
    assert np.abs(inverse(mapping, mapping(points), anchors) - points).max() < 0.01
    unknown = inverse(mapping, np.vstack([mapping(points[:1]), [[np.nan] * 3]]), anchors)
    assert np.isfinite(unknown[0]).all()
    assert np.isnan(unknown[1]).all()


@pytest.fixture(scope="module")
def heads():
    return make_pair(48)


def test_a_normalised_scan_shows_the_template_s_anatomy_at_the_template_s_places(heads):
    template, landmarks, target, truth = heads
    frame = TemplateFrame.of(template, landmarks, 6.0)
    scan = normalise(frame, target, Matcher(device="cpu"))
    assert scan.voxels.shape == frame.grid.voxels.shape
    assert scan.voxels.abs().max() <= 1 + 1e-6
    both = torch.stack([scan.voxels[scan.inside], frame.grid.voxels[scan.inside]])
    assert float(torch.corrcoef(both)[0, 1]) > 0.8
    off = points_in_frame(frame, scan.mapping, truth) - frame.points
    assert np.linalg.norm(off, axis=1).mean() * 6.0 < 5.0  # mm; the voxels have 4.9
    again = scan.mapping(frame.grid.to_world(points_in_frame(frame, scan.mapping, truth)))
    assert np.abs(again - truth.positions).max() < 0.01


def test_landmarks_that_a_scan_lacks_have_no_place_in_the_frame(heads):
    template, landmarks, _, _ = heads
    frame = TemplateFrame.of(template, landmarks, 6.0)
    fewer = replace(landmarks, landmarks=tuple(landmarks)[1:])
    found = points_in_frame(frame, lambda points: points, fewer)
    assert np.isnan(found[0]).all()
    assert np.abs(found[1:] - frame.points[1:]).max() < 1e-3


def test_the_command_learns_from_a_folder_of_annotated_scans(tmp_path, capsys):
    template, landmarks, *_ = make_pair(32)
    write_volume(template, tmp_path / "template.nii.gz")
    write_landmarks(landmarks, tmp_path / "template.mrk.json")
    for seed in (1, 2, 3):
        _, _, target, truth = make_pair(32, seed)
        (tmp_path / "scans").mkdir(exist_ok=True)
        write_volume(target, tmp_path / "scans" / f"sub-{seed}_T1w.nii.gz")
        write_landmarks(truth, tmp_path / "scans" / f"sub-{seed}_T1w.mrk.json")
    (tmp_path / "run.toml").write_text("spacing_mm = 8.0\nradius_mm = 24.0\nsteps = 4\nvalidate_every = 2\nwidth = 8\n")
    command = ["train", "pif", str(tmp_path / "scans"), "--template", str(tmp_path / "template.nii.gz")]
    command += ["--landmarks", str(tmp_path / "template.mrk.json"), "--out", str(tmp_path / "out")]
    command += ["--settings", str(tmp_path / "run.toml"), "--device", "cpu"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert f"learns {len(landmarks)} landmarks from 2 scans, 1 held out" in shown
    regressor, names = load_regressor(tmp_path / "out" / RegressionTrainer.file_name)
    assert names == tuple(landmark.name for landmark in landmarks)
    assert regressor.plan.radius == 3.0
    assert checkpoint.load(tmp_path / "out", "cpu")["progress"]["step"] == 4
    (tmp_path / "scans" / "sub-3_T1w.mrk.json").unlink()
    assert main([*command, "--resume"]) == 2
    assert "scans of 2 people" in capsys.readouterr().err
