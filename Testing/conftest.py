"""What all tests share: the development volumes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of the development volumes; skips where it is absent."""
    folder = Path(os.environ.get("DEEPFEATURES_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no development volumes in {folder}; set DEEPFEATURES_DATA")
    return folder
