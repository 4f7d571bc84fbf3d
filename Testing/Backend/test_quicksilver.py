"""Quicksilver: its network, the pairs that it learns from, a short run, and what it predicts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from deepfeatures.cli.main import main
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.landmark_files import write_landmarks
from deepfeatures.io.volume_files import write_volume
from deepfeatures.matching import Matcher
from deepfeatures.matching.geometry.sampling import apply_affine
from deepfeatures.networks.momentum import PATCH, MomentumNetwork, patch_places, predict_momentum
from deepfeatures.phantom import make_pair
from deepfeatures.training.distributed import Process
from deepfeatures.training.momentum_pairs import MomentumPair, drawn_pair, posed_pair_of, settled_points, what_is_left
from deepfeatures.training.noise import Random, smooth_noise
from deepfeatures.training.pair_plan import planned_pairs
from deepfeatures.training.quicksilver import QuicksilverSettings, QuicksilverTrainer
from deepfeatures.training.trainer import run
from deepfeatures.transforms.lddmm import Kernel, KernelSettings, flow, shoot, warped
from deepfeatures.transforms.lddmm_fit import push
from deepfeatures.transforms.linear import LinearTransform
from deepfeatures.transforms.quicksilver import PosedPair, Quicksilver
from deepfeatures.transforms.samplers import voxel_coordinates

SHAPE = (20, 24, 22)


def texture(seed=0) -> torch.Tensor:
    field = smooth_noise(Random("cpu", seed), 1, 1, 24, 6.0)[0, 0, : SHAPE[0], : SHAPE[1], : SHAPE[2]]
    return (field / 2).clamp(-1, 1)


def kernel() -> Kernel:
    return Kernel(SHAPE, 2.0, KernelSettings(), torch.zeros(1))


def pair(seed=0) -> MomentumPair:
    return drawn_pair(Random("cpu", seed, 1), texture(seed), kernel())


@pytest.mark.parametrize(("features", "parameters"), [(64, 21_831_683), (16, 1_369_091)])
def test_the_layers_are_those_of_the_paper(features, parameters):
    """The authors' network, with 64 features, has 21.8 million; the push adds what reads it, and its gain."""
    added = 3 * 27 * features + 1
    assert sum(value.numel() for value in MomentumNetwork(features).parameters()) == parameters + added


def nothing(shape) -> torch.Tensor:
    return torch.zeros(3, *shape)


def test_an_untrained_network_predicts_the_push_itself():
    made = pair()
    found = predict_momentum(MomentumNetwork(2, scale=0.7), made.template, made.target, made.push)
    torch.testing.assert_close(found, made.push)


@pytest.mark.parametrize("size", [(15, 29, 43), (16, 15, 30), (20, 24, 22)])
def test_patches_cover_every_voxel_and_overlap(size):
    count = torch.zeros(size)
    for place in patch_places(size):
        assert count[place].shape == (PATCH,) * 3
        count[place] += 1
    assert count.min() == 1


def test_overlapping_predictions_are_averaged_and_have_the_networks_scale():
    class Ones(MomentumNetwork):
        def forward(self, template, target, push):
            return torch.ones(len(template), 3, PATCH, PATCH, PATCH)

    found = predict_momentum(Ones(2, scale=1.5), texture(), texture(1), nothing(SHAPE))
    assert found.shape == (3, *SHAPE)
    assert torch.equal(found, torch.full_like(found, 1.5))


def test_where_nothing_is_seen_nothing_is_predicted():
    empty = torch.full((15, 15, 40), -1.0)
    template = empty.clone()
    template[:, :, :10] = texture()[:15, :15, :10]
    found = predict_momentum(MomentumNetwork(2), template, empty, torch.ones(3, *empty.shape))
    assert found[..., :10].abs().max() > 0
    assert (found[..., 26:] == 0).all()


def test_images_smaller_than_a_patch_can_be_used():
    small = texture()[:9, :12, :15]
    assert predict_momentum(MomentumNetwork(2), small, small, nothing(small.shape)).shape == (3, 9, 12, 15)


def test_the_target_of_a_drawn_pair_is_the_template_moved_by_its_momentum():
    made = pair()
    seen = warped(made.target, shoot(made.momentum, kernel()))

    def apart(image):  # contrasts differ
        inner = (slice(3, -3),) * 3
        return 1 - float(torch.corrcoef(torch.stack([image[inner].flatten(), made.template[inner].flatten()]))[0, 1])

    assert apart(seen) < 0.5 * apart(made.target)


