"""The yellow box above Review where all points may lie in another place: compare the places, take the other."""

from __future__ import annotations

from collections.abc import Callable

from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.scene.run import Run
from DeepFeatureLandmarksLib.scene.unsaved_points import UnsavedPoints
from deepfeatures.errors import InputError

NAME = "Points in the other place"


class AlternativesSection:
    """Shows the other places of an output, and takes the points there.

    Args:
        ui: The widgets of the .ui file.
        logic: Knows the places and moves the points.
        scene: vtkMRMLScene.
        style: Called with the markups node of another place, to set its display and its views.
        onTaken: Called with the run that has moved the points.
        onRefused: Called with a sentence where nothing was moved.
    """

    def __init__(
        self,
        ui,
        logic: DeepFeatureLandmarksLogic,
        scene,
        style: Callable,
        onTaken: Callable[[Run], None],
        onRefused: Callable[[str], None],
    ):
        self._ui, self._logic = ui, logic
        self._onTaken, self._onRefused = onTaken, onRefused
        self._points = UnsavedPoints(scene, NAME, style)
        self._output = None
        self._others: tuple[int, ...] = ()
        ui.showAlternativeButton.toggled.connect(lambda *_: self._showPoints())
        ui.alternativeBox.currentIndexChanged.connect(lambda *_: self._showPoints())
        ui.takeAlternativeButton.clicked.connect(lambda *_: self.take())

    @property
    def node(self):
        """The markups node with the points of the other place; `None` while they are not shown."""
        return self._points.node

    def setOutput(self, output) -> None:
        """Show the places of another list of points, or of none."""
        if output is not self._output:
            self._output = output
            self._ui.showAlternativeButton.setChecked(False)
        self.refresh()

    def refresh(self) -> None:
        """Read the places again."""
        ambiguity = self._logic.ambiguity(self._output) if self._output is not None else None
        self._ui.alternativesFrame.setVisible(ambiguity is not None)
        self._others = ambiguity.others if ambiguity is not None else ()
        self._ui.ambiguityLabel.setText(ambiguity.sentences if ambiguity is not None else "")
        self._setEntries([ambiguity.textOf(number) for number in self._others])
        self._showPoints()

    def clear(self) -> None:
        """Remove the points of the other place: the scene is over."""
        self._points.clear()

    def take(self) -> None:
        """Move all points to the chosen place."""
        if self._number() is None:
            return
        try:
            run = self._logic.takeHypothesis(self._output, self._number())
        except InputError as error:
            self._onRefused(str(error))
        else:
            self._onTaken(run)

    def _number(self) -> int | None:
        chosen = self._ui.alternativeBox.currentIndex
        return self._others[chosen] if 0 <= chosen < len(self._others) else None

    def _setEntries(self, texts: list[str]) -> None:
        box = self._ui.alternativeBox
        box.setVisible(len(texts) > 1)
        if texts == [box.itemText(index) for index in range(box.count)]:
            return
        wasBlocked = box.blockSignals(True)
        box.clear()
        box.addItems(texts)
        box.blockSignals(wasBlocked)

    def _showPoints(self) -> None:
        if self._ui.showAlternativeButton.checked and self._number() is not None:
            self._points.show(self._logic.hypothesisLandmarks(self._output, self._number()))
        else:
            self._points.clear()
