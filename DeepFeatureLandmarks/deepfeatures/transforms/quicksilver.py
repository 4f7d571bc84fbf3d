"""Quicksilver: the deformation between two images, predicted by networks instead of searched for.

A first network predicts the momentum from template and target. A second one sees the target through the mapping that
follows, and predicts what to add. Predictions with some features left out at random tell how sure the networks are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from deepfeatures.data.intensity import HALF_RANGE, scale_percentiles
from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.networks import weights
from deepfeatures.networks.momentum import MomentumNetwork, predict_momentum
from deepfeatures.transforms.grid import Grid
from deepfeatures.transforms.lddmm import Kernel, KernelSettings, shoot, warped
from deepfeatures.transforms.lddmm_fit import push
from deepfeatures.transforms.lddmm_transform import LddmmTransform
from deepfeatures.transforms.samplers import sample
from deepfeatures.transforms.transform import Transform

WEIGHT_KEY = "quicksilver"
SPACING_MM = 2.0
MARGIN_MM = 8.0  # around the template, in which deformations fade


@dataclass(frozen=True, eq=False)
class PosedPair:
    """Two images on one grid: the template with a margin around it, and the target seen through the pose.

    Args:
        template: Intensities from -1 to 1 on cubic voxels, its axes along L, P and S.
        target: The same of the target, `(D, H, W)`; beyond its border it goes on as there.
        inside: Voxels that both volumes show.
        pose: Template points to target points.
    """

    template: Volume
    target: torch.Tensor
    inside: torch.Tensor
    pose: Transform

    @classmethod
    def of(cls, template: Volume, target: Volume, pose: Transform, spacing_mm: float = SPACING_MM) -> PosedPair:
        """Two volumes, resampled.

        Raises:
            InputError: One of them holds voxels that are not finite.
        """
        for volume in (template, target):
            volume.require_finite()
        inner, source = (volume.canonical().resampled(spacing_mm) for volume in (template, target))
        margin = round(MARGIN_MM / spacing_mm)
        voxels = F.pad(_scaled(inner.voxels)[None, None], (margin,) * 6, mode="replicate")[0, 0]
        grid = replace(inner, voxels=voxels, origin=inner.to_world(np.full((1, 3), -float(margin)))[0])
        centres = Grid.of(grid).points()
        places = pose(centres)
        seen = sample(_scaled(source.voxels)[None], torch.from_numpy(source.to_index(places)).float())[:, 0]
        inside = torch.from_numpy(template.contains(centres) & target.contains(places))
        return cls(grid, seen.reshape(voxels.shape), inside.reshape(voxels.shape), pose)

    def kernel(self, settings: KernelSettings | None = None) -> Kernel:
        """That of the grid."""
        return Kernel(self.target.shape, float(self.template.spacing[0]), settings or KernelSettings(), self.target)

    def transform(self, velocities: torch.Tensor) -> Transform:
        """Template points to target points: the flow, then the pose."""
        return LddmmTransform(velocities, Grid.of(self.template)).then(self.pose)


@dataclass(frozen=True, eq=False)
class Deformation:
    """What was predicted.

    Args:
        momentum: In voxels, `(3, D, H, W)`.
        transform: Template points to target points.
        others: The same by networks that left out features at random.
    """

    momentum: torch.Tensor
    transform: Transform
    others: tuple[Transform, ...] = ()

    def spread_mm(self, points: np.ndarray) -> np.ndarray:
        """How far the other predictions scatter at template points `(N, 3)`: standard deviations in mm, `(N,)`."""
        places = np.stack([transform(points) for transform in self.others])
        return np.sqrt(((places - places.mean(0)) ** 2).sum(2).mean(0))


@dataclass(frozen=True, eq=False)
class Quicksilver:
    """The two networks.

    Args:
        prediction: Of the momentum.
        correction: Of what to add to it; `None` for no second look.

    Example:
        >>> pair = PosedPair.of(template, target, pose)
        >>> deformation = Quicksilver.shipped().register(pair)
        >>> deformation.transform(landmarks.positions)
    """

    prediction: MomentumNetwork
    correction: MomentumNetwork | None = None

    @classmethod
    def shipped(cls) -> Quicksilver:
        """With the weights that come with the package."""
        return cls.of(weights.load(WEIGHT_KEY))

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor]) -> Quicksilver:
        """With weights as `deepfeatures train quicksilver` leaves them.

        Raises:
            InputError: They are of another network.
        """
        return cls(*(_network(tensors, part) for part in ("prediction", "correction")))

    def register(self, pair: PosedPair, samples: int = 0) -> Deformation:
        """Predict the deformation of a pair.

        Args:
            pair: On voxels as large as those that the networks learnt from.
            samples: Other predictions, from which the spread follows.
        """
        momentum, transform = self._predicted(pair)
        self._draw_dropout(True)
        others = tuple(self._predicted(pair)[1] for _ in range(samples))
        self._draw_dropout(False)
        return Deformation(momentum, transform, others)

    def _predicted(self, pair: PosedPair) -> tuple[torch.Tensor, Transform]:
        template, kernel = pair.template.voxels, pair.kernel()
        momentum = predict_momentum(self.prediction, template, pair.target, push(template, pair.target, kernel))
        if self.correction is not None:
            seen = warped(pair.target, shoot(momentum, kernel))
            momentum = momentum + predict_momentum(self.correction, template, seen, push(template, seen, kernel))
        return momentum, pair.transform(shoot(momentum, kernel))

    def _draw_dropout(self, drawn: bool) -> None:
        for network in (self.prediction, self.correction):
            if network is not None:
                network.draw_dropout(drawn)


def _scaled(voxels: torch.Tensor) -> torch.Tensor:
    return scale_percentiles(voxels) / HALF_RANGE


def _network(tensors: Mapping[str, torch.Tensor], part: str) -> MomentumNetwork:
    own = {key.removeprefix(f"{part}."): value.float() for key, value in tensors.items() if key.startswith(part)}
    try:
        network = MomentumNetwork(len(own["template_encoder.0.bias"]))
        network.load_state_dict(own)
    except (KeyError, RuntimeError) as error:
        raise InputError(
            "These are no weights of Quicksilver; give a file that `deepfeatures train quicksilver` wrote."
        ) from error
    return network.eval().requires_grad_(False)
