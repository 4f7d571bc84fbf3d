"""Training of the localiser: where does a place of one view lie in another view of the same shapes, turned and bent?"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from deepfeatures.networks.localiser import EDGE, STRIDE, Localiser
from deepfeatures.training.contrasts import ContrastSettings
from deepfeatures.training.distributed import Process
from deepfeatures.training.losses import interpolate
from deepfeatures.training.noise import Random
from deepfeatures.training.random_deformations import DeformationSettings
from deepfeatures.training.shapes import random_turns
from deepfeatures.training.synthetic import Pairs, PairStream, SyntheticSettings
from deepfeatures.training.trainer import RunSettings, Trainer, autocast

BLUR = 2.5  # voxels: standard deviation of the places that are wanted around the true one
CUT = 0.6  # of the pairs have each view cut to a box of its own
REPEATS = 6  # steps that see the same pairs, each time turned and cut in another way: making pairs takes most time
VALIDATION_SEED = 10_000
VALIDATION_PAIRS = 32
NEAR = 6.0  # voxels within which a found place counts as right

DATA = SyntheticSettings(
    batch=8,
    size=EDGE,
    canonical_size=64,
    pool=32,
    new_maps=1,
    objects=20,
    points=192,
    cluster=1,
    warp=DeformationSettings(
        zoom=(0.75, 1.7),
        scale=(0.85, 1.18),
        rotation_deg=60.0,
        large_rotation_deg=12.0,
        large_fraction=0.3,
        shift=7.0,
        displacement=(1.8, 0.9, 0.3),
    ),
    contrast=ContrastSettings(
        similar_fraction=0.9,
        merged_fraction=0.1,
        noise=0.05,
        blur=0.8,
        bias=0.3,
        gamma=0.2,
        thick_slices=1.5,
        ghost=0.05,
        distractors=0.2,
    ),
)


@dataclass(frozen=True)
class LocaliserSettings(RunSettings):
    """A training run.

    Args:
        steps: Its length; the learning rate falls to 0 until then.
        warmup_steps: Until the learning rate is full.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        data: The stream of pairs; its size is that of the cubes that the localiser looks at.
    """

    steps: int = 6000
    warmup_steps: int = 100
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    data: SyntheticSettings = field(default_factory=lambda: DATA)


class _Objective(nn.Module):
    """The localiser with its losses.

    `"total"` is the cross-entropy of where a place lies in the other view; `"near"` is the share found within `NEAR`
    voxels.
    """

    def __init__(self, localiser: Localiser, mixed_precision: bool):
        super().__init__()
        self.localiser, self._mixed = localiser, mixed_precision

    def forward(self, pairs: Pairs, rng: Random) -> dict[str, torch.Tensor]:
        first, second, valid = cut_views(pairs, rng)
        with autocast(first.device, self._mixed):
            maps = self.localiser.describe(torch.cat([first, second])).float().chunk(2)
        points = (pairs.first_points, pairs.second_points)
        found = [self._places(maps[k], points[k], maps[1 - k], points[1 - k], valid, first.shape[-1]) for k in range(2)]
        loss = (found[0]["place"] + found[1]["place"]) / 2
        return {"total": loss, "near": (found[0]["near"] + found[1]["near"]) / 2}

    def _places(
        self,
        own: torch.Tensor,
        own_points: torch.Tensor,
        other: torch.Tensor,
        wanted: torch.Tensor,
        valid: torch.Tensor,
        size: int,
    ) -> dict[str, torch.Tensor]:
        """Cross-entropy of where points lie in the other view, and the share that is found."""
        queries = F.normalize(interpolate(own, own_points, STRIDE), dim=2)
        likeness = self.localiser.log_likeness(queries, other.flatten(2).mT)
        axis = torch.arange(size // STRIDE, device=own.device) * float(STRIDE) + (STRIDE - 1) / 2
        places = torch.cartesian_prod(axis, axis, axis)
        apart = torch.cdist(wanted, places.expand(len(wanted), -1, -1))
        likely = torch.softmax(-apart.square() / (2 * BLUR**2), 2)
        count = valid.sum().clamp(min=1)
        near = apart.gather(2, likeness.argmax(2, keepdim=True))[..., 0] < NEAR
        loss = -(likely * likeness).sum(2)
        return {"place": (loss * valid).sum() / count, "near": (near & valid).sum() / count}


def cut_views(pairs: Pairs, rng: Random) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Both views, `(batch, 2, size, size, size)`, with where there is anything to see, and which points are there.

    Scans end somewhere, and a turned scan is a turned box. Most pairs are cut so, at random.
    """
    batch, _, *shape = pairs.first.shape
    axes = torch.meshgrid(*(torch.arange(n, device=rng.device) - (n - 1) / 2 for n in shape), indexing="ij")
    grid = torch.stack(axes, -1).reshape(1, -1, 3).expand(batch, -1, -1)
    middle = torch.tensor([(n - 1) / 2 for n in shape], device=rng.device)
    cut, valid, views = rng.chance(CUT, batch), pairs.valid, []
    for view, points in ((pairs.first, pairs.first_points), (pairs.second, pairs.second_points)):
        turn, half = random_turns(rng, batch), rng.uniform(0.25, 0.55, batch, 1, 3) * shape[0]
        shift = rng.uniform(-0.1, 0.1, batch, 1, 3) * shape[0]

        def inside(places: torch.Tensor, turn=turn, half=half, shift=shift) -> torch.Tensor:
            return (((places - shift) @ turn).abs() <= half).all(2) | ~cut[:, None]

        covered = inside(grid).reshape(batch, 1, *shape).to(view.dtype)
        views.append(torch.cat([view * covered, covered], 1))
        valid = valid & inside(points - middle)
    return views[0], views[1], valid


