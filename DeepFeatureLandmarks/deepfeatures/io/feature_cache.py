"""Template features kept on disk between runs: with deep layers, encoding them takes longer than the search.

A file's name is the hash of everything that its content depends on, so no file is ever out of date. The folder may be
deleted at any time. Where it cannot be read or written, everything works without it.
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

MIN_SECONDS = 1.0  # of encoding; features that take less are not kept
MAX_BYTES = 1 << 30  # of the whole folder; the least recently used files are deleted first
SUFFIX = ".features.safetensors"
TENSOR, HASH = "features", "sha256"


def cache_folder() -> Path:
    """`DEEPFEATURES_CACHE` where set, else a folder in the user's cache folder of the system."""
    chosen = os.environ.get("DEEPFEATURES_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("deepfeatures", appauthor=False) / "features"


def cached(key: dict, make: Callable[[], torch.Tensor], device: torch.device) -> torch.Tensor:
    """The result of `make`, taken from the cache where an earlier run with the same key has stored it.

    Args:
        key: Everything that the result depends on, as JSON; versions of the software are added.
        make: Computes the features.
        device: Where kept features are put.
    """
    content = json.dumps({**key, "code": _code_hash(), "torch": torch.__version__}, sort_keys=True)
    path = cache_folder() / f"{hashlib.sha256(content.encode()).hexdigest()}{SUFFIX}"
    features = _read(path)
    if features is not None:
        with suppress(OSError):
            path.touch()
        return features.to(device)
    start = time.perf_counter()
    features = make()
    if time.perf_counter() - start >= MIN_SECONDS:
        with suppress(InputError, OSError):  # a read-only or full disk costs the time saved, nothing else
            _write(path, features)
            _evict(path)
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
    """The features in a file, `None` where there are none or the file is damaged."""
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
    if kept.nbytes > MAX_BYTES:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as draft:
        # not by save_file, whose error of a full disk is no OSError
        draft.write_bytes(save({TENSOR: kept}, metadata={HASH: tensors_hash([kept])}))


def _evict(newest: Path) -> None:
    """Delete the least recently used files until the folder keeps to its limit; never the file just written."""
    files = [(file.stat(), file) for file in newest.parent.glob(f"*{SUFFIX}") if file != newest]
    total = newest.stat().st_size + sum(stat.st_size for stat, _ in files)
    for stat, file in sorted(files, key=lambda entry: entry[0].st_mtime):
        if total <= MAX_BYTES:
            return
        file.unlink(missing_ok=True)
        total -= stat.st_size


@cache
def _code_hash() -> str:
    """SHA-256 of this package's code: features of any other version are not used."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
