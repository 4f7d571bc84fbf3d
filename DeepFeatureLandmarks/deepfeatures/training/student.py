"""The paper's networks 3 and 4: students that learn to predict what pseudo-3D VGG-19 says of a patch."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import write_text
from deepfeatures.matching.devices import device_name
from deepfeatures.networks import catalog, resnext, vgg
from deepfeatures.networks.base import Encoder
from deepfeatures.networks.weights import sha256
from deepfeatures.training.distributed import Process
from deepfeatures.training.patches import PatchStream, find_sources
from deepfeatures.training.trainer import RunSettings, Trainer, autocast

TEACHER = "vgg19-3d-pseudo"
PAPER_LAYER = "conv5_4"
PAPER_CORRELATION = {"vgg19-3d-student": 0.792, "resnet-3d-student": 0.881}
STUDENTS = tuple(PAPER_CORRELATION)
PICKED_BY = "correlation"
VALIDATION_SEED = 999_983


@dataclass(frozen=True)
class StudentSettings(RunSettings):
    """The paper's recipe (section 2.3).

    Args:
        patches: Patches to learn from.
        epochs: How often each is seen; the paper's VGG student had converged after 67, its ResNet after 28.
        batch: Patches a step, shared evenly by processes that train together.
        patch_size: Edge of a patch in voxels.
        small_patch_size: The same where a volume is too small for `patch_size`.
        learning_rate: Of Adam.
        validation_patches: Patches of held-out volumes; they decide which weights are kept.
        volumes_in_memory: From which a batch is cut.
    """

    validate_every: int = 200
    patches: int = 64_000
    epochs: int = 67
    batch: int = 32
    patch_size: int = 32
    small_patch_size: int = 16
    learning_rate: float = 1e-4
    validation_patches: int = 128
    volumes_in_memory: int = 32


def deepest_layer() -> str:
    """The deepest layer of VGG-19 whose weights are here; the paper takes `conv5_4`.

    Raises:
        InputError: There are none.
    """
    there = [layer.name for layer in catalog.describe(TEACHER).layers.values() if layer.available]
    if not there:
        raise InputError(
            f"Students learn from VGG-19, whose weights are not here; get them with `deepfeatures weights"
            f" fetch {TEACHER}` or `deepfeatures weights import {TEACHER} FILE`."
        )
    return there[-1]


class Teacher:
    """The three pseudo-3D networks, whose answers are the targets.

    Args:
        layer: Whose maps to predict.
        device: Where to compute.
        averaged: Whether the targets are the maps' means over the patch, as for the ResNet.
        mixed_precision: As in the settings.
    """

    def __init__(self, layer: str, device: torch.device, *, averaged: bool, mixed_precision: bool):
        self._network = catalog.build(TEACHER, layer=layer, device=device)
        self._layer, self._averaged, self._mixed = layer, averaged, mixed_precision

    @torch.no_grad()
    def targets(self, patches: torch.Tensor) -> torch.Tensor:
        """One answer an orientation: `(batch, 3, channels, d, h, w)`, or `(batch, 3, channels)` where averaged."""
        with autocast(patches.device, self._mixed):
            maps = self._network(patches, self._layer).float()
        maps = maps.unflatten(1, (len(vgg.ORIENTATIONS), -1))
        return maps.mean((3, 4, 5)) if self._averaged else maps


class VggStudent(nn.Module):
    """Network 3: VGG-19 in 3D as deep as its teacher; predicts the maps."""

    averages = False

    def __init__(self, layer: str, seed: int):
        super().__init__()
        self.encoder: Encoder = vgg.Vgg19("vgg19-3d-student", layer, seed=seed)
        self._layer = layer

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return self.encoder(patches, self._layer)


class ResNetStudent(nn.Module):
    """Network 4: ResNeXt-50 in 3D; a linear layer that training alone needs predicts the means of the maps."""

    averages = True

    def __init__(self, layer: str, seed: int):
        super().__init__()
        self.encoder: Encoder = resnext.ResNext50("resnet-3d-student", seed=seed)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            self.head = nn.Linear(self.encoder.layers[resnext.LAST].channels, vgg.PLAN[layer].after)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(patches, resnext.LAST).mean((2, 3, 4)))


class _Objective(nn.Module):
    """A student with the paper's loss: the mean of the squared differences to each of the three answers."""

    def __init__(self, student: VggStudent | ResNetStudent, mixed_precision: bool):
        super().__init__()
        self.student, self._mixed = student, mixed_precision

    def predict(self, patches: torch.Tensor) -> torch.Tensor:
        with autocast(patches.device, self._mixed):
            return self.student(patches).float()

    def forward(self, patches: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"total": (self.predict(patches)[:, None] - targets).square().mean()}


