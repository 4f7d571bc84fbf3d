"""A process with all that it starts: its start, its low priority, its end, and how it notices that it is alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

# Of 19: a user interface on the same cores goes first, and the work still gets nearly all of an idle one.
NICENESS = 10
LOOK_AT_PARENT_S = 0.5


def popen_arguments() -> dict[str, Any]:
    """What `subprocess.Popen` needs so that `end_tree` reaches every descendant."""
    if sys.platform == "win32":
        hidden = subprocess.CREATE_NO_WINDOW | subprocess.BELOW_NORMAL_PRIORITY_CLASS
        return {"creationflags": hidden | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def end_tree(process: subprocess.Popen) -> None:
    """Kill a process started with `popen_arguments`, and its descendants, at once; it may have ended before."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
        return
    with suppress(ProcessLookupError, PermissionError):  # macOS reports a group of zombies as not permitted
        os.killpg(process.pid, signal.SIGKILL)


def lower_priority() -> None:
    """Let other programs go first. On Windows `popen_arguments` has already seen to it."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)


def watch_parent(when_gone: Callable[[], None]) -> None:
    """Call `when_gone` from a thread once the parent process has ended, where the system tells."""
    if sys.platform == "win32":
        return  # the end of standard input tells
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_AT_PARENT_S)
        when_gone()

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
