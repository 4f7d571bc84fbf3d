"""Landmarks learnt from annotated scans that are normalised to a template: patch individual filters and heat maps."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from deepfeatures.errors import InputError
from deepfeatures.matching.devices import device_name
from deepfeatures.networks.landmark_regressor import LandmarkRegressor, RegressorPlan
from deepfeatures.training.distributed import Process
from deepfeatures.training.noise import Random
from deepfeatures.training.trainer import RunSettings, Trainer, autocast

NETWORK = "landmark-regressor"
HELD_OUT = 5  # one person in so many
FEWEST_PEOPLE = 3


@dataclass(frozen=True)
class RegressionSettings(RunSettings):
    """A training run. Scans are neither shifted nor turned: their places are what is learnt from.

    Args:
        steps: Length of the run at most.
        patience: Measurements in a row without a better one, after which the run ends.
        batch: Scans a step, shared evenly by processes that train together.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        spacing_mm: Edge of the voxels to which scans are resampled.
        radius_mm: Around the template's landmark, within which one is looked for.
        spread_mm: Standard deviation of the heat map that is wanted around the truth.
        width: Channels of the model.
        patch_size: Edge of the patches with filters of their own, in entries of the heat maps (two voxels each); 0 for
            filters that all places share.
        overlap: Whether a second set of patches is shifted by half a patch.
    """

    validate_every: int = 25
    steps: int = 2000
    patience: int = 8
    batch: int = 8
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    spacing_mm: float = 1.0
    radius_mm: float = 8.0
    spread_mm: float = 2.0
    width: int = 16
    patch_size: int = 5
    overlap: bool = False

    def plan(self, size: Sequence[int], points: np.ndarray) -> RegressorPlan:
        """What the model is built from.

        Args:
            size: Of the normalised scans, `(depth, height, width)`.
            points: The template's landmarks, `(x, y, z)` in their voxels, `(L, 3)`.
        """
        places = tuple((float(x), float(y), float(z)) for x, y, z in points)
        radius = self.radius_mm / self.spacing_mm
        return RegressorPlan(tuple(size), places, radius, self.width, self.patch_size, self.overlap)


@dataclass(frozen=True, eq=False)
class Example:
    """A normalised scan to learn from.

    Args:
        person: Whose it is.
        voxels: As of `NormalisedScan`, `(depth, height, width)`.
        points: The true landmarks, `(x, y, z)` in its voxels, `(L, 3)`; NaN where there is none.
    """

    person: str
    voxels: torch.Tensor
    points: np.ndarray


def split_people(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Examples to learn from, and those held out: of the last fifth of the people, in the order in which they come.

    Raises:
        InputError: There are fewer than three people.
    """
    people = list(dict.fromkeys(example.person for example in examples))
    if len(people) < FEWEST_PEOPLE:
        raise InputError(
            f"There are annotated scans of {len(people)} people beside the template; a model needs three or more, so"
            " that it can be judged by one whom it has not seen."
        )
    held_out = set(people[-max(1, len(people) // HELD_OUT) :])
    return (
        [example for example in examples if example.person not in held_out],
        [example for example in examples if example.person in held_out],
    )


class _Objective(nn.Module):
    """The regressor with its losses: `"distance"` in voxels, and `"heat map"`, the cross-entropy to a Gaussian."""

    def __init__(self, regressor: LandmarkRegressor, spread: float, mixed_precision: bool):
        super().__init__()
        self.regressor, self._spread, self._mixed = regressor, spread, mixed_precision

    def forward(self, volumes: torch.Tensor, points: torch.Tensor) -> dict[str, torch.Tensor]:
        regressor = self.regressor
        with autocast(volumes.device, self._mixed):
            maps = regressor.log_heat_maps(volumes).float()
        known = torch.isfinite(points).all(2)
        wanted = torch.cdist(points.nan_to_num(), regressor.centres).square() / (-2 * self._spread**2)
        wanted = wanted.masked_fill(~regressor.near, -torch.inf).softmax(2)
        entropy = -(wanted * maps.masked_fill(~regressor.near, 0)).sum(2)[known].sum() / known.sum().clamp(min=1)
        apart = (regressor.positions(maps) - points.nan_to_num()).square().sum(2)
        distance = (apart[known] + 1e-6).sqrt().sum() / known.sum().clamp(min=1)
        return {"total": distance + entropy, "distance": distance, "heat map": entropy}


class RegressionTrainer(Trainer):
    """A regressor, and the examples that it learns from. People who are held out decide which weights are kept.

    Args:
        plan: Of the regressor.
        examples: To learn from.
        held_out: Of other people.
        settings: Of the run.
        process: Which one of those that train together.
        names: Of the landmarks, which the file of weights keeps.
    """

    settings: RegressionSettings
    file_name = f"{NETWORK}.safetensors"
    stops_early = True

    def __init__(
        self,
        plan: RegressorPlan,
        examples: Sequence[Example],
        held_out: Sequence[Example],
        settings: RegressionSettings,
        process: Process,
        names: Sequence[str] = (),
    ):
        process.share_of(settings.batch)
        self.names, self._device = tuple(names), process.device
        self._examples, self._held_out = _tensors(examples), _tensors(held_out)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(settings.seed)
            self.regressor = LandmarkRegressor(plan)
        # gradients of grouped bfloat16 convolutions are NaN at times on the CPU (torch 2.13)
        mixed_precision = settings.mixed_precision and process.device.type != "cpu"
        objective = _Objective(self.regressor, settings.spread_mm / settings.spacing_mm, mixed_precision)
        objective = objective.to(process.device)
        optimiser = torch.optim.AdamW(
            self.regressor.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.best_weights = _copied(self.regressor.state_dict())
        self.best_scores: dict[str, float] = {}
        self.best_step = 0
        super().__init__(settings, settings.steps, objective, optimiser, process)

    def begin(self, out: Path) -> None:
        """Say what is learnt from what, and what no network and the mean of the others reach."""
        (_, learnt), (_, held_out) = self._examples, self._held_out
        template = torch.tensor(self.regressor.plan.points)
        habit = (learnt - template).nanmean(0)
        print(
            f"learns {len(template)} landmarks from {len(learnt)} scans, {len(held_out)} held out, on"
            f" {device_name(self.process.device)}; held-out mean as the matcher placed them"
            f" {self._mean_mm(template - held_out):.2f} mm, with the mean offset of those learnt from"
            f" {self._mean_mm(template + habit - held_out):.2f} mm",
            flush=True,
        )

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        volumes, points = self._examples
        size = min(self.settings.batch, len(volumes))
        rounds, place = divmod(step, max(1, len(volumes) // size))
        order = Random("cpu", self.settings.seed, 6, rounds).permutation(len(volumes))
        chosen = order[place * size : (place + 1) * size][self.process.rank :: self.process.count]
        return volumes[chosen].to(self._device), points[chosen].to(self._device)

    def converged(self) -> bool:
        """Whether the last measurements were no better than one before them; the first process alone knows."""
        waited = self.step - self.best_step
        return self.process.is_first and waited >= self.settings.patience * self.settings.validate_every

    def weights(self) -> dict[str, dict[str, torch.Tensor]]:
        return {"regressor": self.regressor.state_dict(), "best": self.best_weights}

    def load_weights(self, weights: dict[str, dict[str, torch.Tensor]]) -> None:
        self.regressor.load_state_dict(weights["regressor"])
        self.best_weights = weights["best"]

    def notes(self) -> dict:
        return {"scores": self.best_scores, "best_step": self.best_step}

    def load_notes(self, notes: dict) -> None:
        self.best_scores, self.best_step = notes["scores"], notes["best_step"]

    def validate(self) -> dict[str, float]:
        """Mean distance in mm of the landmarks of people who are held out, in the template's frame."""
        volumes, points = self._held_out
        return {"mm": self._mean_mm(predict(self.regressor, volumes) - points)}

    def on_validation(self, scores: dict[str, float]) -> None:
        """People who are held out pick the weights."""
        if not self.best_scores or scores["mm"] < self.best_scores["mm"]:
            self.best_weights = _copied(self.regressor.state_dict())
            self.best_scores, self.best_step = scores, self.step

    def save_weights(self, path: Path) -> None:
        """The best weights so far, with all that `load_regressor` needs."""
        tensors = {key: value.cpu().contiguous() for key, value in self.best_weights.items()}
        note = {
            "network": NETWORK,
            "plan": json.dumps(dataclasses.asdict(self.regressor.plan)),
            "names": json.dumps(self.names),
            "step": str(self.best_step),
            "held out": json.dumps(self.best_scores),
            "settings": json.dumps(dataclasses.asdict(self.settings)),
        }
        partial = path.with_suffix(".partial")
        save_file(tensors, partial, note)
        partial.replace(path)

    def _mean_mm(self, off: torch.Tensor) -> float:
        return float(off.norm(dim=2).nanmean()) * self.settings.spacing_mm


@torch.no_grad()
def predict(regressor: LandmarkRegressor, volumes: torch.Tensor) -> torch.Tensor:
    """Landmarks of normalised scans `(N, 1, D, H, W)`, one scan at a time: `(x, y, z)` in voxels, `(N, L, 3)`."""
    learning = regressor.training
    regressor.eval()
    device = regressor.centres.device
    found = torch.cat([regressor(volume[None].to(device)).cpu() for volume in volumes])
    regressor.train(learning)
    return found


def load_regressor(path: Path) -> tuple[LandmarkRegressor, tuple[str, ...]]:
    """The model that a run left, ready to predict, and the names of its landmarks.

    Raises:
        InputError: The file is none of such a run.
    """
    try:
        with safe_open(path, "pt") as file:
            note = file.metadata() or {}
            plan = json.loads(note["plan"])
            plan = RegressorPlan(**{**plan, "size": tuple(plan["size"]), "points": tuple(map(tuple, plan["points"]))})
            regressor = LandmarkRegressor(plan)
            regressor.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118 - no dict
            return regressor.eval().requires_grad_(False), tuple(json.loads(note["names"]))
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path} holds no model that `deepfeatures train pif` made; give the file {RegressionTrainer.file_name} of"
            " such a run."
        ) from error


def _tensors(examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """Volumes `(N, 1, D, H, W)` and points `(N, L, 3)`, float32."""
    volumes = torch.stack([example.voxels for example in examples])[:, None]
    return volumes.float(), torch.from_numpy(np.stack([example.points for example in examples])).float()


def _copied(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value.detach().clone() for key, value in weights.items()}
