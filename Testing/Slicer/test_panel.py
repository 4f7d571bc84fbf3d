"""The panel's behaviours on real MRML and a stand-in for Slicer's widgets (see `standin`: not PythonQt, not Slicer)."""

from __future__ import annotations

import sys
import unittest

import pytest

pytest.importorskip("slicer", reason="needs slicer-core")
pytest.importorskip("PySide6", reason="needs PySide6")

import standin

standin.install()

from DeepFeatureLandmarksLib.behaviours import Behaviours


class TestPanel(Behaviours, unittest.TestCase):
    def setUp(self):
        self.raised = []  # in slots and observers, where exceptions are printed only
        self.hook, sys.excepthook = sys.excepthook, lambda kind, error, trace: self.raised.append(error)
        super().setUp()

    def tearDown(self):
        super().tearDown()
        sys.excepthook = self.hook
        self.assertEqual(self.raised, [])
