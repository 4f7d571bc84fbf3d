"""One frame for both volumes: what a lattice of the template shows of a scan, and how scans are smoothed for it."""

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import given, settings
from scipy.ndimage import gaussian_filter1d

from deepfeatures.data.volume import Volume
from deepfeatures.matching.geometry import sampling
from deepfeatures.matching.geometry.displacement_field import DisplacementField
from deepfeatures.matching.geometry.pyramid import Image, ImagePyramid, SamplingGrid
from deepfeatures.matching.geometry.sampling import apply_affine, smooth
from deepfeatures.transforms.samplers import sample, voxel_coordinates

SIZES = st.tuples(*[st.integers(1, 14)] * 3)
FEW = {"max_examples": 30, "deadline": None}


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def scan_of(spacing: tuple[float, float, float], voxels: torch.Tensor) -> Image:
    return Image(Volume(voxels, spacing=np.array(spacing)), voxels)


@settings(**FEW)
@given(SIZES, SIZES, st.tuples(*[st.floats(1.0, 3.0)] * 3), st.integers(0, 1000), st.booleans())
def test_a_view_is_the_scan_at_bent_and_posed_places(size, shown, spacing, seed, is_bent):
    scan = scan_of(spacing, drawn(seed, *size))
    on = SamplingGrid(1.0, torch.tensor([-2.0, 1.0, 0.5]), shown)
    pose = torch.eye(4)
    pose[:3] += 0.3 * drawn(seed + 1, 3, 4) - 0.15
    bend = DisplacementField(4 * drawn(seed + 2, 3, *shown) - 2) if is_bent else None
    view, covered = ImagePyramid(scan).resample(on, pose, bend)
    voxels = voxel_coordinates(shown) + (bend.vectors.movedim(0, -1) if is_bent else 0)
    places = apply_affine(pose, on.to_mm(voxels))
    assert torch.allclose(view, sample(scan.voxels[None], places / scan.spacing)[..., 0], atol=1e-4)
    beyond = scan.covers(places, 1e-3) != scan.covers(places, -1e-3)  # so near the edge that rounding decides
    assert torch.equal(covered | beyond, scan.covers(places) | beyond)


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.floats(0.5, 2.0)] * 3), st.sampled_from([1.0, 2.0, 4.0]))
def test_every_level_sees_the_same_millimetres(spacing, level):
    """A ramp of millimetres reads the same on every lattice, whatever the voxels' edges: no half voxel is lost."""
    spacing = np.array(spacing)
    x = torch.arange(64).float() * float(spacing[0])
    scan = Image(Volume(torch.zeros(8, 8, 64), spacing=spacing), x.expand(8, 8, 64).contiguous())
    on = SamplingGrid.around(scan, level * float(spacing.max()))
    view, _ = ImagePyramid(scan).resample(on)
    middle = [n // 2 for n in on.shape]
    place = on.to_mm(torch.tensor([float(middle[2]), float(middle[1]), float(middle[0])]))
    assert abs(float(view[tuple(middle)]) - float(place[0])) < 0.02 * float(spacing[0])


@settings(**FEW)
@given(SIZES, st.tuples(*[st.sampled_from([0.0, 0.4, 1.0, 1.7])] * 3), st.integers(0, 1000), st.integers(1, 200))
def test_smoothing_in_parts_is_a_gaussian_along_each_axis(size, sigmas, seed, in_cache):
    image, kept = drawn(seed, 2, *size), sampling.IN_CACHE
    expected = image.double().numpy()
    for axis, sigma in zip((3, 2, 1), sigmas, strict=True):
        if sigma:
            radius = max(1, int(np.ceil(2.5 * sigma)))
            expected = gaussian_filter1d(expected, sigma, axis=axis, mode="nearest", radius=radius)
    sampling.IN_CACHE = in_cache
    try:
        assert np.allclose(smooth(image, sigmas).numpy(), expected, atol=1e-5)
    finally:
        sampling.IN_CACHE = kept
