"""`deepfeatures train`: train the networks that this package trains, on one device or several."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfeatures.cli.options import CASES

if TYPE_CHECKING:
    from deepfeatures.training.distributed import Process
    from deepfeatures.training.trainer import Trainer

app = typer.Typer(
    help="Train networks of your own. On several GPUs: `torchrun --nproc-per-node N -m deepfeatures train …`."
)
Settings = Annotated[Path | None, typer.Option("--settings", help="TOML file; what it leaves out keeps its default.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for weights, checkpoint and TensorBoard's curves.")]
Seconds = Annotated[float, typer.Option("--seconds", min=0, help="Stop after this time; --resume goes on.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on exactly where the checkpoint in --out was taken.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]


@app.command("cifl")
def cifl(
    out: Out,
    settings: Settings = None,
    start_from: Annotated[
        Path | None, typer.Option("--from", help="Weights of an earlier run to start from, a safetensors file.")
    ] = None,
    seconds: Seconds = math.inf,
    resume: Resume = False,
    device: Device = "auto",
) -> None:
    """Train contrast-invariant features from synthetic shapes; no volumes are needed."""
    from deepfeatures.training.cifl import CiflSettings, CiflTrainer
    from deepfeatures.training.settings import read_settings

    chosen = read_settings(settings, CiflSettings) if settings else CiflSettings()
    _run(lambda process: CiflTrainer(chosen, process, start_from), out, seconds, resume, device)


@app.command("localiser")
def localiser(
    out: Out,
    settings: Settings = None,
    seconds: Seconds = math.inf,
    resume: Resume = False,
    device: Device = "auto",
) -> None:
    """Train the network that finds the pose of a target, from synthetic shapes; no volumes are needed."""
    from deepfeatures.training.localiser import LocaliserSettings, LocaliserTrainer
    from deepfeatures.training.settings import read_settings

    chosen = read_settings(settings, LocaliserSettings) if settings else LocaliserSettings()
    _run(lambda process: LocaliserTrainer(chosen, process), out, seconds, resume, device)


@app.command("student")
def student(
    network: Annotated[str, typer.Argument(metavar="NETWORK", help="vgg19-3d-student or resnet-3d-student.")],
    data: Annotated[
        Path,
        typer.Option("--data", help="Folder of volumes, of a Medical Segmentation Decathlon task, or of several."),
    ],
    out: Out,
    settings: Settings = None,
    seconds: Seconds = math.inf,
    resume: Resume = False,
    device: Device = "auto",
) -> None:
    """Train the paper's network 3 or 4 to predict VGG-19's features; `weights import` then takes what it leaves."""
    from deepfeatures.training.settings import read_settings
    from deepfeatures.training.student import StudentSettings, StudentTrainer

    chosen = read_settings(settings, StudentSettings) if settings else StudentSettings()
    _run(lambda process: StudentTrainer(network, data, chosen, process), out, seconds, resume, device)


@app.command("pif")
def pif(
    folder: Annotated[Path, CASES],
    template: Annotated[Path, typer.Option("--template", help="Volume to which the scans are normalised.")],
    landmarks: Annotated[Path, typer.Option("--landmarks", help="Landmarks of the template.")],
    out: Out,
    settings: Settings = None,
    seconds: Seconds = math.inf,
    resume: Resume = False,
    device: Device = "auto",
) -> None:
    """Train patch individual filters to place landmarks, from annotated scans that are normalised to a template."""
    from deepfeatures.cli.normalised_examples import read_examples
    from deepfeatures.training.landmark_regression import RegressionSettings, RegressionTrainer, split_people
    from deepfeatures.training.settings import read_settings

    chosen = read_settings(settings, RegressionSettings) if settings else RegressionSettings()
    frame, examples = read_examples(folder, template, landmarks, chosen.spacing_mm, device)
    learnt, held_out = split_people(examples)
    plan = chosen.plan(frame.grid.voxels.shape, frame.points)
    names = [landmark.name for landmark in frame.landmarks]
    _run(
        lambda process: RegressionTrainer(plan, learnt, held_out, chosen, process, names), out, seconds, resume, device
    )


@app.command("quicksilver")
def quicksilver(
    folder: Annotated[Path, CASES],
    out: Out,
    settings: Settings = None,
    seconds: Seconds = math.inf,
    resume: Resume = False,
    device: Device = "auto",
) -> None:
    """Train networks that predict the deformation between two scans, from annotated scans of four people or more."""
    from deepfeatures.cli.momentum_pairs import read_pairs
    from deepfeatures.training.quicksilver import QuicksilverSettings, QuicksilverTrainer
    from deepfeatures.training.settings import read_settings

    chosen = read_settings(settings, QuicksilverSettings) if settings else QuicksilverSettings()
    pairs, held_out = read_pairs(folder, chosen, device)
    _run(lambda process: QuicksilverTrainer(pairs, held_out, chosen, process), out, seconds, resume, device)


def _run(make: Callable[[Process], Trainer], out: Path, seconds: float, resume: bool, device: str) -> None:
    from deepfeatures.matching.devices import choose_device
    from deepfeatures.training.distributed import join_process_group
    from deepfeatures.training.trainer import run

    with join_process_group(choose_device(device)) as process:
        run(make(process), out, seconds=seconds, resume=resume)
