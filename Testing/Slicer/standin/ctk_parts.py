"""A stand-in for `ctk`: the collapsible button as a widget with a bar; every other name is an empty widget."""

from __future__ import annotations

import types

from PySide6 import QtCore, QtGui, QtWidgets

BAR = 26  # pixels


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A section with a bar that folds it."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._text, self._collapsed = "", False
        self.setContentsMargins(0, BAR, 0, 0)

    def _setText(self, text):
        self._text = text
        self.update()

    def _setCollapsed(self, collapsed):
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self.setMaximumHeight(BAR if collapsed else 16777215)
        self.contentsCollapsed.emit(collapsed)

    text = QtCore.Property(str, lambda self: self._text, _setText)
    collapsed = QtCore.Property(bool, lambda self: self._collapsed, _setCollapsed)

    def minimumSizeHint(self):
        return QtCore.QSize(0, BAR) if self._collapsed else super().minimumSizeHint()

    def sizeHint(self):
        return QtCore.QSize(0, BAR) if self._collapsed else super().sizeHint()

    def mousePressEvent(self, event):
        if event.position().y() < BAR:
            self._setCollapsed(not self._collapsed)

    def paintEvent(self, event):
        with QtGui.QPainter(self) as painter:
            bar = QtCore.QRect(0, 0, painter.viewport().width(), BAR - 2)
            painter.fillRect(bar, QtGui.QColor("#2f3a45"))
            font = painter.font()
            font.setBold(True)
            painter.setFont(font)
            arrow = "▸" if self._collapsed else "▾"
            painter.drawText(bar.adjusted(8, 0, 0, 0), QtCore.Qt.AlignVCenter, f"{arrow}  {self._text}")


class Anything(types.ModuleType):
    """A module in which every class exists, as an empty widget."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        kind = type(name, (QtWidgets.QWidget,), {})
        setattr(self, name, kind)
        return kind


def make_ctk() -> types.ModuleType:
    ctk = Anything("ctk", __doc__)
    ctk.ctkCollapsibleButton = ctkCollapsibleButton
    return ctk
