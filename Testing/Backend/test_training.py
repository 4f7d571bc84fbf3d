"""Training: synthetic pairs with true correspondence, losses, settings, and runs that go on where they stopped."""

import dataclasses
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from deepfeatures.cli.main import main
from deepfeatures.errors import InputError
from deepfeatures.matching.geometry import block_matching
from deepfeatures.networks.cifl import Cifl, build_cifl, self_similarity
from deepfeatures.training import checkpoint
from deepfeatures.training.block_loss import BlockSettings, block_distances, block_match
from deepfeatures.training.cifl import CiflSettings, CiflTrainer
from deepfeatures.training.contrasts import ContrastSettings, blur, simulate_thick_slices
from deepfeatures.training.distributed import Process
from deepfeatures.training.losses import interpolate, position_contrast
from deepfeatures.training.noise import Random, smooth_noise
from deepfeatures.training.random_deformations import DeformationSettings
from deepfeatures.training.settings import read_settings
from deepfeatures.training.shapes import MAX_LABELS, label_maps
from deepfeatures.training.synthetic import PairStream, SyntheticSettings, draw_picture
from deepfeatures.training.validation import matching_accuracy, raw_patches

CLEAN = ContrastSettings(
    similar_fraction=1, merged_fraction=0, noise=0, blur=0, bias=0, gamma=0, thick_slices=1, ghost=0, distractors=0
)
SMALL = SyntheticSettings(batch=2, size=24, canonical_size=32, pool=4, new_maps=2, objects=4, points=64)
TINY = CiflSettings(steps=6, warmup_steps=2, cooldown_steps=2, validate_every=100, data=SMALL)
ALONE = Process(torch.device("cpu"))
TINY_TOML = """
steps = 6
warmup_steps = 2
cooldown_steps = 2
validate_every = 100
[data]
batch = 2
size = 24
canonical_size = 32
pool = 4
new_maps = 2
objects = 4
points = 64
"""


def correlation(pairs, shift=(0.0, 0.0, 0.0)):
    """How well intensities agree at points that are said to correspond."""
    first = interpolate(pairs.first, pairs.first_points + torch.tensor(shift), 1)[pairs.valid][:, 0]
    second = interpolate(pairs.second, pairs.second_points, 1)[pairs.valid][:, 0]
    return float(torch.corrcoef(torch.stack([first, second]))[0, 1])


def test_corresponding_points_show_the_same_place():
    settings = dataclasses.replace(SMALL, size=32, canonical_size=48, points=256, contrast=CLEAN)
    pairs = PairStream(settings, 0, "cpu").batch(0)
    assert pairs.valid.float().mean() > 0.2
    exact = correlation(pairs)
    assert exact > 0.9
    for axis in range(3):
        for way in (-1.0, 1.0):
            shift = [0.0] * 3
            shift[axis] = way
            assert correlation(pairs, shift) < exact


def test_points_have_close_neighbours_and_lie_apart_in_the_two_views():
    pairs = PairStream(SMALL, 0, "cpu").batch(0)
    gaps = torch.cdist(pairs.second_points, pairs.second_points) + 1e3 * torch.eye(SMALL.points)
    assert gaps.amin(1).median() < 6
    # The same offset in both views would let a network learn positions instead of places.
    assert (pairs.first_points - pairs.second_points)[pairs.valid].std(0).min() > 1


def test_a_step_gives_the_same_pairs_in_every_run_and_others_give_others():
    stream = PairStream(SMALL, 3, "cpu")
    for step in range(3):
        last = stream.batch(step)
    again = PairStream(SMALL, 3, "cpu").batch(2)
    for field in dataclasses.fields(again):
        assert torch.equal(getattr(again, field.name), getattr(last, field.name))
    assert not torch.equal(again.first, PairStream(SMALL, 4, "cpu").batch(2).first)
    assert not torch.equal(again.first, stream.batch(3).first)


def test_views_are_finite_and_in_the_range_of_the_network():
    stream = PairStream(SMALL, 1, "cpu")
    for step in range(4):
        pairs = stream.batch(step)
        for view in (pairs.first, pairs.second):
            assert torch.isfinite(view).all()
            assert view.min() >= -0.5
            assert view.max() <= 1.5
            assert (view.flatten(1).std(1) > 0).all()


