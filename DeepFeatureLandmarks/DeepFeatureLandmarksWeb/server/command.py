"""`deepfeatures app`: the module in a browser, registered as an entry point of `deepfeatures.commands`.

`deepfeatures --help` imports this file, so that it imports little: the rest is imported when the command runs.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import require_utf8_name

PORT = 8750


def app(
    template: Annotated[
        Path | None, typer.Option("--template", help="Volume with known landmarks, opened at once.")
    ] = None,
    landmarks: Annotated[
        Path | None, typer.Option("--landmarks", help="Its landmarks: .mrk.json, .fcsv, .csv, ….")
    ] = None,
    target: Annotated[Path | None, typer.Option("--target", help="Volume to find them in, opened at once.")] = None,
    host: Annotated[
        str, typer.Option("--host", help="Interface to serve on; others than loopback need --token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = PORT,
    token: Annotated[
        str | None,
        typer.Option("--token", envvar="DEEPFEATURES_TOKEN", help="What browsers must bring, 16 characters or more."),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
) -> None:
    """Serve the page on which landmarks are placed and reviewed; Ctrl+C ends it."""
    if find_spec("trame_slicer") is None:
        raise InputError('the page needs trame-slicer; install it with `pip install "deep-feature-landmarks[web]"`')
    files = {"template": template, "landmarks": landmarks, "target": target}
    for path in files.values():
        if path is None:
            continue
        if not path.exists():
            raise InputError(f"{path} does not exist; check the path")
        require_utf8_name(path)
    from DeepFeatureLandmarksWeb.server.launcher import serve

    serve(host, port, token, {role: path for role, path in files.items() if path}, open_browser)
