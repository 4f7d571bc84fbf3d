"""Training of Quicksilver: first the network that predicts momenta, then the one that corrects its predictions."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from deepfeatures.errors import InputError
from deepfeatures.matching.devices import device_name
from deepfeatures.networks.momentum import MomentumNetwork, predict_momentum
from deepfeatures.training.distributed import Process
from deepfeatures.training.momentum_pairs import MomentumPair, drawn_pair, momentum_scale, what_is_left
from deepfeatures.training.noise import Random
from deepfeatures.training.trainer import RunSettings, Trainer
from deepfeatures.transforms.lddmm import Kernel, KernelSettings, shoot, warped
from deepfeatures.transforms.lddmm_fit import FitSettings, push
from deepfeatures.transforms.quicksilver import SPACING_MM, WEIGHT_KEY


@dataclass(frozen=True)
class QuicksilverSettings(RunSettings):
    """A training run.

    Args:
        templates: Scans that are matched to others.
        targets: Others that each of them is matched to.
        held_out_pairs: Pairs of people who are held out.
        spacing_mm: Edge of the voxels to which scans are resampled.
        features: Of the networks at full resolution.
        prediction_steps, correction_steps: Length of the two halves of the run.
        batch: Patches a step, shared evenly by processes that train together.
        drawn: Pairs a step with momenta drawn at random; half of the patches are theirs.
        learning_rate: Of Adam, at the start of each half; it falls to 0 evenly.
        fit: Of the momenta that are learnt.
    """

    validate_every: int = 100
    templates: int = 24
    targets: int = 5
    held_out_pairs: int = 8
    spacing_mm: float = SPACING_MM
    features: int = 8
    prediction_steps: int = 420
    correction_steps: int = 90
    batch: int = 12
    drawn: int = 1
    learning_rate: float = 2e-3
    fit: FitSettings = field(default_factory=FitSettings)


class _Objective(nn.Module):
    """Both networks, with the mean absolute error of the momentum of one of them, in units of the networks' scale."""

    def __init__(self, features: int, scale: float):
        super().__init__()
        self.prediction, self.correction = MomentumNetwork(features, scale), MomentumNetwork(features, scale)

    def forward(self, patches: torch.Tensor, corrects: bool) -> dict[str, torch.Tensor]:
        network = self.correction if corrects else self.prediction
        found = network(patches[:, :1], patches[:, 1:2], patches[:, 2:5] / network.scale)
        return {"total": (found - patches[:, 5:] / network.scale).abs().mean()}


