"""The Place section: one button, the reason where it is disabled, progress, cancel."""

from __future__ import annotations

from collections.abc import Callable

import qt

from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic, PlaceRequest
from DeepFeatureLandmarksLib.widgets.features_section import settingsOf
from DeepFeatureLandmarksLib.widgets.parameters import Parameters
from deepfeatures.errors import InputError

POLL_MS = 60


def placeRequestOf(parameters: Parameters) -> PlaceRequest:
    """The request that the parameters describe, valid or not."""
    return PlaceRequest(
        parameters.templateVolume,
        parameters.templateLandmarks,
        parameters.targetVolume,
        parameters.targetLandmarks,
        settingsOf(parameters),
    )


class PlaceSection:
    """Starts runs and shows their progress.

    Args:
        ui: The widgets of the .ui file.
        logic: Places landmarks.
        unavailableReason: Why nothing can be run, such as missing packages; empty where it can.
        selectedName: Name of the landmark selected under Review, or `None`.
    """

    def __init__(self, ui, logic: DeepFeatureLandmarksLogic, unavailableReason: Callable, selectedName: Callable):
        self._ui = ui
        self._logic = logic
        self._unavailableReason = unavailableReason
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
        self.showMessage("")

    def setParameters(self, parameters: Parameters | None) -> None:
        self._parameters = parameters
        self.refresh()

    def start(self) -> None:
        self.run(lambda: self._logic.place(placeRequestOf(self._parameters)))

    def startAgain(self) -> None:
        name = self._selectedName()
        self.run(lambda: self._logic.placeAgain(placeRequestOf(self._parameters), name))

    def run(self, send: Callable[[], None]) -> None:
        """Send a request to the worker, by any section, and show its progress; a refusal is shown as a reason."""
        if self._isRunning:
            return
        if reason := self._unavailableReason():
            self.stop(reason)
            return
        try:
            send()
        except InputError as error:
            self.stop(str(error))
            return
        self._isRunning = True
        self._ui.progressBar.setValue(0)
        self.showMessage("Starting …")
        self._ui.placeSection.setProperty("collapsed", False)  # progress and Cancel are there
        self.refresh()

    def cancel(self) -> None:
        self.showMessage("Cancelling …")
        self._logic.cancel()

    def showProgress(self, fraction: float, text: str) -> None:
        self._ui.progressBar.setValue(round(100 * fraction))
        self.showMessage(text)

    def stop(self, message: str) -> None:
        """End the run and show its result in words."""
        self._isRunning = False
        self.showMessage(message)
        self.refresh()

    def showMessage(self, text: str) -> None:
        """Show a sentence about the run; empty hides it."""
        self._ui.progressLabel.setText(text)
        self._ui.progressLabel.setVisible(bool(text))

    def refresh(self) -> None:
        """Update buttons and the reason from the parameters."""
        reason = self._disabledReason()
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

    def _disabledReason(self) -> str:
        if self._isRunning:
            return "A run is under way."
        if self._parameters is None:
            return "The scene is being closed."
        return self._unavailableReason() or self._logic.validationMessage(placeRequestOf(self._parameters))
