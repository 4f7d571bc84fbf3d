"""Features, activation maps and the comparison with a person's points."""

from __future__ import annotations

import tempfile
from pathlib import Path

import slicer

from DeepFeatureLandmarksLib.selftest.fake_client import CHANNELS, SHIFT_MM
from DeepFeatureLandmarksLib.selftest.module_test_case import NAMES, ModuleTestCase, makePoints
from DeepFeatureLandmarksLib.widgets.layout import TARGET


class FeatureTests(ModuleTestCase):
    def test_the_papers_settings_are_one_click_away(self):
        self.moduleWidget.enter()
        self.finish()
        self.pair()
        self.ui.presetBox.setCurrentIndex(1)
        self.assertEqual(self.moduleWidget.parameters.preset, "paper")
        self.assertEqual(self.moduleWidget.parameters.network, "vgg19-3d-random")
        self.assertEqual(self.ui.patchSizeBox.value, 32)
        self.moduleWidget.place.start()
        self.finish()
        used = self.client.settings[-1]
        self.assertEqual((used.network, used.layer, used.patch_size), ("vgg19-3d-random", "conv4_2", 32))
        self.ui.presetBox.setCurrentIndex(0)
        self.assertEqual((self.moduleWidget.parameters.network, self.moduleWidget.parameters.patchSize), ("mind", 13))

    def test_the_intensity_can_be_chosen_with_own_settings_only(self):
        self.moduleWidget.enter()
        self.finish()
        self.pair()
        self.assertFalse(self.ui.intensityBox.enabled)
        self.ui.presetBox.setCurrentIndex(2)
        self.assertTrue(self.ui.intensityBox.enabled)
        self.moduleWidget.parameters.intensity = "rank"
        self.assertEqual(self.ui.intensityBox.currentText, "rank")
        self.moduleWidget.place.start()
        self.finish()
        self.assertEqual(self.client.settings[-1].intensity, "rank")
        self.ui.presetBox.setCurrentIndex(0)
        self.assertEqual(self.moduleWidget.parameters.intensity, "auto")

    def test_a_layer_belongs_to_its_network(self):
        self.moduleWidget.enter()
        self.finish()
        self.ui.presetBox.setCurrentIndex(2)
        self.moduleWidget.parameters.network = "vgg19-3d-random"
        self.assertEqual(self.moduleWidget.parameters.layer, "conv2_2")
        self.assertIn("128 channels", self.ui.layerSummaryLabel.text)

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
        slicer.mrmlScene.RemoveNode(self.moduleWidget.parameters.targetVolume)
        before = slicer.mrmlScene.GetNumberOfNodes()
        self.ui.channelSlider.setValue(2)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)

    def test_quality_measures_against_a_persons_points(self):
        self.placed()
        self.moduleWidget.parameters.humanLandmarks = makePoints("human")
        self.ui.compareButton.click()
        self.assertEqual(self.ui.qualityTable.rowCount, len(NAMES))
        self.assertIn(f"{SHIFT_MM:.2f} mm", self.ui.qualitySummaryLabel.text)
        self.assertEqual(self.ui.qualityTable.item(0, 1).text(), f"{SHIFT_MM:.2f}")
        self.assertEqual(self.ui.qualityTable.item(0, 2).text(), "0.50", "what had been expected")
        self.assertTrue(self.ui.qualityTable.isColumnHidden(3), "there is no second person")
        self.assertTrue(self.ui.exportCsvButton.enabled)

    def test_templates_of_a_folder_are_compared(self):
        self.moduleWidget.templateCheck.askFolder = lambda: ""
        self.ui.checkTemplatesButton.click()
        self.assertFalse(self.ui.progressBar.visible, "nothing was chosen")
        self.moduleWidget.templateCheck.askFolder = lambda: str(Path("scans of heads"))
        self.ui.checkTemplatesButton.click()
        self.finish()
        table = self.ui.templateCheckTable
        texts = [table.item(0, column).text() for column in range(table.columnCount)]
        self.assertEqual(texts, ["scan 1", "2.50", "1.25", "left eye"])
        self.assertIn("behind", table.item(0, 0).toolTip())
        self.assertIn("Take scan 1 of scans of heads.", self.ui.templateCheckLabel.text)
        self.assertTrue(self.ui.checkTemplatesButton.enabled)

    def test_errors_are_exported_and_what_cannot_be_written_is_said(self):
        self.placed()
        self.moduleWidget.parameters.humanLandmarks = makePoints("human")
        self.moduleWidget.parameters.secondRaterLandmarks = makePoints("second")
        self.ui.compareButton.click()
        self.assertFalse(self.ui.qualityTable.isColumnHidden(3))
        self.assertIn("Two people differ by 0.00 mm", self.ui.qualitySummaryLabel.text)
        with tempfile.TemporaryDirectory() as folder:
            for button, suffix in ((self.ui.exportCsvButton, ".csv"), (self.ui.exportHtmlButton, ".html")):
                self.moduleWidget.quality.askFile = lambda _: f"{folder}/case 1.5 mm"
                button.click()
                text = (Path(folder) / f"case 1.5 mm{suffix}").read_text(encoding="utf-8")
                self.assertIn("left eye", text)
                self.moduleWidget.quality.askFile = lambda _: f"{folder}/no such folder/case"
                button.click()
                self.assertIn("no such folder", self.ui.qualitySummaryLabel.text)
                self.assertNotIn("Written", self.ui.qualitySummaryLabel.text)
