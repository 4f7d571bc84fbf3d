"""Metal, Apple's GPU, has no float64 and not all of linear algebra: a tensor that refuses these stands in for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepfeatures.data.volume import Volume
from deepfeatures.matching.geometry.block_matching import ball
from deepfeatures.matching.geometry.displacement_field import ScatteredDisplacements
from deepfeatures.matching.geometry.pyramid import Image
from deepfeatures.matching.geometry.robust_affine import robust_affine
from deepfeatures.matching.uncertainty.covariates import NAMES, LevelMatch, covariates
from deepfeatures.training.random_deformations import rotations

LACKING = (torch.linalg.svdvals, torch.linalg.eigvalsh, torch.linalg.matrix_exp)  # no MPS in native_functions.yaml


class OnMetal(torch.Tensor):
    """Says that it is on the CPU, and yet has to be brought there."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.cpu:
            with torch._C.DisableTorchFunctionSubclass():
                return args[0].as_subclass(torch.Tensor)
        found = super().__torch_function__(func, types, args, kwargs)
        if func in LACKING or getattr(found, "dtype", None) == torch.float64:
            raise TypeError(f"Metal lacks {func}")
        return found


def on_metal(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(len(shape))).as_subclass(OnMetal)


def test_the_stand_in_refuses_what_metal_lacks():
    for refused in (torch.Tensor.double, torch.linalg.eigvalsh):
        with pytest.raises(TypeError, match="Metal lacks"):
            refused(on_metal(3, 3))


def test_positions_come_back_to_the_world():
    scan = Image(Volume(torch.zeros(4, 5, 6), spacing=np.array([2.0, 1.0, 3.0])), torch.zeros(4, 5, 6))
    points = on_metal(7, 3)
    np.testing.assert_allclose(scan.to_world(points), np.asarray(points.cpu()), atol=1e-6)


def test_matches_agree_on_a_transform():
    points = on_metal(30, 3)
    found, residuals = robust_affine(points, points * 2 + 1, torch.ones(30))
    torch.testing.assert_close(
        found[:3].cpu(), torch.tensor([[2.0, 0, 0, 1], [0, 2, 0, 1], [0, 0, 2, 1]]), atol=1e-3, rtol=0
    )
    assert residuals.max() < 1e-3


def test_evidence_is_gathered():
    here, numbers = 5 + on_metal(6, 3), on_metal(6)
    features = on_metal(4, 12, 12, 12)
    patch = ball(2, 1).as_subclass(OnMetal)
    settled = LevelMatch(
        template=features[0],
        template_features=features,
        target_features=features,
        covered=torch.ones(12, 12, 12).as_subclass(OnMetal),
        points=here,
        matched=here,
        blocks=on_metal(6, len(patch), 4),
        patch=patch,
        weights=torch.ones(len(patch)).as_subclass(OnMetal),
        distances=numbers,
        posterior_std=numbers,
        neighbour_residual=numbers,
        inverse_consistency=numbers,
        displacements=ScatteredDisplacements(here, on_metal(6, 3), numbers, 4.0),
        pose=torch.eye(4).as_subclass(OnMetal),
        contrast=0.5,
        consistent_share=0.5,
        coarseness=1.0,
    )
    assert covariates(settled).shape == (6, len(NAMES))


def test_views_are_turned():
    turns = rotations(90 * on_metal(5, 3)).cpu()
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3).expand(5, 3, 3), atol=1e-5, rtol=0)
