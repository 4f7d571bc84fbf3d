"""PyTorch's threads on a computer that other programs use, too.

PyTorch divides its work into small pieces, thousands a second. Its threads share each piece and wait until the last of
them is done. With GNU's OpenMP, as in PyTorch for Linux, a waiting thread keeps its core busy; this is called spinning.
Beside another program, the one thread that has work to do then waits for a core, and everything takes several times
longer. So a program computes with fewer threads while other programs use some of the cores. To let waiting threads
sleep at once is no remedy: on an idle computer, waking them takes a tenth of the time. OpenMP of macOS and Windows
yields its core, and needs none.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path

# Where a user has set any of these, the threads are left as they are.
CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")
SHORTEST_S, LONGEST_S = 0.2, 60.0  # over which the load is measured; Linux counts it in steps of 0.01 s
NEGLIGIBLE = 0.3  # of a core
BUSY = slice(1, 4), slice(6, 8)  # of a row of /proc/stat: user, nice, system; irq, softirq


@dataclass(frozen=True)
class CoreTimes:
    """Seconds for which the cores that this process may use have been busy.

    Args:
        clock: Time of the measurement, seconds.
        everyone: Busy with any program.
        ours: Busy with this process.
        cores: How many there are.
    """

    clock: float
    everyone: float
    ours: float
    cores: int

    @classmethod
    def now(cls, stat: Path = Path("/proc/stat")) -> CoreTimes | None:
        """As Linux counts them; `None` on other systems."""
        try:
            names = {f"cpu{core}" for core in os.sched_getaffinity(0)}
            rows = [row for row in map(str.split, stat.read_text(encoding="ascii").splitlines()) if row[0] in names]
            ticks = sum(int(count) for row in rows for columns in BUSY for count in row[columns])
            return cls(time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), time.process_time(), len(names))
        except (AttributeError, OSError, ValueError, IndexError):
            return None

    def free_since(self, before: CoreTimes) -> int:
        """Cores that other programs have left to this process since `before`, at least one."""
        others = (self.everyone - before.everyone - (self.ours - before.ours)) / (self.clock - before.clock)
        return max(1, self.cores - max(0, ceil(others - NEGLIGIBLE)))


_before: CoreTimes | None = None  # the last measurement; `None` where the threads are left as they are


def share_cores() -> None:
    """Let `use_free_cores` have an effect in this process; a program calls it first, before it imports PyTorch.

    Nothing changes where the user has set one of `CHOICES`, or where PyTorch is imported already: then the process is
    not this program's own.
    """
    global _before
    if "torch" not in sys.modules and not any(name in os.environ for name in CHOICES):
        _before = CoreTimes.now()


def use_free_cores() -> None:
    """Compute with as many threads as other programs leave cores; to be called several times a second.

    The load is measured from one call to the next.
    """
    global _before
    now = _before and CoreTimes.now()
    if now is None or now.clock - _before.clock < SHORTEST_S:
        return
    if now.clock - _before.clock <= LONGEST_S:  # else the load has been another for most of the time
        import torch

        torch.set_num_threads(min(_most_threads(), now.free_since(_before)))
    _before = now


@cache
def _most_threads() -> int:
    """PyTorch's own number, asked before it is lowered; of cores that count twice it takes one thread each."""
    import torch

    return torch.get_num_threads()
