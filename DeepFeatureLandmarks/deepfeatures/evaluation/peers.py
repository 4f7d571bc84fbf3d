"""What a user would pick instead: registration of the volumes, which carries the landmarks along."""

from __future__ import annotations

import numpy as np

from deepfeatures.landmarks import LandmarkSet
from deepfeatures.volume import Volume

TRANSFORMS = {"ants-affine": "Affine", "ants-syn": "SyN"}


def ants_positions(method: str, template: Volume, landmarks: LandmarkSet, target: Volume) -> np.ndarray:
    """The landmarks carried by a registration of antspyx with its defaults: LPS mm, shape `(L, 3)`.

    Args:
        method: A key of `TRANSFORMS`.
        template: Where the landmarks lie.
        landmarks: NaN rows come back for those without a position.
        target: Where they are wanted.
    """
    import ants
    import pandas as pd

    registration = ants.registration(_image(template), _image(target), TRANSFORMS[method])
    positions = landmarks.positions
    defined = np.isfinite(positions).all(axis=1)
    points = pd.DataFrame(positions[defined], columns=list("xyz"))
    # ITK carries points from the fixed to the moving volume by what carries pixels the other way
    moved = ants.apply_transforms_to_points(3, points, registration["fwdtransforms"])
    positions[defined] = moved[list("xyz")].to_numpy()
    return positions


def _image(volume: Volume):
    import ants

    voxels = volume.voxels.numpy().transpose(2, 1, 0)  # antspyx has (x, y, z)
    spacing, origin = volume.spacing.tolist(), volume.origin.tolist()
    return ants.from_numpy(np.ascontiguousarray(voxels), origin, spacing, volume.direction)
