"""The process of one browser, and its private folder: started, ended, cleaned up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

START_LIMIT_S = 90


@dataclass
class SessionProcess:
    """The process of one browser, and its private folder."""

    process: asyncio.subprocess.Process
    folder: str
    port: int
    key: str
    connections: int = 0
    left_at: float = field(default_factory=time.monotonic)

    @classmethod
    async def start(cls, files: Mapping[str, str]) -> SessionProcess:
        """Start a process that opens `files`, role to path.

        Raises:
            asyncio.TimeoutError, OSError, ValueError: It did not start.
        """
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
        process.stdin.write(json.dumps({"key": key, "folder": folder, "files": dict(files)}).encode() + b"\n")
        try:
            await process.stdin.drain()
            port = int(await asyncio.wait_for(process.stdout.readline(), START_LIMIT_S))
        except (asyncio.TimeoutError, ValueError):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return cls(process, folder, port, key)

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
