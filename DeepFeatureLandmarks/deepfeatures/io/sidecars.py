"""JSON files that describe something else than landmarks, as BIDS has them beside scans and in every folder."""

from __future__ import annotations

import json
from pathlib import Path

MARKUPS = ".mrk.json"  # says that it holds markups: if it does not, it is damaged


def is_sidecar(path: Path) -> bool:
    """Whether a file is JSON that neither holds markups nor claims to, such as `dataset_description.json`.

    A file that cannot be read, or is no JSON, is no sidecar: points might be lost with it.
    """
    name = path.name.lower()
    if not name.endswith(".json") or name.endswith(MARKUPS) or name.startswith("."):
        return False
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return not isinstance(content, dict) or "markups" not in content
