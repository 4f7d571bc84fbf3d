"""The Transform section: from the template to the target, seen as a blend, and used to carry things over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt

from DeepFeatureLandmarksLib.scene import carried_nodes, transform_nodes
from DeepFeatureLandmarksLib.scene.comparison_volume import checkerboardNode
from DeepFeatureLandmarksLib.scene.jacobian_map import LEGEND
from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.scene.run import Run
from DeepFeatureLandmarksLib.scene.transform_summary import KINDS
from DeepFeatureLandmarksLib.widgets.combo_connector import ComboConnector, ComboEntry
from DeepFeatureLandmarksLib.widgets.layout import TARGET, TEMPLATE, SideBySideLayout
from DeepFeatureLandmarksLib.widgets.parameters import Parameters
from DeepFeatureLandmarksLib.widgets.place_section import placeRequestOf
from deepfeatures.errors import InputError

FILES = ";;".join(
    (
        "ITK, 3D Slicer, ANTs (*.h5)",
        "ITK as text (*.tfm)",
        "Displacement field (*.nrrd)",
        "Displacement field (*.nii.gz)",
        "elastix (*.txt)",
    )
)
SUFFIXES = (".h5", ".tfm", ".nrrd", ".nii.gz", ".txt", ".mat", ".mha", ".nii")
WAYS = {"forward": "from template to target", "inverse": "from target to template"}
JACOBIAN_OPACITY = 0.5
COMPUTE_TIP = "Compute the transform from the points that lie in both volumes."


def askForTransformFile() -> str:
    """A file to write that a person chooses, empty where none."""
    return qt.QFileDialog.getSaveFileName(None, "Export the transform", "transform.h5", FILES)


class TransformSection:
    """Computes, shows, carries over and exports.

    Args:
        ui: The widgets of the .ui file.
        logic: Asks the worker.
        layout: Shows template and target.
        run: Sends a request to the worker and shows its progress.
        showMessage: Shows a sentence.
    """

    RUNS = ("transform", "warpTarget", "carryVolume", "jacobian", "writeTransform")

    def __init__(
        self,
        ui,
        logic: DeepFeatureLandmarksLogic,
        layout: SideBySideLayout,
        run: Callable[[Callable[[], None]], None],
        showMessage: Callable[[str], None],
    ):
        self._ui, self._logic, self._layout, self._run, self._showMessage = ui, logic, layout, run, showMessage
        self.askFile = askForTransformFile
        self._parameters: Parameters | None = None
        self._board = None
        self._kind, self._way = ComboConnector(ui.transformKindBox), ComboConnector(ui.carryWayBox)
        self._kind.setEntries(ComboEntry(name, label, tip=tip) for name, (label, tip) in KINDS.items())
        self._kind.write(next(iter(KINDS)))
        self._way.setEntries(ComboEntry(name, label) for name, label in WAYS.items())
        self._way.write("forward")
        self._kind.onChanged(self._onKind)
        self._way.onChanged(self.refresh)
        ui.computeTransformButton.clicked.connect(lambda *_: self.compute())
        ui.blendSlider.valueChanged.connect(lambda *_: self._blend())
        ui.checkerboardBox.toggled.connect(lambda *_: self._blend())
        ui.carrySelector.currentNodeChanged.connect(lambda *_: self.refresh())
        ui.carryButton.clicked.connect(lambda *_: self.carryOver())
        ui.jacobianButton.clicked.connect(lambda *_: self._ask(self._logic.jacobianMap))
        ui.exportTransformButton.clicked.connect(lambda *_: self.export())

    def setParameters(self, parameters: Parameters | None) -> None:
        self._parameters = parameters
        self._board = None
        self.refresh()

    def compute(self) -> None:
        """Compute the transform of the chosen kind, then the target as the template sees it."""
        request, kind = placeRequestOf(self._parameters), self._kind.read()
        self._run(lambda: self._logic.computeTransform(request, kind))

    def carryOver(self) -> None:
        """Carry the chosen node over."""
        node, isInverse = self._ui.carrySelector.currentNode(), self._way.read() == "inverse"
        if carried_nodes.isVolume(node):
            self._ask(lambda transform: self._logic.carryVolume(transform, node, inverse=isInverse))
            return
        try:
            copy = self._logic.carryShape(self._node, node, inverse=isInverse)
        except InputError as error:
            self._showMessage(str(error))
            return
        self._layout.keepTo(TEMPLATE if isInverse else TARGET, copy)
        self._showMessage(f"{copy.GetName()} is there.")

    def export(self) -> None:
        """Write the transform to a file that a person chooses."""
        if name := self.askFile():
            path = Path(name if name.lower().endswith(SUFFIXES) else name + SUFFIXES[0])
            self._ask(lambda transform: self._logic.writeTransform(transform, path))

    def show(self, run: Run) -> None:
        """Show what a request has brought."""
        if run.kind == "transform":
            self._kind.write(run.transform.kind)
            self._board = None
            self.refresh()
            self._ask(self._logic.warpTarget)
        elif run.kind == "warpTarget":
            self.refresh()
            self._blend()
        elif run.kind == "jacobian":
            self._layout.overlay(TEMPLATE, run.node, JACOBIAN_OPACITY)

    def refresh(self, *_) -> None:
        """Update all that is shown from the scene."""
        ui, node = self._ui, self._node
        reason = "The scene is being closed." if self._parameters is None else self._refusal()
        ui.computeTransformButton.setEnabled(not reason)
        ui.computeTransformButton.setToolTip(reason or COMPUTE_TIP)
        summary = transform_nodes.summaryOf(node) if node is not None else None
        texts = [] if summary is None else [summary.residualText, summary.foldText, *summary.noteLines]
        ui.transformLabel.setText(" ".join(texts))
        ui.transformLabel.setVisible(bool(texts))
        ui.transformLabel.setToolTip("" if summary is None else "\n".join(summary.detailLines))
        canAsk = node is not None and not self._logic.isBusy
        for button in (ui.jacobianButton, ui.exportTransformButton):
            button.setEnabled(canAsk)
        ui.carryButton.setEnabled(canAsk and ui.carrySelector.currentNode() is not None)
        for shown in (ui.blendSlider, ui.checkerboardBox):
            shown.setEnabled(self._warped is not None)
        ui.jacobianButton.setToolTip(LEGEND)

    @property
    def _node(self):
        """The transform of the chosen kind from template to target, where it was computed."""
        if self._parameters is None or None in (self._parameters.templateVolume, self._parameters.targetVolume):
            return None
        pair = self._parameters.templateVolume, self._parameters.targetVolume
        return transform_nodes.transformOfKind(self._kind.read(), *pair)

    @property
    def _warped(self):
        """The target as the template sees it."""
        return self._node.GetNodeReference(transform_nodes.WARPED) if self._node is not None else None

    def _onKind(self) -> None:
        """Another kind is chosen: where it was computed, it is shown at once."""
        self.refresh()
        if self._layout.isShown:
            self._blend()

    def _refusal(self) -> str:
        return self._logic.transformMessage(placeRequestOf(self._parameters))

    def _ask(self, send: Callable) -> None:
        """Ask the worker for something about the transform."""
        node = self._node
        self._run(lambda: send(node))

    def _blend(self) -> None:
        """Show template and warped target in the template's views, mixed or in squares."""
        warped = self._warped
        if warped is None:
            return
        if not self._layout.isShown:
            self._ui.sideBySideButton.setChecked(True)
        if not self._ui.checkerboardBox.checked:
            self._layout.overlay(TEMPLATE, warped, self._ui.blendSlider.value / 100)
            return
        board = self._board if self._board is not None and self._board.GetScene() is not None else None
        self._board = checkerboardNode(self._parameters.templateVolume, warped, board)
        self._layout.overlay(TEMPLATE, self._board, 1.0)
