"""Baselines: registration of the volumes by other packages, whose transform carries the landmarks along.

All run with the defaults of their makers; what else they must be given is said beside it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.data.volume import Volume

TRANSFORMS = {"ants-affine": "Affine", "ants-syn": "SyN"}


def ants_positions(method: str, template: Volume, landmarks: LandmarkSet, target: Volume) -> np.ndarray:
    """The landmarks carried by a registration of antspyx: LPS mm, shape `(L, 3)`.

    Args:
        method: A key of `TRANSFORMS`.
        template: Where the landmarks lie.
        landmarks: NaN rows come back for those without a position.
        target: Where they are wanted.
    """
    import ants
    import pandas as pd

    registration = ants.registration(_ants_image(template), _ants_image(target), TRANSFORMS[method])

    def carry(points: np.ndarray) -> np.ndarray:
        table = pd.DataFrame(points, columns=list("xyz"))
        # ITK carries points from the fixed to the moving volume by what carries pixels the other way
        return ants.apply_transforms_to_points(3, table, registration["fwdtransforms"])[list("xyz")].to_numpy()

    return _carried(landmarks, carry)


def elastix_positions(template: Volume, landmarks: LandmarkSet, target: Volume) -> np.ndarray:
    """As `ants_positions`, of itk-elastix: its affine, then its B-spline parameters, from aligned centres."""
    import itk

    settings = itk.ParameterObject.New()
    for name in ("affine", "bspline"):
        settings.AddParameterMap(settings.GetDefaultParameterMap(name))
    settings.SetParameter(0, "AutomaticTransformInitialization", ["true"])
    settings.SetParameter(0, "AutomaticTransformInitializationMethod", ["GeometricalCenter"])
    moving = _itk_image(target)
    _, transform = itk.elastix_registration_method(
        _itk_image(template), moving, parameter_object=settings, log_to_console=False, number_of_threads=1
    )  # one thread: with two it has crashed

    def carry(points: np.ndarray) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            given, found = Path(folder) / "points.txt", Path(folder) / "outputpoints.txt"
            rows = "\n".join(" ".join(map(repr, row)) for row in points.tolist())
            given.write_text(f"point\n{len(points)}\n{rows}\n", encoding="ascii")
            itk.transformix_filter(
                moving,
                transform_parameter_object=transform,
                fixed_point_set_file_name=str(given),
                output_directory=folder,
                log_to_console=False,
            )
            text = found.read_text(encoding="ascii")
        return np.array([row.split() for row in re.findall(r"OutputPoint = \[([^\]]*)\]", text)], float)

    return _carried(landmarks, carry)


def convexadam_positions(template: Volume, landmarks: LandmarkSet, target: Volume) -> np.ndarray:
    """As `ants_positions`, of convexAdam with MIND features.

    It wants both volumes on one grid and corrects no pose: the target is resampled to the template's grid, the volumes'
    centres in one place, its border repeated beyond.
    """
    import torch
    from convexAdam.convex_adam_MIND import convex_adam_pt

    fixed, whole = template.canonical(), target.canonical()
    shift = target.centre - template.centre
    axes = [torch.arange(n, dtype=torch.float64) for n in fixed.voxels.shape]
    indices = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3).numpy()[:, ::-1]
    at = whole.to_index(fixed.to_world(indices) + shift)[:, ::-1].T.copy()
    moving = _sampled(whole.voxels.numpy(), at).reshape(tuple(fixed.voxels.shape))
    displaced = convex_adam_pt(
        fixed.voxels, torch.from_numpy(moving), dtype=torch.float32, device=torch.device("cpu")
    )  # voxels along depth, height and width, shape (d, h, w, 3)

    def carry(points: np.ndarray) -> np.ndarray:
        index = fixed.to_index(points)
        by_axis = [_sampled(displaced[..., axis], index[:, ::-1].T) for axis in (2, 1, 0)]
        return fixed.to_world(index + np.stack(by_axis, 1)) + shift

    return _carried(landmarks, carry)


def _carried(landmarks: LandmarkSet, carry: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    positions = landmarks.positions
    defined = np.isfinite(positions).all(axis=1)
    positions[defined] = carry(positions[defined])
    return positions


def _sampled(voxels: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Linear interpolation at indices (depth, height, width), shape `(3, N)`."""
    from scipy.ndimage import map_coordinates

    return map_coordinates(voxels, indices, order=1, mode="nearest")


def _ants_image(volume: Volume):
    import ants

    voxels = volume.voxels.numpy().transpose(2, 1, 0)  # antspyx has (x, y, z)
    spacing, origin = volume.spacing.tolist(), volume.origin.tolist()
    return ants.from_numpy(np.ascontiguousarray(voxels), origin, spacing, volume.direction)


def _itk_image(volume: Volume):
    import itk

    image = itk.image_from_array(np.ascontiguousarray(volume.voxels.numpy(), dtype=np.float32))
    image.SetOrigin(volume.origin.tolist())
    image.SetSpacing(volume.spacing.tolist())
    image.SetDirection(np.ascontiguousarray(volume.direction, dtype=float))
    return image


@dataclass(frozen=True)
class Baseline:
    """A method of another package.

    Args:
        package: Its name for pip.
        place: Takes template, landmarks and target; returns LPS mm, shape `(L, 3)`.
    """

    package: str
    place: Callable[[Volume, LandmarkSet, Volume], np.ndarray]


BASELINES = {
    **{method: Baseline("antspyx", partial(ants_positions, method)) for method in TRANSFORMS},
    "elastix": Baseline("itk-elastix", elastix_positions),  # in the module itk, which may be there without it
    "convexadam": Baseline("convexAdam", convexadam_positions),
}
