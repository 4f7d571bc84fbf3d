"""`deepfeatures forget`, `merge` and `show`: what a protocol knows, without any volume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from deepfeatures.cli.learn import PROTOCOL
from deepfeatures.errors import InputError


def forget(
    protocol: Annotated[Path, PROTOCOL],
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Scans or people, as `show` lists them.")],
) -> None:
    """Take scans or people out of a protocol: it is then as if it had never learnt from them."""
    from deepfeatures.cli.protocol_tables import print_protocol
    from deepfeatures.pipelines.protocol_update import forget_scans

    forget_scans(protocol, names)
    typer.echo(f"{protocol}: {', '.join(names)} forgotten")
    print_protocol(protocol)


def merge(
    protocols: Annotated[
        list[Path], typer.Argument(metavar="PROTOCOL", help="Two files or more, of one template and its landmarks.")
    ],
    output: Annotated[Path, typer.Option("--output", help="The file to write, NAME.dflp.")],
) -> None:
    """Put into one protocol what several have been taught."""
    from deepfeatures.cli.protocol_tables import print_protocol
    from deepfeatures.pipelines import learning

    if len(protocols) < 2:
        raise InputError(f"there is only {protocols[0]}; give two protocols or more to merge")
    learning.merge(protocols, output)
    print_protocol(output)


def show(
    protocol: Annotated[Path, PROTOCOL],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show what a protocol was taught, how much that helps, which landmarks still doubt, and what the file reveals."""
    from deepfeatures.cli.protocol_tables import print_protocol, protocol_facts

    if as_json:
        typer.echo(json.dumps(protocol_facts(protocol), indent=1, ensure_ascii=False))
    else:
        print_protocol(protocol)
