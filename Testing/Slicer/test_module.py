"""The scripted module itself on the stand-in: loaded, opened, left, reloaded and unloaded as Slicer does it."""

from __future__ import annotations

import contextlib
import importlib
import subprocess
import sys
import types
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="needs slicer-core")
pytest.importorskip("PySide6", reason="needs PySide6")

import standin

standin.install()

import qt
import slicer

from DeepFeatureLandmarksLib.widgets.layout import LAYOUT_ID

MODULE = Path(__file__).parents[2] / "DeepFeatureLandmarks" / "DeepFeatureLandmarks.py"


class WidgetFrame(slicer.qMRMLWidget):
    """Slicer's widget around a scripted one: it makes the Python object anew on reload."""

    def __init__(self):
        super().__init__()
        qt.QVBoxLayout(self)
        self.isEntered = False

    def reload(self):
        make_widget(self)


def make_widget(parent):
    module = sys.modules["DeepFeatureLandmarks"]
    widget = module.DeepFeatureLandmarksWidget(parent)
    slicer.modules.DeepFeatureLandmarksWidget = widget
    widget.setup()
    return widget


@pytest.fixture
def module():
    slicer.mrmlScene.Clear(0)
    sys.modules.pop("DeepFeatureLandmarks", None)
    module = importlib.import_module("DeepFeatureLandmarks")
    parent = types.SimpleNamespace(path=str(MODULE))
    frame = WidgetFrame()
    slicer.modules.deepfeaturelandmarks = types.SimpleNamespace(path=str(MODULE), widgetRepresentation=lambda: frame)
    module.instance = module.DeepFeatureLandmarks(parent)
    module.frame = frame
    make_widget(frame)
    yield module
    slicer.modules.DeepFeatureLandmarksWidget.cleanup()
    slicer.mrmlScene.Clear(0)


def test_the_module_says_what_it_is(module):
    parent = module.instance.parent
    assert parent.title == "Deep Feature Landmarks"
    assert parent.categories == ["Registration"]
    assert "research only" in parent.helpText
    assert "10.1007/978-3-030-50120-4_9" in parent.acknowledgementText


def test_sample_data_and_layout_are_registered_when_slicer_has_started(module, monkeypatch):
    registered = []
    logic = types.SimpleNamespace(registerCustomSampleDataSource=lambda **source: registered.append(source))
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=logic))
    node = slicer.vtkMRMLLayoutNode()
    monkeypatch.setattr(slicer.app.layoutManager()._logic, "GetLayoutNode", lambda: node, raising=False)
    assert ("startupCompleted()", module.registerWithSlicer) in slicer.app.started
    module.registerWithSlicer()
    (source,) = registered
    assert Path(source["thumbnailFileName"]).read_bytes().startswith(b"\x89PNG")
    assert len(source["uris"]) == len(source["fileNames"]) == len(source["nodeNames"])
    assert callable(source["customDownloader"])
    assert "TemplateAxial" in node.GetLayoutDescription(LAYOUT_ID)


def test_the_sample_is_made_and_loaded(module, monkeypatch, tmp_path):
    from DeepFeatureLandmarksLib.widgets import sample_data

    monkeypatch.setattr(sample_data, "SCRIPT", sample_data.SCRIPT.replace("make_pair()", "make_pair(24)"))
    monkeypatch.setattr(slicer.util, "WaitCursor", contextlib.nullcontext)
    for kind in ("loadVolume", "loadMarkups"):
        monkeypatch.setattr(slicer.util, kind, lambda path: Path(path))
    loaded = sample_data.load(tmp_path)
    assert [path.name for path in loaded] == list(sample_data.FILES)
    assert all(path.stat().st_size for path in loaded)


def test_opening_and_leaving_makes_and_removes_keys(module):
    widget = slicer.modules.DeepFeatureLandmarksWidget
    widget.moduleWidget.install._installer = types.SimpleNamespace(missing=lambda: ())
    widget.logic.requestCatalog = lambda: None  # no worker
    before = len(slicer.app.window.findChildren(qt.QShortcut))
    widget.enter()
    assert len(slicer.app.window.findChildren(qt.QShortcut)) == before + 3
    widget.exit()
    assert len(slicer.app.window.findChildren(qt.QShortcut)) == before


def test_reload_leaves_one_widget_and_no_observer_of_the_old_one(module):
    widget = slicer.modules.DeepFeatureLandmarksWidget
    old_widget, old_lib = widget.moduleWidget, sys.modules["DeepFeatureLandmarksLib.widgets.module_widget"]
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "template")
    old_widget.parameters.templateVolume = volume
    before = len(slicer.app.window.findChildren(qt.QShortcut))
    widget.onReload()
    new = slicer.modules.DeepFeatureLandmarksWidget
    assert new is not widget
    assert sys.modules["DeepFeatureLandmarksLib.widgets.module_widget"] is not old_lib
    assert old_widget.parameters is None and not old_widget.Observations
    assert new.moduleWidget.parameters.templateVolume is volume
    assert len(slicer.app.window.findChildren(qt.QShortcut)) == before + 3, "the module is open"


def test_cleaning_up_ends_the_worker_and_can_be_done_twice(module):
    widget = slicer.modules.DeepFeatureLandmarksWidget
    widget.cleanup()
    widget.cleanup()
    with pytest.raises(RuntimeError, match="closed"):
        widget._client.hello()


def test_loading_the_module_loads_nothing_heavy_and_starts_nothing():
    """Slicer loads every module while it starts."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import standin; standin.install();"
        "import DeepFeatureLandmarks; import threading; print(sorted({m.split('.')[0] for m in sys.modules}));"
        "print(threading.active_count())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=MODULE.parent, timeout=120)
    assert run.returncode == 0, run.stderr
    modules, threads = run.stdout.strip().splitlines()[-2:]
    assert not {"torch", "SimpleITK", "scipy", "matplotlib", "pandas"} & set(eval(modules))
    assert threads == "1"


def test_the_self_test_runs_the_modules_tests(module, monkeypatch):
    test = module.DeepFeatureLandmarksTest()
    assert len(test.names()) > 20
    monkeypatch.setattr(
        module.DeepFeatureLandmarksTest, "names", classmethod(lambda _: ["test_one_parameter_node_a_scene"])
    )
    test.runTest()
