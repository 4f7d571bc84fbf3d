"""The localiser: what a rotation does not change, which way its transform goes, and how it is trained."""

import dataclasses
import json
import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from deepfeatures.cli.main import main
from deepfeatures.matching.geometry.sampling import smooth
from deepfeatures.networks.localiser import EDGE, Localiser, agreement, fit_similarity, place_coordinates
from deepfeatures.training.contrasts import ContrastSettings
from deepfeatures.training.distributed import Process
from deepfeatures.training.localiser import DATA, LocaliserSettings, LocaliserTrainer, cut_views, turned_together
from deepfeatures.training.losses import interpolate
from deepfeatures.training.noise import Random
from deepfeatures.training.synthetic import PairStream
from deepfeatures.transforms.samplers import face_units, sample_by_faces

CLEAN = ContrastSettings(
    similar_fraction=1, merged_fraction=0, noise=0, blur=0, bias=0, gamma=0, thick_slices=1, ghost=0, distractors=0
)
SMALL = dataclasses.replace(DATA, batch=2, size=24, canonical_size=32, pool=4, objects=4, points=64)
TINY = LocaliserSettings(steps=6, warmup_steps=2, validate_every=100, data=SMALL)
TINY_TOML = """
steps = 6
warmup_steps = 2
validate_every = 3
[data]
batch = 2
size = 24
canonical_size = 32
pool = 4
objects = 4
points = 64
"""


@pytest.fixture(scope="module")
def localiser():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Localiser().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def view():
    """Structure in a ball, in air: `(1, 2, EDGE, EDGE, EDGE)`."""
    noise = smooth(torch.randn(1, EDGE, EDGE, EDGE, generator=torch.Generator().manual_seed(4)), 2.5)
    axes = torch.meshgrid(*(torch.arange(EDGE) - (EDGE - 1) / 2 for _ in range(3)), indexing="ij")
    ball = sum(axis**2 for axis in axes).sqrt() < 0.36 * EDGE
    shown = (0.5 + 0.25 * noise / noise.std()).clamp(0, 1) * ball
    return torch.stack([shown, torch.ones_like(shown)], 1)


def about_z(degrees):
    angle = math.radians(degrees)
    return torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])


def similarity(degrees, scale, shift):
    return torch.cat([scale * about_z(degrees), torch.tensor(shift)[:, None]], 1)


@pytest.mark.parametrize("axes", [(2, 3), (3, 2), (2, 4), (3, 4)])
def test_quarter_turns_turn_the_descriptions_and_leave_each_as_it_is(localiser, view, axes):
    turned = localiser.describe(view.rot90(1, axes))
    torch.testing.assert_close(turned, localiser.describe(view).rot90(1, axes), atol=1e-4, rtol=0)
    assert (turned - localiser.describe(view)).abs().max() > 0.1


@pytest.mark.parametrize("degrees", [0, 50, 130, 180])
def test_a_turned_and_shifted_volume_is_found_from_template_to_target(localiser, view, degrees):
    """Even before training, since a turned copy has the same descriptions; the inverse would be far off."""
    truth = similarity(degrees, 1.1, [0.12, -0.08, 0.05])
    # The target shows at q what the template shows at p, where q = truth(p): it is sampled through the inverse.
    back = torch.linalg.inv(truth[:, :3])
    index = torch.stack(torch.meshgrid(*(torch.arange(EDGE),) * 3, indexing="ij")[::-1], -1).float()
    units = (face_units(index, view.shape) - truth[:, 3]) @ back.T
    target = sample_by_faces(view, units[None])
    found = localiser(torch.cat([view, target], 1))[0]
    corners = torch.cartesian_prod(*(torch.tensor([-0.5, 0.5]),) * 3)
    missed = (corners @ (found - truth)[:, :3].T + (found - truth)[:, 3]).norm(dim=1)
    assert missed.mean() < 0.12  # half an edge is 1; the inverse misses by 0.3 or more


