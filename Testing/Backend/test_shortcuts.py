"""Features must tell places apart by what is there, never by where in the crop it lies."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from deepfeatures.networks.cifl import COARSE_STRIDE, Cifl, build_cifl, normalise
from deepfeatures.networks.weights import find
from deepfeatures.training.cifl import CiflSettings, CiflTrainer
from deepfeatures.training.distributed import Process
from deepfeatures.training.losses import interpolate, position_contrast
from deepfeatures.training.noise import Random, smooth_noise
from deepfeatures.training.random_deformations import DeformationSettings
from deepfeatures.training.synthetic import PairStream, SyntheticSettings
from deepfeatures.training.validation import matching_accuracy

SMALL = SyntheticSettings(batch=2, size=32, canonical_size=56, pool=4, new_maps=2, objects=4, points=128)
SAME_CROP = DeformationSettings(
    scale=(1.0, 1.0), rotation_deg=0, large_rotation_deg=0, shift=0, displacement=(0.0, 0.0, 0.0)
)  # fmt: skip


def pairs_of(warp: DeformationSettings):
    return PairStream(dataclasses.replace(SMALL, warp=warp), 0, "cpu").batch(0)


def place_in_the_crop(views: torch.Tensor) -> torch.Tensor:
    """What a network that only knows where it is would say."""
    axis = torch.linspace(-1, 1, views.shape[-1])
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))
    return grid[None].expand(len(views), -1, -1, -1, -1)


def loss_of_places(pairs) -> float:
    """The training loss of features that know their place in the crop, and nothing else."""
    features = [
        interpolate(place_in_the_crop(view), points, 1)
        for view, points in ((pairs.first, pairs.first_points), (pairs.second, pairs.second_points))
    ]
    return float(position_contrast(*features, pairs.second_points, pairs.valid, margin=2.0, temperature=0.01))


def test_knowing_the_place_in_the_crop_is_worth_nothing_in_training():
    shifted, same = pairs_of(DeformationSettings()), pairs_of(SAME_CROP)
    assert matching_accuracy(same, place_in_the_crop) > 0.95
    assert matching_accuracy(shifted, place_in_the_crop) < 0.05
    guessing = torch.tensor(float(shifted.valid.sum())).log()
    assert loss_of_places(same) < guessing
    assert loss_of_places(shifted) > guessing


@pytest.fixture(scope="module")
def briefly_trained() -> Cifl:
    settings = CiflSettings(steps=8, warmup_steps=2, data=SMALL)
    trainer = CiflTrainer(settings, Process(torch.device("cpu")))
    for _ in range(8):
        trainer.advance()
    return build_cifl("cifl", trainer.network.state_dict())


@pytest.fixture(scope="module")
def shipped() -> Cifl:
    path = find("cifl")
    if path is None:
        pytest.skip("no trained CIFL weights are there")
    return build_cifl("cifl", load_file(path))


@pytest.mark.parametrize("which", ["briefly_trained", "shipped"])
@pytest.mark.parametrize("layer", ["fine", "coarse"])
def test_features_move_along_with_a_shifted_crop(which, layer, request):
    network = request.getfixturevalue(which)
    volume = normalise(smooth_noise(Random("cpu", 0), 1, 1, 112, 6.0))[..., :48, :48]
    shift, stride = 16, COARSE_STRIDE if layer == "coarse" else 1
    first, second = (network.maps(crop)[layer] for crop in (volume[..., :96, :, :], volume[..., shift:, :, :]))
    # off the borders, where a crop has to guess what follows
    low, high, moved = 32 // stride, 64 // stride, shift // stride
    wanted = second[:, :, low : high - moved]
    at_the_same_place = (first[:, :, low + moved : high] - wanted).norm(dim=1)
    at_the_same_index = (first[:, :, low : high - moved] - wanted).norm(dim=1)
    assert at_the_same_place.mean() < 0.2 * at_the_same_index.mean()
