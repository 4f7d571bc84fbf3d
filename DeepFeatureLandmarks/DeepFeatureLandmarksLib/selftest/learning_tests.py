"""Learning: choosing a protocol, teaching it by one click, undoing that, and definitions beside the review."""

from __future__ import annotations

from pathlib import Path

import slicer

from DeepFeatureLandmarksLib.selftest.fake_protocols import DEFINITION
from DeepFeatureLandmarksLib.selftest.module_test_case import NAMES, ModuleTestCase, makeVolume

FILE = Path("heads.dflp").absolute()


class LearningTests(ModuleTestCase):
    def setUp(self):
        super().setUp()
        self.moduleWidget.learning.askNewFile = lambda: str(FILE)
        self.moduleWidget.learning.askFile = lambda: str(FILE)

    def taught(self):
        """The points of a scan that a protocol has just learnt from."""
        found = self.placed()
        self.moduleWidget.review.accept()
        self.waitForRefresh()
        self.ui.learnButton.click()
        self.finish()
        return found

    def test_nothing_is_learnt_without_a_click(self):
        self.placed()
        self.assertFalse(self.ui.learnButton.enabled)
        self.assertIn("Accept or correct", self.ui.learnButton.toolTip)
        self.moduleWidget.review.accept()
        self.waitForRefresh()
        self.assertTrue(self.ui.learnButton.enabled)
        self.moduleWidget.place.start()
        self.finish()
        self.assertEqual(self.client.protocols.taught, {})
        self.assertIsNone(self.client.settings[-1].protocol)

    def test_one_click_teaches_what_was_accepted_and_moved(self):
        found = self.placed()
        row = self.moduleWidget.review.selectedRow
        self.moduleWidget.review.accept()
        moved = self.moduleWidget.review.selectedRow
        found.SetNthControlPointPositionWorld(moved.index, 10.0, 11.0, 12.0)
        self.waitForRefresh()
        self.ui.learnButton.click()
        self.finish()
        (scan,) = self.client.protocols.taught[FILE].values()
        self.assertEqual((scan[0], sorted(scan[1]), scan[2]), ("target", sorted([row.name, moved.name]), [moved.name]))
        self.assertEqual(self.ui.progressLabel.text, "Learnt from this scan: 1 accepted, 1 corrected.")
        self.assertIn("Taught by 1 scan. This scan is among them.", self.ui.learningLabel.text)
        self.assertIn("target: 1 accepted, 1 corrected", self.ui.learningLabel.toolTip)

    def test_the_file_that_was_begun_is_used_from_the_next_run_on_and_saved_with_the_scene(self):
        self.moduleWidget.enter()
        self.taught()
        self.assertEqual(self.ui.protocolEdit.text, FILE.name)
        self.moduleWidget.place.start()
        self.finish()
        self.assertEqual(self.client.settings[-1].protocol, str(FILE))
        text = self.sceneText()
        slicer.mrmlScene.Clear(0)
        self.assertEqual(self.ui.protocolEdit.text, "")
        self.openScene(text)
        self.finish()
        self.assertEqual(self.ui.protocolEdit.toolTip, str(FILE))
        self.assertIn("This scan is among them.", self.ui.learningLabel.text)

    def test_forgetting_undoes_it(self):
        self.assertFalse(self.ui.forgetButton.enabled)
        self.taught()
        self.assertTrue(self.ui.forgetButton.enabled)
        self.ui.forgetButton.click()
        self.finish()
        self.assertEqual(self.client.protocols.taught[FILE], {})
        self.assertFalse(self.ui.forgetButton.enabled)
        self.assertIn("Taught by no scan yet.", self.ui.learningLabel.text)
        self.assertIn("forgotten", self.ui.progressLabel.text)
        self.assertTrue(self.ui.learnButton.enabled)

    def test_the_fall_of_the_error_and_what_is_still_doubtful_are_shown(self):
        self.taught()
        self.assertNotIn("mm", self.ui.learningLabel.text)
        for number in range(2):
            self.moduleWidget.parameters.targetVolume = makeVolume(f"another {number}")
            self.moduleWidget.parameters.targetLandmarks = None
            self.moduleWidget.place.start()
            self.finish()
            self.moduleWidget.review.accept()
            self.waitForRefresh()
            self.ui.learnButton.click()
            self.finish()
        self.assertIn("Taught by 3 scans.", self.ui.learningLabel.text)
        self.assertIn("Mean error 2.00 → 1.50 mm", self.ui.learningLabel.text)
        self.assertIn(f"Still doubtful: {NAMES[-1]}.", self.ui.learningLabel.text)
        self.assertIn(f"{NAMES[-1]}: taught by 3 scans, 2.00 → 1.50 mm", self.ui.learningLabel.toolTip)

    def test_a_protocol_is_chosen_and_left_out_again(self):
        self.moduleWidget.enter()
        self.client.protocols.taught[FILE] = {"some key": ("somebody", list(NAMES), [])}
        self.ui.chooseProtocolButton.click()
        self.finish()
        self.assertEqual(self.ui.protocolLabel.text, "Taught by 1 scan.")
        self.placed()
        self.assertEqual(self.client.settings[-1].protocol, str(FILE))
        self.ui.clearProtocolButton.click()
        self.assertEqual((self.ui.protocolEdit.text, self.ui.protocolLabel.text), ("", ""))
        self.assertTrue(self.ui.clearProtocolButton.isHidden())
        self.moduleWidget.place.start()
        self.finish()
        self.assertIsNone(self.client.settings[-1].protocol)

    def test_the_template_of_a_protocol_is_loaded_and_chosen(self):
        self.moduleWidget.enter()
        self.assertTrue(self.ui.protocolTemplateButton.isHidden())
        self.client.protocols.taught[FILE] = {"some key": ("somebody", list(NAMES), [])}
        self.ui.chooseProtocolButton.click()
        self.finish()
        self.ui.protocolTemplateButton.click()
        self.finish()
        parameters = self.moduleWidget.parameters
        self.assertEqual(parameters.templateVolume.GetName(), "head")
        self.assertEqual(parameters.templateVolume.GetImageData().GetDimensions(), (6, 5, 4))
        points = parameters.templateLandmarks
        self.assertEqual((points.GetName(), points.GetNthControlPointLabel(0)), ("head landmarks", "left eye"))
        self.assertEqual(tuple(points.GetNthControlPointPositionWorld(0)), (-1.0, -2.0, 3.0))
        self.assertIn("loaded", self.ui.progressLabel.text)
        self.assertTrue(self.ui.protocolTemplateButton.enabled)

    def test_a_file_that_cannot_be_read_is_told_where_it_is_chosen(self):
        self.moduleWidget.enter()
        self.ui.chooseProtocolButton.click()
        self.finish()
        self.assertIn("There is no file", self.ui.protocolLabel.text)
        self.assertFalse(self.ui.protocolTemplateButton.enabled)
        self.assertFalse(self.ui.forgetButton.enabled)

    def test_what_another_program_has_taught_is_shown_when_the_module_is_opened_again(self):
        self.moduleWidget.enter()
        self.taught()
        self.moduleWidget.exit()
        self.client.protocols.taught[FILE]["some key"] = ("somebody", list(NAMES), [])
        self.moduleWidget.enter()
        self.finish()
        self.assertEqual(self.ui.protocolLabel.text, "Taught by 2 scans.")

    def test_settings_that_do_not_learn_say_so(self):
        self.moduleWidget.enter()
        self.taught()
        self.moduleWidget.parameters.preset = "paper"
        self.assertIn("do not use it", self.ui.protocolLabel.text)
        self.assertFalse(self.ui.learnButton.enabled)
        self.moduleWidget.place.start()
        self.finish()
        self.assertIsNone(self.client.settings[-1].protocol)

    def test_a_person_who_names_no_file_has_taught_nothing(self):
        self.moduleWidget.learning.askNewFile = lambda: ""
        self.taught()
        self.assertEqual(self.client.protocols.taught, {})
        self.assertEqual(self.ui.protocolEdit.text, "")

    def test_the_definition_of_the_selected_landmark_is_shown(self):
        found = self.taught()
        label = self.ui.definitionLabel
        index = next(n for n in range(len(NAMES)) if found.GetNthControlPointLabel(n) == "left eye")
        self.moduleWidget.review.select(index)
        self.assertFalse(label.isHidden())
        self.assertIn(DEFINITION["text"], label.text)
        self.assertIn(DEFINITION["picture"], label.text)
        self.assertIn(f'href="{DEFINITION["link"]}"', label.text)
        self.moduleWidget.review.select(next(n for n in range(len(NAMES)) if n != index))
        self.assertTrue(label.isHidden(), "no other landmark is defined")