def test_a_mirrored_patch_keeps_its_meaning():
    """The momentum of a patch moves its target onto its template, however its axes were swapped and turned."""
    made = drawn_pair(Random("cpu", 3), texture(3), kernel())
    size = PATCH
    own = Kernel((size,) * 3, 2.0, KernelSettings(), torch.zeros(1))
    cut = (part[..., :size, :size, :size] for part in (made.template, made.target, made.momentum))
    whole = MomentumPair.of(*cut, own)
    falls = set()
    for seed in range(6):
        template, target, *vectors = whole.patch(Random("cpu", seed))
        torch.testing.assert_close(push(template, target, own), torch.stack(vectors[:3]))
        seen = warped(target, shoot(torch.stack(vectors[3:]), own))
        falls.add(round(float((seen - template)[3:-3, 3:-3, 3:-3].square().mean()), 4))
    before = float((whole.target - whole.template)[3:-3, 3:-3, 3:-3].square().mean())
    assert max(falls) < before
    assert max(falls) - min(falls) < 0.1 * before


def test_what_is_left_is_the_rest_of_the_momentum():
    made, network = pair(), MomentumNetwork(2, scale=0.1).eval()
    left = what_is_left(made, network, kernel())
    found = predict_momentum(network, made.template, made.target, made.push)
    torch.testing.assert_close(left.momentum + found, made.momentum)
    assert not torch.equal(left.target, made.target)


def test_people_who_are_held_out_are_not_learnt_from():
    people = [f"person {number // 2}" for number in range(20)]
    plan = planned_pairs(people, templates=6, targets=3, held_out_pairs=4, seed=0)
    learnt, held_out = ({people[scan] for one in pairs for scan in one} for pairs in (plan.learnt, plan.held_out))
    assert held_out == {"person 8", "person 9"}
    assert not learnt & held_out
    assert len(set(plan.learnt)) == 18
    assert all(people[template] != people[target] for template, target in (*plan.learnt, *plan.held_out))


def test_too_few_people_are_refused():
    with pytest.raises(InputError, match="3 people"):
        planned_pairs(["a", "b", "c"], 1, 1, 1, 0)


def trained(out: Path, **changes) -> QuicksilverTrainer:
    chosen = {"features": 2, "batch": 4, "validate_every": 4, "checkpoint_seconds": 0.0, **changes}
    settings = QuicksilverSettings(prediction_steps=4, correction_steps=4, drawn=1, **chosen)
    return QuicksilverTrainer([pair(0), pair(1)], [pair(2)], settings, Process(torch.device("cpu")))


def test_a_run_trains_both_networks_and_goes_on_after_a_stop(tmp_path):
    whole, halves = trained(tmp_path), trained(tmp_path)
    first = {key: value.clone() for key, value in whole.prediction.state_dict().items()}
    run(whole, tmp_path / "whole")
    for _ in range(5):
        halves.advance()
    state = halves.state()
    resumed = trained(tmp_path)
    resumed.restore(state)
    run(resumed, tmp_path / "halves")
    files = [load_file(tmp_path / name / "quicksilver.safetensors") for name in ("whole", "halves")]
    assert all(torch.equal(files[0][key], files[1][key]) for key in files[0])
    assert any(not torch.equal(value, first[key]) for key, value in whole.prediction.state_dict().items())
    assert set(whole.validate()) == {"prediction", "corrected"}
    assert isinstance(Quicksilver.of(files[0]).correction, MomentumNetwork)


