"""Patch individual filters: what each patch computes, how patches overlap, and what only they can learn."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from deepfeatures.errors import InputError
from deepfeatures.networks.patch_individual_filters import PatchGrid, PatchIndividualFilters


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def patch_by_patch(layer: PatchIndividualFilters, maps: torch.Tensor) -> torch.Tensor:
    """What a layer of one set of patches, padded, must compute: a plain convolution in each patch by itself."""
    convolution, patch = layer.sets[0][0], layer.grids[0].patch
    padding = [edge for size, p in zip(maps.shape[:1:-1], patch[::-1], strict=True) for edge in (0, -size % p)]
    padded = F.pad(maps, padding)
    channels = convolution.out_channels // layer.grids[0].count
    found, number = torch.zeros(len(maps), channels, *padded.shape[2:], dtype=maps.dtype), 0
    for z in range(0, padded.shape[2], patch[0]):
        for y in range(0, padded.shape[3], patch[1]):
            for x in range(0, padded.shape[4], patch[2]):
                place = (..., slice(z, z + patch[0]), slice(y, y + patch[1]), slice(x, x + patch[2]))
                own = slice(number * channels, (number + 1) * channels)
                found[place] = F.conv3d(
                    padded[place],
                    convolution.weight[own],
                    convolution.bias[own],
                    padding=convolution.kernel_size[0] // 2,
                )
                number += 1
    return found[..., : maps.shape[2], : maps.shape[3], : maps.shape[4]]


@pytest.mark.parametrize(("size", "patch"), [((6, 8, 4), (3, 4, 2)), ((7, 9, 5), (3, 4, 2)), ((2, 11, 5), (5, 5, 5))])
def test_each_patch_is_a_plain_convolution_of_its_own(size, patch):
    layer = PatchIndividualFilters(3, 4, size, patch_size=patch).double()
    maps = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(layer(maps), patch_by_patch(layer, maps))


def test_one_patch_over_the_whole_is_a_plain_convolution():
    layer = PatchIndividualFilters(2, 3, (5, 6, 7), patch_size=(5, 6, 7))
    maps = torch.randn(2, 2, 5, 6, 7)
    torch.testing.assert_close(layer(maps), layer.sets[0][0](maps))


def test_local_convolution_is_the_case_of_patches_as_large_as_the_kernel():
    """Against Keras' `LocallyConnected`, written out: windows side by side, each with weights of its own."""
    layer = PatchIndividualFilters(2, 5, (6, 9, 3), patch_size=3, kernel_size=3, padding="valid").double()
    maps = torch.randn(4, 2, 6, 9, 3, dtype=torch.float64)
    windows = maps.unfold(2, 3, 3).unfold(3, 3, 3).unfold(4, 3, 3)  # (N, C, 2, 3, 1, 3, 3, 3)
    weights = layer.sets[0][0].weight.reshape(2, 3, 1, 5, 2, 3, 3, 3)
    expected = torch.einsum("ncabdxyz,abdocxyz->noabd", windows, weights)
    expected += layer.sets[0][0].bias.reshape(2, 3, 1, 5).movedim(-1, 0)
    torch.testing.assert_close(layer(maps), expected)


def test_unpadded_patches_give_what_is_centred_within_the_maps():
    layer = PatchIndividualFilters(1, 1, (5, 5, 7), patch_size=5, padding="valid")
    assert layer(torch.randn(1, 1, 5, 5, 7)).shape == (
        1,
        1,
        3,
        3,
        4,
    )  # of the second patch 5 and 6 are there: one centre


@pytest.mark.parametrize("shift", [(0, 0, 0), (2, 1, 2)])
def test_patches_are_reassembled_as_they_were_split(shift):
    grid = PatchGrid((7, 4, 11), (5, 3, 4), shift)
    maps = torch.randn(2, 3, 7, 4, 11)
    assert grid.split(maps).shape == (2, grid.count * 3, 5, 3, 4)
    assert torch.equal(grid.reassemble(grid.split(maps)), maps)


