"""Files of landmark protocols that are nowhere, for the client without a worker: three scans make placing better."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from deepfeatures.data.landmarks import LandmarkSet
from deepfeatures.errors import InputError

PICTURE = (  # a black square, PNG in base64
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
DEFINITION = {"text": "The middle of the left lens.", "picture": PICTURE, "link": "https://example.org/eye"}
BEFORE_MM, AFTER_MM = 2.0, 1.5


class FakeProtocols:
    """Contents by path, as the worker would tell them.

    Attributes:
        taught: By path and key of the scan, its name, the names of its points and those of the corrected ones.
    """

    def __init__(self):
        self.taught: dict[Path, dict[str, tuple[str, list[str], list[str]]]] = {}

    def read(self, path: Path) -> dict:
        if path not in self.taught:
            raise InputError(f"There is no file {path}; choose another, or none.")
        scans = self.taught[path]
        before, after = (BEFORE_MM, AFTER_MM) if len(scans) >= 3 else (None, None)
        names = sorted({name for _, points, _ in scans.values() for name in points})
        summary = {
            "taught_by": len(scans),
            "people": len(scans),
            "in_use": len(scans) >= 3,
            "error_before_mm": before,
            "error_after_mm": after,
            "scans": [
                {"name": name, "accepted": len(points) - len(corrected), "corrected": len(corrected), "odd": False}
                for name, points, corrected in scans.values()
            ],
            "landmarks": [
                {
                    "name": name,
                    "taught": sum(name in points for _, points, _ in scans.values()),
                    "error_before_mm": before,
                    "error_after_mm": after,
                    "doubtful": after is not None and name == names[0],
                }
                for name in names
            ],
        }
        return {"summary": summary, "keys": list(scans), "definitions": {"left eye": DEFINITION}}

    def learn(self, path: Path, name: str, points: LandmarkSet, corrected: Collection[str]) -> dict:
        key = f"key of {name}"
        names = [point.name for point in points]
        self.taught.setdefault(path, {})[key] = (name, names, list(corrected))
        return {**self.read(path), "key": key}

    def forget(self, path: Path, key: str) -> dict:
        del self.taught[path][key]
        return self.read(path)
