"""What is learnt: the choice of a protocol under Place; learning, forgetting and definitions under Review."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt

from DeepFeatureLandmarksLib.scene.logic import DeepFeatureLandmarksLogic
from DeepFeatureLandmarksLib.scene.run import Run
from DeepFeatureLandmarksLib.scene.taught_protocol import SUFFIX, TaughtProtocol
from DeepFeatureLandmarksLib.scene.taught_scans import taughtKey
from DeepFeatureLandmarksLib.widgets.features_section import settingsOf
from DeepFeatureLandmarksLib.widgets.parameters import Parameters
from DeepFeatureLandmarksLib.widgets.place_section import placeRequestOf
from DeepFeatureLandmarksLib.widgets.review_section import ReviewSection

FILES = f"Landmark protocol (*{SUFFIX})"
UNUSED = "The present settings do not use it; choose the best measured under Features."
LEARN_TIP = (
    "Save what you have accepted and corrected in this scan to the protocol, so that the next scans are placed better. "
    "Nothing is learnt without this click."
)


def askForProtocol() -> str:
    """The file of a protocol that a person chooses, empty where none."""
    return qt.QFileDialog.getOpenFileName(None, "Protocol", "", FILES)


def askForNewProtocol() -> str:
    """The file of a protocol to begin, or to extend where there is one; empty where none."""
    dialog = qt.QFileDialog(None, "Save what is learnt to a protocol", "", FILES)
    dialog.setAcceptMode(qt.QFileDialog.AcceptSave)
    dialog.setOption(qt.QFileDialog.DontConfirmOverwrite)  # one that is there is extended
    dialog.setDefaultSuffix(SUFFIX.lstrip("."))
    return dialog.selectedFiles()[0] if dialog.exec_() else ""


class LearningSection:
    """Shows what the chosen protocol holds, and teaches it.

    Args:
        ui: The widgets of the .ui file.
        logic: Teaches.
        run: Sends a request to the worker and shows its progress.
        canAsk: Whether the worker can be asked.
        review: Has the rows of the scan, and which is selected.
    """

    def __init__(
        self,
        ui,
        logic: DeepFeatureLandmarksLogic,
        run: Callable[[Callable[[], None]], None],
        canAsk: Callable[[], bool],
        review: ReviewSection,
    ):
        self._ui, self._logic, self._run, self._canAsk, self._review = ui, logic, run, canAsk, review
        self.askFile, self.askNewFile = askForProtocol, askForNewProtocol
        self._parameters: Parameters | None = None
        self._asked = ""  # the file that the worker was last asked for
        self._protocol: TaughtProtocol | None = None
        ui.chooseProtocolButton.clicked.connect(lambda *_: self._choose())
        ui.protocolTemplateButton.clicked.connect(lambda *_: self.loadTemplate())
        ui.clearProtocolButton.clicked.connect(lambda *_: self._take(""))
        ui.learnButton.clicked.connect(lambda *_: self.learn())
        ui.forgetButton.clicked.connect(lambda *_: self.forget())

    def setParameters(self, parameters: Parameters | None) -> None:
        self._parameters = parameters
        self.refresh()

    def learn(self) -> None:
        """Teach the chosen protocol, or one that a person names now, what was decided in this scan."""
        if path := self._path or self.askNewFile():
            self._run(lambda: self._logic.learn(placeRequestOf(self._parameters), Path(path)))

    def forget(self) -> None:
        """Undo `learn`."""
        if (key := self._taughtKey) is not None:
            self._run(lambda: self._logic.forget(Path(self._path), key))

    def loadTemplate(self) -> None:
        """Bring template and landmarks of the chosen protocol into the scene."""
        path = Path(self._path)
        self._run(lambda: self._logic.loadTemplate(path))

    def show(self, run: Run) -> None:
        """Take what a file holds now; a file that was just begun is the chosen one from here on."""
        if self._parameters is None:
            return
        path = str(run.protocol.path)
        if run.kind == "learn" or path == self._path:
            self._asked, self._protocol = path, run.protocol
            self._take(path)

    def readAgain(self) -> None:
        """Another program may have extended the file."""
        self._asked = ""
        self.refresh()

    def refresh(self) -> None:
        """Update all that is shown; a file that was chosen since is read."""
        path = self._path
        if path != self._asked and (not path or self._canAsk()):
            self._asked, self._protocol = path, None
            if path:
                self._logic.readProtocol(Path(path))
        known = self._protocol if path else None
        ui = self._ui
        ui.protocolEdit.setText(Path(path).name if path else "")
        ui.protocolEdit.setToolTip(path or "No protocol: nothing was learnt.")
        isReadable = known is not None and not known.error
        ui.protocolTemplateButton.setEnabled(isReadable and not self._logic.isBusy)
        for button in (ui.protocolTemplateButton, ui.clearProtocolButton):
            button.setVisible(bool(path))
        isUnused = bool(path) and settingsOf(self._parameters).protocol is None
        texts = (known.taughtText if known is not None else "", UNUSED if isUnused else "")
        _show(ui.protocolLabel, " ".join(filter(None, texts)))
        self._showLearning(known)
        self.showDefinition()

    def showDefinition(self) -> None:
        """Say what the selected landmark is."""
        row = self._review.selectedRow
        hasBoth = self._protocol is not None and row is not None
        known = self._protocol.definitions.get(row.name) if hasBoth else None
        _show(self._ui.definitionLabel, known.html if known is not None else "")

    @property
    def _path(self) -> str:
        return self._parameters.protocol if self._parameters is not None else ""

    @property
    def _taughtKey(self) -> str | None:
        """The key of this scan, where it is among those that have taught the protocol."""
        if self._protocol is None or self._parameters is None:
            return None
        key = taughtKey(self._parameters.targetLandmarks)
        return key if self._protocol.hasScan(key) else None

    def _showLearning(self, known: TaughtProtocol | None) -> None:
        ui, parts = self._ui, []
        if known is not None:
            isTaught = self._taughtKey is not None
            parts = [known.taughtText, "This scan is among them." if isTaught else "", known.errorText, known.doubtText]
            ui.learningLabel.setToolTip("\n".join((*known.scanLines, *known.landmarkLines)))
        _show(ui.learningLabel, " ".join(filter(None, parts)))
        reason = "The scene is being closed." if self._parameters is None else self._learnMessage()
        ui.learnButton.setEnabled(not reason)
        ui.learnButton.setToolTip(reason or LEARN_TIP)
        ui.forgetButton.setEnabled(self._taughtKey is not None and not self._logic.isBusy)

    def _learnMessage(self) -> str:
        return self._logic.learnMessage(placeRequestOf(self._parameters), self._review.rows)

    def _choose(self) -> None:
        if path := self.askFile():
            self._take(path)

    def _take(self, path: str) -> None:
        self._parameters.protocol = path
        self.refresh()


def _show(label, text: str) -> None:
    """Show a text; an empty one takes no room."""
    label.setText(text)
    label.setVisible(bool(text))
