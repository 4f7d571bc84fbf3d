"""Review: the table, accepting, correcting, rejecting, reverting, both sides of the layout."""

from __future__ import annotations

import numpy as np
import slicer

from DeepFeatureLandmarksLib.selftest.module_test_case import NAMES, ModuleTestCase


class ReviewTests(ModuleTestCase):
    def test_the_most_uncertain_point_comes_first_and_is_gone_to(self):
        self.placed()
        self.assertEqual(self.cell(0, 0), NAMES[-1])
        self.assertEqual(self.moduleWidget.review.selectedRow.name, NAMES[-1])
        errors = [float(self.cell(row, 1)) for row in range(len(NAMES))]
        self.assertEqual(errors, sorted(errors, reverse=True))
        self.assertEqual([self.cell(row, 3) for row in range(2)], ["73%", "78%"], "chances to lie within the tolerance")
        table = self.ui.reviewTable
        hidden = [column for column in range(table.columnCount) if table.isColumnHidden(column)]
        self.assertEqual([table.horizontalHeaderItem(column).text() for column in hidden], ["≤ 3 mm", "IC mm"])
        found = self.moduleWidget.parameters.targetLandmarks
        description = found.GetNthControlPointDescription(self.moduleWidget.review.selectedRow.index)
        self.assertIn("expected error 1.25 mm; within 3 mm 83 %; within the tolerance 73 %", description)

    def test_an_accepted_point_is_locked_and_stays_in_the_next_run(self):
        found = self.placed()
        name = self.moduleWidget.review.selectedRow.name
        index = self.moduleWidget.review.selectedRow.index
        self.moduleWidget.review.accept()
        self.assertTrue(found.GetNthControlPointLocked(index))
        self.assertNotEqual(self.moduleWidget.review.selectedRow.name, name, "the next uncertain point is selected")
        place = found.GetNthControlPointPositionWorld(index)
        self.moduleWidget.parameters.templateLandmarks.SetNthControlPointPositionWorld(index, 9.0, 9.0, 9.0)
        self.moduleWidget.place.start()
        self.finish()
        np.testing.assert_allclose(found.GetNthControlPointPositionWorld(index), place)

    def test_a_rejected_point_has_no_position(self):
        found = self.placed()
        index = self.moduleWidget.review.selectedRow.index
        self.moduleWidget.review.reject()
        self.assertNotEqual(found.GetNthControlPointPositionStatus(index), found.PositionDefined)

    def test_reverting_the_first_run_takes_its_points_back(self):
        found = self.placed()
        self.assertTrue(self.ui.revertButton.enabled)
        self.ui.revertButton.click()
        defined = [
            found.GetNthControlPointPositionStatus(n) == found.PositionDefined
            for n in range(found.GetNumberOfControlPoints())
        ]
        self.assertFalse(any(defined))
        self.assertFalse(self.ui.revertButton.enabled)

    def test_a_run_that_cannot_be_reverted_now_says_why(self):
        found = self.placed()
        self.client.isPaused = True
        self.moduleWidget.place.start()
        self.ui.revertButton.click()
        self.assertIn("wait", self.ui.progressLabel.text)
        self.assertTrue(self.logic.isBusy)
        self.client.isPaused = False
        self.finish()
        slicer.mrmlScene.RemoveNode(self.moduleWidget.parameters.targetVolume)
        self.ui.revertButton.click()
        self.assertIn("gone", self.ui.progressLabel.text)
        self.assertEqual(found.GetNthControlPointPositionStatus(0), found.PositionDefined)

    def test_keys_work_between_enter_and_exit_only(self):
        self.assertEqual(self.moduleWidget.shortcuts.keys, ())
        self.moduleWidget.enter()
        self.assertEqual(self.moduleWidget.shortcuts.keys, ("N", "A", "X"))
        self.moduleWidget.exit()
        self.assertEqual(self.moduleWidget.shortcuts.keys, ())

    def test_a_click_goes_to_the_landmark_in_both_scans(self):
        found = self.placed()
        row = self.moduleWidget.review.selectedRow
        self.assertEqual(self.ui.activationLandmarkBox.currentText, row.name)
        template = self.moduleWidget.parameters.templateLandmarks
        for side, points in (("Template", template), ("Target", found)):
            view = slicer.mrmlScene.GetSingletonNode(f"{side}Axial", "vtkMRMLSliceNode")
            matrix = view.GetSliceToRAS()
            centre = [matrix.GetElement(axis, 3) for axis in range(3)]
            np.testing.assert_allclose(centre, points.GetNthControlPointPositionWorld(row.index), atol=1e-3)

    def test_a_point_dragged_by_hand_counts_as_corrected(self):
        found = self.placed()
        row = self.moduleWidget.review.selectedRow
        found.SetNthControlPointPositionWorld(row.index, 10.0, 11.0, 12.0)
        self.waitForRefresh()
        self.assertEqual(self.moduleWidget.review.selectedRow.status, "corrected")

    def test_found_points_move_with_the_target(self):
        found = self.placed()
        before = np.array(found.GetNthControlPointPositionWorld(0))
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        slicer.util.updateTransformMatrixFromArray(
            transform, np.array([[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
        )
        self.moduleWidget.parameters.targetVolume.SetAndObserveTransformNodeID(transform.GetID())
        self.logic.poll()
        np.testing.assert_allclose(found.GetNthControlPointPositionWorld(0), before + np.array([5, 0, 0]), atol=1e-4)
        self.moduleWidget.review.select(0)
        view = slicer.mrmlScene.GetSingletonNode("TargetAxial", "vtkMRMLSliceNode")
        self.assertAlmostEqual(view.GetSliceToRAS().GetElement(0, 3), before[0] + 5, places=3)

    def test_scrolling_one_side_moves_the_other_as_far(self):
        self.placed()
        template, target = (
            slicer.mrmlScene.GetSingletonNode(f"{side}Axial", "vtkMRMLSliceNode") for side in ("Template", "Target")
        )
        before = target.GetSliceOffset()
        template.SetSliceOffset(template.GetSliceOffset() + 7.0)
        self.assertAlmostEqual(target.GetSliceOffset(), before + 7.0, places=3)

    def test_another_layout_shows_all_points_again(self):
        found = self.placed()
        self.assertTrue(self.ui.sideBySideButton.checked)
        self.assertGreater(found.GetDisplayNode().GetNumberOfViewNodeIDs(), 0)
        slicer.app.layoutManager().layoutLogic().GetLayoutNode().SetViewArrangement(2)
        self.assertFalse(self.ui.sideBySideButton.checked)
        self.assertEqual(found.GetDisplayNode().GetNumberOfViewNodeIDs(), 0)