class StudentTrainer(Trainer):
    """A student, its teacher, and patches of a folder of volumes.

    Args:
        name: `"vgg19-3d-student"` or `"resnet-3d-student"`.
        folder: Volumes, as `find_sources` looks for them.
        settings: Of the run.
        process: Which one of those that train together.
    """

    settings: StudentSettings

    def __init__(self, name: str, folder: Path, settings: StudentSettings, process: Process):
        if name not in STUDENTS:
            raise InputError(f"There is no student {name!r}; choose {' or '.join(STUDENTS)}.")
        process.share_of(settings.batch)
        self.name, self.file_name = name, f"{name}.safetensors"
        self.layer = deepest_layer()
        kind = VggStudent if name == "vgg19-3d-student" else ResNetStudent
        # gradients of grouped bfloat16 convolutions are NaN at times on the CPU (torch 2.13)
        mixed_precision = settings.mixed_precision and not (kind is ResNetStudent and process.device.type == "cpu")
        objective = _Objective(kind(self.layer, settings.seed), mixed_precision)
        objective = objective.to(process.device, memory_format=torch.channels_last_3d)
        self.student = objective.student
        self._predict = objective.predict
        self.best_weights = self.student.state_dict()  # the present weights, until validation picks some
        self.best_scores: dict[str, float] = {}
        self._best_step = 0
        self.teacher = Teacher(
            self.layer, process.device, averaged=kind.averages, mixed_precision=settings.mixed_precision
        )
        sources, self._held_out_sources = find_sources(folder, settings.patch_size, settings.small_patch_size)
        self.volumes = {"training": len(sources), "held out": len(self._held_out_sources)}
        self._stream = PatchStream(sources, settings.batch, settings.volumes_in_memory, settings.seed)
        self._batches = max(1, settings.patches // settings.batch)
        optimiser = torch.optim.Adam(self.student.parameters(), lr=settings.learning_rate)
        super().__init__(settings, self._batches * settings.epochs, objective, optimiser, process)

    def begin(self, out: Path) -> None:
        """Say what is learnt from what."""
        print(
            f"{self.name} learns {self.layer} of {TEACHER} from {self.volumes['training']} volumes,"
            f" {self.volumes['held out']} held out, on {device_name(self.process.device)}",
            flush=True,
        )
        if self.layer != PAPER_LAYER:
            print(
                f"VGG-19's weights are here up to {self.layer} only; the paper's students learn {PAPER_LAYER},"
                " so that correlations are not those of the paper.",
                flush=True,
            )

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        patches = self._stream.batch(step % self._batches)[self.process.rank :: self.process.count]
        patches = patches.to(self.process.device, memory_format=torch.channels_last_3d)
        return patches, self.teacher.targets(patches)

    def weights(self) -> dict[str, dict[str, torch.Tensor]]:
        return {"student": self.student.state_dict(), "best": self.best_weights}

    def load_weights(self, weights: dict[str, dict[str, torch.Tensor]]) -> None:
        self.student.load_state_dict(weights["student"])
        self.best_weights = weights["best"]

    def notes(self) -> dict:
        return {"scores": self.best_scores, "best_step": self._best_step}

    def load_notes(self, notes: dict) -> None:
        self.best_scores, self._best_step = notes["scores"], notes["best_step"]
        if not self.best_scores:  # nothing has been picked yet: the present weights are the best
            self.best_weights = self.student.state_dict()

    @cached_property
    def _held_out(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Patches and targets in batches."""
        s, device = self.settings, self.process.device
        batches = max(1, s.validation_patches // s.batch)
        stream = PatchStream(self._held_out_sources, s.batch, s.volumes_in_memory, VALIDATION_SEED)
        patches = [stream.batch(step).to(device, memory_format=torch.channels_last_3d) for step in range(batches)]
        return [(each, self.teacher.targets(each)) for each in patches]

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """How predictions and answers of held-out patches agree.

        `"correlation"` is Pearson's over all values of all three answers; `"with the mean"` that with the mean of the
        three, which is the best that one prediction can give.
        """
        self.student.eval()
        pairs = [(self._predict(patches)[:, None], targets) for patches, targets in self._held_out]
        self.student.train()
        return {
            "correlation": _correlation([(found.expand_as(targets), targets) for found, targets in pairs]),
            "with the mean": _correlation([(found[:, 0], targets.mean(1)) for found, targets in pairs]),
            "loss": sum(float((found - targets).square().mean()) for found, targets in pairs) / len(pairs),
        }

    def on_validation(self, scores: dict[str, float]) -> None:
        """Validation picks the weights."""
        if not self.best_scores or scores[PICKED_BY] > self.best_scores[PICKED_BY]:
            self.best_weights = {key: value.clone() for key, value in self.student.state_dict().items()}
            self.best_scores, self._best_step = scores, self.step
        print(
            f"kept: step {self._best_step}, correlation {self.best_scores[PICKED_BY]:.3f} at {self.layer};"
            f" the paper's {self.name} reached {PAPER_CORRELATION[self.name]} at {PAPER_LAYER}",
            flush=True,
        )

    def save_weights(self, path: Path) -> None:
        """The weights that validation picked, and a note of how they were made, as `weights import` takes both."""
        prefix = "encoder.parts."
        tensors = {
            key.removeprefix(prefix): value.detach().cpu().contiguous()
            for key, value in self.best_weights.items()
            if key.startswith(prefix) and value.is_floating_point()
        }
        partial = path.with_suffix(".partial")
        save_file(tensors, partial, {"network": self.name})
        partial.replace(path)
        note = {
            "sha256": sha256(path),
            "network": self.name,
            "teacher": f"{TEACHER} {self.layer}",
            "step": self._best_step,
            "steps run": self.step,
            "seconds": round(self.seconds),
            "device": device_name(self.process.device),
            "volumes": self.volumes,
            "held out": self.best_scores,
            "paper": {"correlation": PAPER_CORRELATION[self.name], "layer": PAPER_LAYER},
            "settings": dataclasses.asdict(self.settings),
        }
        write_text(path.with_suffix(".json"), json.dumps(note, indent=1))


def _correlation(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Pearson's correlation over all values, batches of different sizes together; 0 where one side is constant."""
    first, second = (torch.cat([pair[side].flatten().double().cpu() for pair in pairs]) for side in (0, 1))
    first, second = first - first.mean(), second - second.mean()
    size = float(first.norm() * second.norm())
    return float(first @ second) / size if size > 0 else 0.0
