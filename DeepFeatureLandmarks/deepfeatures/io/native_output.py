"""Keeps what native libraries print off the terminal, where only the command's own words belong."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def native_silence() -> Iterator[None]:
    """Send whatever the process writes to its standard output and error to nowhere: ITK's readers print as they fail.

    Acts on the whole process, so only a program of its own, not a library, should use it; one thread after the other.
    """
    with _ONE_AT_A_TIME:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = [os.dup(descriptor) for descriptor in (1, 2)]
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            for descriptor in (1, 2):
                os.dup2(nowhere, descriptor)
            yield
        finally:
            for descriptor, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)
            os.close(nowhere)
