"""A stand-in for what Slicer has and slicer-core lacks: qt, ctk, MRML widgets, slicer.app and a few Python files.

It is NOT Slicer and NOT PythonQt: Qt comes from PySide6, drawn without a screen; MRML and slicer.util are real, from
slicer-core. A test that passes here says that our code does what it should with these; it does not say that Slicer's
own widgets behave as they do here. Testing/Slicer/MANUAL.md and the module's self-test close that gap.

Slicer's own Python files are preferred wherever they can be found: set SLICER_PYTHON_DIR to the folder
`Base/Python/slicer` of a Slicer source tree, and `parameterNodeWrapper`, `ScriptedLoadableModule` and `i18n` come from
there; what is in `slicer_python` fills the rest.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
OWN_FILES = Path(__file__).parent / "slicer_python"


def install() -> None:
    """Put the stand-in in place, once a process."""
    if "qt" in sys.modules:
        return
    import slicer

    from . import app, ctk_parts, mrml_widgets, qt_parts

    sys.modules["qt"] = qt_parts.make_qt()
    sys.modules["ctk"] = ctk_parts.make_ctk()
    slicer.mrmlScene = slicer.vtkMRMLScene()
    for name in ("qMRMLWidget", "qMRMLNodeComboBox", "qMRMLSliderWidget", "qMRMLSpinBox", "qMRMLRangeWidget"):
        setattr(slicer, name, getattr(mrml_widgets, name))
    for name in ("qMRMLSubjectHierarchyComboBox", "qMRMLCheckableNodeComboBox"):
        setattr(slicer, name, type(name, (slicer.qMRMLWidget,), {}))
    if theirs := os.environ.get("SLICER_PYTHON_DIR"):
        slicer.__path__.append(theirs)
    slicer.__path__.append(str(OWN_FILES))  # last: whatever lies on the path before is preferred
    app.install(slicer)
