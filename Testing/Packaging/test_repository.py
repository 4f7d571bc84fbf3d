"""What lies in the repository: small files, no machine's paths, and nothing that runs code when it is read."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from setuptools.config.pyprojecttoml import read_configuration

ROOT = Path(__file__).parents[2]
MEGABYTE = 2**20
LARGEST_PICTURE = 300_000
REPOSITORY = "https://github.com/DeepFeatureLandmarks/SlicerDeepFeatureLandmarks"
# Home and work folders of a machine, on any system. Split, so that this file does not find itself.
MACHINE_PATHS = re.compile(
    "|".join(["/ho" + "me/", "/ro" + "ot/", "/Us" + "ers/", "/wo" + "rk/", r"[A-Z]:\\\\?Us" + "ers"])
)
DATA_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".dcm", ".h5", ".pt", ".pth", ".pkl", ".npy", ".npz")


def tracked_files():
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [file for name in listing.stdout.split("\0") if name and (file := ROOT / name).is_file()]


def python_files():
    return [file for file in tracked_files() if file.suffix == ".py"]


def text_of(file):
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def named(files):
    return [str(file.relative_to(ROOT)) for file in files]


def test_files_stay_small():
    def limit(file):
        return 10 * MEGABYTE if "pretrained" in file.parts else 2 * MEGABYTE

    assert not named(file for file in tracked_files() if file.stat().st_size > limit(file))


def test_no_two_files_of_tests_share_a_name():
    """pytest imports them by name alone, and collects none at all when two are alike."""
    names = [file.name for file in tracked_files() if file.name.startswith("test_")]
    assert len(names) == len(set(names))


def test_pictures_are_small():
    """Each version of a picture stays in the history; Testing/small_pictures.py stores them so."""
    assert not named(f for f in tracked_files() if f.suffix == ".png" and f.stat().st_size > LARGEST_PICTURE)


def test_no_volumes_or_unsafe_weights_are_committed():
    assert not named(file for file in tracked_files() if file.name.lower().endswith(DATA_SUFFIXES))


def test_no_path_of_a_machine():
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for file in tracked_files()
        for number, line in enumerate((text_of(file) or "").splitlines(), 1)
        if MACHINE_PATHS.search(line)
    ]
    assert not found


def test_lines_end_as_on_unix():
    assert not named(file for file in tracked_files() if (text := text_of(file)) and "\r\n" in text)


UNSAFE = {"pickle", "cPickle", "dill", "joblib", "shelve"}
HARMLESS = {"pickle.UnpicklingError"}  # what torch.load raises when it refuses a file


def unsafe_reads(source):
    """Calls and imports that could run code hidden in a file."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found += [name for name in names if name.split(".")[0] in UNSAFE and name not in HARMLESS]
        if "torch.load" in names:
            found.append("torch.load by name")
        if isinstance(node, ast.Call):
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if ast.unparse(node.func).endswith("torch.load") and keywords.get("weights_only") != "True":
                found.append("torch.load without weights_only=True")
            if keywords.get("allow_pickle", "False") != "False":
                found.append("allow_pickle")
    return found


def test_nothing_that_is_read_can_run_code():
    unsafe = {str(f.relative_to(ROOT)): found for f in python_files() if (found := unsafe_reads(f.read_text()))}
    assert not unsafe


@pytest.mark.parametrize(
    ("source", "safe"),
    [
        ("torch.load(path)", False),
        ("torch.load(path, weights_only=False)", False),
        ("torch.load(path, map_location='cpu', weights_only=True)", True),
        ("import pickle", False),
        ("from torch import load", False),
        ("np.load(path, allow_pickle=True)", False),
        ("np.load(path)", True),
    ],
)
def test_the_reader_of_unsafe_reads_sees_them(source, safe):
    assert (not unsafe_reads(source)) == safe


