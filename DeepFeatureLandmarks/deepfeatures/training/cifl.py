"""Train CIFL on synthetic shapes: `python -m deepfeatures.training.cifl --settings FILE --out DIR`."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file

from deepfeatures.errors import InputError
from deepfeatures.matching.devices import multiplies_bfloat16
from deepfeatures.networks.cifl import COARSE_STRIDE, Cifl
from deepfeatures.training import checkpoint
from deepfeatures.training.losses import interpolate, position_contrast
from deepfeatures.training.settings import read_settings
from deepfeatures.training.synthetic import Pairs, PairStream, SyntheticSettings, draw_picture
from deepfeatures.training.validation import matching_accuracy, raw_patches, self_similarity

VALIDATION_SEED = 999_983


@dataclass(frozen=True)
class CiflSettings:
    """A training run.

    Args:
        seed: Decides the weights at the start and every synthetic pair.
        steps: Length of the run; a longer one may be asked for when going on.
        learning_rate: Of AdamW, reached after `warmup_steps`.
        cooldown_steps: Last steps, in which the learning rate falls linearly to zero.
        weight_decay: Of AdamW.
        averaging: Decay a step of the running mean of the weights; the mean is what is saved for use.
        temperature: Of the contrast between positions.
        fine_margin, coarse_margin: Voxels within which two points count as the same place.
        coarse_weight: Weight of the coarse map's loss beside the fine map's.
        validate_every: Steps between measurements on held-out pairs.
        checkpoint_seconds: Time between checkpoints.
        data: The synthetic pairs.
    """

    seed: int = 0
    steps: int = 6000
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    cooldown_steps: int = 1500
    weight_decay: float = 1e-4
    averaging: float = 0.998
    temperature: float = 0.07
    fine_margin: float = 2.0
    coarse_margin: float = 6.0
    coarse_weight: float = 0.5
    validate_every: int = 500
    checkpoint_seconds: float = 120.0
    data: SyntheticSettings = field(default_factory=SyntheticSettings)


class Trainer:
    """One run: the network, its running mean, the optimiser and the stream of pairs."""

    def __init__(self, settings: CiflSettings, device: torch.device | str):
        self.settings, self.device = settings, torch.device(device)
        torch.manual_seed(settings.seed)
        self.network = Cifl().to(self.device, memory_format=torch.channels_last_3d)
        self.averaged = Cifl().to(self.device, memory_format=torch.channels_last_3d).eval().requires_grad_(False)
        self.averaged.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98)
        )
        self.stream = PairStream(settings.data, settings.seed, self.device)
        self.step = 0
        self.seconds = 0.0

    def _mixed_precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=multiplies_bfloat16(self.device))

    def learning_rate(self) -> float:
        """Warm-up, plateau, linear cool-down: the plateau may be prolonged without breaking the schedule."""
        s = self.settings
        rise = (self.step + 1) / max(s.warmup_steps, 1)
        fall = (s.steps - self.step) / max(s.cooldown_steps, 1)
        return s.learning_rate * min(1.0, rise, max(fall, 0.0))

    def loss(self, pairs: Pairs) -> dict[str, torch.Tensor]:
        """Losses of a batch, by name."""
        s = self.settings
        views = torch.cat([pairs.first, pairs.second]).to(memory_format=torch.channels_last_3d)
        with self._mixed_precision():
            maps = self.network.maps(views)
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
        return losses

    def advance(self) -> dict[str, torch.Tensor]:
        """One step; returns its losses, still on the device."""
        s = self.settings
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        losses = self.loss(self.stream.batch(self.step))
        (losses["fine"] + s.coarse_weight * losses["coarse"]).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        # The mean starts as a plain one, so that early weights are forgotten soon.
        keep = min(s.averaging, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            mean, current = self.averaged.state_dict(), self.network.state_dict()
            floats = [key for key in mean if mean[key].is_floating_point()]
            torch._foreach_lerp_([mean[key] for key in floats], [current[key] for key in floats], 1 - keep)
        self.step += 1
        return {name: value.detach() for name, value in losses.items()}

    def state(self) -> dict[str, dict]:
        """Everything that going on needs, in parts of which each becomes a file."""
        return {
            "weights": {"network": self.network.state_dict(), "averaged": self.averaged.state_dict()},
            "optimiser": {"optimiser": self.optimiser.state_dict()},
            "progress": {"step": self.step, "seconds": self.seconds, "settings": dataclasses.asdict(self.settings)},
        }

    def restore(self, state: dict[str, dict]) -> None:
        """Go on exactly where `state` was taken."""
        self.network.load_state_dict(state["weights"]["network"])
        self.averaged.load_state_dict(state["weights"]["averaged"])
        self.optimiser.load_state_dict(state["optimiser"]["optimiser"])
        self.step, self.seconds = state["progress"]["step"], state["progress"]["seconds"]

    def validate(self, pairs: Pairs) -> dict[str, float]:
        """Matching accuracy of both maps on held-out pairs."""

        def encoder(name: str):
            def encode(views: torch.Tensor) -> torch.Tensor:
                with self._mixed_precision():
                    return self.averaged.maps(views.to(memory_format=torch.channels_last_3d))[name]

            return encode

        return {
            "fine": matching_accuracy(pairs, encoder("fine")),
            "coarse": matching_accuracy(pairs, encoder("coarse"), COARSE_STRIDE),
        }

    def save_weights(self, path: Path) -> None:
        """The averaged weights in float32 with what is needed to make them again."""
        tensors = {k: v.detach().cpu().contiguous() for k, v in self.averaged.state_dict().items()}
        tensors = {k: v for k, v in tensors.items() if v.is_floating_point()}
        settings = json.dumps(dataclasses.asdict(self.settings))
        metadata = {
            "network": "cifl",
            "step": str(self.step),
            "seconds": f"{self.seconds:.0f}",
            "device": torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu",
            "settings": settings,
        }
        partial = path.with_suffix(".partial")
        save_file(tensors, partial, metadata)
        partial.replace(path)


def train(trainer: Trainer, out: Path, seconds: float) -> None:
    """Run to the last step or until `seconds` are over, and leave the checkpoint and the averaged weights in `out`."""
    settings = trainer.settings
    started = last_saved = time.monotonic()
    before = trainer.seconds
    held_out = PairStream(
        dataclasses.replace(settings.data, batch=min(16, settings.data.pool)), VALIDATION_SEED, trainer.device
    ).batch(0)
    picture = out / "batch.png"
    if not picture.exists():
        try:
            draw_picture(held_out, picture)
        except ImportError:
            print("No picture of a batch: matplotlib is not installed.", flush=True)
    if trainer.step == 0:
        rivals = {"raw patches": raw_patches, "self-similarity": self_similarity}
        scores = {name: matching_accuracy(held_out, rival) for name, rival in rivals.items()}
        print("held-out within 2 voxels: " + ", ".join(f"{k} {v:.3f}" for k, v in scores.items()), flush=True)
    sums, counted, lap = {"fine": 0.0, "coarse": 0.0}, 0, time.monotonic()
    while trainer.step < settings.steps:
        losses = trainer.advance()
        counted += 1
        for name in sums:
            sums[name] = sums[name] + losses[name]
        trainer.seconds = before + time.monotonic() - started
        if trainer.step % 50 == 0:
            values = {name: float(value) / counted for name, value in sums.items()}
            if not all(torch.isfinite(torch.tensor(list(values.values())))):
                raise FloatingPointError(f"The loss is no longer a number at step {trainer.step}: {values}.")
            pace = counted / (time.monotonic() - lap)
            text = " ".join(f"{name} {value:.3f}" for name, value in values.items())
            print(f"step {trainer.step} loss {text} lr {trainer.learning_rate():.1e} {pace:.2f} steps/s", flush=True)
            sums, counted, lap = {"fine": 0.0, "coarse": 0.0}, 0, time.monotonic()
        if trainer.step % settings.validate_every == 0:
            scores = trainer.validate(held_out)
            text = " ".join(f"{name} {value:.3f}" for name, value in scores.items())
            print(f"step {trainer.step} held-out within 2 voxels {text} after {trainer.seconds:.0f} s", flush=True)
            lap = time.monotonic()
        now = time.monotonic()
        if now - started > seconds:
            break
        if now - last_saved > settings.checkpoint_seconds:
            checkpoint.save(trainer.state(), out)
            trainer.save_weights(out / "cifl.safetensors")
            last_saved = now
    checkpoint.save(trainer.state(), out)
    trainer.save_weights(out / "cifl.safetensors")
    scores = trainer.validate(held_out)
    digest = hashlib.sha256((out / "cifl.safetensors").read_bytes()).hexdigest()
    print(f"stopped at step {trainer.step} of {settings.steps} after {trainer.seconds:.0f} s: {scores} sha256 {digest}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deepfeatures.training.cifl", description=__doc__)
    parser.add_argument("--settings", type=Path, help="TOML file; without one, all defaults")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, checkpoint and picture")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time; --resume goes on")
    parser.add_argument(
        "--resume", type=Path, nargs="?", const=True, help="go on from the checkpoint in --out, or in this folder"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    chosen = parser.parse_args(arguments)
    try:
        settings = read_settings(chosen.settings, CiflSettings) if chosen.settings else CiflSettings()
        trainer = Trainer(settings, chosen.device)
        chosen.out.mkdir(parents=True, exist_ok=True)
        if chosen.resume:
            trainer.restore(checkpoint.load(chosen.out if chosen.resume is True else chosen.resume, trainer.device))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    torch.backends.cudnn.benchmark = True
    train(trainer, chosen.out, chosen.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
