"""A combo box whose entries come and go, bound to a text of the parameter node."""

from __future__ import annotations

from dataclasses import dataclass

import qt
from slicer.parameterNodeWrapper import GuiConnector

FLAGS_ROLE = int(qt.Qt.UserRole) - 1  # under which Qt keeps whether an entry can be chosen


@dataclass(frozen=True)
class ComboEntry:
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


class ComboConnector(GuiConnector):
    """Binds a combo box to a text.

    A stored text may be missing among the entries: it is from an older version, or the worker has not sent its networks
    yet. It is kept, and the box shows nothing chosen.
    """

    def __init__(self, comboBox: qt.QComboBox):
        super().__init__()
        self._comboBox = comboBox
        self._entries: tuple[ComboEntry, ...] = ()
        self._value = ""

    @staticmethod
    def canRepresent(widget, datatype) -> bool:
        return False  # only ever given by hand

    @staticmethod
    def create(widget, datatype):
        return None

    def setEntries(self, entries) -> None:
        """Replace the entries; the value stays."""
        entries = tuple(entries)
        if entries == self._entries:
            return
        self._entries = entries
        wasBlocked = self._comboBox.blockSignals(True)
        self._comboBox.clear()
        for index, entry in enumerate(entries):
            self._comboBox.addItem(entry.label)
            self._comboBox.setItemData(index, entry.tip, qt.Qt.ToolTipRole)
            if not entry.enabled:
                self._comboBox.setItemData(index, 0, FLAGS_ROLE)
        self._show()
        self._comboBox.blockSignals(wasBlocked)

    def _connect(self):
        self._comboBox.currentIndexChanged.connect(self._onIndexChanged)

    def _disconnect(self):
        self._comboBox.currentIndexChanged.disconnect(self._onIndexChanged)

    def _onIndexChanged(self, *_) -> None:
        index = self._comboBox.currentIndex  # older Qt may hand over the text instead
        if 0 <= index < len(self._entries):
            self._value = self._entries[index].value
            self.changed()

    def widget(self):
        return self._comboBox

    def read(self) -> str:
        return self._value

    def write(self, value: str) -> None:
        self._value = value
        self._show()

    def _show(self) -> None:
        indices = [index for index, entry in enumerate(self._entries) if entry.value == self._value]
        self._comboBox.setCurrentIndex(indices[0] if indices else -1)
