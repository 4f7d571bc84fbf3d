"""A stand-in for PythonQt's `qt`: PySide6 with properties as attributes, as PythonQt has them."""

from __future__ import annotations

import types

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

# Left alone: PythonQt has the first two as methods, and Qt itself calls the others, which our stand-ins override.
NOT_SHOWN = {"layout", "parent", "sizeHint", "minimumSizeHint", "objectName"}


def make_qt() -> types.ModuleType:
    """The module `qt`; starts a QApplication."""
    global application
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer stand-in"])
    qt = types.ModuleType("qt", __doc__)
    for module in (QtCore, QtGui, QtWidgets):
        for name in dir(module):
            if not name.startswith("__"):
                setattr(qt, name, getattr(module, name))
    for name in dir(QtWidgets) + dir(QtGui) + dir(QtCore):
        kind = getattr(qt, name, None)
        if isinstance(kind, type) and issubclass(kind, QtCore.QObject):
            show_properties(kind)
    QtCore.QObject.name = property(lambda self: self.objectName(), lambda self, name: self.setObjectName(name))
    QtCore.QObject.connect = _connect
    qt.QUiLoader = UiLoader
    return qt


def show_properties(kind: type) -> None:
    """Make a class's Qt properties attributes: `label.text`, `label.text = "…"`."""
    meta = kind.staticMetaObject
    for number in range(meta.propertyOffset(), meta.propertyCount()):
        name = meta.property(number).name()
        if name in NOT_SHOWN:
            continue
        setattr(
            kind,
            name,
            property(
                lambda self, name=name: QtCore.QObject.property(self, name),
                lambda self, value, name=name: QtCore.QObject.setProperty(self, name, value),
            ),
        )


def _connect(self, signal: str, slot) -> None:
    """`button.connect("clicked()", slot)`, as PythonQt allows."""
    getattr(self, signal.split("(")[0]).connect(slot)


class UiLoader(QtUiTools.QUiLoader):
    """Qt's loader, which knows the stand-ins of Slicer's and CTK's widgets."""

    def __init__(self):
        super().__init__()
        from . import ctk_parts, mrml_widgets

        for kind in (
            ctk_parts.ctkCollapsibleButton,
            mrml_widgets.qMRMLWidget,
            mrml_widgets.qMRMLNodeComboBox,
        ):
            self.registerCustomWidget(kind)
