"""The loop that trains every network of this package: steps, measurements, checkpoints and curves."""

from __future__ import annotations

import dataclasses
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from deepfeatures.errors import InputError
from deepfeatures.matching.devices import multiplies_bfloat16
from deepfeatures.networks.weights import sha256
from deepfeatures.training import checkpoint
from deepfeatures.training.distributed import Process

REPORT_EVERY = 50  # steps between printed losses

Curves = Callable[[dict[str, float], int], None]
"""Takes values by name, and the step that they belong to."""


@dataclass(frozen=True)
class RunSettings:
    """What every run has.

    Args:
        seed: Decides the weights at the start and all data.
        validate_every: Steps between measurements on held-out data.
        checkpoint_seconds: Time between checkpoints.
        mixed_precision: Compute in bfloat16 where the device has units for it; weights and optimiser stay in float32.
    """

    seed: int = 0
    validate_every: int = 500
    checkpoint_seconds: float = 120.0
    mixed_precision: bool = True


class Trainer(ABC):
    """One run: what is trained, its optimiser, and how far it is.

    Batch number `step` must depend on settings and `step` alone; then a run goes on exactly where its checkpoint was
    taken.

    Args:
        settings: Of the run.
        steps: Its length.
        objective: Module that holds all trained weights, on its device; called with a batch, it gives losses by name.
            `"total"` is made smaller.
        optimiser: Of its weights.
        process: Which one of those that train together.
    """

    file_name: str  # of the weights that a run leaves
    stops_early = False  # whether `converged` may end a run

    def __init__(
        self,
        settings: RunSettings,
        steps: int,
        objective: nn.Module,
        optimiser: torch.optim.Optimizer,
        process: Process,
    ):
        self.settings, self.steps, self.optimiser, self.process = settings, steps, optimiser, process
        self.objective = process.shared(objective)
        self.step = 0
        self.seconds = 0.0

    @abstractmethod
    def batch(self, step: int) -> tuple:
        """What the objective is called with in a step: this process's share."""

    @abstractmethod
    def weights(self) -> dict[str, dict[str, torch.Tensor]]:
        """State dicts of all that is trained or kept, by name."""

    @abstractmethod
    def load_weights(self, weights: dict[str, dict[str, torch.Tensor]]) -> None:
        """Go on from what `weights` gave."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Measurements on held-out data; changes nothing."""

    @abstractmethod
    def save_weights(self, path: Path) -> None:
        """Write the weights that are best to use so far."""

    def begin(self, out: Path) -> None:  # noqa: B027 - most runs have nothing to show
        """Called before the first step, and again when a run goes on: what is worth showing of the data."""

    def on_validation(self, scores: dict[str, float]) -> None:  # noqa: B027 - only runs that pick their weights need it
        """Called with each scheduled measurement."""

    def converged(self) -> bool:
        """Whether more steps are of no use."""
        return False

    def notes(self) -> dict[str, float]:
        """Numbers that a checkpoint holds beside the step."""
        return {}

    def load_notes(self, notes: dict) -> None:  # noqa: B027 - as above
        """Go on from what `notes` gave."""

    def learning_rate(self) -> float:
        """Of the coming step."""
        return self.optimiser.param_groups[0]["lr"]

    def limit_gradients(self) -> None:  # noqa: B027 - as above
        """Called between backward pass and optimiser."""

    def after_step(self) -> None:  # noqa: B027 - as above
        """Called when the weights have changed, before the step counts."""

    def advance(self) -> dict[str, torch.Tensor]:
        """One step; returns its losses, still on the device."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        losses = self.objective(*self.batch(self.step))
        losses["total"].backward()
        self.limit_gradients()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.after_step()
        self.step += 1
        return {name: value.detach() for name, value in losses.items()}

    def state(self) -> dict[str, dict]:
        """Everything that going on needs, in parts of which each becomes a file."""
        progress = {"step": self.step, "seconds": self.seconds, "settings": dataclasses.asdict(self.settings)}
        return {
            "weights": self.weights(),
            "optimiser": {"optimiser": self.optimiser.state_dict()},
            "progress": {**progress, **self.notes()},
        }

    def restore(self, state: dict[str, dict]) -> None:
        """Go on exactly where `state` was taken.

        Raises:
            InputError: It is that of another network.
        """
        try:
            self.load_weights(state["weights"])
            self.optimiser.load_state_dict(state["optimiser"]["optimiser"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise InputError("The checkpoint is that of another network; choose another folder with --out.") from error
        self.step, self.seconds = state["progress"]["step"], state["progress"]["seconds"]
        self.load_notes(state["progress"])


def autocast(device: torch.device, wanted: bool) -> torch.autocast:
    """Mixed precision where it is wanted and pays."""
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and multiplies_bfloat16(device))


def run(trainer: Trainer, out: Path, *, seconds: float = math.inf, resume: bool = False) -> None:
    """Train to the last step, or until `seconds` are over, and leave checkpoint and weights in `out`.

    Args:
        trainer: What to train.
        out: Folder for checkpoint, weights and curves.
        seconds: Time to stop after; a later run with `resume` goes on.
        resume: Go on from the checkpoint in `out`.

    Raises:
        InputError: There is no checkpoint to go on from, or one that would be overwritten.
    """
    if resume:
        trainer.restore(checkpoint.load(out, trainer.process.device))
    elif checkpoint.exists(out):
        raise InputError(f"{out} holds the checkpoint of a run; go on with --resume or choose another folder.")
    with _fastest_convolutions():
        _train(trainer, out, seconds)


@contextmanager
def _fastest_convolutions() -> Iterator[None]:
    """Let cuDNN try out which algorithms are fastest, since all batches have one shape; as before afterwards."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _train(trainer: Trainer, out: Path, seconds: float) -> None:
    first = trainer.process.is_first
    if first:
        out.mkdir(parents=True, exist_ok=True)
        trainer.begin(out)
    curves = _curves(out, trainer.step) if first else None
    started = last_saved = time.monotonic()
    before, lap = trainer.seconds, _Lap()
    while trainer.step < trainer.steps:
        lap.add(trainer.advance())
        now = time.monotonic()
        trainer.seconds = before + now - started
        if trainer.step % REPORT_EVERY == 0:
            values, pace = lap.means(trainer.step)
            lap = _Lap()
            if curves:
                curves({f"loss/{name}": value for name, value in values.items()}, trainer.step)
                _say(f"step {trainer.step} loss {_text(values)} lr {trainer.learning_rate():.1e} {pace:.2f} steps/s")
        if curves and (trainer.step % trainer.settings.validate_every == 0 or trainer.step == trainer.steps):
            scores = trainer.validate()
            trainer.on_validation(scores)
            curves({f"held-out/{name}": value for name, value in scores.items()}, trainer.step)
            _say(f"step {trainer.step} held-out {_text(scores)} after {trainer.seconds:.0f} s")
            lap = _Lap()
        limited = seconds < math.inf or trainer.stops_early
        if limited and trainer.process.any(now - started > seconds or trainer.converged()):
            break
        if first and now - last_saved > trainer.settings.checkpoint_seconds:
            _save(trainer, out)
            last_saved = time.monotonic()
    if first:
        _save(trainer, out)
        weights = out / trainer.file_name
        _say(
            f"stopped at step {trainer.step} of {trainer.steps} after {trainer.seconds:.0f} s: {weights}"
            f" sha256 {sha256(weights)}"
        )


