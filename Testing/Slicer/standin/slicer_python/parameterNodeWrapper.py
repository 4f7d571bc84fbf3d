"""A stand-in for slicer.parameterNodeWrapper: nodes, texts and whole numbers, bound to the widgets that we use.

Written from what Slicer's own does, which is preferred where it is on the path (see `standin`).
"""

import typing
from dataclasses import dataclass

import slicer


@dataclass
class WithinRange:
    minimum: float
    maximum: float


class GuiConnector:
    def __init__(self):
        self._callback = None

    def onChanged(self, callback):
        self._callback = callback
        if callback is None:
            self._disconnect()
        else:
            self._connect()

    def changed(self):
        if self._callback:
            self._callback()


class _NodeConnector(GuiConnector):
    def __init__(self, widget, hint):
        super().__init__()
        self._widget = widget

    def _connect(self):
        self._widget.currentNodeChanged.connect(self._onChanged)

    def _disconnect(self):
        self._widget.currentNodeChanged.disconnect(self._onChanged)

    def _onChanged(self, *_):
        self.changed()

    def read(self):
        return self._widget.currentNode()

    def write(self, value):
        self._widget.setCurrentNode(value)


class _NumberConnector(GuiConnector):
    def __init__(self, widget, hint):
        super().__init__()
        self._widget = widget
        widget.setRange(hint.minimum, hint.maximum)

    def _connect(self):
        self._widget.valueChanged.connect(self._onChanged)

    def _disconnect(self):
        self._widget.valueChanged.disconnect(self._onChanged)

    def _onChanged(self, *_):
        self.changed()

    def read(self):
        return self._widget.value

    def write(self, value):
        self._widget.setValue(value)


class _Field:
    def __init__(self, name, kind, default, hint):
        self.name, self.kind, self.default, self.hint = name, kind, default, hint
        self.isNode = issubclass(kind, slicer.vtkMRMLNode)

    def read(self, node):
        return node.GetNodeReference(self.name) if self.isNode else self.kind(node.GetParameter(self.name))

    def write(self, node, value):
        if self.isNode:
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            return
        if not isinstance(value, self.kind):
            raise TypeError(f"{self.name} must be {self.kind.__name__}")
        if self.hint and not self.hint.minimum <= value <= self.hint.maximum:
            raise ValueError(f"{self.name} must be within {self.hint}")
        node.SetParameter(self.name, str(value))


class _Wrapped:
    """What the decorator adds."""

    def __init__(self, parameterNode):
        self.parameterNode = parameterNode
        self._guis, self._isWriting = {}, False
        for field in self._fields.values():
            if not parameterNode.HasParameter(field.name):
                field.write(parameterNode, field.default)
            field.read(parameterNode)  # unreadable values are an error at once

    def getValue(self, name):
        return self._fields[name].read(self.parameterNode)

    def setValue(self, name, value):
        self._fields[name].write(self.parameterNode, value)

    def connectGui(self, ui):
        named = {w.property("SlicerParameterName"): w for w in vars(ui).values() if w.property("SlicerParameterName")}
        connectors = {name: (_NodeConnector if self._fields[name].isNode else _NumberConnector) for name in named}
        return self.connectParametersToGui(
            {name: connectors[name](w, self._fields[name].hint) for name, w in named.items()}
        )

    def connectParametersToGui(self, mapping):
        for name, connector in mapping.items():
            connector.write(self.getValue(name))
            connector.onChanged(lambda name=name, connector=connector: self._onGui(name, connector))
        tag = self.AddObserver("ModifiedEvent", lambda *_: self._showAll())
        self._guis[tag] = mapping
        return tag

    def disconnectGui(self, tag):
        """Leaves its observer behind, as Slicer before 5.12 does."""
        for connector in self._guis.pop(tag, {}).values():
            connector.onChanged(None)

    def _onGui(self, name, connector):
        if not self._isWriting:
            self.setValue(name, connector.read())

    def _showAll(self):
        if self._isWriting:
            return
        self._isWriting = True
        try:
            for mapping in self._guis.values():
                for name, connector in mapping.items():
                    connector.write(self.getValue(name))
        finally:
            self._isWriting = False

    def AddObserver(self, *arguments):
        return self.parameterNode.AddObserver(*arguments)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)


def parameterNodeWrapper(described):
    fields = {}
    for name, hint in typing.get_type_hints(described, include_extras=True).items():
        kind, *extras = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
        fields[name] = _Field(name, kind, getattr(described, name, None), extras[0] if extras else None)
    properties = {
        name: property(lambda self, n=name: self.getValue(n), lambda self, value, n=name: self.setValue(n, value))
        for name in fields
    }
    return type(described.__name__, (_Wrapped,), {"__doc__": described.__doc__, "_fields": fields, **properties})
