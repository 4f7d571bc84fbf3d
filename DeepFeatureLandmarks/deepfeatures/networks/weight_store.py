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
class Slot:
    """A place for weights, and what lies in it.

    Args:
        name: Of the slot; several networks may share one.
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


def slots() -> tuple[Slot, ...]:
    """Every slot of the catalog, in its order."""
    users: dict[str, list[str]] = {}
    for name in catalog.names():
        if slot := catalog.slot_of(name):
            users.setdefault(slot, []).append(name)
    return tuple(_slot(name, tuple(networks)) for name, networks in users.items())


def slot_named(name: str) -> Slot:
    """The slot of that name, or the one of the network of that name.

    Raises:
        InputError: There is neither, or the network needs no weights.
    """
    for slot in slots():
        if name == slot.name or name in slot.networks:
            return slot
    catalog.describe(name)  # says so where there is no such network
    raise InputError(f"{name} needs no weights: use it as it is.")


def fault(slot: Slot) -> str | None:
    """What is wrong with the file of a slot, as a sentence with the way out; `None` where it is whole or missing."""
    if slot.path is None:
        return None
    try:
        weights.load(slot.name)
    except InputError as error:
        return str(error)
    return None


def downloads_folder() -> Path:
    """Where downloads lie until they are imported."""
    return weights.weights_folder() / DOWNLOADS


def remove(slot: Slot) -> list[Path]:
    """Delete the user's own file of a slot and its note; what comes with the package stays. Returns what went."""
    return _delete(_own_files(slot.name))


def remove_all() -> list[Path]:
    """Delete all weights and downloads that this program put into the user's folder. Returns what went."""
    gone = _delete(file for slot in slots() for file in _own_files(slot.name))
    if downloads_folder().is_dir():
        gone.append(downloads_folder())
        shutil.rmtree(downloads_folder())
    return gone


def _slot(name: str, networks: tuple[str, ...]) -> Slot:
    path = weights.find(name)
    entry = catalog.ENTRIES[networks[0]]
    try:
        state, sha256 = catalog.describe(networks[0]).weights, weights.record(name).get("sha256", "")
    except InputError:  # the note beside the file cannot be read
        state, sha256 = "damaged", ""
    size = path.stat().st_size if path else 0
    return Slot(name, networks, path, size, sha256, entry.licence, state, entry.source)


def _own_files(slot: str) -> Iterator[Path]:
    for suffix in (".safetensors", ".json"):
        yield weights.weights_folder() / f"{slot}{suffix}"


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
