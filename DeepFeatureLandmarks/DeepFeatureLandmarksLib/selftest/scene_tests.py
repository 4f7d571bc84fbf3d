"""Installing packages, and scenes that are saved, loaded, closed or of another version."""

from __future__ import annotations

import slicer
import vtk

from DeepFeatureLandmarksLib.scene import node_notes
from DeepFeatureLandmarksLib.selftest.fake_installer import FakeInstaller
from DeepFeatureLandmarksLib.selftest.module_test_case import NAMES, ModuleTestCase, makePoints, makeVolume
from DeepFeatureLandmarksLib.widgets.layout import LAYOUT_ID
from DeepFeatureLandmarksLib.widgets.package_installer import TORCH
from DeepFeatureLandmarksLib.widgets.parameters import MODULE_NAME, parameterNode
from deepfeatures.data.notes import Note, NoteKind


class SceneTests(ModuleTestCase):
    def test_missing_packages_are_named_and_nothing_is_installed_before_a_click(self):
        self.moduleWidget.cleanup()
        self.installer = FakeInstaller((TORCH,))
        self.moduleWidget = self.makeModuleWidget()
        self.moduleWidget.enter()
        self.pair()
        self.assertFalse(self.ui.placeButton.enabled)
        self.assertIn("torch", self.ui.placeReasonLabel.text)
        self.assertEqual(self.installer.installs, 0)
        self.assertEqual(self.client.hellos, 0, "no worker is started before its packages are there")
        self.ui.installButton.click()
        self.finish()
        self.assertEqual(self.installer.installs, 1)
        self.moduleWidget.enter()
        self.assertTrue(self.ui.placeButton.enabled, self.ui.placeReasonLabel.text)

    def test_parameters_of_another_version_do_no_harm(self):
        self.moduleWidget.cleanup()
        slicer.mrmlScene.Clear(0)
        node = slicer.vtkMRMLScriptedModuleNode()
        node.SetSingletonTag(MODULE_NAME)
        for name, value in (
            ("patchSize", "huge"),
            ("toleranceMm", "wide"),
            ("intensity", "loud"),
            ("preset", "fastest"),
            ("network", "gone"),
            ("searchMode", "x"),
        ):
            node.SetParameter(name, value)
        node = slicer.mrmlScene.AddNode(node)
        node.SetNodeReferenceID("templateVolume", makePoints("not a volume").GetID())
        self.moduleWidget = self.makeModuleWidget()
        self.moduleWidget.enter()
        self.finish()
        self.assertIsNone(self.moduleWidget.parameters.templateVolume)
        self.assertEqual(self.moduleWidget.parameters.intensity, "auto")
        self.assertEqual(self.moduleWidget.parameters.toleranceMm, 0.0)
        self.assertEqual(node.GetParameter("searchMode"), "x", "what a later version wrote stays")
        self.pair()
        self.assertTrue(self.ui.placeButton.enabled, self.ui.placeReasonLabel.text)

    def test_a_new_panel_takes_over_where_the_old_one_was_cleaned_up(self):
        found = self.placed()
        old = self.moduleWidget
        old.cleanup()
        self.assertFalse(old.Observations, "the old panel follows the scene still")
        self.moduleWidget = self.makeModuleWidget()
        self.assertIs(self.moduleWidget.parameters.targetLandmarks, found)
        self.assertEqual(self.ui.reviewTable.rowCount, len(NAMES))

    def test_an_imported_scene_brings_its_choices(self):
        self.moduleWidget.enter()
        self.finish()
        self.pair()
        self.moduleWidget.parameters.preset = "paper"
        text = self.sceneText()
        slicer.mrmlScene.Clear(0)
        self.assertIsNone(self.moduleWidget.parameters.templateLandmarks)
        self.assertEqual(self.ui.presetBox.currentIndex, 0)
        self.openScene(text)
        self.assertEqual(self.moduleWidget.parameters.preset, "paper")
        self.assertEqual(self.ui.presetBox.currentIndex, 1)
        self.assertEqual(self.moduleWidget.parameters.templateLandmarks.GetName(), "landmarks")
        self.assertIs(self.moduleWidget.parameters.targetVolume.GetScene(), slicer.mrmlScene)

    def test_a_scene_saved_side_by_side_opens_so_and_can_be_left(self):
        self.moduleWidget.enter()
        self.placed()
        text = self.sceneText()
        slicer.mrmlScene.Clear(0)
        self.assertFalse(self.ui.sideBySideButton.checked)
        self.openScene(text)
        self.assertTrue(self.ui.sideBySideButton.checked)
        self.assertGreater(self.moduleWidget.parameters.targetLandmarks.GetDisplayNode().GetNumberOfViewNodeIDs(), 0)
        self.ui.sideBySideButton.setChecked(False)
        layout = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
        self.assertNotEqual(layout.GetViewArrangement(), LAYOUT_ID)
        self.assertEqual(self.moduleWidget.parameters.targetLandmarks.GetDisplayNode().GetNumberOfViewNodeIDs(), 0)

    def test_points_of_a_scene_saved_side_by_side_are_seen_in_other_layouts(self):
        self.placed()
        text = self.sceneText()
        slicer.mrmlScene.Clear(0)
        self.openScene(text)
        slicer.app.layoutManager().layoutLogic().GetLayoutNode().SetViewArrangement(2)
        self.moduleWidget.enter()
        self.assertFalse(self.ui.sideBySideButton.checked)
        self.assertEqual(self.moduleWidget.parameters.targetLandmarks.GetDisplayNode().GetNumberOfViewNodeIDs(), 0)

    def test_notes_on_a_volume_are_shown_as_long_as_it_is_chosen(self):
        self.pair()
        target, label = self.moduleWidget.parameters.targetVolume, self.ui.targetNotesLabel
        self.assertTrue(label.isHidden())
        node_notes.writeNotes(target, (Note(NoteKind.ORIENTATION, "the file does not say which side is left"),))
        self.waitForRefresh()
        self.assertEqual(label.text, "The file does not say which side is left.")
        self.assertFalse(label.isHidden())
        self.assertTrue(self.ui.templateNotesLabel.isHidden())
        self.moduleWidget.place.start()
        self.finish()
        self.assertFalse(label.isHidden(), "it stays while landmarks are placed")
        self.moduleWidget.parameters.targetVolume = makeVolume("another")
        self.assertTrue(label.isHidden())

    def test_a_transform_that_is_not_linear_is_noted_once_the_volume_has_it(self):
        self.pair()
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
        transform.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
        self.moduleWidget.parameters.templateVolume.SetAndObserveTransformNodeID(transform.GetID())
        self.waitForRefresh()
        self.assertIn("not linear", self.ui.templateNotesLabel.text)

    def test_one_parameter_node_a_scene(self):
        parameterNode(slicer.mrmlScene)
        parameterNode(slicer.mrmlScene)
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        self.assertEqual(len([n for n in nodes if n.GetAttribute("ModuleName") == MODULE_NAME]), 1)
