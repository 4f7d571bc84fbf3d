"""The installer names what is missing, asks, and only then installs."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

pytest.importorskip("slicer", reason="needs slicer-core")
pytest.importorskip("PySide6", reason="needs PySide6")

import standin

standin.install()

import slicer

from DeepFeatureLandmarksLib.widgets import package_installer
from DeepFeatureLandmarksLib.widgets.package_installer import Installer
from deepfeatures.errors import InputError


@pytest.fixture
def machine(monkeypatch):
    """A Slicer without our packages; what is installed is noted down."""
    there, done = set(), []
    monkeypatch.setattr(package_installer, "_isInstalled", lambda name: name in there)

    def install_torch(askConfirmation, torchVersionRequirement):
        done.append(f"torch{torchVersionRequirement}")
        there.add("torch")
        return object()

    def pip(requirements, **options):
        done.extend(requirements)
        there.update(requirement.split(">")[0] for requirement in requirements)

    utils = types.SimpleNamespace(PyTorchUtilsLogic=lambda: types.SimpleNamespace(installTorch=install_torch))
    monkeypatch.setitem(sys.modules, "PyTorchUtils", utils)
    monkeypatch.setattr(package_installer, "_slicerPackaging", lambda: types.SimpleNamespace(pip_ensure=pip))
    monkeypatch.setattr(slicer.util, "pip_install", pip)
    return types.SimpleNamespace(there=there, done=done)


def test_a_person_who_says_no_gets_nothing(machine):
    asked = []
    assert not Installer(ask=lambda text: bool(asked.append(text))).install()
    assert "torch" in asked[0] and "safetensors" in asked[0]
    assert machine.done == []


def test_torch_comes_from_its_extension_and_the_rest_from_slicers_installer(machine):
    assert Installer(ask=lambda text: True).install()
    assert machine.done == ["torch>=2.4", "safetensors>=0.4", "pandas>=2.1", "platformdirs>=4"]


def test_a_slicer_before_5_11_installs_by_pip_install(machine, monkeypatch):
    monkeypatch.setattr(package_installer, "_slicerPackaging", lambda: None)
    assert Installer(ask=lambda text: True).install()
    assert "safetensors>=0.4" in machine.done


def test_nobody_is_asked_where_nothing_is_missing(machine):
    machine.there.update(("torch", "safetensors", "pandas", "platformdirs"))
    assert Installer(ask=lambda text: pytest.fail("asked")).install()


def test_without_the_pytorch_extension_the_way_out_is_told(machine, monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(InputError, match="Extensions Manager"):
        Installer(ask=lambda text: True).install()


def test_a_failing_download_is_told_in_one_sentence(machine, monkeypatch):
    def fail(requirements, **options):
        raise OSError("no network")

    monkeypatch.setattr(package_installer, "_slicerPackaging", lambda: types.SimpleNamespace(pip_ensure=fail))
    with pytest.raises(InputError, match="check the network"):
        Installer(ask=lambda text: True).install()


def test_a_failing_download_of_torch_is_told_in_one_sentence(machine, monkeypatch):
    def fail(**options):
        raise subprocess.CalledProcessError(1, "light_the_torch")

    logic = types.SimpleNamespace(PyTorchUtilsLogic=lambda: types.SimpleNamespace(installTorch=fail))
    monkeypatch.setitem(sys.modules, "PyTorchUtils", logic)
    with pytest.raises(InputError, match=r"PyTorch.*check the network"):
        Installer(ask=lambda text: True).install()