class _Lap:
    """Losses since the last report, summed up on the device so that it need not wait."""

    def __init__(self):
        self._sums: dict[str, torch.Tensor] = {}
        self._count, self._started = 0, time.monotonic()

    def add(self, losses: dict[str, torch.Tensor]) -> None:
        self._sums = {name: self._sums.get(name, 0) + value for name, value in losses.items()}
        self._count += 1

    def means(self, step: int) -> tuple[dict[str, float], float]:
        """Mean losses by name, and steps a second."""
        values = {name: float(total) / self._count for name, total in self._sums.items()}
        if not all(map(math.isfinite, values.values())):
            raise FloatingPointError(f"The loss is no longer a number at step {step}: {values}.")
        return values, self._count / (time.monotonic() - self._started)


def _save(trainer: Trainer, out: Path) -> None:
    checkpoint.save(trainer.state(), out)
    trainer.save_weights(out / trainer.file_name)


def _curves(out: Path, step: int) -> Curves:
    """Curves for TensorBoard in `out/curves`; nothing where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return lambda values, step: None
    # what a killed run wrote after its last checkpoint comes again
    writer = SummaryWriter(str(out / "curves"), purge_step=step + 1)

    def write(values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return write


def _text(values: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in values.items())


def _say(text: str) -> None:
    print(text, flush=True)
