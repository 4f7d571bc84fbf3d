"""The documentation builds without a warning: links lead somewhere, docstrings are read, the notebook runs."""

import re
import subprocess
import sys
from importlib import import_module
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


def options_of(command, name="deepfeatures"):
    """The options of each command, by what is typed for it."""
    found = {name: {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}}
    for child, below in getattr(command, "commands", {}).items():
        found |= options_of(below, f"{name} {child}")
    return found


def documents():
    """Pages that say how things are today."""
    return [ROOT / "README.md", *(file for file in (ROOT / "docs").rglob("*.md") if "_build" not in file.parts)]


@pytest.mark.parametrize("file", documents(), ids=lambda file: str(file.relative_to(ROOT)))
def test_commands_of_the_documents_exist(file):
    import typer

    from deepfeatures.cli.main import app

    known = options_of(typer.main.get_command(app))
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    wrong = []
    for line in re.findall(r"\bdeepfeatures (?:[a-z].*)", text):
        words = line.split("`")[0].split("#")[0].split()
        name = max((name for name in known if f"{' '.join(words)} ".startswith(f"{name} ")), key=len)
        if len(words) > 1 and name == "deepfeatures":
            continue  # the package's name in running text
        wrong += [f"{name} {word}" for word in words if word.startswith("--") and word not in known[name] | {"--help"}]
    assert not wrong


@pytest.mark.parametrize("file", documents(), ids=lambda file: str(file.relative_to(ROOT)))
def test_python_names_of_the_documents_exist(file):
    text = file.read_text(encoding="utf-8")
    names = set(re.findall(r"\b(deepfeatures(?:\.[a-z]\w*)+)", text)) | {
        f"{module}.{name.strip()}"
        for module, names in re.findall(r"from (deepfeatures[\w.]*) import ([\w, ]+)", text)
        for name in names.split(",")
    }
    names |= {f"deepfeatures.{name}" for name in re.findall(r"\bdf\.(\w+)", text)}
    assert not [name for name in names if not is_there(name)]


def is_there(name):
    """Whether a dotted name is a module, or something in one."""
    try:
        return bool(import_module(name))
    except ImportError:
        module, _, attribute = name.rpartition(".")
        return bool(module) and is_there(module) and hasattr(import_module(module), attribute)


def test_the_reference_tells_of_each_landmark_format_what_it_cannot_hold():
    from deepfeatures.io.landmark_files import FORMATS

    rows = re.findall(r"^\| `(\.[^|]+)\|(.+)\|$", (ROOT / "docs" / "reference" / "files.md").read_text(), re.MULTILINE)
    told = {suffix.lower(): row for suffixes, row in rows for suffix in re.findall(r"\.[\w.]+", "`" + suffixes)}
    told[".json"] = told.pop(".mrk.json")
    assert set(FORMATS) <= set(told)
    words = {"all": "kept", "words": "`_`", "numbers": "numbers", "order": "order"}
    for suffix, kind in FORMATS.items():
        if suffix not in (".json", ".fcsv", ".csv"):  # these hold everything, in a table of their own
            _, _, names, missing, _ = told[suffix].split("|")
            assert words[kind.names] in names
            assert kind.missing == "kept" or missing.strip().startswith(kind.missing)
