"""The panel's behaviours on real MRML and a stand-in for Slicer's widgets (see `standin`: not PythonQt, not Slicer)."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="needs slicer-core")
pytest.importorskip("PySide6", reason="needs PySide6")
sys.path.insert(0, str(Path(__file__).parent))

import standin

standin.install()

from DeepFeatureLandmarksLib.behaviours import Behaviours


class TestPanel(Behaviours, unittest.TestCase):
    pass
