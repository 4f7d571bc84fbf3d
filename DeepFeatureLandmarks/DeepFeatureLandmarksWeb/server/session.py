"""The process of one browser: `python -m DeepFeatureLandmarksWeb.server.session`, started by the launcher.

The first line on standard input is JSON with its key, its private folder and the files to open; the end of standard
input ends the process.
The first line on standard output is the port that it listens on, loopback only.
"""

from __future__ import annotations

import hmac
import json
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

from aiohttp import web

KEY_HEADER = "X-Session-Key"


def main() -> None:
    options = json.loads(sys.stdin.readline())
    port_output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not be read as the port
    sys.argv = sys.argv[:1]
    tempfile.tempdir = options["folder"]  # files for the worker are then removed with it
    try:
        serve(Path(options["folder"]), options, port_output)
    finally:
        shutil.rmtree(options["folder"], ignore_errors=True)


def serve(folder: Path, options: dict, port_output) -> None:
    """Serve the page until standard input ends; `folder` is private and holds uploads."""
    from trame.app import get_server
    from vtkmodules.vtkCommonCore import vtkObject

    vtkObject.GlobalWarningDisplayOff()  # each view warns about an event of VTK that trame-slicer observes

    from DeepFeatureLandmarksWeb.app import App

    server = get_server(client_type="vue3")
    app = App(server, folder, options["files"])

    @server.controller.add("on_server_bind")
    def bind(bound):
        bound.app.middlewares.append(_require_key(options["key"]))
        bound.app.add_routes(app.routes)

    @server.controller.add("on_server_ready")
    def ready(**_):
        import asyncio

        loop = asyncio.get_running_loop()
        threading.Thread(target=_stop_at_end_of_input, args=(loop, server), daemon=True).start()
        app.start()
        print(server.port, file=port_output, flush=True)

    try:
        server.start(
            port=0, host="127.0.0.1", open_browser=False, show_connection_info=False, timeout=0, disable_logging=True
        )
    finally:
        app.close()


def _require_key(key: str):
    """Refuse requests that do not come through the launcher: other users of this machine reach loopback too."""

    @web.middleware
    async def check(request: web.Request, handler):
        if not hmac.compare_digest(request.headers.get(KEY_HEADER, ""), key):
            return web.Response(status=403, text="open the address that was printed at the start")
        return await handler(request)

    return check


def _stop_at_end_of_input(loop, server) -> None:
    sys.stdin.read()
    loop.call_soon_threadsafe(lambda: loop.create_task(server.stop()))


if __name__ == "__main__":
    main()
