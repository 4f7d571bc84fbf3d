"""The Transform section: computing, blending, carrying over, the Jacobian map, writing for other programs."""

from __future__ import annotations

from pathlib import Path

import slicer

from DeepFeatureLandmarksLib.scene import transform_nodes
from DeepFeatureLandmarksLib.selftest.fake_client import DIRECTION, SHIFT_MM
from DeepFeatureLandmarksLib.selftest.module_test_case import ModuleTestCase, makePoints


class TransformTests(ModuleTestCase):
    def computed(self):
        """The transform of placed points."""
        self.placed()
        self.ui.computeTransformButton.click()
        self.finish()
        parameters = self.moduleWidget.parameters
        return transform_nodes.transformOfKind("tps", parameters.templateVolume, parameters.targetVolume)

    def templateForegrounds(self):
        """What lies over each of the template's views, and its opacity."""
        nodes = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        ofTemplate = [node for node in nodes if node.GetLayoutName().startswith("Template")]
        return {(node.GetForegroundVolumeID(), round(node.GetForegroundOpacity(), 2)) for node in ofTemplate}

    def test_nothing_is_computed_before_there_are_points(self):
        self.pair()
        self.assertFalse(self.ui.computeTransformButton.enabled)
        self.assertIn("Place the landmarks", self.ui.computeTransformButton.toolTip)
        for button in (self.ui.carryButton, self.ui.jacobianButton, self.ui.exportTransformButton):
            self.assertFalse(button.enabled)

    def test_compute_gives_a_node_the_residuals_and_the_warped_target(self):
        node = self.computed()
        self.assertEqual(node.GetName(), "template to target (tps)")
        self.assertIn("4 points, on average 0.3 mm off, at most 0.6 mm (right eye).", self.ui.transformLabel.text)
        self.assertIn("It folds nowhere. It is a shift.", self.ui.transformLabel.text)
        self.assertIn("right eye: 0.60 mm", self.ui.transformLabel.toolTip)
        self.assertEqual(self.client.warps, [("target", "template", True, False)])
        warped = node.GetNodeReference(transform_nodes.WARPED)
        self.assertEqual(warped.GetName(), "target in template")
        self.ui.computeTransformButton.click()
        self.finish()
        self.assertIs(node.GetNodeReference(transform_nodes.WARPED), warped)
        every = slicer.util.getNodesByClass("vtkMRMLTransformNode")
        self.assertEqual([one for one in every if transform_nodes.summaryOf(one) is not None], [node])

    def test_the_slider_blends_and_the_checkerboard_takes_turns(self):
        warped = self.computed().GetNodeReference(transform_nodes.WARPED)
        self.ui.blendSlider.value = 30
        shown = self.templateForegrounds()
        self.assertTrue(shown <= {(warped.GetID(), 0.3)}, shown)
        self.ui.checkerboardBox.checked = True
        board = slicer.mrmlScene.GetFirstNodeByName("Checkerboard of template and warped target")
        self.assertTrue(self.templateForegrounds() <= {(board.GetID(), 1.0)})
        self.ui.checkerboardBox.checked = False
        self.assertTrue(self.templateForegrounds() <= {(warped.GetID(), 0.3)})

    def test_points_are_carried_over_both_ways(self):
        self.computed()
        points = makePoints("more")
        points.CreateDefaultDisplayNodes()
        for way, sign in ((0, -1), (1, 1)):  # 2 mm to the left is towards -R
            self.ui.carrySelector.setCurrentNode(points)
            self.ui.carryWayBox.setCurrentIndex(way)
            self.ui.carryButton.click()
            copy = slicer.mrmlScene.GetFirstNodeByName(f"more in {('target', 'template')[way]}")
            known, moved = (node.GetNthControlPointPositionWorld(2) for node in (points, copy))
            self.assertAlmostEqual(moved[0] - known[0], sign * SHIFT_MM, 6)
            self.assertAlmostEqual(moved[1], known[1], 6)
            self.waitForRefresh()
            views = [
                copy.GetDisplayNode().GetNthViewNodeID(n) for n in range(copy.GetDisplayNode().GetNumberOfViewNodeIDs())
            ]
            self.assertTrue(views and all(("Target", "Template")[way] in view for view in views), views)
        self.ui.sideBySideButton.checked = False
        self.assertEqual(copy.GetDisplayNode().GetNumberOfViewNodeIDs(), 0, "in all views of another layout")

    def test_another_kind_that_was_computed_is_shown_when_it_is_chosen(self):
        self.computed()
        self.ui.transformKindBox.setCurrentIndex(1)
        self.assertFalse(self.ui.blendSlider.enabled)
        self.assertEqual(self.ui.transformLabel.text, "")
        self.ui.computeTransformButton.click()
        self.finish()
        self.assertEqual(len(self.client.warps), 2)
        self.ui.transformKindBox.setCurrentIndex(0)
        node = slicer.mrmlScene.GetFirstNodeByName("template to target (tps)")
        warped = node.GetNodeReference(transform_nodes.WARPED)
        self.assertTrue(self.templateForegrounds() <= {(warped.GetID(), 0.5)})

    def test_a_label_map_goes_through_the_worker(self):
        self.computed()
        template = self.moduleWidget.parameters.templateVolume
        labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
        labels.SetAndObserveImageData(template.GetImageData())
        self.ui.carrySelector.setCurrentNode(labels)
        self.ui.carryButton.click()
        self.finish()
        self.assertEqual(self.client.warps[-1], ("labels", "target", False, True))
        carried = slicer.mrmlScene.GetFirstNodeByName("labels in target")
        self.assertTrue(carried.IsA("vtkMRMLLabelMapVolumeNode"))
        self.assertIn("it covers 90% of the grid", self.ui.progressLabel.text)

    def test_the_jacobian_map_and_the_file_of_the_transform(self):
        node = self.computed()
        self.ui.jacobianButton.click()
        self.finish()
        jacobian = node.GetNodeReference(transform_nodes.JACOBIAN)
        self.assertTrue(self.templateForegrounds() <= {(jacobian.GetID(), 0.5)})
        self.assertIn("Red: larger in the target", self.ui.progressLabel.text)
        self.moduleWidget.transform.askFile = lambda: str(Path("out.nrrd").absolute())
        self.ui.exportTransformButton.click()
        self.finish()
        ((path, description),) = self.client.descriptions.items()
        self.assertEqual((path.name, description), ("out.nrrd", DIRECTION))
        self.assertEqual(self.ui.progressLabel.text, "Written to out.nrrd.")

    def test_a_saved_scene_goes_on_with_its_transform(self):
        node = self.computed()
        text = self.sceneText()
        description = node.GetDescription()
        slicer.mrmlScene.Clear(0)
        self.assertFalse(self.ui.jacobianButton.enabled)
        self.moduleWidget.enter()
        self.openScene(text)
        self.finish()
        self.assertTrue(self.ui.jacobianButton.enabled)
        self.assertTrue(self.ui.blendSlider.enabled)
        self.assertIn("4 points", self.ui.transformLabel.text)
        found = slicer.mrmlScene.GetFirstNodeByName("template to target (tps)")
        self.assertEqual(found.GetDescription(), description)
