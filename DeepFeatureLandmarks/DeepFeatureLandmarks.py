"""Deep Feature Landmarks, a scripted module of 3D Slicer; everything it does is in DeepFeatureLandmarksLib."""

import shutil
import sys
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.selftest.module_tests import ModuleTests
from DeepFeatureLandmarksLib.widgets import layout, sample_data
from DeepFeatureLandmarksLib.widgets.module_widget import ModuleWidget
from DeepFeatureLandmarksLib.widgets.package_installer import Installer
from deepfeatures.service.client import WorkerClient

LIB = "DeepFeatureLandmarksLib"


class DeepFeatureLandmarks(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Deep Feature Landmarks")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        self.parent.dependencies = ["Markups"]
        self.parent.contributors = ["The DeepFeatureLandmarks contributors"]
        self.parent.helpText = _(
            "Place a landmark once, find it in every scan: points of a template volume are found in other volumes by"
            " comparing deep 3D features of their neighbourhoods, without training. Every point comes with its expected"
            " error and is reviewed side by side with the template. For research only. See"
            ' <a href="https://github.com/DeepFeatureLandmarks/SlicerDeepFeatureLandmarks/blob/main/docs/tutorial/'
            'slicer.md">the tutorial</a>.'
        )
        self.parent.acknowledgementText = _(
            "The method starts from Avants, Greenblatt, Hesterman and Tustison: Deep Volumetric Feature Encoding for"
            ' Biomedical Images, WBIR 2020, <a href="https://doi.org/10.1007/978-3-030-50120-4_9">doi</a>.'
        )
        slicer.app.connect("startupCompleted()", registerWithSlicer)


def registerWithSlicer() -> None:
    """Add the sample to the SampleData module and the layout to the others, once all modules are there."""
    sample_data.register(Path(__file__).parent / "Resources" / "Icons" / "SampleData.png")
    layout.register()


class DeepFeatureLandmarksWidget(ScriptedLoadableModuleWidget):
    moduleWidget: ModuleWidget | None = None

    def setup(self) -> None:
        """The user opens the module for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/DeepFeatureLandmarks.ui"))
        self.layout.addWidget(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self._client = WorkerClient(shutil.which("PythonSlicer"))
        self.logic = DeepFeatureLandmarksLogic(slicer.mrmlScene, self._client)
        ui = slicer.util.childWidgetVariables(uiWidget)
        self.moduleWidget = ModuleWidget(ui, slicer.mrmlScene, self.logic, Installer())

    def enter(self) -> None:
        self.moduleWidget.enter()

    def exit(self) -> None:
        self.moduleWidget.exit()

    def cleanup(self) -> None:
        if self.moduleWidget is not None:
            self.moduleWidget.cleanup()
            self._client.close()
            self.moduleWidget = None

    def onReload(self) -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == LIB]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)
        slicer.modules.DeepFeatureLandmarksWidget.enter()  # the user is in the module already


class DeepFeatureLandmarksTest(ModuleTests, ScriptedLoadableModuleTest):
    """The tests of the module, in real Slicer; the same run in `make test` on stand-ins."""

    def runTest(self) -> None:
        for name in self.names():
            self.setUp()
            self.delayDisplay(name.replace("_", " "))
            getattr(self, name)()
            self.tearDown()
