"""Checkpoints that survive a kill at any moment."""

from __future__ import annotations

import json
from pathlib import Path
from pickle import UnpicklingError

import torch

from deepfeatures.errors import InputError

_INDEX = "checkpoint.json"


def save(state: dict[str, dict], folder: Path) -> None:
    """Write each part of `state` to a file of its own and then, in one move, the index that makes them count.

    Parts are kept apart, so that no file grows large. Two generations alternate: the older one stays whole until the
    newer one is complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / _INDEX
    generation = 1 - json.loads(index.read_text())["generation"] if index.exists() else 0
    files = {}
    for part, values in state.items():
        files[part] = f"checkpoint-{generation}-{part}.pt"
        torch.save(values, folder / files[part])
    partial = folder / (_INDEX + ".partial")
    partial.write_text(json.dumps({"generation": generation, "files": files}))
    partial.replace(index)
    for stale in folder.glob(f"checkpoint-{1 - generation}-*.pt"):
        stale.unlink()


def exists(folder: Path) -> bool:
    """Whether there is a complete state in `folder`."""
    return (folder / _INDEX).exists()


def load(folder: Path, device: torch.device | str) -> dict[str, dict]:
    """The newest complete state in `folder`.

    Raises:
        InputError: where there is none, or it cannot be read.
    """
    if not exists(folder):
        raise InputError(f"There is no checkpoint in {folder}; start without --resume.")
    try:
        files = json.loads((folder / _INDEX).read_text())["files"]
        return {part: torch.load(folder / name, map_location=device, weights_only=True) for part, name in files.items()}
    except (OSError, EOFError, LookupError, RuntimeError, UnpicklingError, ValueError) as error:
        raise InputError(f"The checkpoint in {folder} is damaged; start anew, in another folder.") from error