@pytest.mark.parametrize("edge", [4, 5])
def test_borders_of_the_first_set_lie_in_the_middle_of_patches_of_the_second(edge):
    layer = PatchIndividualFilters(1, 1, (20, 20, 20), patch_size=edge, overlap=True)
    first, second = ({shift_of(grid) + edge * k for k in range(grid.counts[0])} for grid in layer.grids)
    inner = {border for border in first if 0 < border < 20}
    assert inner and not first & second
    assert all(any(start + edge // 2 == border for start in second) for border in inner)


def shift_of(grid: PatchGrid) -> int:
    assert len(set(grid.shift)) == 1
    return -grid.shift[0]


def test_sets_that_overlap_are_averaged_and_the_second_sees_across_the_borders_of_the_first():
    layer = PatchIndividualFilters(1, 1, (8, 8, 8), patch_size=4, overlap=True)
    grids = layer.grids
    maps = torch.randn(1, 1, 8, 8, 8)
    sets = [grid.reassemble(one(grid.split(maps))) for grid, one in zip(grids, layer.sets, strict=True)]
    torch.testing.assert_close(layer(maps), (sets[0] + sets[1]) / 2)
    changed = maps.clone()
    changed[..., 4, 4, 4] += 1  # one step beyond the corner at which eight patches of the first set meet
    moved = [
        grid.reassemble(one(grid.split(changed)))[0, 0, 3, 3, 3] - before[0, 0, 3, 3, 3]
        for grid, one, before in zip(grids, layer.sets, sets, strict=True)
    ]
    assert moved[0] == 0
    assert moved[1] != 0


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("block", [False, True])
def test_gradients_are_right(overlap, block):
    layer = PatchIndividualFilters(2, 2, (3, 4, 5), patch_size=2, overlap=overlap, block=block).double()
    maps = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (maps,), fast_mode=True)
    weights = {name: value.detach().clone().requires_grad_() for name, value in layer.named_parameters()}

    def of_weights(*values):
        return torch.func.functional_call(layer, dict(zip(weights, values, strict=True)), (maps.detach(),))

    assert torch.autograd.gradcheck(of_weights, tuple(weights.values()), fast_mode=True)


def test_what_one_patch_shows_does_not_reach_the_filters_of_others():
    layer = PatchIndividualFilters(2, 3, (6, 6, 6), patch_size=3, block=True)
    found = layer(torch.randn(4, 2, 6, 6, 6))
    found[..., :3, 3:, :3].square().sum().backward()  # the patch with number 2
    for parameter in layer.parameters():
        reached = parameter.grad.reshape(8, -1).abs().amax(1) > 0
        assert reached.tolist() == [number == 2 for number in range(8)]


def test_weights_are_kept_in_a_file(tmp_path):
    arguments = {"size": (5, 6, 7), "patch_size": 3, "overlap": True, "block": True}
    layer = PatchIndividualFilters(2, 3, **arguments)
    maps = torch.randn(3, 2, 5, 6, 7)
    layer(maps)  # moves the statistics
    save_file(layer.state_dict(), tmp_path / "layer.safetensors")
    again = PatchIndividualFilters(2, 3, **arguments)
    again.load_state_dict(load_file(tmp_path / "layer.safetensors"))
    assert torch.equal(again.eval()(maps), layer.eval()(maps))


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ({"patch_size": 0}, "three sizes above 0"),
        ({"patch_size": (3, 3)}, "three sizes above 0"),
        ({"patch_size": 2, "padding": "valid"}, "kernel of 3 does not fit"),
        ({"patch_size": 3, "padding": "valid", "overlap": True}, "choose padding 'same'"),
        ({"patch_size": 3, "padding": "reflect"}, "no padding 'reflect'"),
        ({"patch_size": (1, 4, 4), "overlap": True}, "half a patch earlier"),
    ],
)
def test_what_cannot_be_laid_out_is_refused(arguments, cause):
    with pytest.raises(InputError, match=cause):
        PatchIndividualFilters(1, 1, (6, 6, 6), **arguments)


def test_maps_of_another_size_are_refused():
    layer = PatchIndividualFilters(1, 1, (6, 6, 6), patch_size=3)
    with pytest.raises(InputError, match=r"\(6, 6, 5\), and the patches were laid out for \(6, 6, 6\)"):
        layer(torch.zeros(1, 1, 6, 6, 5))
