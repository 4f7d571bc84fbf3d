"""What the panel does, as tests that run in real Slicer (the module's self-test) and, on stand-ins, in `make test`."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import slicer

from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.selftest.fake_client import CHANNELS, SHIFT_MM, RehearsedClient, RehearsedInstaller
from DeepFeatureLandmarksLib.widgets.install import TORCH
from DeepFeatureLandmarksLib.widgets.layout import LAYOUT_ID, TARGET
from DeepFeatureLandmarksLib.widgets.parameters import MODULE_NAME, parameterNode
from DeepFeatureLandmarksLib.widgets.widget import Panel
from deepfeatures.data.landmarks import Landmark, LandmarkSet

UI = Path(__file__).parents[2] / "Resources" / "UI" / "DeepFeatureLandmarks.ui"
NAMES = ("AC", "PC", "left eye", "right eye")


def makeVolume(name: str):
    """A volume of 64³ voxels of 2 mm, its centre in the scene's."""
    voxels = np.random.default_rng(0).normal(size=(64, 64, 64)).astype(np.float32)
    volume = slicer.util.addVolumeFromArray(voxels, ijkToRAS=np.diag([2.0, 2.0, 2.0, 1.0]), name=name)
    volume.SetOrigin(-63, -63, -63)
    return volume


def makePoints(name: str, count: int = len(NAMES)):
    """Points on a line through the scene's centre."""
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    for n in range(count):
        label = NAMES[n] if n < len(NAMES) else f"point {n}"
        points.AddControlPointWorld(-20 + 40 * n / count, 5.0, 1.0, label)
    return points


