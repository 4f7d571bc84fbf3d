"""Fits of other libraries to paired points, each as a function of points.

All of antspyx and libcpab are given what is left after our affine part, as our own elastic kinds are: without it they
are worse, since the volumes' origins differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from deepfeatures.data.volume import Volume
from deepfeatures.transforms.linear import LinearTransform, fit_affine

CELLS = 3  # of libcpab along each axis; its basis of more takes minutes to hours
ROUNDS = 60  # of L-BFGS for libcpab
MARGIN = 0.15  # around the points, of their longest extent


@dataclass(frozen=True, eq=False)
class AntsFit:
    """A transform of antspyx in the template, and the affine one after it."""

    transform: object
    linear: LinearTransform

    def __call__(self, points: np.ndarray) -> np.ndarray:
        import ants

        return self.linear(np.array([ants.apply_ants_transform_to_point(self.transform, one) for one in points]))

    def warp(self, volume: Volume, like: Volume) -> object:
        """The volume on a grid, by antspyx."""
        import ants

        linear = ants.create_ants_transform(
            transform_type="AffineTransform",
            precision="float",
            dimension=3,
            matrix=self.linear.matrix[:3, :3],
            offset=self.linear.matrix[:3, 3],
        )
        both = ants.compose_ants_transforms([linear, self.transform])
        return ants.apply_ants_transform_to_image(both, ants_image(volume), ants_image(like))


def by_ants(kind: str) -> Callable[[np.ndarray, np.ndarray, Volume], AntsFit]:
    def fit(points: np.ndarray, targets: np.ndarray, template: Volume) -> AntsFit:
        import ants

        linear, before = without_affine(points, targets)
        found = ants.fit_transform_to_paired_points(
            before, points, transform_type=kind, domain_image=ants_image(template)
        )
        return AntsFit(found, linear)

    return fit


def by_libcpab(points: np.ndarray, targets: np.ndarray, template: Volume) -> Callable[[np.ndarray], np.ndarray]:
    """Least squares by L-BFGS in the box around the points."""
    from libcpab import Cpab

    linear, before = without_affine(points, targets)
    both = np.concatenate([points, before])
    margin = MARGIN * np.ptp(both, axis=0).max()
    low, edge = both.min(0) - margin, np.ptp(both, axis=0) + 2 * margin
    layer = Cpab([CELLS] * 3, device="cpu", zero_boundary=True)
    places, wanted = (torch.from_numpy(((one - low) / edge).T).float() for one in (points, before))
    # Its gradient at 0 is not a number.
    theta = (1e-4 * torch.ones(1, layer.get_theta_dim())).requires_grad_()
    optimiser = torch.optim.LBFGS([theta], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def cost() -> torch.Tensor:
        optimiser.zero_grad()
        missed = (layer.transform_grid(places, theta)[0] - wanted) * torch.from_numpy(edge).float()[:, None]
        total = missed.square().mean()
        total.backward()
        return total

    optimiser.step(cost)

    def moved(places: np.ndarray) -> np.ndarray:
        unit = torch.from_numpy(((places - low) / edge).T).float()
        with torch.no_grad():
            return linear(layer.transform_grid(unit, theta)[0].T.double().numpy() * edge + low)

    return moved


def without_affine(points: np.ndarray, targets: np.ndarray) -> tuple[LinearTransform, np.ndarray]:
    """The affine part, and the targets before it."""
    linear = fit_affine(points, targets, np.ones(len(points)))
    return linear, linear.inverted()(targets)


def ants_image(volume: Volume) -> object:
    import ants

    return ants.from_numpy(
        volume.voxels.numpy().T.astype(np.float32),
        origin=list(map(float, volume.origin)),
        spacing=list(map(float, volume.spacing)),
        direction=np.asarray(volume.direction, float),
    )


PEERS = {f"ants-{kind}": by_ants(kind) for kind in ("tps", "bspline", "diffeo")} | {"libcpab": by_libcpab}