def turned_together(pairs: Pairs, rng: Random) -> Pairs:
    """Both views turned or mirrored alike, in one of the 48 ways in which a cube covers itself."""
    axes = rng.permutation(3).tolist()
    mirrored = [axis for axis in range(3) if rng.whole_number(0, 1)]
    last = pairs.first.shape[-1] - 1

    def view(voxels: torch.Tensor) -> torch.Tensor:
        return voxels.permute(0, 1, *(2 + axis for axis in axes)).flip([2 + axis for axis in mirrored]).contiguous()

    def places(points: torch.Tensor) -> torch.Tensor:
        moved = points[..., axes].clone()
        moved[..., mirrored] = last - moved[..., mirrored]
        return moved

    return Pairs(
        view(pairs.first), view(pairs.second), places(pairs.first_points), places(pairs.second_points), pairs.valid
    )


class LocaliserTrainer(Trainer):
    """The localiser, its optimiser and the stream of pairs.

    Args:
        settings: Of the run.
        process: Which one of those that train together.
    """

    file_name = "localiser.safetensors"
    settings: LocaliserSettings

    def __init__(self, settings: LocaliserSettings, process: Process):
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(settings.seed)
            self.localiser = Localiser()
        objective = _Objective(self.localiser, settings.mixed_precision).to(process.device)
        optimiser = torch.optim.AdamW(
            self.localiser.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        data = dataclasses.replace(settings.data, batch=process.share_of(settings.data.batch))
        self.stream = PairStream(data, settings.seed + 1_000_003 * process.rank, process.device)
        self._kept: tuple[int, Pairs] | None = None
        super().__init__(settings, settings.steps, objective, optimiser, process)

    def batch(self, step: int) -> tuple[Pairs, Random]:
        number, rng = step // REPEATS, Random(self.stream.device, self.stream.seed, 7, step)
        if self._kept is None or self._kept[0] != number:
            self._kept = number, self.stream.batch(number)
        return turned_together(self._kept[1], rng), rng

    def learning_rate(self) -> float:
        """Warm-up, then a fall in a straight line."""
        s = self.settings
        return s.learning_rate * min(1.0, (self.step + 1) / max(s.warmup_steps, 1), 1.25 * (1 - self.step / s.steps))

    def limit_gradients(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.localiser.parameters(), 1.0)

    def weights(self) -> dict[str, dict[str, torch.Tensor]]:
        return {"localiser": self.localiser.state_dict()}

    def load_weights(self, weights: dict[str, dict[str, torch.Tensor]]) -> None:
        self.localiser.load_state_dict(weights["localiser"])

    @cached_property
    def _held_out(self) -> Pairs:
        count = min(VALIDATION_PAIRS, self.settings.data.pool)
        data = dataclasses.replace(self.settings.data, batch=count)
        return PairStream(data, VALIDATION_SEED, self.process.device).batch(0)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Losses of pairs of shapes that are held out."""
        losses = self.objective(self._held_out, Random(self.process.device, VALIDATION_SEED))
        return {name: float(value) for name, value in losses.items()}

    def save_weights(self, path: Path) -> None:
        """The weights with what is needed to make them again."""
        tensors = {key: value.detach().cpu().contiguous() for key, value in self.localiser.state_dict().items()}
        note = {
            "network": "localiser",
            "step": str(self.step),
            "seconds": f"{self.seconds:.0f}",
            "settings": json.dumps(dataclasses.asdict(self.settings)),
        }
        partial = path.with_suffix(".partial")
        save_file(tensors, partial, note)
        partial.replace(path)
