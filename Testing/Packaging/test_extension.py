"""The Slicer extension: configured with a stub of Slicer's CMake package, it installs every file and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "DeepFeatureLandmarks"
STUB = Path(__file__).parent / "slicer_stub"
PIP_ONLY = "DeepFeatureLandmarksWeb"
NOT_INSTALLED = {"CMakeLists.txt"}


def cmake() -> str:
    """CMake of this environment's PyPI wheel, or of the machine."""
    beside_python = Path(sys.executable).with_name("cmake")
    found = str(beside_python) if beside_python.exists() else shutil.which("cmake")
    return found or pytest.fail("no cmake; `make test` installs it, as does `pip install cmake`")


@pytest.fixture(scope="module")
def configured(tmp_path_factory) -> Path:
    """The build folder of the configured extension."""
    folder = tmp_path_factory.mktemp("extension")
    command = [cmake(), "-S", ROOT, "-B", folder, f"-DSlicer_DIR={STUB}"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


def listed(configured: Path) -> dict[str, str]:
    """Kind (SCRIPTS or RESOURCES) of each file that the module lists."""
    lines = (configured / "installed.txt").read_text().splitlines()
    files = [line.split(" ", 1)[::-1] for line in lines]
    assert len({file for file, _ in files}) == len(files), "a file is listed twice"
    return dict(files)


def files_there() -> set[str]:
    files = (path.relative_to(MODULE) for path in MODULE.rglob("*") if path.is_file())
    return {
        path.as_posix()
        for path in files
        if path.parts[0] != PIP_ONLY
        and not any(part.startswith(".") or part == "__pycache__" or part.endswith(".egg-info") for part in path.parts)
    }


def test_every_file_is_installed_and_nothing_else(configured):
    expected, found = files_there() - NOT_INSTALLED, set(listed(configured))
    assert found == expected, f"not listed: {sorted(expected - found)}; listed but absent: {sorted(found - expected)}"


def test_code_is_listed_as_script_and_the_rest_as_resource(configured):
    wrong = {file for file, kind in listed(configured).items() if (kind == "SCRIPTS") != file.endswith(".py")}
    assert not wrong


def test_packages_that_are_imported_have_their_init_listed(configured):
    scripts = {Path(file) for file, kind in listed(configured).items() if kind == "SCRIPTS"}
    missing = {file.parent for file in scripts if file.parent.name and file.parent / "__init__.py" not in scripts}
    assert not missing


def test_the_module_and_its_self_test_are_registered(configured):
    assert (configured / "modules.txt").read_text().split() == ["DeepFeatureLandmarks"]
    assert (configured / "tests.txt").read_text().split() == [str(MODULE / "DeepFeatureLandmarks.py")]


def metadata(configured: Path) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in (configured / "metadata.txt").read_text().splitlines())


def test_the_index_entry_names_this_extension(configured):
    entry_file = ROOT / "Resources" / "DeepFeatureLandmarks.json"
    entry = json.loads(entry_file.read_text())
    known = {"$schema", "build_dependencies", "build_subdirectory", "category", "scm_revision", "scm_url", "tier"}
    described = metadata(configured)
    assert set(entry) == known
    assert entry_file.stem == described["PROJECT"]
    assert entry["build_dependencies"] == described["DEPENDS"].split() == ["PyTorch"]
    assert entry["scm_url"] == described["HOMEPAGE"]
    assert entry["category"] in ("Registration", "Informatics")
    assert b"\r" not in entry_file.read_bytes()


def test_the_repository_is_called_as_the_index_of_extensions_demands():
    """Its check refuses names that do not begin with Slicer; the extension keeps its own."""
    entry = json.loads((ROOT / "Resources" / "DeepFeatureLandmarks.json").read_text())
    assert entry["scm_url"].rsplit("/", 1)[1].startswith("Slicer")


def test_icon_and_screenshot_urls_lead_to_files_of_this_repository(configured):
    described = metadata(configured)
    repository = described["HOMEPAGE"].removeprefix("https://github.com/")
    for url in (described["ICONURL"], *described["SCREENSHOTURLS"].split()):
        assert url.startswith(f"https://raw.githubusercontent.com/{repository}/main/")
        path = ROOT / url.split("/main/", 1)[1]
        assert path.read_bytes().startswith(b"\x89PNG"), f"{url} has no picture at {path}"


def test_no_generic_name_enters_slicers_flat_import_root(configured):
    """Scripted modules of all extensions share one folder."""
    roots = {Path(file).parts[0] for file in listed(configured)}
    assert roots == {"DeepFeatureLandmarks.py", "DeepFeatureLandmarksLib", "deepfeatures", "Resources"}
