"""`deepfeatures weights`: list, fetch, import, verify and remove the weights of networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepfeatures.errors import InputError

if TYPE_CHECKING:
    from deepfeatures.networks.download import Progress

app = typer.Typer(help="Weights of networks that do not come with the package.")
Network = Annotated[str, typer.Argument(metavar="NETWORK", help="A name that `deepfeatures networks` lists.")]


@app.command("list")
def list_weights() -> None:
    """List what weights there are, where they lie, and which are missing."""
    from deepfeatures.cli import tables
    from deepfeatures.cli.terminal import print_table
    from deepfeatures.networks.weights import weights_folder

    print_table(tables.weights_table())
    typer.echo(f"Your folder of weights: {weights_folder()}")


@app.command("fetch")
def fetch(network: Network) -> None:
    """Download weights from the address that their publisher names, check and keep them; a cut download goes on."""
    from deepfeatures.networks.download import fetch_weights

    with _download_bar(network) as progress:
        stored = fetch_weights(network, progress)
    typer.echo(stored)


@app.command("import")
def import_weights(
    network: Network,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Keras .h5, torchvision .pth, .npz or .safetensors.")],
) -> None:
    """Check weights layer by layer and keep them for a network; nothing is downloaded."""
    from deepfeatures.networks.importers import import_weights as keep

    typer.echo(keep(network, file))


@app.command("verify")
def verify() -> None:
    """Compare the sha256 of every kept file with the one noted at its import."""
    from deepfeatures.networks import weight_store

    kept = [stored for stored in weight_store.all_stored_weights() if stored.path]
    faults = {stored.name: weight_store.fault(stored) for stored in kept}
    for stored in kept:
        typer.echo(f"{stored.name}: {'damaged' if faults[stored.name] else 'whole'}, {stored.path}")
    found = [fault for fault in faults.values() if fault]
    if found:
        raise InputError(" ".join(found))


@app.command("remove")
def remove(
    network: Annotated[str | None, typer.Argument(metavar="[NETWORK]", help="Whose weights; or --all.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All weights and downloads in your folder.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete kept weights, after asking; what comes with the package stays."""
    from deepfeatures.networks import weight_store
    from deepfeatures.networks.weights import weights_folder

    if (network is None) != everything:
        raise InputError("name a network whose weights to remove, or give --all, not both")
    stored = None if network is None else weight_store.stored_weights_of(network)
    what = f"the weights of {', '.join(stored.networks)}" if stored else "all weights and downloads"
    if not yes:
        typer.confirm(f"Remove {what} from {weights_folder()}?", abort=True)
    gone = weight_store.remove(stored) if stored else weight_store.remove_all()
    for path in gone:
        typer.echo(f"removed {path}")
    if not gone:
        typer.echo(f"Nothing to remove: {weights_folder()} does not hold {what}.")


@contextmanager
def _download_bar(network: str) -> Iterator[Progress]:
    """A bar on the terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(network, total=None)
        yield lambda here, whole: bar.update(task, completed=here, total=whole)
