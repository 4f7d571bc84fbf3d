"""Template features kept on disk between runs: deep layers take longer to encode around landmarks than to search with.

A file's name is the hash of everything its content follows from, so nothing in the folder is ever out of date. The
folder may be deleted at any time; where it cannot be read or written, everything works without it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from deepfeatures.data.volume import Volume
from deepfeatures.errors import InputError
from deepfeatures.io.atomic_write import atomic_write

WORTH_S = 1.0  # seconds of encoding from which on features are kept
LIMIT_BYTES = 1 << 30  # of the whole folder; what was not used for longest goes first
SUFFIX = ".features.safetensors"
TENSOR, HASH = "features", "sha256"


def cache_folder() -> Path:
    """`DEEPFEATURES_CACHE` where set, else a folder in the user's cache folder of the system."""
    chosen = os.environ.get("DEEPFEATURES_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("deepfeatures", appauthor=False) / "features"


def cached(facts: dict, make: Callable[[], torch.Tensor], device: torch.device) -> torch.Tensor:
    """What `make` returns, from an earlier run where one with the same facts took long enough to be kept.

    Args:
        facts: All that the result follows from, as JSON holds it; versions of the software are added.
        make: Computes the features.
        device: Where kept features are put.
    """
    known = json.dumps({**facts, "code": _code(), "torch": torch.__version__}, sort_keys=True)
    path = cache_folder() / f"{hashlib.sha256(known.encode()).hexdigest()}{SUFFIX}"
    features = _read(path)
    if features is not None:
        with suppress(OSError):
            path.touch()
        return features.to(device)
    start = time.perf_counter()
    features = make()
    if time.perf_counter() - start >= WORTH_S:
        with suppress(InputError, OSError):  # a read-only or full disk costs the time saved, nothing else
            _write(path, features)
            _make_room(path)
    return features


def content_hash(volume: Volume) -> str:
    """SHA-256 of voxels and geometry: equal for equal content, whatever the volume is called."""
    geometry = json.dumps([volume.size, volume.index_to_world.tolist()])
    return hashlib.sha256(f"{tensors_hash([volume.voxels])} {geometry}".encode()).hexdigest()


def tensors_hash(tensors: Iterable[torch.Tensor]) -> str:
    """SHA-256 of the tensors' numbers, one after the other."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _read(path: Path) -> torch.Tensor | None:
    """The features in a file, `None` where there are none or they are not what was written."""
    if not path.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            features, noted = file.get_tensor(TENSOR), (file.metadata() or {}).get(HASH)
    except (OSError, SafetensorError):
        return None
    return features if noted == tensors_hash([features]) else None


def _write(path: Path, features: torch.Tensor) -> None:
    from safetensors.torch import save

    kept = features.detach().cpu().contiguous()
    if kept.nbytes > LIMIT_BYTES:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as draft:
        # not by save_file, whose error of a full disk is no OSError
        draft.write_bytes(save({TENSOR: kept}, metadata={HASH: tensors_hash([kept])}))


def _make_room(newest: Path) -> None:
    """Delete what was not used for longest until the folder keeps to its limit; never the file just written."""
    files = [(file.stat(), file) for file in newest.parent.glob(f"*{SUFFIX}") if file != newest]
    total = newest.stat().st_size + sum(stat.st_size for stat, _ in files)
    for stat, file in sorted(files, key=lambda entry: entry[0].st_mtime):
        if total <= LIMIT_BYTES:
            return
        file.unlink(missing_ok=True)
        total -= stat.st_size


@cache
def _code() -> str:
    """SHA-256 of this package's code: features of another version are not looked at, even of one being worked on."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
