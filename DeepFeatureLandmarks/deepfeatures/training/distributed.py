"""One process of a training run: alone, or one of those that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from deepfeatures.errors import InputError


@dataclass(frozen=True)
class Process:
    """Where this process computes, and its number among those that train one network together.

    Args:
        device: Where it computes.
        rank: Its number, from 0.
        count: How many there are.
    """

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it is the one that measures, prints and writes."""
        return self.rank == 0

    def share_of(self, batch: int) -> int:
        """This process's part of a batch.

        Raises:
            InputError: The batch cannot be dealt out evenly.
        """
        if batch % self.count:
            raise InputError(f"A batch of {batch} cannot be dealt out to {self.count} processes; change one of them.")
        return batch // self.count

    def shared(self, module: nn.Module) -> nn.Module:
        """The module whose gradients are the means over all processes."""
        return module if self.count == 1 else DistributedDataParallel(module)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; all of them must ask."""
        if self.count == 1:
            return flag
        votes = torch.tensor(float(flag), device=self.device)
        distributed.all_reduce(votes, distributed.ReduceOp.MAX)
        return bool(votes)


@contextmanager
def join_process_group(device: torch.device) -> Iterator[Process]:
    """This process among those that torchrun started, each with a GPU of its own; without torchrun, this one alone."""
    if not distributed.is_torchelastic_launched():
        yield Process(device)
        return
    rank, count, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    if device.type == "cuda":
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Process(device, rank, count)
    finally:
        distributed.destroy_process_group()