def test_training_learns():
    """On one pair whose momentum points one way: the error falls well below that of no momentum."""
    settings = QuicksilverSettings(features=4, batch=8, prediction_steps=60, drawn=0, learning_rate=5e-3)
    made = pair()
    one = MomentumPair.of(made.template, made.target, torch.full_like(made.momentum, 0.7), kernel())
    trainer = QuicksilverTrainer([one, one], [], settings, Process(torch.device("cpu")))
    trainer.prediction.scale.fill_(1.0)
    losses = [float(trainer.advance()["total"]) for _ in range(40)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_other_weights_are_refused(tmp_path):
    save_file({"prediction.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="deepfeatures train quicksilver"):
        Quicksilver.of(load_file(tmp_path / "other.safetensors"))


def moved_volumes() -> tuple[Volume, Volume, LinearTransform, np.ndarray]:
    """A texture, the same moved by a smooth momentum and then shifted by 40 mm, the shift, and 2 mm voxels."""
    made = drawn_pair(Random("cpu", 7), texture(7), kernel())
    spacing, shift = np.full(3, 2.0), np.array([40.0, -10.0, 5.0])
    template = Volume(made.template, np.zeros(3), spacing, name="template")
    target = Volume(made.target, shift, spacing, name="target")
    pose = np.eye(4)
    pose[:3, 3] = shift
    there = (
        flow(voxel_coordinates(made.template.shape), shoot(made.momentum, kernel())).reshape(-1, 3).numpy() * 2 + shift
    )
    return template, target, LinearTransform(pose), there


def test_a_pair_is_seen_in_the_templates_frame_through_the_pose():
    template, target, pose, _ = moved_volumes()
    posed = PosedPair.of(template, target, pose)
    inner = posed.target[4:-4, 4:-4, 4:-4]
    low, high = target.voxels.quantile(torch.tensor([0.01, 0.99]))
    expected = ((target.voxels - low) / (high - low) * 2 - 1).clamp(-1, 1)
    assert (inner - expected).abs().max() < 0.05
    assert posed.inside.sum() == inner.numel()
    np.testing.assert_allclose(posed.template.to_index(template.origin[None]), [[4, 4, 4]])


def test_the_shipped_networks_bring_a_target_nearer():
    template, target, pose, there = moved_volumes()
    posed = PosedPair.of(template, target, pose)
    found = Quicksilver.shipped().register(posed)
    before, after = (
        (seen - posed.template.voxels)[posed.inside].square().mean()
        for seen in (posed.target, warped(posed.target, found.transform.parts[0].velocities))
    )
    assert after < 0.9 * before
    points = voxel_coordinates(template.voxels.shape).reshape(-1, 3).numpy() * 2
    inner = ((points > 8) & (points < points.max(0) - 8)).all(1)
    assert (
        np.linalg.norm(found.transform(points) - there, axis=1)[inner].mean()
        < np.linalg.norm(pose(points) - there, axis=1)[inner].mean()
    )
    assert found.transform.jacobian_determinant(points[inner][::50]).min() > 0


def test_the_shipped_networks_predict_the_same_each_time_but_for_dropout():
    template, target, pose, _ = moved_volumes()
    posed, networks = PosedPair.of(template, target, pose), Quicksilver.shipped()
    points = template.to_world(np.array([[8.0, 9, 10], [12, 13, 9]]))
    first = networks.register(posed, samples=3)
    second = networks.register(posed)
    assert torch.equal(first.momentum, second.momentum)
    assert (first.spread_mm(points) > 0).all()


def test_settled_points_lie_where_the_search_put_them():
    """Each point, displaced and moved by the pose, is where the search matched it in the target."""
    template, landmarks, target, _ = make_pair(32)
    mapping = Matcher(device="cpu").match(template, landmarks, target).mapping
    posed = posed_pair_of(template, target, mapping, 8.0)
    pull = settled_points(posed, mapping)
    found = posed.pose(posed.template.to_world((pull.points + pull.displacements).numpy()))
    moved = mapping.displacements.points + mapping.displacements.displacements
    expected = apply_affine(mapping.to_world, apply_affine(mapping.pose, moved).double().numpy())
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_command_learns_from_a_folder_of_annotated_scans(tmp_path, capsys):
    for seed in range(4):
        _, _, scan, points = make_pair(32, seed + 1)
        write_volume(scan, tmp_path / f"sub-{seed}_T1w.nii.gz")
        write_landmarks(points, tmp_path / f"sub-{seed}_T1w.mrk.json")
    (tmp_path / "run.toml").write_text(
        "spacing_mm = 8.0\ntemplates = 1\ntargets = 1\nheld_out_pairs = 1\nfeatures = 2\nbatch = 2\n"
        "prediction_steps = 2\ncorrection_steps = 2\n[fit]\nrounds = 1\n"
    )
    command = ["train", "quicksilver", str(tmp_path), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*command, "--settings", str(tmp_path / "run.toml")]) == 0
    assert "learns momenta of 1 pairs, 1 held out" in capsys.readouterr().out
    networks = Quicksilver.of(load_file(tmp_path / "out" / "quicksilver.safetensors"))
    assert networks.prediction.features == 2
