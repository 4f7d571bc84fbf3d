"""Data and Place: choosing, marking, placing, cancelling."""

from __future__ import annotations

import time

import numpy as np
import slicer

from DeepFeatureLandmarksLib.selftest.fake_client import SHIFT_MM
from DeepFeatureLandmarksLib.selftest.module_test_case import NAMES, ModuleTestCase, makePoints, makeVolume
from DeepFeatureLandmarksLib.widgets.layout import TARGET
from deepfeatures.data.landmarks import Landmark, LandmarkSet


class PlaceTests(ModuleTestCase):
    def test_the_place_button_says_why_it_is_disabled(self):
        self.assertFalse(self.ui.placeButton.enabled)
        first = self.ui.placeReasonLabel.text
        self.assertTrue(first.strip())
        self.moduleWidget.parameters.templateVolume = makeVolume("template")
        self.moduleWidget.parameters.templateLandmarks = makePoints("landmarks", 0)
        self.moduleWidget.parameters.targetVolume = makeVolume("target")
        self.assertFalse(self.ui.placeButton.enabled)
        self.assertNotEqual(self.ui.placeReasonLabel.text, first)
        self.assertEqual(self.ui.placeButton.toolTip, self.ui.placeReasonLabel.text)

    def test_a_point_set_in_the_template_enables_the_button(self):
        self.pair(0)
        self.assertFalse(self.ui.placeButton.enabled)
        self.moduleWidget.parameters.templateLandmarks.AddControlPointWorld(1.0, 2.0, 3.0, "AC")
        self.waitForRefresh()
        self.assertTrue(self.ui.placeButton.enabled, self.ui.placeReasonLabel.text)
        self.assertEqual(self.ui.placeReasonLabel.text, "")

    def test_marking_makes_a_list_and_ends_with_the_mode(self):
        self.moduleWidget.parameters.templateVolume = makeVolume("template")
        self.ui.placePointsButton.setChecked(True)
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        self.assertIsNotNone(self.moduleWidget.parameters.templateLandmarks)
        self.assertEqual(interaction.GetCurrentInteractionMode(), interaction.Place)
        interaction.SwitchToViewTransformMode()  # as Escape does
        self.assertFalse(self.ui.placePointsButton.checked)
        self.ui.placePointsButton.setChecked(True)
        self.moduleWidget.exit()
        self.assertNotEqual(interaction.GetCurrentInteractionMode(), interaction.Place, "clicks are given back")

    def test_the_template_points_cannot_be_the_output(self):
        self.pair()
        self.moduleWidget.parameters.targetLandmarks = self.moduleWidget.parameters.templateLandmarks
        self.assertFalse(self.ui.placeButton.enabled)

    def test_placing_fills_a_new_list_and_the_review_table(self):
        found = self.placed()
        self.assertEqual(found.GetNumberOfControlPoints(), len(NAMES))
        template = self.moduleWidget.parameters.templateLandmarks
        moved = np.subtract(found.GetNthControlPointPositionWorld(0), template.GetNthControlPointPositionWorld(0))
        np.testing.assert_allclose(moved, (-SHIFT_MM, 0, 0), atol=1e-4)
        self.assertEqual(self.ui.reviewTable.rowCount, len(NAMES))
        self.assertIn(f"{len(NAMES)} placed", self.ui.progressLabel.text)

    def test_cancelling_leaves_the_scene_as_it_was(self):
        self.pair()
        self.client.isPaused = True
        before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode")
        self.moduleWidget.place.start()
        self.assertFalse(self.ui.placeButton.enabled)
        self.moduleWidget.place.cancel()
        self.finish()
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode"), before)
        self.assertTrue(self.ui.placeButton.enabled)
        self.assertIn("ancelled", self.ui.progressLabel.text)

    def test_interim_points_are_shown_in_the_target_during_a_run(self):
        self.pair()
        self.ui.sideBySideButton.setChecked(True)
        for isCancelled in (True, False):
            self.client.isPaused = True
            self.moduleWidget.place.start()
            self.client.sendInterim(LandmarkSet((Landmark("AC", (1.0, 2.0, 3.0)),)))
            self.client.sendInterim(LandmarkSet((Landmark("AC", (1.0, 2.0, 4.0)), Landmark("PC", (5.0, 6.0, 7.0)))))
            self.logic.poll()
            points = self.moduleWidget.interimPoints.node
            self.assertEqual(points.GetNumberOfControlPoints(), 2)
            np.testing.assert_allclose(points.GetNthControlPointPositionWorld(0), (-1, -2, 4))
            views = [slicer.mrmlScene.GetNodeByID(view) for view in points.GetDisplayNode().GetViewNodeIDs()]
            self.assertEqual({view.GetName() for view in views}, set(TARGET.viewNames), "the template's are not theirs")
            self.assertTrue(points.GetDisplayNode().GetSliceProjection(), "seen whatever slice is shown")
            self.assertTrue(points.GetHideFromEditors(), "nobody is to choose them")
            self.assertFalse(points.GetSaveWithScene())
            if isCancelled:
                self.ui.cancelButton.click()
            self.client.isPaused = False
            self.finish()
            self.assertIsNone(points.GetScene(), "the run is over")
        self.assertEqual(self.ui.reviewTable.rowCount, len(NAMES))

    def test_a_second_request_leaves_the_running_one_alone(self):
        self.placed()
        self.client.isPaused = True
        self.moduleWidget.place.start()
        self.ui.activationButton.click()
        self.assertTrue(self.logic.isBusy)
        self.assertFalse(self.ui.placeButton.enabled)
        self.client.isPaused = False
        self.finish()
        self.assertIn("placed", self.ui.progressLabel.text)

    def test_a_chosen_pair_is_read_ahead_once(self):
        self.moduleWidget.enter()
        self.finish()
        self.pair()
        self.moduleWidget.parameters.patchSize = 20
        self.moduleWidget.parameters.patchSize = 24
        self.assertEqual(self.client.encodes, 1)

    def test_a_pair_is_read_ahead_before_it_has_landmarks(self):
        self.moduleWidget.enter()
        self.finish()
        self.moduleWidget.parameters.templateVolume = makeVolume("template")
        self.assertEqual(self.client.encodes, 0)
        self.moduleWidget.parameters.targetVolume = makeVolume("target")
        self.assertEqual(self.client.encodes, 1)

    def test_a_target_deleted_during_a_run_ends_in_words(self):
        self.pair()
        self.client.isPaused = True
        self.moduleWidget.place.start()
        slicer.mrmlScene.RemoveNode(self.moduleWidget.parameters.targetVolume)
        self.client.isPaused = False
        self.finish()
        self.assertFalse(self.ui.placeButton.enabled)
        self.assertTrue(self.ui.progressLabel.text.strip())

    def test_a_scene_closed_during_a_run_ends_it(self):
        self.moduleWidget.enter()
        self.finish()
        self.pair()
        self.client.isPaused = True
        self.moduleWidget.place.start()
        slicer.mrmlScene.Clear(0)
        self.finish()
        self.assertIsNone(self.moduleWidget.parameters.templateVolume)
        self.assertEqual(self.ui.reviewTable.rowCount, 0)
        self.assertFalse(self.ui.placeButton.enabled)
        self.pair()
        self.assertTrue(self.ui.placeButton.enabled, "the next scene can be worked on")

    def test_500_landmarks_are_shown_quickly(self):
        found = self.placed(500)
        self.assertEqual(self.ui.reviewTable.rowCount, 500)
        refresh, refreshes = self.moduleWidget.review.refresh, []
        self.moduleWidget.review.refresh = lambda: (refreshes.append(1), refresh())
        started = time.monotonic()
        for index in range(found.GetNumberOfControlPoints()):
            found.SetNthControlPointLocked(index, True)
        self.waitForRefresh()
        self.assertLess(time.monotonic() - started, 3.0)
        self.assertIn(len(refreshes), (1, 2), "one refresh for all that changes at once")
        self.assertTrue(all("accepted" in self.cell(row, self.ui.reviewTable.columnCount - 3) for row in range(500)))