def test_one_version_everywhere():
    """In Slicer the package lies on the path without being installed: its own files must tell the version."""
    project = read_configuration(ROOT / "pyproject.toml")["project"]
    assert "version" in project["dynamic"]
    folder = str(ROOT / "DeepFeatureLandmarks")
    read = f"import sys; sys.path.append({folder!r}); from deepfeatures import __version__; print(__version__)"
    run = subprocess.run([sys.executable, "-IS", "-c", read], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == project["version"]
    assert f"\nversion: {project['version']}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_repository_has_one_address():
    addresses = re.compile(r"https://(?:raw\.githubusercontent|github)\.com/DeepFeatureLandmarks/\w+")
    found = {address for file in tracked_files() for address in addresses.findall(text_of(file) or "")}
    assert {address.rsplit("/", 1)[1] for address in found} == {REPOSITORY.rsplit("/", 1)[1]}


def documents():
    """The pages that people read on the site of the repository."""
    return [file for file in tracked_files() if file.suffix == ".md" and file.parts[-2] != "templates"]


def anchors_of(file):
    """The ends of links to a file's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
    plain = (re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("file", documents(), ids=lambda file: str(file.relative_to(ROOT)))
def test_links_of_a_document_lead_somewhere(file):
    text = re.sub(r"^```.*?^```", "", file.read_text(), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        ours = re.sub(rf"^{re.escape(REPOSITORY)}/(blob|tree)/main/", "", link)
        if "://" in ours:
            continue
        path, _, anchor = ours.partition("#")
        target = (ROOT if ours != link else file.parent) / path if path else file
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert not broken


def test_the_map_of_the_house_has_every_room_and_nothing_that_is_not_there():
    text, rooms = (ROOT / "CONTRIBUTING.md").read_text(), ROOT / "DeepFeatureLandmarks" / "deepfeatures"
    folders = {file.parent.relative_to(rooms).as_posix() for file in tracked_files() if file.is_relative_to(rooms)}
    folders = {folder.removeprefix("matching/") for folder in folders if (rooms / folder / "__init__.py").is_file()}
    shown = set(re.findall(r"^\| `([\w/]+)` \|", text, re.MULTILINE))
    assert shown == folders - {"."}
    to_begin_in = text[text.index("## Where to make a change") :]
    paths = re.findall(r"`(\w+/[\w./]*)`", to_begin_in[: to_begin_in.index("After you add")])
    assert paths
    assert not [path for path in paths if not (rooms / path).exists()]


def test_the_readme_is_a_page_not_a_manual():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 180
    assert "Not a medical device" in text


@pytest.mark.parametrize("file", documents(), ids=lambda file: str(file.relative_to(ROOT)))
def test_make_targets_named_in_a_document_exist(file):
    makefile = (ROOT / "Makefile").read_text()
    named_targets = re.findall(r"(?:`|^)make ([a-z]+)", file.read_text(), re.MULTILINE)
    assert not [target for target in named_targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)]


def test_users_get_a_range_of_torch_and_developers_the_tested_version():
    library = re.search(r'"torch([^"]*)"', (ROOT / "pyproject.toml").read_text())[1]
    tested = re.search(r"^torch==([\d.]+)$", (ROOT / "Testing" / "constraints.txt").read_text(), re.MULTILINE)[1]
    assert library.startswith(">=")
    assert [*map(int, library[2:].split("."))] <= [*map(int, tested.split("."))]


def test_each_python_that_is_promised_is_tested():
    project = (ROOT / "pyproject.toml").read_text()
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text()
    promised = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    lowest, beyond = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', project).groups()
    assert promised == [f"3.{minor}" for minor in range(int(lowest), int(beyond))]
    assert re.findall(r"3\.\d+", re.search(r"python: \[(.+)\]", workflow)[1]) == promised


@pytest.mark.parametrize("package", ["deepfeatures", "DeepFeatureLandmarksLib", "DeepFeatureLandmarksWeb"])
def test_the_packages_tell_type_checkers_that_they_are_typed(package):
    assert (ROOT / "DeepFeatureLandmarks" / package / "py.typed").is_file()
    shipped = re.search(rf"^{package} = \[([^\]]*)\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert '"py.typed"' in shipped
