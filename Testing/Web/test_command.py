"""`deepfeatures app`: registered from outside of the backend, and refused in words where it cannot run."""

import os
import sys
from importlib.metadata import EntryPoint, entry_points

import pytest
import typer
from typer.testing import CliRunner

from DeepFeatureLandmarksWeb.server import command
from deepfeatures.cli import entry_points as registry
from deepfeatures.cli.main import main


def test_the_page_is_registered_as_a_command():
    (point,) = entry_points(group=registry.GROUP, name="app")  # none: install the package again
    assert point.load() is command.app


def test_commands_of_other_packages_are_added(monkeypatch):
    points = [EntryPoint("where", "os:getcwd", registry.GROUP), EntryPoint("pid", "os:getpid", registry.GROUP)]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "deepfeatures.commands" else [])
    app = typer.Typer()
    registry.add_commands(app)
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "where" in shown and "pid" in shown


def test_without_its_extra_the_command_is_listed_and_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert main(["--help"]) == 0
    assert "app" in capsys.readouterr().out.split()
    assert main(["app"]) == 2
    assert 'pip install "deep-feature-landmarks[web]"' in capsys.readouterr().err


def test_command_line_names_what_is_wrong(capsys, tmp_path):
    pytest.importorskip("trame_slicer")
    assert main(["app", "--host", "0.0.0.0", "--no-open"]) == 2
    assert "--token" in capsys.readouterr().err
    assert main(["app", "--template", str(tmp_path / "none.nii.gz")]) == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all names are Unicode")
def test_a_name_that_no_page_can_show_is_refused_at_the_start(capsys, tmp_path):
    pytest.importorskip("trame_slicer")
    latin = tmp_path / os.fsdecode(b"M\xfcller.nii.gz")
    latin.touch()
    assert main(["app", "--template", str(latin), "--host", "0.0.0.0", "--no-open"]) == 2
    assert "ller.nii.gz is not UTF-8; rename" in capsys.readouterr().err