class Behaviours:
    """To be mixed into a `unittest.TestCase`."""

    @classmethod
    def names(cls) -> list[str]:
        return [name for name in dir(cls) if name.startswith("test_")]

    def setUp(self):
        slicer.mrmlScene.Clear(0)
        self.client = RehearsedClient()
        self.installer = RehearsedInstaller()
        self.panel = self.makePanel()

    def tearDown(self):
        self.panel.cleanup()
        slicer.mrmlScene.Clear(0)

    def makePanel(self) -> Panel:
        self.widget = slicer.util.loadUI(str(UI))
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.logic = DeepFeatureLandmarksLogic(slicer.mrmlScene, self.client)
        return Panel(self.ui, slicer.mrmlScene, self.logic, self.installer)

    def pair(self, count: int = len(NAMES)) -> None:
        """Two volumes and template points, chosen."""
        parameters = self.panel.parameters
        parameters.templateVolume, parameters.targetVolume = makeVolume("template"), makeVolume("target")
        parameters.templateLandmarks = makePoints("landmarks", count)

    def finish(self, limit_s: float = 10.0) -> None:
        """Let a run come to its end, as the panel's timer does."""
        end = time.monotonic() + limit_s
        self.logic.poll()
        while self.logic.isBusy:
            self.assertLess(time.monotonic(), end, "the run does not end")
            self.logic.poll()

    def settle(self, limit_s: float = 10.0) -> None:
        """Let the panel notice what has changed in the scene."""
        end = time.monotonic() + limit_s
        while self.panel.isStale:
            self.assertLess(time.monotonic(), end, "the panel does not notice")
            slicer.app.processEvents()

    def placed(self, count: int = len(NAMES)):
        """The found points of a finished run."""
        self.pair(count)
        self.panel.place.start()
        self.finish()
        return self.panel.parameters.targetLandmarks

    def sceneText(self) -> str:
        """The scene as it would be saved, without files."""
        scene = slicer.mrmlScene
        scene.SetSaveToXMLString(True)
        scene.Commit()
        scene.SetSaveToXMLString(False)
        return scene.GetSceneXMLString()

    def openScene(self, text: str) -> None:
        """Load what `sceneText` has given."""
        scene = slicer.mrmlScene
        scene.SetLoadFromXMLString(True)
        scene.SetSceneXMLString(text)
        scene.Import()
        scene.SetLoadFromXMLString(False)

    def cell(self, row: int, column: int) -> str:
        return self.ui.reviewTable.item(row, column).text()

    # Data and Place

    def test_the_place_button_says_why_it_is_disabled(self):
        self.assertFalse(self.ui.placeButton.enabled)
        first = self.ui.placeReasonLabel.text
        self.assertTrue(first.strip())
        self.panel.parameters.templateVolume = makeVolume("template")
        self.panel.parameters.templateLandmarks = makePoints("landmarks", 0)
        self.panel.parameters.targetVolume = makeVolume("target")
        self.assertFalse(self.ui.placeButton.enabled)
        self.assertNotEqual(self.ui.placeReasonLabel.text, first)
        self.assertEqual(self.ui.placeButton.toolTip, self.ui.placeReasonLabel.text)

    def test_a_point_set_in_the_template_enables_the_button(self):
        self.pair(0)
        self.assertFalse(self.ui.placeButton.enabled)
        self.panel.parameters.templateLandmarks.AddControlPointWorld(1.0, 2.0, 3.0, "AC")
        self.settle()
        self.assertTrue(self.ui.placeButton.enabled, self.ui.placeReasonLabel.text)
        self.assertEqual(self.ui.placeReasonLabel.text, "")

    def test_marking_makes_a_list_and_ends_with_the_mode(self):
        self.panel.parameters.templateVolume = makeVolume("template")
        self.ui.placePointsButton.setChecked(True)
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        self.assertIsNotNone(self.panel.parameters.templateLandmarks)
        self.assertEqual(interaction.GetCurrentInteractionMode(), interaction.Place)
        interaction.SwitchToViewTransformMode()  # as Escape does
        self.assertFalse(self.ui.placePointsButton.checked)
        self.ui.placePointsButton.setChecked(True)
        self.panel.exit()
        self.assertNotEqual(interaction.GetCurrentInteractionMode(), interaction.Place, "clicks are given back")

    def test_the_template_points_cannot_be_the_output(self):
        self.pair()
        self.panel.parameters.targetLandmarks = self.panel.parameters.templateLandmarks
        self.assertFalse(self.ui.placeButton.enabled)

    def test_placing_fills_a_new_list_and_the_review_table(self):
        found = self.placed()
        self.assertEqual(found.GetNumberOfControlPoints(), len(NAMES))
        template = self.panel.parameters.templateLandmarks
        moved = np.subtract(found.GetNthControlPointPositionWorld(0), template.GetNthControlPointPositionWorld(0))
        np.testing.assert_allclose(moved, (-SHIFT_MM, 0, 0), atol=1e-4)
        self.assertEqual(self.ui.reviewTable.rowCount, len(NAMES))
        self.assertIn(f"{len(NAMES)} placed", self.ui.progressLabel.text)

    def test_cancelling_leaves_the_scene_as_it_was(self):
        self.pair()
        self.client.isHeld = True
        before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode")
        self.panel.place.start()
        self.assertFalse(self.ui.placeButton.enabled)
        self.panel.place.cancel()
        self.finish()
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode"), before)
        self.assertTrue(self.ui.placeButton.enabled)
        self.assertIn("ancelled", self.ui.progressLabel.text)

    def test_points_settle_in_the_target_while_a_run_goes_on(self):
        self.pair()
        self.ui.sideBySideButton.setChecked(True)
        for isCancelled in (True, False):
            self.client.isHeld = True
            self.panel.place.start()
            self.client.settle(LandmarkSet((Landmark("AC", (1.0, 2.0, 3.0)),)))
            self.client.settle(LandmarkSet((Landmark("AC", (1.0, 2.0, 4.0)), Landmark("PC", (5.0, 6.0, 7.0)))))
            self.logic.poll()
            points = self.panel.settling.node
            self.assertEqual(points.GetNumberOfControlPoints(), 2)
            np.testing.assert_allclose(points.GetNthControlPointPositionWorld(0), (-1, -2, 4))
            views = [slicer.mrmlScene.GetNodeByID(view) for view in points.GetDisplayNode().GetViewNodeIDs()]
            self.assertEqual({view.GetName() for view in views}, set(TARGET.viewNames), "the template's are not theirs")
            self.assertTrue(points.GetDisplayNode().GetSliceProjection(), "seen whatever slice is shown")
            self.assertTrue(points.GetHideFromEditors(), "nobody is to choose them")
            self.assertFalse(points.GetSaveWithScene())
            if isCancelled:
                self.ui.cancelButton.click()
            self.client.isHeld = False
            self.finish()
            self.assertIsNone(points.GetScene(), "the run is over")
        self.assertEqual(self.ui.reviewTable.rowCount, len(NAMES))

    def test_a_second_request_leaves_the_running_one_alone(self):
        self.placed()
        self.client.isHeld = True
        self.panel.place.start()
        self.ui.activationButton.click()
        self.assertTrue(self.logic.isBusy)
        self.assertFalse(self.ui.placeButton.enabled)
        self.client.isHeld = False
        self.finish()
        self.assertIn("placed", self.ui.progressLabel.text)

    def test_a_chosen_pair_is_read_ahead_once(self):
        self.panel.enter()
        self.finish()
        self.pair()
        self.panel.parameters.patchSize = 20
        self.panel.parameters.patchSize = 24
        self.assertEqual(self.client.encodes, 1)

    def test_a_pair_is_read_ahead_before_it_has_landmarks(self):
        self.panel.enter()
        self.finish()
        self.panel.parameters.templateVolume = makeVolume("template")
        self.assertEqual(self.client.encodes, 0)
        self.panel.parameters.targetVolume = makeVolume("target")
        self.assertEqual(self.client.encodes, 1)

    def test_a_target_deleted_during_a_run_ends_in_words(self):
        self.pair()
        self.client.isHeld = True
        self.panel.place.start()
        slicer.mrmlScene.RemoveNode(self.panel.parameters.targetVolume)
        self.client.isHeld = False
        self.finish()
        self.assertFalse(self.ui.placeButton.enabled)
        self.assertTrue(self.ui.progressLabel.text.strip())

    def test_a_scene_closed_during_a_run_ends_it(self):
        self.panel.enter()
        self.finish()
        self.pair()
        self.client.isHeld = True
        self.panel.place.start()
        slicer.mrmlScene.Clear(0)
        self.finish()
        self.assertIsNone(self.panel.parameters.templateVolume)
        self.assertEqual(self.ui.reviewTable.rowCount, 0)
        self.assertFalse(self.ui.placeButton.enabled)
        self.pair()
        self.assertTrue(self.ui.placeButton.enabled, "the next scene can be worked on")

    def test_500_landmarks_are_shown_quickly(self):
        found = self.placed(500)
        self.assertEqual(self.ui.reviewTable.rowCount, 500)
        refresh, refreshes = self.panel.review.refresh, []
        self.panel.review.refresh = lambda: (refreshes.append(1), refresh())
        started = time.monotonic()
        for index in range(found.GetNumberOfControlPoints()):
            found.SetNthControlPointLocked(index, True)
        self.settle()
        self.assertLess(time.monotonic() - started, 3.0)
        self.assertIn(len(refreshes), (1, 2), "one refresh for all that changes at once")
        self.assertTrue(all("accepted" in self.cell(row, 4) for row in range(500)))

    # Review

    def test_the_most_doubtful_point_comes_first_and_is_gone_to(self):
        self.placed()
        self.assertEqual(self.cell(0, 0), NAMES[-1])
        self.assertEqual(self.panel.review.selectedRow.name, NAMES[-1])
        doubts = [float(self.cell(row, 1)) for row in range(len(NAMES))]
        self.assertEqual(doubts, sorted(doubts, reverse=True))
        self.assertEqual([self.cell(row, 2) for row in range(2)], ["83%", "88%"], "chances to lie within 3 mm")
        self.assertFalse(any(self.ui.reviewTable.isColumnHidden(column) for column in range(4)))
        found = self.panel.parameters.targetLandmarks
        description = found.GetNthControlPointDescription(self.panel.review.selectedRow.index)
        self.assertIn("expected error 1.25 mm; within 3 mm 83 %", description)

    def test_an_accepted_point_is_locked_and_stays_in_the_next_run(self):
        found = self.placed()
        name = self.panel.review.selectedRow.name
        index = self.panel.review.selectedRow.index
        self.panel.review.accept()
        self.assertTrue(found.GetNthControlPointLocked(index))
        self.assertNotEqual(self.panel.review.selectedRow.name, name, "the next doubtful point is selected")
        place = found.GetNthControlPointPositionWorld(index)
        self.panel.parameters.templateLandmarks.SetNthControlPointPositionWorld(index, 9.0, 9.0, 9.0)
        self.panel.place.start()
        self.finish()
        np.testing.assert_allclose(found.GetNthControlPointPositionWorld(index), place)

    def test_a_rejected_point_has_no_position(self):
        found = self.placed()
        index = self.panel.review.selectedRow.index
        self.panel.review.reject()
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
        self.client.isHeld = True
        self.panel.place.start()
        self.ui.revertButton.click()
        self.assertIn("wait", self.ui.progressLabel.text)
        self.assertTrue(self.logic.isBusy)
        self.client.isHeld = False
        self.finish()
        slicer.mrmlScene.RemoveNode(self.panel.parameters.targetVolume)
        self.ui.revertButton.click()
        self.assertIn("gone", self.ui.progressLabel.text)
        self.assertEqual(found.GetNthControlPointPositionStatus(0), found.PositionDefined)

    def test_keys_work_between_enter_and_exit_only(self):
        self.assertEqual(self.panel.shortcuts.keys, ())
        self.panel.enter()
        self.assertEqual(self.panel.shortcuts.keys, ("N", "A", "X"))
        self.panel.exit()
        self.assertEqual(self.panel.shortcuts.keys, ())

    def test_a_click_goes_to_the_landmark_in_both_scans(self):
        found = self.placed()
        row = self.panel.review.selectedRow
        self.assertEqual(self.ui.activationLandmarkBox.currentText, row.name)
        template = self.panel.parameters.templateLandmarks
        for side, points in (("Template", template), ("Target", found)):
            view = slicer.mrmlScene.GetSingletonNode(f"{side}Axial", "vtkMRMLSliceNode")
            matrix = view.GetSliceToRAS()
            centre = [matrix.GetElement(axis, 3) for axis in range(3)]
            np.testing.assert_allclose(centre, points.GetNthControlPointPositionWorld(row.index), atol=1e-3)

    def test_a_point_dragged_by_hand_counts_as_corrected(self):
        found = self.placed()
        row = self.panel.review.selectedRow
        found.SetNthControlPointPositionWorld(row.index, 10.0, 11.0, 12.0)
        self.settle()
        self.assertEqual(self.panel.review.selectedRow.status, "corrected")

    def test_found_points_move_with_the_target(self):
        found = self.placed()
        before = np.array(found.GetNthControlPointPositionWorld(0))
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        slicer.util.updateTransformMatrixFromArray(
            transform, np.array([[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
        )
        self.panel.parameters.targetVolume.SetAndObserveTransformNodeID(transform.GetID())
        self.logic.poll()
        np.testing.assert_allclose(found.GetNthControlPointPositionWorld(0), before + np.array([5, 0, 0]), atol=1e-4)
        self.panel.review.select(0)
        view = slicer.mrmlScene.GetSingletonNode("TargetAxial", "vtkMRMLSliceNode")
        self.assertAlmostEqual(view.GetSliceToRAS().GetElement(0, 3), before[0] + 5, places=3)

    # Layout

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

    # Features

    def test_the_papers_settings_are_one_click_away(self):
        self.panel.enter()
        self.finish()
        self.pair()
        self.ui.presetBox.setCurrentIndex(1)
        self.assertEqual(self.panel.parameters.preset, "paper")
        self.assertEqual(self.panel.parameters.network, "vgg19-3d-random")
        self.assertEqual(self.ui.patchSizeBox.value, 32)
        self.panel.place.start()
        self.finish()
        used = self.client.settings[-1]
        self.assertEqual((used.network, used.layer, used.patch_size), ("vgg19-3d-random", "conv4_2", 32))
        self.ui.presetBox.setCurrentIndex(0)
        self.assertEqual((self.panel.parameters.network, self.panel.parameters.patchSize), ("mind", 13))

    def test_a_layer_belongs_to_its_network(self):
        self.panel.enter()
        self.finish()
        self.ui.presetBox.setCurrentIndex(2)
        self.panel.parameters.network = "vgg19-3d-random"
        self.assertEqual(self.panel.parameters.layer, "conv2_2")
        self.assertIn("128 channels", self.ui.layerSummaryLabel.text)

    # Activation maps and Quality

    def test_a_channel_is_laid_over_the_slices(self):
        self.placed()
        self.ui.activationButton.click()
        self.finish()
        self.assertTrue(self.ui.channelSlider.enabled)
        self.assertEqual(self.ui.channelSlider.maximum, CHANNELS - 1)
        self.ui.channelSlider.setValue(2)
        self.assertIn(f"3 of {CHANNELS}", self.ui.channelNumberLabel.text)
        composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        over = {node.GetLayoutName() for node in composites if node.GetForegroundVolumeID()}
        self.assertEqual(over, set(TARGET.viewNames), "a map of the target means nothing over the template")

    def test_maps_of_a_volume_that_is_gone_are_not_shown(self):
        self.placed()
        self.ui.activationButton.click()
        self.finish()
        slicer.mrmlScene.RemoveNode(self.panel.parameters.targetVolume)
        before = slicer.mrmlScene.GetNumberOfNodes()
        self.ui.channelSlider.setValue(2)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)

    def test_quality_measures_against_a_persons_points(self):
        self.placed()
        self.panel.parameters.humanLandmarks = makePoints("human")
        self.ui.compareButton.click()
        self.assertEqual(self.ui.qualityTable.rowCount, len(NAMES))
        self.assertIn(f"{SHIFT_MM:.2f} mm", self.ui.qualitySummaryLabel.text)
        self.assertEqual(self.ui.qualityTable.item(0, 1).text(), f"{SHIFT_MM:.2f}")
        self.assertEqual(self.ui.qualityTable.item(0, 2).text(), "0.50", "what had been expected")
        self.assertTrue(self.ui.qualityTable.isColumnHidden(3), "there is no second person")
        self.assertTrue(self.ui.exportCsvButton.enabled)

    def test_errors_are_exported_and_what_cannot_be_written_is_said(self):
        self.placed()
        self.panel.parameters.humanLandmarks = makePoints("human")
        self.panel.parameters.secondRaterLandmarks = makePoints("second")
        self.ui.compareButton.click()
        self.assertFalse(self.ui.qualityTable.isColumnHidden(3))
        self.assertIn("Two people differ by 0.00 mm", self.ui.qualitySummaryLabel.text)
        with tempfile.TemporaryDirectory() as folder:
            for button, suffix in ((self.ui.exportCsvButton, ".csv"), (self.ui.exportHtmlButton, ".html")):
                self.panel.quality.askFile = lambda _: f"{folder}/case 1.5 mm"
                button.click()
                text = (Path(folder) / f"case 1.5 mm{suffix}").read_text(encoding="utf-8")
                self.assertIn("left eye", text)
                self.panel.quality.askFile = lambda _: f"{folder}/no such folder/case"
                button.click()
                self.assertIn("no such folder", self.ui.qualitySummaryLabel.text)
                self.assertNotIn("Written", self.ui.qualitySummaryLabel.text)

    # Install, scenes, reload

    def test_missing_packages_are_named_and_nothing_is_installed_before_a_click(self):
        self.panel.cleanup()
        self.installer = RehearsedInstaller((TORCH,))
        self.panel = self.makePanel()
        self.panel.enter()
        self.pair()
        self.assertFalse(self.ui.placeButton.enabled)
        self.assertIn("torch", self.ui.placeReasonLabel.text)
        self.assertEqual(self.installer.installs, 0)
        self.assertEqual(self.client.hellos, 0, "no worker is started before its packages are there")
        self.ui.installButton.click()
        self.finish()
        self.assertEqual(self.installer.installs, 1)
        self.panel.enter()
        self.assertTrue(self.ui.placeButton.enabled, self.ui.placeReasonLabel.text)

    def test_parameters_of_another_version_do_no_harm(self):
        self.panel.cleanup()
        slicer.mrmlScene.Clear(0)
        node = slicer.vtkMRMLScriptedModuleNode()
        node.SetSingletonTag(MODULE_NAME)
        for name, value in (("patchSize", "huge"), ("preset", "fastest"), ("network", "gone"), ("searchMode", "x")):
            node.SetParameter(name, value)
        node = slicer.mrmlScene.AddNode(node)
        node.SetNodeReferenceID("templateVolume", makePoints("not a volume").GetID())
        self.panel = self.makePanel()
        self.panel.enter()
        self.finish()
        self.assertIsNone(self.panel.parameters.templateVolume)
        self.assertEqual(node.GetParameter("searchMode"), "x", "what a later version wrote stays")
        self.pair()
        self.assertTrue(self.ui.placeButton.enabled, self.ui.placeReasonLabel.text)

    def test_a_new_panel_takes_over_where_the_old_one_was_cleaned_up(self):
        found = self.placed()
        old = self.panel
        old.cleanup()
        self.assertFalse(old.Observations, "the old panel follows the scene still")
        self.panel = self.makePanel()
        self.assertIs(self.panel.parameters.targetLandmarks, found)
        self.assertEqual(self.ui.reviewTable.rowCount, len(NAMES))

    def test_an_imported_scene_brings_its_choices(self):
        self.panel.enter()
        self.finish()
        self.pair()
        self.panel.parameters.preset = "paper"
        text = self.sceneText()
        slicer.mrmlScene.Clear(0)
        self.assertIsNone(self.panel.parameters.templateLandmarks)
        self.assertEqual(self.ui.presetBox.currentIndex, 0)
        self.openScene(text)
        self.assertEqual(self.panel.parameters.preset, "paper")
        self.assertEqual(self.ui.presetBox.currentIndex, 1)
        self.assertEqual(self.panel.parameters.templateLandmarks.GetName(), "landmarks")
        self.assertIs(self.panel.parameters.targetVolume.GetScene(), slicer.mrmlScene)

    def test_a_scene_saved_side_by_side_opens_so_and_can_be_left(self):
        self.panel.enter()
        self.placed()
        text = self.sceneText()
        slicer.mrmlScene.Clear(0)
        self.assertFalse(self.ui.sideBySideButton.checked)
        self.openScene(text)
        self.assertTrue(self.ui.sideBySideButton.checked)
        self.assertGreater(self.panel.parameters.targetLandmarks.GetDisplayNode().GetNumberOfViewNodeIDs(), 0)
        self.ui.sideBySideButton.setChecked(False)
        layout = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
        self.assertNotEqual(layout.GetViewArrangement(), LAYOUT_ID)
        self.assertEqual(self.panel.parameters.targetLandmarks.GetDisplayNode().GetNumberOfViewNodeIDs(), 0)

    def test_points_of_a_scene_saved_side_by_side_are_seen_in_other_layouts(self):
        self.placed()
        text = self.sceneText()
        slicer.mrmlScene.Clear(0)
        self.openScene(text)
        slicer.app.layoutManager().layoutLogic().GetLayoutNode().SetViewArrangement(2)
        self.panel.enter()
        self.assertFalse(self.ui.sideBySideButton.checked)
        self.assertEqual(self.panel.parameters.targetLandmarks.GetDisplayNode().GetNumberOfViewNodeIDs(), 0)

    def test_one_parameter_node_a_scene(self):
        parameterNode(slicer.mrmlScene)
        parameterNode(slicer.mrmlScene)
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        self.assertEqual(len([n for n in nodes if n.GetAttribute("ModuleName") == MODULE_NAME]), 1)
