"""Repeats: translations by which the template's anatomy resembles itself, as a spine, ribs or teeth do.

Where anatomy repeats, a pose that is one repeat off looks nearly right around the landmarks. Other anatomy in view
tells which it is, see `hypotheses`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from deepfeatures.matching.geometry.pyramid import Encode, ImagePyramid, SamplingGrid
from deepfeatures.matching.pose.rotations import structured
from deepfeatures.matching.pose.translation_correlation import correlate_all_translations
from deepfeatures.transforms.samplers import voxel_coordinates

LEAST_SIMILARITY = 0.25  # of the anatomy around the landmarks to what lies one repeat away; brains have 0.17 at most
LEAST_SHARE = 0.5  # of that anatomy, for which the template shows what lies one repeat away
ENTRIES = 4 << 20  # of a table of voxels and landmarks that is held at a time
APART = 2  # voxels around a repeat in which there is no other
MOST = 6


def repeat_lags(
    template: ImagePyramid, encode: Encode, landmarks: torch.Tensor, near_mm: float, spacing: float
) -> torch.Tensor:
    """Translations by which what lies around the landmarks resembles something else in the template.

    Args:
        encode: Features by which voxels are compared.
        landmarks: In template millimetres, `(N, 3)`.
        near_mm: What lies nearer to a landmark counts.
        spacing: On which it is compared, mm.

    Returns:
        Template millimetres, `(n, 3)`, the most similar first; none where the anatomy does not repeat.
    """
    grid = SamplingGrid.around(template.image, spacing)
    features, edges = template.cached(grid, encode), template.cached(grid, structured).float()
    places = grid.to_mm(voxel_coordinates(grid.shape, edges.device).reshape(-1, 3))
    parts = places.split(max(1, ENTRIES // len(landmarks)))
    near = edges * (torch.cat([torch.cdist(part, landmarks).amin(1) for part in parts]) < near_mm).reshape(grid.shape)
    fits, overlap = correlate_all_translations(features, near, features, edges)
    similarity = torch.fft.fftshift(torch.where(overlap > LEAST_SHARE * near.sum().clamp(min=1), fits, -1.0))
    peaks = F.max_pool3d(similarity[None, None], 2 * APART + 1, 1, APART)[0, 0]
    middle = torch.tensor([size // 2 for size in similarity.shape], device=edges.device)
    found = ((similarity == peaks) & (similarity > LEAST_SIMILARITY)).nonzero()
    found = found[(found - middle).abs().amax(1) > APART]
    order = similarity[tuple(found.T)].argsort(descending=True)[:MOST]
    return (found[order] - middle).flip(1) * spacing
