"""The door: gives each browser a process with a scene of its own, and passes everything on to it.

A browser is known by a cookie, so that a reload or a lost connection finds the same process, and the work in it, again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import aiohttp
from aiohttp import web

from DeepFeatureLandmarksWeb.server.access_control import Address, is_same_origin
from DeepFeatureLandmarksWeb.server.status_pages import notice, starting
from DeepFeatureLandmarksWeb.server.session import KEY_HEADER
from deepfeatures.errors import InputError

MAX_SESSIONS = 8
START_LIMIT_S = 90
IDLE_LIMIT_S = 2 * 3600  # without a connection; the scan of somebody who has left must not lie around for days
CHECK_EVERY_S = 30
MESSAGE_LIMIT = 2**26
START = "/start"
PAGE = "/index.html?reconnect=auto"  # after a lost connection the page tries again by itself
HOP_BY_HOP_HEADERS = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "host", "content-encoding"}


@dataclass
class Session:
    """The process of one browser, and its private folder."""

    process: asyncio.subprocess.Process
    folder: str
    port: int
    key: str
    connections: int = 0
    left_at: float = field(default_factory=time.monotonic)

    @property
    def is_alive(self) -> bool:
        return self.process.returncode is None

    @property
    def idle_s(self) -> float:
        return 0.0 if self.connections else time.monotonic() - self.left_at

    async def end(self) -> None:
        if self.is_alive:
            self.process.stdin.close()  # which it takes as the sign to clean up and go
            try:
                await asyncio.wait_for(self.process.wait(), 5)
            except asyncio.TimeoutError:
                self.process.kill()
                await self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)  # of a process that had no time to do it


class Launcher:
    """Serves the page at `address`; each session opens `files`: role to path."""

    def __init__(self, address: Address, files: Mapping[str, Path] | None = None):
        self._address = address
        self._files = {role: str(Path(path).resolve()) for role, path in (files or {}).items()}
        self._sessions: dict[str, Session] = {}
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
        """End sessions that nobody has come back to, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            for name, session in list(self._sessions.items()):
                if not session.is_alive or session.idle_s > IDLE_LIMIT_S:
                    del self._sessions[name]
                    await session.end()

    async def stop(self) -> None:
        """End every session, and with it its process and its private files."""
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
            return await self._proxy_websocket(request, session)
        return await self._proxy_http(request, session)

    async def _post(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        session = self._session_of(request)
        if session is None:
            return web.json_response({"error": "this session has ended; reload the page to start anew"}, status=410)
        return await self._proxy_http(request, session)

    def _refusal(self, request: web.Request) -> web.Response | None:
        if not self._address.is_called(request.host) or not is_same_origin(request.headers.get("Origin"), request.host):
            return notice(403, "This page was opened from somewhere else", "Open the address that was printed.")
        return None

    def _session_of(self, request: web.Request) -> Session | None:
        session = self._sessions.get(request.cookies.get(self._cookie, ""))
        return session if session and session.is_alive else None

    async def _start_session(self, request: web.Request) -> web.Response:
        if request.headers.get("Upgrade") or request.path not in ("/", "/index.html", START):
            if request.path == "/favicon.ico":
                return web.Response(status=204)
            return web.Response(status=410, text="this session has ended; reload the page to start anew")
        if not self._address.admits(request.query.get("token")):
            return notice(401, "This page needs its token", "Open the full address that was printed at the start.")
        if request.path != START:  # something to look at while the process starts
            return starting(f"{START}?{request.rel_url.raw_query_string}")
        async with self._starting:  # a second browser waits its turn: starting takes both cores
            alive = sum(session.is_alive for session in self._sessions.values())
            if alive >= MAX_SESSIONS:
                return notice(503, "All places are taken", f"{alive} people are at work here; come back later.")
            try:
                session = await self._new_session()
            except (asyncio.TimeoutError, OSError, ValueError):
                return notice(500, "The session could not be started", "The terminal of the server says why.")
        name = secrets.token_urlsafe(32)
        self._sessions[name] = session
        answer = web.HTTPFound(PAGE)
        answer.set_cookie(self._cookie, name, httponly=True, samesite="Strict")
        return answer

    async def _new_session(self) -> Session:
        key, folder = secrets.token_urlsafe(32), tempfile.mkdtemp(prefix="deepfeatures-")
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),  # the child finds what this process finds
            "WSLINK_WS_COMPRESS": "0",  # pictures are compressed already
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "DeepFeatureLandmarksWeb.server.session",
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        process.stdin.write(json.dumps({"key": key, "folder": folder, "files": self._files}).encode() + b"\n")
        try:
            await process.stdin.drain()
            port = int(await asyncio.wait_for(process.stdout.readline(), START_LIMIT_S))
        except (asyncio.TimeoutError, ValueError):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return Session(process, folder, port, key)

    async def _proxy_http(self, request: web.Request, session: Session) -> web.StreamResponse:
        """One request and its answer, as they stream by."""
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP_HEADERS}
        headers[KEY_HEADER] = session.key
        headers.pop("Cookie", None)
        body = request.content if request.can_read_body else None
        url = f"http://127.0.0.1:{session.port}{request.rel_url}"
        try:
            async with self._client.request(
                request.method, url, headers=headers, data=body, allow_redirects=False
            ) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP_HEADERS}
                if encoding := answer.headers.get("Content-Encoding"):
                    kept["Content-Encoding"] = encoding
                passed = web.StreamResponse(status=answer.status, headers=kept)
                await passed.prepare(request)
                async for chunk in answer.content.iter_chunked(2**16):
                    await passed.write(chunk)
                await passed.write_eof()
                return passed
        except aiohttp.ClientConnectionError:
            return web.json_response({"error": "the connection to this session was lost; try again"}, status=502)

    async def _proxy_websocket(self, request: web.Request, session: Session) -> web.StreamResponse:
        """The messages of one browser window, both ways."""
        outside = web.WebSocketResponse(max_msg_size=MESSAGE_LIMIT, compress=False, heartbeat=30)
        await outside.prepare(request)
        session.connections += 1
        try:
            async with self._client.ws_connect(
                f"ws://127.0.0.1:{session.port}{request.rel_url}",
                headers={KEY_HEADER: session.key},
                max_msg_size=MESSAGE_LIMIT,
            ) as inside:
                ways = [asyncio.create_task(_pump(outside, inside)), asyncio.create_task(_pump(inside, outside))]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
        except aiohttp.ClientError:
            pass  # the browser tries again by itself, and is told if the session has ended
        finally:
            session.connections -= 1
            session.left_at = time.monotonic()
            await outside.close()
        return outside


async def _pump(source, sink) -> None:
    async for message in source:
        if message.type == aiohttp.WSMsgType.BINARY:
            await sink.send_bytes(message.data)
        elif message.type == aiohttp.WSMsgType.TEXT:
            await sink.send_str(message.data)


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
