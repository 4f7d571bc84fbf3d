"""The other place in which all points may lie: its yellow box, its points, taking it. Radii, arrows, the tolerance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import slicer

from DeepFeatureLandmarksLib.scene import nodes
from DeepFeatureLandmarksLib.scene.orientation_arrows import NAME as ARROWS
from DeepFeatureLandmarksLib.scene.uncertainty_overlay import NAME as RADII
from DeepFeatureLandmarksLib.selftest.fake_client import REPEAT_MM, REPEAT_TEXT
from DeepFeatureLandmarksLib.selftest.module_test_case import NAMES, ModuleTestCase
from DeepFeatureLandmarksLib.widgets.alternatives_section import NAME as OTHER_POINTS
from DeepFeatureLandmarksLib.widgets.layout import TARGET


class AlternativesTests(ModuleTestCase):
    def test_the_box_is_there_only_where_all_points_may_lie_elsewhere(self):
        self.placed()
        self.assertTrue(self.ui.alternativesFrame.isHidden())
        self.client.isRepeating = True
        self.moduleWidget.place.start()
        self.finish()
        self.assertFalse(self.ui.alternativesFrame.isHidden())
        self.assertEqual(
            self.ui.ambiguityLabel.text,
            f"The anatomy repeats: all points may lie {REPEAT_TEXT}. Chance 62 % as shown, 38 % the other way.",
        )
        self.assertTrue(self.ui.alternativeBox.isHidden(), "there is only one other place")
        self.assertEqual(self.cell(0, self.ui.reviewTable.columnCount - 3), "◆ ambiguous")
        self.ui.revertButton.click()
        self.assertTrue(self.ui.alternativesFrame.isHidden())

    def test_the_points_of_the_other_place_are_shown_in_the_target_and_not_saved(self):
        self.client.isRepeating = True
        found = self.placed()
        self.ui.showAlternativeButton.click()
        points = self.moduleWidget.alternatives.node
        moved = np.subtract(points.GetNthControlPointPositionWorld(0), found.GetNthControlPointPositionWorld(0))
        np.testing.assert_allclose(moved, (0, 0, REPEAT_MM), atol=1e-4)
        views = [slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode").GetID() for name in TARGET.viewNames]
        self.assertEqual(sorted(points.GetDisplayNode().GetViewNodeIDs()), sorted(views))
        self.assertNotIn(OTHER_POINTS, self.sceneText())
        self.ui.showAlternativeButton.click()
        self.assertIsNone(slicer.mrmlScene.GetFirstNodeByName(OTHER_POINTS))

    def test_one_click_takes_the_other_place_and_the_next_goes_back(self):
        self.client.isRepeating = True
        found = self.placed()
        self.moduleWidget.review.accept()
        kept = next(n for n in range(len(NAMES)) if found.GetNthControlPointLocked(n))
        before = slicer.util.arrayFromMarkupsControlPoints(found, world=True).copy()
        self.ui.showAlternativeButton.click()
        self.ui.takeAlternativeButton.click()
        steps = slicer.util.arrayFromMarkupsControlPoints(found, world=True) - before
        np.testing.assert_allclose(steps[:, 2], [0 if n == kept else REPEAT_MM for n in range(len(NAMES))], atol=1e-4)
        self.assertIn(f"1 reviewed by you left unchanged: {NAMES[kept]}", self.ui.progressLabel.text)
        self.assertIn("62 % as placed first", self.ui.ambiguityLabel.text)
        shown = slicer.util.arrayFromMarkupsControlPoints(self.moduleWidget.alternatives.node, world=True)
        np.testing.assert_allclose(shown, before, atol=1e-4)
        self.ui.takeAlternativeButton.click()
        after = slicer.util.arrayFromMarkupsControlPoints(found, world=True)
        np.testing.assert_allclose(after, before, atol=1e-4)
        self.assertIn("38 % the other way", self.ui.ambiguityLabel.text)

    def test_a_scene_that_is_opened_again_offers_the_other_place(self):
        self.client.isRepeating = True
        self.moduleWidget.enter()
        self.placed()
        self.ui.takeAlternativeButton.click()
        text = self.sceneText()
        slicer.mrmlScene.Clear(0)
        self.assertTrue(self.ui.alternativesFrame.isHidden())
        self.openScene(text)
        self.assertFalse(self.ui.alternativesFrame.isHidden())
        self.assertIn(f"The other place was taken: {REPEAT_TEXT}.", self.ui.ambiguityLabel.text)

    def test_the_other_place_cannot_be_taken_during_a_run(self):
        self.client.isRepeating = True
        found = self.placed()
        before = slicer.util.arrayFromMarkupsControlPoints(found, world=True).copy()
        self.client.isPaused = True
        self.moduleWidget.place.start()
        self.ui.takeAlternativeButton.click()
        self.assertIn("wait", self.ui.progressLabel.text)
        np.testing.assert_allclose(slicer.util.arrayFromMarkupsControlPoints(found, world=True), before)
        self.client.isPaused = False
        self.finish()

    def test_radii_are_circles_in_the_target_until_a_point_is_reviewed(self):
        self.placed(1)
        model = slicer.mrmlScene.GetFirstNodeByName(RADII)
        bounds = np.zeros(6)
        model.GetRASBounds(bounds)
        np.testing.assert_allclose(np.diff(bounds)[::2], 2.0, atol=0.05)  # twice the radius of 1 mm
        views = [slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode").GetID() for name in TARGET.viewNames]
        self.assertEqual(sorted(model.GetDisplayNode().GetViewNodeIDs()), sorted(views))
        self.assertNotIn(RADII, self.sceneText())
        self.ui.radiusBox.click()
        self.assertIsNone(slicer.mrmlScene.GetFirstNodeByName(RADII))
        self.ui.radiusBox.click()
        self.assertIsNotNone(slicer.mrmlScene.GetFirstNodeByName(RADII))
        self.moduleWidget.review.accept()
        self.waitForRefresh()
        self.assertIsNone(slicer.mrmlScene.GetFirstNodeByName(RADII))
        self.assertTrue(self.ui.radiusBox.isHidden())

    def test_arrows_show_on_request_how_points_are_turned_until_these_are_gone(self):
        found = self.placed(1)
        self.assertTrue(self.ui.orientationBox.isHidden())
        turn = ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
        nodes.putLandmark(replace(nodes.landmarkOfPoint(found, 0), orientation=turn), found, 0)
        self.waitForRefresh()
        self.assertFalse(self.ui.orientationBox.isHidden())
        self.assertIsNone(slicer.mrmlScene.GetFirstNodeByName(ARROWS))
        self.ui.orientationBox.click()
        model = slicer.mrmlScene.GetFirstNodeByName(ARROWS)
        before, after = np.zeros(6), np.zeros(6)
        model.GetRASBounds(before)
        found.SetNthControlPointPositionWorld(0, *np.add(found.GetNthControlPointPositionWorld(0), (0.0, 0.0, 3.0)))
        self.waitForRefresh()
        model.GetRASBounds(after)
        np.testing.assert_allclose(after - before, (0, 0, 0, 0, 3, 3), atol=1e-3)
        self.assertNotIn(ARROWS, self.sceneText())
        found.RemoveAllControlPoints()
        self.waitForRefresh()
        self.assertIsNone(slicer.mrmlScene.GetFirstNodeByName(ARROWS))

    def test_the_tolerance_counts_with_every_preset_and_is_saved_with_the_scene(self):
        self.moduleWidget.enter()
        self.placed()
        self.assertIsNone(self.client.settings[-1].tolerance_mm)
        self.ui.toleranceBox.setValue(5.5)
        text = self.sceneText()
        for preset in ("best", "paper", "own"):
            self.moduleWidget.parameters.preset = preset
            self.moduleWidget.place.start()
            self.finish()
            self.assertEqual(self.client.settings[-1].tolerance_mm, 5.5)
        slicer.mrmlScene.Clear(0)
        self.openScene(text)
        self.assertEqual(self.ui.toleranceBox.value, 5.5)
        self.assertEqual(self.ui.toleranceLabel.text, "Tolerance (mm):")
