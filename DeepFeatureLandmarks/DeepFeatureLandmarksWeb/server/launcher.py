"""The launcher: starts a process with its own scene for each browser, and passes requests on to it.

A browser is known by a cookie. After a reload or a lost connection it gets the same process, and its work, again.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import aiohttp
from aiohttp import web

from DeepFeatureLandmarksWeb.server.access_control import Address, is_same_origin
from DeepFeatureLandmarksWeb.server.proxy import proxy_http, proxy_websocket
from DeepFeatureLandmarksWeb.server.session_process import SessionProcess
from DeepFeatureLandmarksWeb.server.status_pages import notice, starting
from deepfeatures.errors import InputError

MAX_SESSIONS = 8
IDLE_LIMIT_S = 2 * 3600  # without a connection; volumes of an abandoned session must not stay for days
CHECK_EVERY_S = 30
START = "/start"
SESSION_ENDED = "this session has ended; reload the page to start a new one"
PAGE = "/index.html?reconnect=auto"  # after a lost connection the page tries again by itself


class Launcher:
    """Serves the page at `address`; each session opens `files`: role to path."""

    def __init__(self, address: Address, files: Mapping[str, Path] | None = None):
        self._address = address
        self._files = {role: str(Path(path).resolve()) for role, path in (files or {}).items()}
        self._sessions: dict[str, SessionProcess] = {}
        self._starting = asyncio.Lock()
        self._client: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self.port = address.port

    @property
    def url(self) -> str:
        host = "127.0.0.1" if self._address.host in ("0.0.0.0", "::") else self._address.host
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}/" + (f"?token={quote(self._address.token)}" if self._address.token else "")

    @property
    def _cookie(self) -> str:
        return f"deepfeatures-{self.port}"  # browsers share cookies between ports

    async def start(self) -> None:
        """Listen; `port` and `url` are right from here on."""
        self._client = aiohttp.ClientSession(
            auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None, sock_connect=10)
        )
        app = web.Application()
        app.router.add_get("/{path:.*}", self._get)
        app.router.add_post("/{path:.*}", self._post)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._address.host, self._address.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def run(self) -> None:
        """End sessions whose browser has not come back, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            for name, session in list(self._sessions.items()):
                if not session.is_alive or session.idle_s > IDLE_LIMIT_S:
                    del self._sessions[name]
                    await session.end()

    async def stop(self) -> None:
        """End every session: its process, and its private files."""
        await asyncio.gather(*(session.end() for session in self._sessions.values()))
        self._sessions.clear()
        if self._client:
            await self._client.close()
        if self._runner:
            await self._runner.cleanup()

    async def _get(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        session = self._session_of(request)
        if session is None:
            return await self._start_session(request)
        if request.path in ("/", START):
            return web.HTTPFound(PAGE)  # without the token, which must not stay in the address bar
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await proxy_websocket(self._client, request, session)
        return await proxy_http(self._client, request, session)

    async def _post(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        session = self._session_of(request)
        if session is None:
            return web.json_response({"error": SESSION_ENDED}, status=410)
        return await proxy_http(self._client, request, session)

    def _refusal(self, request: web.Request) -> web.Response | None:
        if not self._address.is_called(request.host) or not is_same_origin(request.headers.get("Origin"), request.host):
            return notice(403, "This page was opened from somewhere else", "Open the address that was printed.")
        return None

    def _session_of(self, request: web.Request) -> SessionProcess | None:
        session = self._sessions.get(request.cookies.get(self._cookie, ""))
        return session if session and session.is_alive else None

    async def _start_session(self, request: web.Request) -> web.Response:
        if request.headers.get("Upgrade") or request.path not in ("/", "/index.html", START):
            if request.path == "/favicon.ico":
                return web.Response(status=204)
            return web.Response(status=410, text=SESSION_ENDED)
        if not self._address.admits(request.query.get("token")):
            return notice(401, "This page needs its token", "Open the full address that was printed at the start.")
        if request.path != START:  # a page to show while the process starts
            return starting(f"{START}?{request.rel_url.raw_query_string}")
        async with self._starting:  # one after the other: starting takes both cores
            alive = sum(session.is_alive for session in self._sessions.values())
            if alive >= MAX_SESSIONS:
                return notice(503, "All places are taken", f"{alive} people are working here; come back later.")
            try:
                session = await SessionProcess.start(self._files)
            except (asyncio.TimeoutError, OSError, ValueError):
                return notice(500, "The session could not be started", "The server's terminal shows the reason.")
        name = secrets.token_urlsafe(32)
        self._sessions[name] = session
        answer = web.HTTPFound(PAGE)
        answer.set_cookie(self._cookie, name, httponly=True, samesite="Strict")
        return answer


def serve(host: str, port: int, token: str | None, files: Mapping[str, Path], open_browser: bool) -> None:
    """Serve until interrupted.

    Raises:
        InputError: Where the page must not be, or cannot be, served there.
    """
    address = Address(host, port, token)
    try:
        asyncio.run(_serve(Launcher(address, files), open_browser))
    except OSError as error:
        raise InputError(f"cannot serve on {host}:{port} ({error.strerror}); choose another --port") from error


async def _serve(launcher: Launcher, open_browser: bool) -> None:
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows ends by an exception instead
            loop.add_signal_handler(number, interrupted.set)
    try:
        await launcher.start()
        print(f"The page is at {launcher.url} (Ctrl+C ends it)", flush=True)
        if open_browser:
            webbrowser.open(launcher.url)
        watch = asyncio.create_task(launcher.run())
        await interrupted.wait()
        watch.cancel()
    finally:
        await launcher.stop()
