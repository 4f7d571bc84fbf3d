"""The Place section: one button that says why it cannot be pressed, progress, cancel."""

from __future__ import annotations

from collections.abc import Callable

import qt

from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic, Placement
from DeepFeatureLandmarksLib.widgets.features_section import settingsOf
from DeepFeatureLandmarksLib.widgets.parameters import Parameters
from deepfeatures.errors import InputError

POLL_MS = 60


def placementOf(parameters: Parameters) -> Placement:
    """What the parameters ask for, whether or not it can be done."""
    return Placement(
        parameters.templateVolume,
        parameters.templateLandmarks,
        parameters.targetVolume,
        parameters.targetLandmarks,
        settingsOf(parameters),
    )


class PlaceSection:
    """Starts runs and shows how they go.

    Args:
        ui: The widgets of the .ui file.
        logic: Does the work.
        whyNotReady: Why nothing can be run at all, such as packages that are missing; empty where it can.
        selectedName: Name of the landmark selected under Review, or `None`.
    """

    def __init__(self, ui, logic: DeepFeatureLandmarksLogic, whyNotReady: Callable[[], str], selectedName: Callable):
        self._ui = ui
        self._logic = logic
        self._whyNotReady = whyNotReady
        self._selectedName = selectedName
        self._parameters: Parameters | None = None
        self._isRunning = False
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(logic.poll)
        self._timer.start()
        ui.placeButton.clicked.connect(lambda *_: self.start())
        ui.placeAgainButton.clicked.connect(lambda *_: self.startAgain())
        ui.cancelButton.clicked.connect(lambda *_: self.cancel())
        self.tell("")

    def setParameters(self, parameters: Parameters | None) -> None:
        self._parameters = parameters
        self.refresh()

    def start(self) -> None:
        self.run(lambda: self._logic.place(placementOf(self._parameters)))

    def startAgain(self) -> None:
        name = self._selectedName()
        self.run(lambda: self._logic.placeAgain(placementOf(self._parameters), name))

    def run(self, request: Callable[[], None]) -> None:
        """Send a request to the worker, by any section, and show its progress; a refusal is shown as a reason."""
        if self._isRunning:
            return
        if reason := self._whyNotReady():
            self.stop(reason)
            return
        try:
            request()
        except InputError as error:
            self.stop(str(error))
            return
        self._isRunning = True
        self._ui.progressBar.setValue(0)
        self.tell("Starting …")
        self._ui.placeSection.setProperty("collapsed", False)  # progress and Cancel are there
        self.refresh()

    def cancel(self) -> None:
        self.tell("Cancelling …")
        self._logic.cancel()

    def showProgress(self, fraction: float, text: str) -> None:
        self._ui.progressBar.setValue(round(100 * fraction))
        self.tell(text)

    def stop(self, message: str) -> None:
        """Say how it ended."""
        self._isRunning = False
        self.tell(message)
        self.refresh()

    def tell(self, text: str) -> None:
        """Say something of the run, or of what cannot be done to it."""
        self._ui.progressLabel.setText(text)
        self._ui.progressLabel.setVisible(bool(text))

    def refresh(self) -> None:
        """Bring buttons and the reason in step with the parameters."""
        reason = self._reason()
        for button in (self._ui.placeButton, self._ui.placeAgainButton):
            button.setEnabled(not reason)
        if not self._selectedName():
            self._ui.placeAgainButton.setEnabled(False)
        self._ui.placeButton.setToolTip(reason or "Find every template landmark in the target.")
        self._ui.placeReasonLabel.setText("" if self._isRunning else reason)
        self._ui.placeReasonLabel.setVisible(bool(reason) and not self._isRunning)
        self._ui.progressBar.setVisible(self._isRunning)
        self._ui.cancelButton.setVisible(self._isRunning)

    def close(self) -> None:
        self._timer.stop()

    def _reason(self) -> str:
        if self._isRunning:
            return "A run is under way."
        if self._parameters is None:
            return "The scene is being closed."
        return self._whyNotReady() or self._logic.whyNot(placementOf(self._parameters))
