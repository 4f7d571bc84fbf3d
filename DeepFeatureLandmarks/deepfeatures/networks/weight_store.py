"""Weights on this computer: what is kept for which network, whether it is whole, and how to be rid of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deepfeatures.errors import InputError
from deepfeatures.networks import catalog, weights

DOWNLOADS = "downloads"


@dataclass(frozen=True)
class StoredWeights:
    """Weights that networks take, and what of them lies on this computer.

    Args:
        name: The weight key; several networks may share one.
        networks: The networks that use it.
        path: The weights file, `None` where there is none.
        size: Of the file in bytes.
        sha256: As noted at import.
        licence: Of the weights.
        state: `"available"`, `"partly available (to <layer>)"`, `"missing"`, or `"damaged"`.
        source: Where the weights are published, `None` where no address is known.
    """

    name: str
    networks: tuple[str, ...]
    path: Path | None
    size: int
    sha256: str
    licence: str
    state: str
    source: catalog.Source | None


def all_stored_weights() -> tuple[StoredWeights, ...]:
    """All weights that networks of the catalog take, in its order."""
    users: dict[str, list[str]] = {}
    for name in catalog.names():
        if key := catalog.weight_key_of(name):
            users.setdefault(key, []).append(name)
    return tuple(_stored(name, tuple(networks)) for name, networks in users.items())


def stored_weights_of(name: str) -> StoredWeights:
    """The weights of that key, or of the network of that name.

    Raises:
        InputError: There is neither, or the network needs no weights.
    """
    for stored in all_stored_weights():
        if name == stored.name or name in stored.networks:
            return stored
    catalog.describe(name)  # says so where there is no such network
    raise InputError(f"{name} needs no weights: use it as it is.")


def fault(stored: StoredWeights) -> str | None:
    """What is wrong with the file, as a sentence with the way out; `None` where it is whole or missing."""
    if stored.path is None:
        return None
    try:
        weights.load(stored.name)
    except InputError as error:
        return str(error)
    return None


def downloads_folder() -> Path:
    """Where downloads lie until they are imported."""
    return weights.weights_folder() / DOWNLOADS


def remove(stored: StoredWeights) -> list[Path]:
    """Delete the user's own file and its note; what comes with the package stays. Returns what went."""
    return _delete(_own_files(stored.name))


def remove_all() -> list[Path]:
    """Delete all weights and downloads that this program put into the user's folder. Returns what went."""
    gone = _delete(file for stored in all_stored_weights() for file in _own_files(stored.name))
    if downloads_folder().is_dir():
        gone.append(downloads_folder())
        shutil.rmtree(downloads_folder())
    return gone


def _stored(name: str, networks: tuple[str, ...]) -> StoredWeights:
    path = weights.find(name)
    entry = catalog.ENTRIES[networks[0]]
    try:
        state, sha256 = catalog.describe(networks[0]).weights, weights.record(name).get("sha256", "")
    except InputError:  # the note beside the file cannot be read
        state, sha256 = "damaged", ""
    size = path.stat().st_size if path else 0
    return StoredWeights(name, networks, path, size, sha256, entry.licence, state, entry.source)


def _own_files(key: str) -> Iterator[Path]:
    for suffix in (".safetensors", ".json"):
        yield weights.weights_folder() / f"{key}{suffix}"


def _delete(files: Iterator[Path]) -> list[Path]:
    gone = [file for file in files if file.is_file()]
    for file in gone:
        try:
            file.unlink()
        except OSError as error:
            raise InputError(
                f"{file} cannot be removed ({error.strerror}); close what uses it and try again"
            ) from error
    return gone
