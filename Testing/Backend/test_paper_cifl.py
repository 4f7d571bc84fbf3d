"""The paper's CIFL: its network and its loss with three temperatures."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from deepfeatures.training.contrasts import ContrastSettings

FILE = Path(__file__).parents[1] / "Benchmarks/paper_cifl.py"
SPEC = importlib.util.spec_from_file_location("paper_cifl", FILE)
sys.modules[SPEC.name] = benchmark = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(benchmark)
PaperCifl, Temperatures = benchmark.PaperCifl, benchmark.Temperatures
channel_contrast, contrast_views, inner_products = (
    benchmark.channel_contrast,
    benchmark.contrast_views,
    benchmark.inner_products,
)


def features(*vectors):
    """One image of a row of voxels, its channels the given vectors made one long."""
    return nn.functional.normalize(torch.tensor(vectors, dtype=torch.float), dim=1)[None, :, None, None]


def test_it_has_eight_convolutions_of_kernel_3_and_unit_channels():
    network = PaperCifl(channels=5)
    kernels = [layer.kernel_size for layer in network if isinstance(layer, nn.Conv3d)]
    assert kernels == [(3, 3, 3)] * 8
    found = network(torch.rand(2, 1, 8, 9, 10))
    assert found.shape == (2, 5, 8, 9, 10)
    torch.testing.assert_close(found.flatten(2).norm(dim=2), torch.ones(2, 5))
    torch.testing.assert_close(found.flatten(2).mean(2), torch.zeros(2, 5), atol=1e-5, rtol=0)


def test_the_loss_is_that_of_the_paper():
    first, second = (nn.functional.normalize(torch.randn(1, 3, 27), dim=2).view(1, 3, 3, 3, 3) for _ in range(2))
    t = Temperatures(alpha=0.7, beta=0.5, gamma=0.3)
    a, b = first[0].flatten(1), second[0].flatten(1)
    above = sum(torch.exp(a[c] @ b[c] / t.alpha) for c in range(3))
    below = sum(torch.exp(a[c] @ b[c] / t.beta) for c in range(3))
    below = below + sum(torch.exp(a[c] @ a[d] / t.gamma) for c in range(3) for d in range(3) if c != d)
    torch.testing.assert_close(channel_contrast(first, second, t), -torch.log(above / below))


def test_it_rewards_agreement_between_contrasts_and_difference_between_channels():
    good = features([1, 0, 0, 0], [0, 1, 0, 0])
    other_contrast = features([0, 0, 1, 0], [0, 0, 0, 1])
    alike = features([1, 0, 0, 0], [1, 0, 0, 0])
    t = Temperatures()
    assert channel_contrast(good, good, t) < channel_contrast(good, other_contrast, t)
    assert channel_contrast(good, good, t) < channel_contrast(alike, alike, t)


@pytest.mark.parametrize("gamma", [1.0, 0.1, 0.01])
def test_low_temperatures_do_not_overflow(gamma):
    alike = features([1, 0], [1, 0])
    assert torch.isfinite(channel_contrast(alike, alike, Temperatures(gamma=gamma)))


def test_inner_products_leave_a_channel_with_itself_out():
    agreement, likeness = inner_products(features([1, 0], [0, 1], [1, 1]), features([1, 0], [1, 0], [1, 1]))
    torch.testing.assert_close(agreement, torch.tensor([[1.0, 0, 1]]))
    half = 0.5**0.5
    torch.testing.assert_close(likeness, torch.tensor([[0, half, 0, half, half, half]]))


def test_training_lowers_the_loss_and_tells_channels_apart():
    torch.manual_seed(0)
    network, settings = PaperCifl(4, 8), ContrastSettings(similar_fraction=0)
    first, second = contrast_views(0, 0, 2, 12, settings)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    likeness = [inner_products(network(first), network(second))[1].abs().mean().item()]
    losses = []
    for _ in range(30):
        loss = channel_contrast(network(first), network(second), Temperatures())
        losses.append(loss.item())
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    likeness.append(inner_products(network(first), network(second))[1].abs().mean().item())
    assert losses[-1] < losses[0] - 0.5
    assert likeness[1] < likeness[0] - 0.2


def test_views_show_the_same_shapes_in_other_contrasts_and_can_be_drawn_again():
    settings = ContrastSettings(similar_fraction=0, distractors=0)
    first, second = contrast_views(3, 1, 2, 16, settings)
    assert not torch.allclose(first, second, atol=0.1)
    assert torch.equal(contrast_views(3, 1, 2, 16, settings)[0], first)
    assert not torch.equal(contrast_views(3, 2, 2, 16, settings)[0], first)
