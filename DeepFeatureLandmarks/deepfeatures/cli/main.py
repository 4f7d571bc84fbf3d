"""The command line of DeepFeatureLandmarks: `deepfeatures --help` lists what it does.

Exit codes: 0 all done, 3 some landmarks missing, 2 bad input (one line says which), 130 interrupted. Heavy imports wait
until a command runs, so that `--help` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from deepfeatures.cli import train, weights
from deepfeatures.cli.activations import activations
from deepfeatures.cli.calibrate import calibrate
from deepfeatures.cli.cohort import cohort
from deepfeatures.cli.convert import convert
from deepfeatures.cli.entry_points import add_commands
from deepfeatures.cli.evaluate import evaluate
from deepfeatures.cli.learn import learn
from deepfeatures.cli.place import place
from deepfeatures.cli.protocols import forget, merge, show
from deepfeatures.cli.quality import quality
from deepfeatures.cli.renamed_options import with_current_names
from deepfeatures.cli.terminal import INTERRUPTED, harden_streams, refuse, say
from deepfeatures.cli.transform import transform
from deepfeatures.cli.warp import warp
from deepfeatures.errors import InputError, is_out_of_memory, out_of_memory
from deepfeatures.threads import share_cores

# The base of every error about arguments; wherever this version of typer keeps click, an import fails without it.
(ArgumentError,) = (base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")

app = typer.Typer(
    name="deepfeatures",
    help="Place a landmark once, find it in every scan.",
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
COMMANDS = (
    *(quality, cohort, evaluate, calibrate, place, transform, warp),
    *(learn, forget, merge, show, activations, convert),
)
for command in COMMANDS:
    app.command()(command)


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
    from deepfeatures.pipelines.demo import run

    return run(output_dir)


add_commands(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Whatever a user can cause ends in one line on standard error.
    """
    share_cores()
    harden_streams()
    arguments, warnings = with_current_names(sys.argv[1:] if arguments is None else arguments)
    for warning in warnings:
        say(f"warning: {warning}")
    try:
        code = app(arguments, prog_name="deepfeatures", standalone_mode=False, obj=arguments)
    except ArgumentError as error:
        return refuse(f"{error.format_message()} (deepfeatures --help)")
    except InputError as error:
        return refuse(str(error))
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return refuse(out_of_memory("this"))
    except OSError as error:
        if error.errno is None:
            raise
        return refuse(
            f"cannot read or write {error.filename or 'what is printed'} ({error.strerror}); "
            "check the path, your rights and the room that is left"
        )
    if code == INTERRUPTED:
        say("interrupted; every file that was written is whole")
    return code or 0