class QuicksilverTrainer(Trainer):
    """Both networks, and the pairs that they learn from.

    Args:
        pairs: To learn from.
        held_out: Of other people.
        settings: Of the run.
        process: Which one of those that train together.
    """

    settings: QuicksilverSettings
    file_name = f"{WEIGHT_KEY}.safetensors"

    def __init__(
        self,
        pairs: Sequence[MomentumPair],
        held_out: Sequence[MomentumPair],
        settings: QuicksilverSettings,
        process: Process,
    ):
        process.share_of(settings.batch)
        if not pairs:
            raise InputError("There is no pair of scans to learn from; give annotated scans of three people or more.")
        self._pairs, self._held_out, self._device = list(pairs), list(held_out), process.device
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(settings.seed)
            objective = _Objective(settings.features, momentum_scale(self._pairs))
        objective = objective.to(process.device, memory_format=torch.channels_last_3d)
        self.prediction, self.correction = objective.prediction, objective.correction
        optimiser = torch.optim.Adam(objective.parameters(), lr=settings.learning_rate)
        super().__init__(settings, settings.prediction_steps + settings.correction_steps, objective, optimiser, process)

    def begin(self, out: Path) -> None:
        """Say what is learnt from what."""
        print(
            f"learns momenta of {len(self._pairs)} pairs, {len(self._held_out)} held out, on"
            f" {device_name(self.process.device)}",
            flush=True,
        )

    @property
    def corrects(self) -> bool:
        """Whether the second half has begun."""
        return self.step >= self.settings.prediction_steps

    def learning_rate(self) -> float:
        first, second = self.settings.prediction_steps, self.settings.correction_steps
        share = (self.step - first) / second if self.corrects else self.step / first
        return self.settings.learning_rate * (1 - share)

    def advance(self) -> dict[str, torch.Tensor]:
        with torch.random.fork_rng(devices=()):  # what dropout leaves out depends on the step alone
            torch.manual_seed(self.settings.seed * 1_000_003 + self.step)
            return super().advance()

    def batch(self, step: int) -> tuple[torch.Tensor, bool]:
        s = self.settings
        corrects = step >= s.prediction_steps
        fitted = self._left if corrects else self._pairs
        rng = Random("cpu", s.seed, 7, step)
        drawn = [self._drawn(rng, corrects) for _ in range(s.drawn)]
        sources = [
            drawn[number % s.drawn] if s.drawn and number % 2 else fitted[int(rng.integers(len(fitted), 1))]
            for number in range(s.batch)
        ]
        patches = torch.stack([pair.patch(rng) for pair in sources])
        return patches[self.process.rank :: self.process.count].to(self._device), corrects

    def _drawn(self, rng: Random, corrects: bool) -> MomentumPair:
        template = self._pairs[int(rng.integers(len(self._pairs), 1))].template
        pair = drawn_pair(rng, template, self._kernel(template))
        return self._corrected(pair) if corrects else pair

    def _kernel(self, template: torch.Tensor) -> Kernel:
        return Kernel(template.shape, self.settings.spacing_mm, KernelSettings(), template)

    @cached_property
    def _left(self) -> list[MomentumPair]:
        """What the first network, which no longer changes, leaves of the fitted pairs."""
        return [self._corrected(pair) for pair in self._pairs]

    def _corrected(self, pair: MomentumPair) -> MomentumPair:
        with _without_dropout(self.prediction):
            return what_is_left(pair, self.prediction, self._kernel(pair.template))

    def weights(self) -> dict[str, dict[str, torch.Tensor]]:
        return {"prediction": self.prediction.state_dict(), "correction": self.correction.state_dict()}

    def load_weights(self, weights: dict[str, dict[str, torch.Tensor]]) -> None:
        self.prediction.load_state_dict(weights["prediction"])
        self.correction.load_state_dict(weights["correction"])

    def validate(self) -> dict[str, float]:
        """Of held-out pairs, the share of the fitted momentum's fall of squared differences that networks reach."""
        found = {"prediction": 0.0, "corrected": 0.0}
        falls = 0.0
        for pair in self._held_out:
            kernel = self._kernel(pair.template)
            with _without_dropout(self.prediction):
                momentum = predict_momentum(self.prediction, pair.template, pair.target, pair.push)
            apart = _difference(pair, None, kernel)
            falls += apart - _difference(pair, pair.momentum, kernel)
            found["prediction"] += apart - _difference(pair, momentum, kernel)
            if self.corrects:
                seen = warped(pair.target, shoot(momentum, kernel))
                with _without_dropout(self.correction):
                    momentum = momentum + predict_momentum(
                        self.correction, pair.template, seen, push(pair.template, seen, kernel)
                    )
                found["corrected"] += apart - _difference(pair, momentum, kernel)
        return {name: value / falls for name, value in found.items()} if falls else {}

    def save_weights(self, path: Path) -> None:
        """Both networks in half precision, in which files are half as large."""
        tensors = {
            f"{part}.{key}": value.detach().cpu().half().contiguous()
            for part, state in self.weights().items()
            for key, value in state.items()
        }
        note = {"network": WEIGHT_KEY, "settings": json.dumps(dataclasses.asdict(self.settings))}
        partial = path.with_suffix(".partial")
        save_file(tensors, partial, note)
        partial.replace(path)


@contextmanager
def _without_dropout(network: MomentumNetwork) -> Iterator[None]:
    """In which a network predicts the same each time."""
    network.draw_dropout(False)
    try:
        yield
    finally:
        network.draw_dropout(True)


def _difference(pair: MomentumPair, momentum: torch.Tensor | None, kernel: Kernel) -> float:
    """Mean squared difference of the images, seen through the mapping of a momentum."""
    seen = pair.target if momentum is None else warped(pair.target, shoot(momentum, kernel))
    return float((seen - pair.template).square().mean())
