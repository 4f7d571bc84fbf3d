"""Where weights lie, and whether they are what was imported."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

from deepfeatures.errors import InputError

PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"


def weights_folder() -> Path:
    """The user's folder of weights: `DEEPFEATURES_WEIGHTS` where set, else in the cache folder of the system."""
    chosen = os.environ.get("DEEPFEATURES_WEIGHTS")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path  # here, as below: networks without weights need torch and numpy alone

    return user_cache_path("deepfeatures", appauthor=False) / "weights"


def find(weight_key: str) -> Path | None:
    """The weights file of a key: the user's own before the one that comes with the package."""
    for folder in (weights_folder(), PRETRAINED):
        path = folder / f"{weight_key}.safetensors"
        if path.is_file() and path.with_suffix(".json").is_file():
            return path
    return None


def record(weight_key: str) -> dict:
    """What was noted when the weights were imported: sha256, source, tensors; empty where there are none."""
    path = find(weight_key)
    if path is None:
        return {}
    try:
        noted = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return {"sha256": str(noted["sha256"]), "tensors": list(noted["tensors"]), **noted}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path.with_suffix('.json')} does not describe the weights beside it: import them again."
        ) from error


def load(weight_key: str) -> dict[str, torch.Tensor]:
    """The tensors of a key, after comparing the file's sha256 with the one noted at import."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = find(weight_key)
    if path is None:
        raise InputError(f"There are no weights for {weight_key}: import them with `deepfeatures weights import`.")
    if sha256(path) != record(weight_key)["sha256"]:
        raise InputError(f"The weights file {path} has changed since its import: import the weights again.")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"The weights file {path} cannot be read: import the weights again.") from error


def save(
    weight_key: str, tensors: Mapping[str, torch.Tensor], *, source: Path, origin: Mapping[str, object] | None = None
) -> Path:
    """Keep tensors in the user's folder, with a note of their sha256 and where they came from; whole or not at all.

    Args:
        weight_key: The name to keep them under.
        tensors: What to keep.
        source: The file that they were read from.
        origin: What else is known of that file.
    """
    from safetensors.torch import save as serialized

    folder = weights_folder()
    note = {"source": source.name, "source_sha256": sha256(source), "tensors": sorted(tensors)}
    if origin:
        note["origin"] = dict(origin)
    path = folder / f"{weight_key}.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as staging:
            staged = Path(staging) / path.name
            # not by save_file, whose error of a full disk is no OSError
            staged.write_bytes(serialized(dict(tensors), metadata={"weight_key": weight_key, "source": source.name}))
            staged_note = staged.with_suffix(".json")
            staged_note.write_text(json.dumps({"sha256": sha256(staged), **note}, indent=1), encoding="utf-8")
            staged.replace(path)
            staged_note.replace(path.with_suffix(".json"))
    except OSError as error:
        raise InputError(
            f"Weights cannot be written to {folder}: make it writable or set DEEPFEATURES_WEIGHTS to another folder."
        ) from error
    return path


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
