"""CIFL: features that stay the same when the contrast changes, learnt from synthetic shapes alone."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from deepfeatures.errors import InputError
from deepfeatures.networks.cifl import COARSE_STRIDE, Cifl, check_weights, self_similarity
from deepfeatures.training.block_loss import BlockSettings, block_match
from deepfeatures.training.distributed import Process
from deepfeatures.training.losses import interpolate, position_contrast
from deepfeatures.training.noise import Random
from deepfeatures.training.synthetic import Pairs, PairStream, SyntheticSettings, draw_picture
from deepfeatures.training.trainer import RunSettings, Trainer, autocast
from deepfeatures.training.validation import matching_accuracy, raw_patches

VALIDATION_SEED = 999_983
RANK_SEED = 1_000_003  # between the streams of processes that train together
VALIDATION_PAIRS = 16
LOSSES = ("positions", "blocks")


@dataclass(frozen=True)
class CiflSettings(RunSettings):
    """A training run.

    Args:
        steps: Length of the run; a longer one may be asked for when going on.
        learning_rate: Of AdamW, reached after `warmup_steps`.
        cooldown_steps: Last steps, in which the learning rate falls linearly to zero.
        weight_decay: Of AdamW.
        loss: `"positions"`: a contrast between positions shapes both maps; `"blocks"`: block matching, the fine map's
            last touch, which wants weights to start from.
        averaging: Decay a step of the running mean of the weights; the mean is what is saved for use.
        temperature: Of the contrast between positions.
        fine_margin, coarse_margin: Voxels within which two points count as the same place.
        coarse_weight: Weight of the coarse map's loss beside the fine map's.
        blocks: How blocks are matched.
        data: The synthetic pairs; processes that train together share a batch evenly.
    """

    steps: int = 6000
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    cooldown_steps: int = 1500
    weight_decay: float = 1e-4
    loss: str = "positions"
    averaging: float = 0.998
    temperature: float = 0.07
    fine_margin: float = 2.0
    coarse_margin: float = 6.0
    coarse_weight: float = 0.5
    blocks: BlockSettings = field(default_factory=BlockSettings)
    data: SyntheticSettings = field(default_factory=SyntheticSettings)


class _Objective(nn.Module):
    """The network with its losses: `"fine"` and `"coarse"`, one for each of its maps, or `"block"`."""

    def __init__(self, settings: CiflSettings):
        super().__init__()
        self.network, self._settings = Cifl(), settings

    def forward(self, pairs: Pairs, rng: Random) -> dict[str, torch.Tensor]:
        s = self._settings
        views = torch.cat([pairs.first, pairs.second]).to(memory_format=torch.channels_last_3d)
        with autocast(views.device, s.mixed_precision):
            maps = self.network.maps(views, coarse=s.loss == "positions")
        if s.loss == "blocks":
            found = block_match(self.network, maps["fine"], pairs, s.blocks, rng)
            return {"total": found["block"], **found}
        losses = {}
        for name, stride, margin in (("fine", 1, s.fine_margin), ("coarse", COARSE_STRIDE, s.coarse_margin)):
            first, second = maps[name].chunk(2)
            losses[name] = position_contrast(
                interpolate(first, pairs.first_points, stride),
                interpolate(second, pairs.second_points, stride),
                pairs.second_points,
                pairs.valid,
                margin=margin,
                temperature=s.temperature,
            )
        return {"total": losses["fine"] + s.coarse_weight * losses["coarse"], **losses}


class CiflTrainer(Trainer):
    """The network, its running mean, the optimiser and the stream of pairs.

    Args:
        settings: Of the run.
        process: Which one of those that train together.
        start_from: Weights that an earlier run left; new ones where `None`.

    Raises:
        InputError: There is no such loss, or the weights are not those of CIFL.
    """

    file_name = "cifl.safetensors"
    settings: CiflSettings

    def __init__(self, settings: CiflSettings, process: Process, start_from: Path | None = None):
        if settings.loss not in LOSSES:
            raise InputError(f"There is no loss {settings.loss!r}; choose one of {', '.join(LOSSES)}.")
        device = process.device
        torch.manual_seed(settings.seed)
        objective = _Objective(settings).to(device, memory_format=torch.channels_last_3d)
        self.network = objective.network
        if start_from is not None:
            self.network.load_state_dict(_weights_in(start_from), strict=False)
        for idle in _idle(self.network, settings.loss):  # processes that train together wait for every gradient
            idle.requires_grad_(False)
        self.averaged = Cifl().to(device, memory_format=torch.channels_last_3d).eval().requires_grad_(False)
        self.averaged.load_state_dict(self.network.state_dict())
        optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98)
        )
        data = dataclasses.replace(settings.data, batch=process.share_of(settings.data.batch))
        self.stream = PairStream(data, settings.seed + RANK_SEED * process.rank, device)
        super().__init__(settings, settings.steps, objective, optimiser, process)

    def begin(self, out: Path) -> None:
        """Draw a batch, and say what untrained features reach."""
        picture = out / "batch.png"
        if not picture.exists():
            try:
                draw_picture(self._held_out, picture)
            except ImportError:
                print("No picture of a batch: matplotlib is not installed.", flush=True)
        if self.step == 0 and self.settings.loss == "positions":
            rivals = {"raw patches": raw_patches, "self-similarity": self_similarity}
            scores = {name: matching_accuracy(self._held_out, rival) for name, rival in rivals.items()}
            print("held-out within 2 voxels: " + ", ".join(f"{k} {v:.3f}" for k, v in scores.items()), flush=True)

    def batch(self, step: int) -> tuple[Pairs, Random]:
        return self.stream.batch(step), Random(self.stream.device, self.stream.seed, 3, step)

    def learning_rate(self) -> float:
        """Warm-up, plateau, linear cool-down: the plateau may be prolonged without breaking the schedule."""
        s = self.settings
        rise = (self.step + 1) / max(s.warmup_steps, 1)
        fall = (s.steps - self.step) / max(s.cooldown_steps, 1)
        return s.learning_rate * min(1.0, rise, max(fall, 0.0))

    def limit_gradients(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)

    def after_step(self) -> None:
        # The mean starts as a plain one, so that early weights are forgotten soon.
        keep = min(self.settings.averaging, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            mean, current = self.averaged.state_dict(), self.network.state_dict()
            floats = [key for key in mean if mean[key].is_floating_point()]
            torch._foreach_lerp_([mean[key] for key in floats], [current[key] for key in floats], 1 - keep)

    def weights(self) -> dict[str, dict[str, torch.Tensor]]:
        return {"network": self.network.state_dict(), "averaged": self.averaged.state_dict()}

    def load_weights(self, weights: dict[str, dict[str, torch.Tensor]]) -> None:
        self.network.load_state_dict(weights["network"])
        self.averaged.load_state_dict(weights["averaged"])

    @cached_property
    def _held_out(self) -> Pairs:
        data = self.settings.data
        data = dataclasses.replace(data, batch=min(VALIDATION_PAIRS, data.pool))
        return PairStream(data, VALIDATION_SEED, self.process.device).batch(0)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Share of held-out points that each map finds again within 2 voxels; on blocks, how far off those are."""

        def encoder(name: str):
            def encode(views: torch.Tensor) -> torch.Tensor:
                with autocast(views.device, self.settings.mixed_precision):
                    return self.averaged.maps(views.to(memory_format=torch.channels_last_3d))[name]

            return encode

        if self.settings.loss == "blocks":
            maps = encoder("fine")(torch.cat([self._held_out.first, self._held_out.second]))
            rng = Random(self.process.device, VALIDATION_SEED)
            found = block_match(self.averaged, maps, self._held_out, self.settings.blocks, rng)
            return {name: float(value) for name, value in found.items()}
        return {
            "fine": matching_accuracy(self._held_out, encoder("fine")),
            "coarse": matching_accuracy(self._held_out, encoder("coarse"), COARSE_STRIDE),
        }

    def save_weights(self, path: Path) -> None:
        """The averaged weights in float32 with what is needed to make them again."""
        tensors = {k: v.detach().cpu().contiguous() for k, v in self.averaged.state_dict().items()}
        tensors = {k: v for k, v in tensors.items() if v.is_floating_point()}
        device = self.process.device
        metadata = {
            "network": "cifl",
            "step": str(self.step),
            "seconds": f"{self.seconds:.0f}",
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "settings": json.dumps(dataclasses.asdict(self.settings)),
        }
        partial = path.with_suffix(".partial")
        save_file(tensors, partial, metadata)
        partial.replace(path)


def _weights_in(path: Path) -> dict[str, torch.Tensor]:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"The weights {path} cannot be read ({error}); give a file that an earlier run left."
        ) from error
    return check_weights(tensors)


def _idle(network: Cifl, loss: str) -> list[nn.Parameter]:
    """What a loss does not touch."""
    if loss == "blocks":
        return list(network.coarse_head.parameters())
    return [network.log_sharpness, network.log_gain]