def test_label_maps_hold_many_labels_of_many_sizes():
    maps = label_maps(Random("cpu", 0), 4, 40, objects=24)
    assert int(maps.max()) < MAX_LABELS
    for labels in maps:
        sizes = torch.bincount(labels.flatten().long())
        sizes = sizes[sizes > 0]
        assert len(sizes) >= 8
        assert sizes.max() > 20 * sizes.min()


def test_smooth_noise_has_its_wavelength_and_unit_size():
    fine, coarse = (smooth_noise(Random("cpu", 0), 2, 1, 48, wavelength) for wavelength in (4.0, 24.0))
    assert 0.7 < fine.std() < 1.4
    steps = [field.diff(dim=-1).std() / field.std() for field in (fine, coarse)]
    assert steps[0] > 3 * steps[1]


def test_artefacts_of_strength_zero_change_nothing():
    x = torch.rand(2, 1, 12, 12, 12)
    torch.testing.assert_close(blur(x, torch.zeros(2, 3)), x)
    torch.testing.assert_close(simulate_thick_slices(x, torch.ones(2, 3)), x)


def test_thick_slices_keep_ramps_and_lose_detail():
    ramp = torch.arange(13.0).expand(1, 1, 13, 13, 13)
    factors = torch.tensor([[1.0, 1.0, 3.0]])
    torch.testing.assert_close(simulate_thick_slices(ramp, factors), ramp)
    stripes = (torch.arange(13) % 2).float().expand(1, 1, 13, 13, 13)
    assert simulate_thick_slices(stripes, factors).diff(dim=-1).abs().mean() < 0.5
    assert torch.equal(simulate_thick_slices(stripes.mT, factors), stripes.mT)


def test_contrast_between_positions_rewards_agreement_and_forgives_neighbours():
    torch.manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(2, 32, 16), dim=-1)
    points = 20 * torch.rand(2, 32, 3)
    valid = torch.ones(2, 32, dtype=torch.bool)

    def loss(second, where=points, counted=valid):
        return position_contrast(features, second, where, counted, margin=2.5, temperature=0.07)

    assert loss(features) < 0.1
    assert loss(features.flip(1)) > 3
    # When all points of a volume are nearly one place, only the other volume can be confused with it.
    alike = features[:, :1].expand_as(features)
    together = position_contrast(alike, alike, torch.zeros_like(points), valid, margin=2.5, temperature=0.07)
    apart = position_contrast(alike, alike, 100 * points, valid, margin=2.5, temperature=0.07)
    assert together < 0.1 < 3 < apart
    wrong = features.clone()
    wrong[:, 5] = -wrong[:, 5]
    counted = valid.clone()
    counted[:, 5] = False
    assert loss(wrong, counted=counted) < 0.1 < loss(wrong)


def test_interpolation_knows_where_entries_of_a_strided_map_lie():
    fine = torch.arange(16.0).expand(1, 1, 16, 16, 16)
    coarse = torch.nn.functional.avg_pool3d(fine, 4)
    points = torch.tensor([[[3.0, 9.5, 5.0], [8.0, 4.0, 9.25]]])
    for features, stride in ((fine, 1), (coarse, 4)):
        assert interpolate(features, points, stride).flatten().tolist() == pytest.approx([5.0, 9.25])


@pytest.mark.parametrize("encode", [raw_patches, self_similarity])
def test_matching_accuracy_is_perfect_for_a_view_and_itself(encode):
    pairs = PairStream(dataclasses.replace(SMALL, contrast=CLEAN), 0, "cpu").batch(0)
    pairs = dataclasses.replace(pairs, first=torch.rand_like(pairs.first))
    same = dataclasses.replace(pairs, second=pairs.first, first_points=pairs.second_points)
    assert matching_accuracy(same, encode) == 1
    assert matching_accuracy(pairs, encode) < 0.2


def test_going_on_after_a_stop_gives_the_same_weights_as_one_run(tmp_path):
    whole = CiflTrainer(TINY, ALONE)
    for _ in range(4):
        whole.advance()
    first = CiflTrainer(TINY, ALONE)
    for _ in range(2):
        first.advance()
    checkpoint.save(first.state(), tmp_path)
    second = CiflTrainer(TINY, ALONE)
    second.restore(checkpoint.load(tmp_path, "cpu"))
    for _ in range(2):
        second.advance()
    for name in ("network", "averaged"):
        wanted, found = (trainer.state()["weights"][name] for trainer in (whole, second))
        assert all(torch.equal(wanted[key], found[key]) for key in wanted)


