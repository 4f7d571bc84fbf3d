"""What native libraries print, kept off the terminal of a command."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def suppress_native_output() -> Iterator[None]:
    """Discard what the process writes to its standard output and error: ITK's readers print as they fail.

    It acts on the whole process and on one thread at a time. Commands use it, not the library and not a server.
    """
    with _ONE_AT_A_TIME:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = [os.dup(descriptor) for descriptor in (1, 2)]
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            for descriptor in (1, 2):
                os.dup2(null, descriptor)
            yield
        finally:
            for descriptor, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)
            os.close(null)
