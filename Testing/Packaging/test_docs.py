"""The documentation builds without a warning: links lead somewhere, docstrings are read, the notebook runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built pages."""
    folder = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "--quiet", str(ROOT / "docs"), str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=folder)
    assert run.returncode == 0, run.stderr
    return folder


def text_of(site, page):
    html = (site / page).read_text(encoding="utf-8")
    return re.sub(r"<[^>]+>", "", html)


def test_every_page_is_built(site):
    pages = {file.relative_to(ROOT / "docs").with_suffix(".html") for file in (ROOT / "docs").rglob("*.md")}
    built = {file.relative_to(site) for file in site.rglob("*.html")}
    assert pages <= built


def test_every_public_name_is_described(site):
    import deepfeatures

    html = (site / "reference" / "python.html").read_text(encoding="utf-8")
    missing = [
        name for name in deepfeatures.__all__ if name != "__version__" and f'id="deepfeatures.{name}"' not in html
    ]
    assert not missing


def test_every_command_is_described_with_its_options(site):
    import typer

    from deepfeatures.cli.main import app

    text = text_of(site, "reference/commands.html")
    for name, command in typer.main.get_command(app).commands.items():
        assert f"deepfeatures {name}" in text
        for option in getattr(command, "params", []):
            assert option.param_type_name == "argument" or option.name == "help" or option.opts[0] in text


def test_the_notebook_places_landmarks_close_to_the_truth(site):
    found = re.search(r"centres aligned ([\d.]+) mm, placed ([\d.]+) mm", text_of(site, "tutorial/notebook.html"))
    aligned, placed = map(float, found.groups())
    assert placed < 1.5 < aligned