def test_the_loss_falls_on_a_batch_seen_again():
    trainer = CiflTrainer(dataclasses.replace(TINY, steps=1000, warmup_steps=1), ALONE)
    pairs = trainer.stream.batch(0)
    trainer.stream.batch = lambda step: pairs
    losses = [float(trainer.advance()["fine"]) for _ in range(16)]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def test_a_checkpoint_counts_only_when_it_is_complete(tmp_path, monkeypatch):
    checkpoint.save({"a": {"value": 1}, "b": {"value": 1}}, tmp_path)
    monkeypatch.setattr(torch, "save", lambda values, path: path.write_bytes(b"cut off"))
    monkeypatch.setattr(checkpoint.json, "dumps", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save({"a": {"value": 2}, "b": {"value": 2}}, tmp_path)
    assert checkpoint.load(tmp_path, "cpu") == {"a": {"value": 1}, "b": {"value": 1}}


@pytest.mark.parametrize("file", ["checkpoint.json", "checkpoint-0-a.pt"])
@pytest.mark.parametrize("content", [b"", b"{", None])
def test_a_damaged_checkpoint_says_so(tmp_path, file, content):
    checkpoint.save({"a": {"value": torch.zeros(3)}}, tmp_path)
    whole = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(InputError, match="damaged"):
        checkpoint.load(tmp_path, "cpu")


def test_the_command_trains_resumes_and_writes_weights_that_the_network_takes(tmp_path, capsys):
    settings = tmp_path / "run.toml"
    settings.write_text(TINY_TOML)
    out = tmp_path / "out"
    command = ["train", "cifl", "--settings", str(settings), "--out", str(out), "--device", "cpu"]
    assert main([*command, "--seconds", "0"]) == 0
    assert main([*command, "--resume"]) == 0
    assert "step 6 of 6" in capsys.readouterr().out
    build_cifl("cifl", load_file(out / "cifl.safetensors"))
    with safe_open(out / "cifl.safetensors", "pt") as file:
        assert json.loads(file.metadata()["settings"])["data"]["points"] == 64
        assert file.metadata()["step"] == "6"


BLOCKS_TOML = """
loss = "blocks"
steps = 4
warmup_steps = 1
cooldown_steps = 1
validate_every = 2
[blocks]
radius = 2
search_radius = 2
points = 16
[data]
batch = 2
size = 24
canonical_size = 32
pool = 4
objects = 4
points = 256
[data.warp]
shift = 2
"""


def test_a_run_on_blocks_starts_from_the_weights_of_another(tmp_path, capsys):
    first, second, settings = tmp_path / "first", tmp_path / "second", tmp_path / "blocks.toml"
    for name, text in (("positions", TINY_TOML), ("blocks", BLOCKS_TOML)):
        (tmp_path / f"{name}.toml").write_text(text)
    train = ["train", "cifl", "--device", "cpu", "--settings"]
    assert main([*train, str(tmp_path / "positions.toml"), "--out", str(first)]) == 0
    assert main([*train, str(settings), "--out", str(second), "--from", str(first / "cifl.safetensors")]) == 0
    told = capsys.readouterr().out
    assert "held-out block" in told and "step 4 of 4" in told
    before, after = (load_file(folder / "cifl.safetensors") for folder in (first, second))
    assert torch.equal(before["coarse_head.weight"], after["coarse_head.weight"])  # the loss does not touch it
    for name in ("fine_head.weight", "log_gain", "log_sharpness"):
        assert 0 < (before[name] - after[name]).abs().max() < 0.1


def test_weights_to_start_from_that_are_none_are_named(tmp_path, capsys):
    (tmp_path / "no.safetensors").write_text("no weights")
    command = ["train", "cifl", "--out", str(tmp_path / "out"), "--device", "cpu", "--from"]
    assert main([*command, str(tmp_path / "no.safetensors")]) == 2
    assert "no.safetensors cannot be read" in capsys.readouterr().err


def test_an_unknown_loss_is_named():
    with pytest.raises(InputError, match="no loss 'guess'; choose one of positions, blocks"):
        CiflTrainer(dataclasses.replace(TINY, loss="guess"), ALONE)


BLOCKS = BlockSettings(points=32, radius=4, search_radius=2)
MIDDLING = dataclasses.replace(SMALL, size=32, canonical_size=48, points=256, warp=DeformationSettings(shift=3.0))


def test_block_distances_in_training_are_those_of_a_search():
    random = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 3, 24, 24, 24, generator=random)
    points = 8 + 8 * torch.rand(5, 3, generator=random)
    starts = torch.randint(9, 14, (5, 3), generator=random)
    found = block_distances(first, second, points, starts, BLOCKS)
    of_search = block_matching.block_distances(
        first, second, points.flip(1), starts.flip(1).float(), 2, block_matching.ball(4, 2)
    )
    torch.testing.assert_close(found.view_as(of_search), 3 * of_search, rtol=1e-4, atol=1e-5)  # a sum over channels


