"""Seconds by stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from deepfeatures.threads import use_free_cores


class Timer:
    """Adds up seconds by stage; waits for a GPU before it looks at the time.

    Args:
        device: Where the work is done.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens inside to `name`; a stage begins with as many threads as cores are free."""
        use_free_cores()
        start = time.perf_counter()
        try:
            yield
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
