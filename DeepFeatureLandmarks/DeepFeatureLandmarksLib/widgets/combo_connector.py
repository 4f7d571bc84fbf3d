"""A combo box whose entries come and go, bound to a text of the parameter node."""

from __future__ import annotations

from dataclasses import dataclass

import qt
from slicer.parameterNodeWrapper import GuiConnector

FLAGS_ROLE = int(qt.Qt.UserRole) - 1  # under which Qt keeps whether an entry can be chosen


@dataclass(frozen=True)
class Choice:
    """One entry.

    Args:
        value: What the parameter node stores.
        label: What people read.
        enabled: Whether it can be chosen.
        tip: Why it cannot be chosen, or what it is.
    """

    value: str
    label: str
    enabled: bool = True
    tip: str = ""


class ChoiceConnector(GuiConnector):
    """Binds a combo box to a text.

    A stored text that is not among the entries, from an older version or because the worker has not told its networks
    yet, is neither lost nor an error: the box then shows nothing chosen.
    """

    def __init__(self, comboBox: qt.QComboBox):
        super().__init__()
        self._comboBox = comboBox
        self._choices: tuple[Choice, ...] = ()
        self._value = ""

    @staticmethod
    def canRepresent(widget, datatype) -> bool:
        return False  # only ever given by hand

    @staticmethod
    def create(widget, datatype):
        return None

    def setChoices(self, choices) -> None:
        """Replace the entries; the value stays."""
        choices = tuple(choices)
        if choices == self._choices:
            return
        self._choices = choices
        wasBlocked = self._comboBox.blockSignals(True)
        self._comboBox.clear()
        for place, choice in enumerate(choices):
            self._comboBox.addItem(choice.label)
            self._comboBox.setItemData(place, choice.tip, qt.Qt.ToolTipRole)
            if not choice.enabled:
                self._comboBox.setItemData(place, 0, FLAGS_ROLE)
        self._show()
        self._comboBox.blockSignals(wasBlocked)

    def _connect(self):
        self._comboBox.currentIndexChanged.connect(self._onIndexChanged)

    def _disconnect(self):
        self._comboBox.currentIndexChanged.disconnect(self._onIndexChanged)

    def _onIndexChanged(self, *_) -> None:
        index = self._comboBox.currentIndex  # older Qt may hand over the text instead
        if 0 <= index < len(self._choices):
            self._value = self._choices[index].value
            self.changed()

    def widget(self):
        return self._comboBox

    def read(self) -> str:
        return self._value

    def write(self, value: str) -> None:
        self._value = value
        self._show()

    def _show(self) -> None:
        places = [place for place, choice in enumerate(self._choices) if choice.value == self._value]
        self._comboBox.setCurrentIndex(places[0] if places else -1)
