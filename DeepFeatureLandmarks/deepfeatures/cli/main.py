"""The command line of DeepFeatureLandmarks: `deepfeatures --help` lists what it does.

Exit codes: 0 all done, 3 some landmarks missing, 2 bad input (one line says which), 130 interrupted. Heavy imports wait
until a command runs, so that `--help` is quick.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from deepfeatures.cli import app as page
from deepfeatures.cli import train, weights
from deepfeatures.cli.cohort import cohort
from deepfeatures.cli.evaluate import evaluate
from deepfeatures.cli.quality import quality
from deepfeatures.cli.terminal import mend_streams
from deepfeatures.errors import InputError

BAD_INPUT, SOME_MISSING, INTERRUPTED = 2, 3, 130
# The base of every error about arguments; click's own class, wherever this version of typer keeps click.
ArgumentError = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="deepfeatures",
    help="Place a landmark once, find it in every scan.",
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


app.command()(quality)
app.command()(cohort)
app.command()(evaluate)


class Search(str, Enum):
    guided = "guided"
    dense = "dense"
    patch = "patch"


class Pose(str, Enum):
    auto = "auto"
    centres = "centres"
    world = "world"
    any = "any"


class Intensity(str, Enum):
    auto = "auto"
    percentile = "percentile"
    zscore = "zscore"
    hu = "hu"
    histogram = "histogram"
    rank = "rank"


class Device(str, Enum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Precision(str, Enum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


NetworkOption = Annotated[
    str | None,
    typer.Option("--network", help="A name that `deepfeatures networks` lists; by default the best measured."),
]
LayerOption = Annotated[
    str | None,
    typer.Option("--layer", help="A layer that `deepfeatures networks --layers NETWORK` lists."),
]
PatchOption = Annotated[
    int | None,
    typer.Option("--patch-size", min=4, help="Edge of the compared cube in voxels, 4 or more."),
]


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        from deepfeatures import __version__

        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        raise InputError("no command was given; choose one of those that deepfeatures --help lists")


@app.command()
def place(
    context: typer.Context,
    targets: Annotated[list[Path], typer.Argument(metavar="TARGET", help="Volumes to find the landmarks in.")],
    template: Annotated[
        list[Path],
        typer.Option("--template", help="Volume in which the landmarks were placed; several are brought to agree."),
    ],
    landmarks: Annotated[
        list[Path], typer.Option("--landmarks", help="Its landmarks: .mrk.json, .fcsv or .csv; one file a template.")
    ],
    output_dir: Annotated[Path, typer.Option("--output-dir", help="Folder for one .mrk.json a target.")],
    network: NetworkOption = None,
    layer: LayerOption = None,
    patch_size: PatchOption = None,
    search: Annotated[
        Search | None,
        typer.Option(
            "--search",
            help="From coarse to fine, or the paper's greedy search: every voxel in one pass, or patch by patch.",
        ),
    ] = None,
    search_radius: Annotated[
        float | None,
        typer.Option(
            "--search-radius",
            help="Look within this many mm of where the landmark lies once the volumes' centres are aligned.",
        ),
    ] = None,
    pose: Annotated[
        Pose | None,
        typer.Option(
            "--pose",
            help="Where the search from coarse to fine starts: with the volumes' centres aligned, at equal world"
            " coordinates, or at any rotation; auto, the default: centres, else any shift, else any rotation.",
        ),
    ] = None,
    intensity: Annotated[
        Intensity | None,
        typer.Option(
            "--intensity",
            help="How voxels of template and target are scaled; auto, the default: Hounsfield units where both are CT,"
            " else percentiles.",
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option("--mask", help="Volume that is not zero where the one target may be searched."),
    ] = None,
    alone: Annotated[
        bool,
        typer.Option(
            "--alone",
            help="Place each target without regard to the others. Else three targets or more help one another.",
        ),
    ] = False,
    device: Annotated[Device, typer.Option("--device", help="Where to compute.")] = Device.auto,
    precision: Annotated[Precision, typer.Option("--precision", help="Numbers to compute in.")] = Precision.auto,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Draws the kernels of random networks.")] = 0,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="JSON file for settings, versions, times and distances."),
    ] = None,
) -> int:
    """Find the landmarks of a template in other volumes.

    Volumes are NIfTI, NRRD, MetaImage, OME-Zarr, or a DICOM series: its folder or one of its files. Writes
    OUTPUT_DIR/TARGET.mrk.json for each target, whole or not at all. Exit code 3 says that some landmarks were not
    found; they are named, and have no position in the output.
    """
    if search_radius is not None and not 0 < search_radius < math.inf:
        raise InputError(f"--search-radius {search_radius:g} is not a distance; give a number of mm above 0")
    if len(template) != len(landmarks):
        raise InputError(f"there are {len(template)} --template and {len(landmarks)} --landmarks; give one for each")
    from deepfeatures.matching import Matcher, Panel
    from deepfeatures.matching.guided.groupwise import FEWEST
    from deepfeatures.pipelines import place as place_pipeline
    from deepfeatures.pipelines.run_report import write_report

    settings = {
        "network": network,
        "layer": layer,
        "patch_size": patch_size,
        "search": search.value if search else "dense" if mask else None,
        "search_radius_mm": search_radius,
        "pose": pose.value if pose else None,
        "intensity": intensity.value if intensity else None,
        "device": device.value,
        "precision": precision.value,
        "seed": seed,
    }
    # what the user leaves open is the matcher's choice
    make = partial(Matcher, **{name: value for name, value in settings.items() if value is not None})
    matcher = make()
    others = tuple(zip(template[1:], landmarks[1:], strict=True))
    job = place_pipeline.Job(template[0], landmarks[0], tuple(targets), output_dir, mask, report, others)
    template_volume, template_landmarks, mask_volume = place_pipeline.prepare(job)
    panel = [place_pipeline.read_template(*other) for other in others]
    for volume in (template_volume, *(other for other, _ in panel)):
        _note(volume.note)
    company = None
    if panel:
        matcher = Panel(panel, make)
    elif len(targets) > FEWEST and not alone:
        company = matcher.company()
    outcomes = []
    with _progress_bar(len(targets), turns=1 if company is None else 2) as progress:
        for outcome in place_pipeline.place(
            job, template_volume, template_landmarks, mask_volume, matcher, progress, company
        ):
            outcomes.append(outcome)
            _note(outcome.note)
            if outcome.output:
                print(f"{outcome.output}: {outcome.placed} of {len(template_landmarks)} landmarks", flush=True)
    if report:
        write_report(report, context.obj, settings, outcomes)
    return _conclude(outcomes)


@app.command()
def activations(
    volume: Annotated[Path, typer.Option("--volume", help="Volume to encode.")],
    landmarks: Annotated[Path, typer.Option("--landmarks", help="Its landmarks: .mrk.json, .fcsv or .csv.")],
    output: Annotated[
        Path,
        typer.Option("--output", help="NAME.png for a picture; NAME.nrrd, or a folder, for a volume of each channel."),
    ],
    landmark: Annotated[
        str | None,
        typer.Option("--landmark", help="Name of the landmark at which to cut the patch; by default the first."),
    ] = None,
    network: Annotated[str, typer.Option("--network")] = "vgg19-3d-random",
    layer: LayerOption = None,
    patch_size: Annotated[int, typer.Option("--patch-size", min=4, help="Edge of the patch in voxels.")] = 32,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Draws the kernels of random networks.")] = 0,
) -> None:
    """Show what a layer makes of the patch around a landmark (the paper's figure 3)."""
    from deepfeatures.pipelines import activations

    written = activations.write_activations(
        volume, landmarks, landmark, output, network=network, layer=layer, patch_size=patch_size, seed=seed
    )
    typer.echo(f"{written[0]}" if len(written) == 1 else f"{written[0]} to {written[-1].name}")


@app.command()
def networks(
    layers: Annotated[
        str | None,
        typer.Option("--layers", metavar="NETWORK", help="List the layers of this network instead."),
    ] = None,
) -> None:
    """List the networks, or the layers of one."""
    from deepfeatures.cli import tables
    from deepfeatures.cli.terminal import print_table

    print_table(tables.layers_table(layers) if layers else tables.networks_table())


app.add_typer(train.app, name="train")
app.add_typer(weights.app, name="weights")


@app.command()
def demo(
    output_dir: Annotated[Path, typer.Option("--output-dir", help="Folder for volumes, landmarks and picture.")] = Path(
        "demo-output"
    ),
) -> int:
    """Make a head and a deformed one, place landmarks, and print how far they are from the truth."""
    from deepfeatures.pipelines import demo as demonstration

    return demonstration.run(output_dir)


app.command("app")(page.app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Whatever a user can cause ends in one line on standard error.
    """
    mend_streams()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(arguments, prog_name="deepfeatures", standalone_mode=False, obj=arguments)
    except ArgumentError as error:
        return _refuse(f"{error.format_message()} (deepfeatures --help)")
    except InputError as error:
        return _refuse(str(error))
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except (MemoryError, RuntimeError) as error:
        from deepfeatures.pipelines.place import is_out_of_memory, out_of_memory

        if not is_out_of_memory(error):
            raise
        return _refuse(out_of_memory("this"))
    except OSError as error:
        if error.errno is None:
            raise
        return _refuse(
            f"cannot read or write {error.filename or 'what is printed'} ({error.strerror}); "
            "check the path, your rights and the room that is left"
        )
    if code == INTERRUPTED:
        _say("interrupted; every file that was written is whole")
    return code or 0


def _conclude(outcomes) -> int:
    failed = [outcome for outcome in outcomes if outcome.failure]
    if failed:
        good = len(outcomes) - len(failed)
        others = f" (the other {good} of {len(outcomes)} targets were placed)" if good else ""
        return _refuse("; ".join(outcome.failure for outcome in failed) + others)
    missing = [f"{outcome.target}: {outcome.missing_text}" for outcome in outcomes if outcome.missing]
    if missing:
        _say("landmarks missing in " + "; ".join(missing))
        return SOME_MISSING
    return 0


def _refuse(message: str) -> int:
    _say(f"error: {message}")
    return BAD_INPUT


def _note(text: str | None) -> None:
    if text:
        _say(f"note: {text}")


def _say(message: str) -> None:
    typer.echo(" ".join(message.split()), err=True)


@contextmanager
def _progress_bar(targets: int, turns: int = 1) -> Iterator[Callable[[int, float], None]]:
    """A bar on the terminal, nothing elsewhere; yields what to call with a target's index and its fraction done.

    With several turns, the indices of the second follow those of the first.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    bar = Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        auto_refresh=False,  # a frame must not fall into the moment when native output is silenced
        redirect_stdout=sys.stdout.isatty(),  # print above the bar, but never from a pipe to the terminal
        redirect_stderr=False,
    )
    with bar:
        task = bar.add_task("", total=turns * targets)

        def update(index: int, done: float) -> None:
            again = "" if index < targets else ", beside the others"
            description = f"target {index % targets + 1} of {targets}{again}"
            bar.update(task, completed=index + done, description=description, refresh=True)

        yield update
