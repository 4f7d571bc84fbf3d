"""The module's tests on real MRML and a stand-in for Slicer's widgets (see `standin`: not PythonQt, not Slicer)."""

from __future__ import annotations

import gc
import sys
import unittest

import pytest

pytest.importorskip("slicer", reason="needs slicer-core")
pytest.importorskip("PySide6", reason="needs PySide6")

import standin

standin.install()

import slicer

from DeepFeatureLandmarksLib.selftest.module_tests import ModuleTests
from DeepFeatureLandmarksLib.widgets.parameters import MODULE_NAME


class TestModuleWidget(ModuleTests, unittest.TestCase):
    def setUp(self):
        self.raised = []  # in slots and observers, where exceptions are printed only
        self.hook, sys.excepthook = sys.excepthook, lambda kind, error, trace: self.raised.append(error)
        super().setUp()

    def tearDown(self):
        super().tearDown()
        sys.excepthook = self.hook
        self.assertEqual(self.raised, [])

    def test_a_network_without_weights_is_listed_and_cannot_be_chosen(self):
        self.moduleWidget.enter()
        self.finish()
        entries = self.ui.networkBox.model()
        enabled = {entries.item(n).text(): entries.item(n).isEnabled() for n in range(entries.rowCount())}
        assert [can for name, can in enabled.items() if "weights missing" in name] == [False]
        assert sum(enabled.values()) == len(enabled) - 1

    def test_nothing_observes_the_parameters_of_a_widget_that_is_deleted(self):
        """What Python collects must not be called: it would end Slicer."""
        slicer.mrmlScene.Clear(0)
        self.moduleWidget.enter()
        self.moduleWidget.cleanup()
        gc.collect()
        node = slicer.mrmlScene.GetSingletonNode(MODULE_NAME, "vtkMRMLScriptedModuleNode")
        assert not node.HasObserver("ModifiedEvent")