def test_blocks_of_a_view_and_itself_match_at_once():
    pairs = PairStream(MIDDLING, 0, "cpu").batch(0)
    same = dataclasses.replace(pairs, second=pairs.first, first_points=pairs.second_points)
    noise = torch.rand(2, 16, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    network = Cifl()
    found = block_match(network, torch.cat([noise, noise]), same, BLOCKS, Random("cpu", 0))
    assert found["error"] == 0
    network.log_gain.data += 1  # the learned features outweigh self-similarity, which still sees a view and itself
    other = block_match(network, torch.cat([noise, noise.roll(5, 2)]), same, BLOCKS, Random("cpu", 0))
    assert other["error"] > 1 and other["rival"] == found["rival"]


def test_the_loss_of_blocks_falls_on_a_batch_seen_again():
    settings = dataclasses.replace(TINY, loss="blocks", steps=1000, warmup_steps=1, data=MIDDLING, blocks=BLOCKS)
    trainer = CiflTrainer(settings, ALONE)
    pairs = trainer.batch(0)[0]
    trainer.batch = lambda step: (pairs, Random("cpu", 0))
    losses = [float(trainer.advance()["block"]) for _ in range(16)]
    assert sum(losses[-3:]) < 0.97 * sum(losses[:3])


def test_pairs_without_a_block_inside_are_passed_over():
    trainer = CiflTrainer(dataclasses.replace(TINY, loss="blocks"), ALONE)  # blocks are larger than these views
    assert float(trainer.advance()["total"]) == 0


def test_a_picture_of_a_batch_can_be_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    draw_picture(PairStream(SMALL, 0, "cpu").batch(0), tmp_path / "batch.png")
    assert (tmp_path / "batch.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz = 3", "stepz is unknown"),
        ("steps = 3.5", "steps must be of type int"),
        ("[data]\nsize = '80'", r"data\.size must be of type int"),
        ("[data.warp]\nzoom = [1.0]", r"data\.warp\.zoom needs 2 numbers"),
        ("[data.warp]\nzoom = ['half', 'twice']", r"data\.warp\.zoom must be of type float"),
        ("learning_rate = '1'", "learning_rate must be of type float"),
        ("steps = ", "cannot be read"),
    ],
)
def test_wrong_settings_are_named(tmp_path, text, message):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_settings(path, CiflSettings)


def test_settings_in_a_file_replace_defaults(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("learning_rate = 1\n[data.warp]\nzoom = [0.5, 2]")
    settings = read_settings(path, CiflSettings)
    assert settings.learning_rate == 1.0
    assert settings.data.warp == dataclasses.replace(DeformationSettings(), zoom=(0.5, 2.0))
    assert settings.steps == CiflSettings().steps


def test_going_on_without_a_checkpoint_says_so(tmp_path, capsys):
    assert main(["train", "cifl", "--out", str(tmp_path), "--device", "cpu", "--resume"]) == 2
    assert "There is no checkpoint" in capsys.readouterr().err


def test_a_run_leaves_the_choice_of_convolutions_as_it_was(tmp_path, monkeypatch):
    from deepfeatures.training import trainer

    seen = []

    def stopped(*_):
        seen.append(torch.backends.cudnn.benchmark)
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "_train", stopped)
    assert main(["train", "cifl", "--out", str(tmp_path), "--device", "cpu"]) == 130
    assert seen == [True]
    assert not torch.backends.cudnn.benchmark