def test_a_fit_bears_matches_that_are_mostly_wrong_and_is_never_a_reflection():
    random = torch.Generator().manual_seed(1)
    points = place_coordinates((EDGE,) * 3, torch.device("cpu"))[None]
    truth = similarity(100, 0.9, [0.1, 0.2, -0.1])
    matches = points @ truth[:, :3].T + truth[:, 3]
    wrong = torch.rand(points.shape[1], generator=random) < 0.7
    matches[:, wrong] = 2 * torch.rand(1, int(wrong.sum()), 3, generator=random) - 1
    trust = torch.ones(points.shape[:2])
    agreed = agreement(points, matches, trust, 0.2)
    assert agreed[0, ~wrong].mean() > 2 * agreed[0, wrong].mean()
    torch.testing.assert_close(fit_similarity(points, matches, agreed, 0.15)[0], truth, atol=0.01, rtol=0)
    mirrored = fit_similarity(points, points * torch.tensor([-1.0, 1, 1]), trust, 0.15)
    assert torch.det(mirrored[0, :, :3]) > 0


def test_the_transform_can_be_differentiated(view):
    localiser = Localiser()
    pairs = torch.cat([view, view.roll(3, 4)], 1)
    localiser(pairs).square().sum().backward()
    gradients = [parameter.grad for parameter in localiser.parameters()]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0


def correlation(pairs):
    """How well intensities agree at points that are said to correspond."""
    first = interpolate(pairs.first, pairs.first_points, 1)[pairs.valid][:, 0]
    second = interpolate(pairs.second, pairs.second_points, 1)[pairs.valid][:, 0]
    return float(torch.corrcoef(torch.stack([first, second]))[0, 1])


def test_views_that_are_turned_together_keep_their_correspondence():
    settings = dataclasses.replace(SMALL, size=32, canonical_size=48, points=256, contrast=CLEAN)
    pairs = PairStream(settings, 0, "cpu").batch(0)
    before = correlation(pairs)
    assert before > 0.75
    for seed in range(4):
        turned = turned_together(pairs, Random("cpu", seed))
        assert correlation(turned) == pytest.approx(before, abs=1e-3)
    assert not torch.equal(turned.first, pairs.first)


def test_cut_views_are_empty_beyond_their_boxes_and_no_point_lies_there():
    pairs = PairStream(SMALL, 0, "cpu").batch(0)
    first, second, valid = cut_views(pairs, Random("cpu", 1))
    for view, points in ((first, pairs.first_points), (second, pairs.second_points)):
        covered = view[:, 1:]
        assert (view[:, :1][covered == 0] == 0).all()
        at_points = interpolate(covered, points, 1)[..., 0]
        assert (at_points[valid] > 0).all()
    assert valid.sum() < pairs.valid.sum()


def test_a_run_that_goes_on_is_the_run_that_was_not_stopped():
    whole, first = (LocaliserTrainer(TINY, Process(torch.device("cpu"))) for _ in range(2))
    for _ in range(4):
        whole.advance()
    for _ in range(2):
        first.advance()
    second = LocaliserTrainer(TINY, Process(torch.device("cpu")))
    second.restore(first.state())
    for _ in range(2):
        second.advance()
    for name, value in whole.localiser.state_dict().items():
        torch.testing.assert_close(second.localiser.state_dict()[name], value, rtol=0, atol=0)


def test_the_loss_falls_on_pairs_seen_again():
    trainer = LocaliserTrainer(dataclasses.replace(TINY, steps=1000, warmup_steps=1), Process(torch.device("cpu")))
    pairs, _ = trainer.batch(0)
    trainer.batch = lambda step: (pairs, Random("cpu", 0))
    losses = [float(trainer.advance()["total"]) for _ in range(25)]
    assert losses[-1] < losses[0] - 0.3


def test_the_command_trains_and_leaves_weights_that_the_localiser_takes(tmp_path, capsys):
    (tmp_path / "run.toml").write_text(TINY_TOML)
    command = ["train", "localiser", "--settings", str(tmp_path / "run.toml"), "--device", "cpu", "--out"]
    assert main([*command, str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "held-out total" in told and "step 6 of 6" in told
    Localiser().load_state_dict(load_file(tmp_path / "out" / "localiser.safetensors"))
    with safe_open(tmp_path / "out" / "localiser.safetensors", "pt") as file:
        assert json.loads(file.metadata()["settings"])["data"]["points"] == 64
