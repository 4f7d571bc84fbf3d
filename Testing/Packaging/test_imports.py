"""Imports point one way: from module and web app to the Lib, to the backend, to torch and numpy at its core."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import structure

ROOT = Path(__file__).parents[2]
CODE = ROOT / "DeepFeatureLandmarks"

# What each part may import of the parts; everything not listed here is no part.
MAY_IMPORT = {
    "deepfeatures": {"deepfeatures"},
    "DeepFeatureLandmarksLib": {"DeepFeatureLandmarksLib", "deepfeatures"},
    "DeepFeatureLandmarksWeb": {"DeepFeatureLandmarksWeb", "DeepFeatureLandmarksLib", "deepfeatures"},
    "DeepFeatureLandmarks": {"DeepFeatureLandmarksLib", "deepfeatures"},
}
# The rooms of the backend, the upper ones first; a room imports only rooms that stand in its row. `errors`,
# `deprecation` and `threads` are for all.
ROOMS = {
    "__main__": {"cli"},
    "cli": {
        "pipelines",
        "quality",
        "evaluation",
        "training",
        "service",
        "matching",
        "features",
        "networks",
        "io",
        "data",
    },
    "service": {"quality", "pipelines", "transforms", "io", "matching", "features", "networks", "data"},
    "quality": {"pipelines", "io", "data"},
    "pipelines": {"matching", "transforms", "features", "networks", "phantom", "io", "data"},
    "evaluation": {"pipelines", "matching", "transforms", "features", "networks", "io", "data"},
    "training": {"matching", "transforms", "features", "networks", "phantom", "io", "data"},
    "matching": {"transforms", "features", "networks", "io", "data"},
    "transforms": {"networks", "data"},
    "features": {"networks", "data"},
    "phantom": {"data"},
    "io": {"transforms", "data"},
    "networks": set(),
    "data": set(),
    "__init__": set(),
    "_version": set(),
    "deprecation": set(),
    "errors": set(),
    "threads": set(),
    # Former names of modules, which nothing imports.
    "large": {"io"},
    "worker": {"service"},
    "worker_client": {"service"},
    "worker_protocol": {"service", "matching"},
}
MATCHING_ROOMS = {
    "multi_template": {"matcher", "result", "search_interface", "settings", "uncertainty"},
    "teaching": {"matcher", "learning"},
    "matcher": {
        "greedy",
        "guided",
        "learning",
        "groupwise",
        "search_interface",
        "result",
        "uncertainty",
        "devices",
        "settings",
        "timing",
    },
    "greedy": {"search_interface", "result", "devices", "preprocessing", "settings", "timing"},
    "guided": {
        "search_interface",
        "learning",
        "groupwise",
        "result",
        "pose",
        "uncertainty",
        "geometry",
        "preprocessing",
    },
    "search_interface": {"learning", "groupwise", "result", "pose", "geometry", "timing"},
    "learning": {"uncertainty", "geometry"},
    "result": {"groupwise", "pose", "geometry", "devices", "settings"},
    "pose": {"geometry"},
    "uncertainty": {"geometry"},
    "devices": {"settings"},
    "geometry": set(),
    "groupwise": set(),
    "preprocessing": set(),
    "semi_landmarks": set(),
    "settings": set(),
    "timing": set(),
    "__init__": set(),
}
FOR_ALL = {"errors", "deprecation", "threads", "__init__", "_version"}
CORE = ("networks", "features", "transforms", "matching")
CORE_PACKAGES = {"torch", "numpy"}
# Weights are read on the way into a network, from several kinds of files; each reader is imported where it is used.
READERS_OF_WEIGHTS = {
    "networks/weights.py": {"safetensors", "platformdirs"},
    "matching/learning/protocol_file.py": {"safetensors"},
    "networks/importers.py": {"safetensors", "h5py"},
    "networks/download.py": {"pooch", "requests"},
}
NOT_BACKEND = {"slicer", "vtk", "qt", "ctk", "mrml", "trame", "trame_slicer", "qtpy", "PySide6"}

# What each room of Lib and Web may import of the other rooms of its part; files beside the rooms are rooms of one file.
FACE_ROOMS = {
    "DeepFeatureLandmarksLib": {
        "scene": set(),
        "widgets": {"scene"},
        "selftest": {"widgets", "scene"},
        "logic": {"scene"},  # the former name, for one version
        "__init__": set(),
    },
    "DeepFeatureLandmarksWeb": {
        "views": set(),
        "page": {"views"},
        "session_context": {"page", "views"},
        "controllers": {"session_context", "page", "views"},
        "app": {"controllers", "session_context", "page", "views"},
        "server": {"app"},
        "__init__": set(),
    },
}
# Slicer's application and its windows: a scene needs neither, so that the page shares it.
GUI_PACKAGES = {"qt", "ctk", "qtpy", "PySide6"}
GUI_OF_SLICER = {"app", "util", "modules", "parameterNodeWrapper", "ScriptedLoadableModule"}


def part_of(file):
    return file.relative_to(CODE).parts[0].removesuffix(".py")


def modules_imported(source, package=""):
    """Dotted names of every import, wherever in the file it stands; relative ones resolved against `package`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            # `from package import name` may name a module.
            found |= {stem} | {f"{stem}.{alias.name}" for alias in node.names}
    return found


def imports_at_load(source):
    """Top packages imported when the file is loaded: outside of functions and of `if TYPE_CHECKING`."""
    found, todo = set(), list(ast.parse(source).body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found |= {name.split(".")[0] for name in names}
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)
    return found


def package_of(file):
    return ".".join(file.relative_to(CODE).with_suffix("").parts[:-1])


def python_files():
    return sorted(file for file in CODE.rglob("*.py") if not any(part.startswith(".") for part in file.parts))


def core_files():
    return [file for folder in CORE for file in sorted((CODE / "deepfeatures" / folder).rglob("*.py"))]


@pytest.mark.parametrize("file", python_files(), ids=lambda file: str(file.relative_to(CODE)))
def test_every_dense_resampling_goes_through_the_two_samplers(file):
    """One place states the units, the direction and what lies beyond: no other file calls PyTorch's own."""
    used = {node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
    used |= {name.rpartition(".")[2] for name in modules_imported(file.read_text(), package_of(file))}
    resampling = used & {"grid_sample", "affine_grid", "grid_sampler", "grid_sampler_3d"}
    assert bool(resampling) == (file == CODE / "deepfeatures" / "transforms" / "samplers.py"), sorted(resampling)


@pytest.mark.parametrize("file", python_files(), ids=lambda file: str(file.relative_to(CODE)))
def test_parts_import_only_what_lies_below_them(file):
    imported = {name.split(".")[0] for name in modules_imported(file.read_text(), package_of(file))}
    forbidden = (imported & set(MAY_IMPORT)) - MAY_IMPORT[part_of(file)]
    assert not forbidden, f"{file.relative_to(ROOT)} imports {sorted(forbidden)}"
    if part_of(file) == "deepfeatures":
        assert not imported & NOT_BACKEND, f"{file.relative_to(ROOT)} imports {sorted(imported & NOT_BACKEND)}"


@pytest.mark.parametrize(
    ("folder", "may_import"),
    [("deepfeatures", ROOMS), ("deepfeatures/matching", MATCHING_ROOMS), *FACE_ROOMS.items()],
    ids=["backend", "matching", *FACE_ROOMS],
)
def test_rooms_import_only_rooms_below_them(folder, may_import):
    arrows, _ = structure.rooms(CODE / folder, depth=1)
    assert set(arrows) <= set(may_import), "a room without a rule"
    wrong = {room: sorted(to - may_import[room] - FOR_ALL) for room, to in arrows.items()}
    assert not any(wrong.values()), f"imports against the rule: { ({room: to for room, to in wrong.items() if to}) }"
    assert not structure.circles(may_import), "the rule itself has a circle"


def test_no_module_is_named_at_run_time_to_get_round_the_rules():
    """Names are loaded late in two `__init__` files only, from a table of the package's own modules."""
    lazy = {"deepfeatures/__init__.py", "deepfeatures/matching/__init__.py"}
    files = {file.relative_to(CODE).as_posix(): file.read_text() for file in python_files()}
    assert {name for name, text in files.items() if "import_module" in text or "__import__" in text} <= lazy


@pytest.mark.parametrize(
    "file", sorted((CODE / "DeepFeatureLandmarksLib" / "scene").glob("*.py")), ids=lambda file: file.name
)
def test_a_scene_needs_no_application_and_no_windows(file):
    tree = ast.parse(file.read_text())
    names = modules_imported(file.read_text())
    used = {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "slicer"
    } | {name.split(".")[1] for name in names if name.startswith("slicer.")}
    assert not {name.split(".")[0] for name in names} & GUI_PACKAGES
    assert not used & GUI_OF_SLICER and not [name for name in used if name.startswith("qMRML")]


def test_the_backend_does_not_name_what_is_built_upon_it():
    """A name in a string can be imported, too, where no import shows it."""
    found = [
        str(file.relative_to(ROOT))
        for file in sorted((CODE / "deepfeatures").rglob("*.py"))
        if any(face in file.read_text() for face in FACE_ROOMS)
    ]
    assert not found


def backend_file(module):
    """The file of a dotted `deepfeatures` module, or None where the name is no module."""
    path = CODE.joinpath(*module.split("."))
    return next((f for f in (path.with_suffix(".py"), path / "__init__.py") if f.is_file()), None)


def test_core_needs_only_torch_and_numpy():
    """Followed through every backend module that the core imports, so that nothing comes in by a detour."""
    todo, seen, foreign = core_files(), set(), []
    while todo:
        file = todo.pop()
        if file in seen:
            continue
        seen.add(file)
        source, name = file.read_text(), file.relative_to(CODE / "deepfeatures").as_posix()
        allowed = CORE_PACKAGES | set(sys.stdlib_module_names) | {"deepfeatures", ""}
        in_core = file in core_files()
        # Outside of the core a function may import more when it is called: files are none of the core's business.
        packages = {m.split(".")[0] for m in modules_imported(source)} if in_core else imports_at_load(source)
        foreign += [f"{name}: {p}" for p in packages - allowed - READERS_OF_WEIGHTS.get(name, set())]
        modules = modules_imported(source, package_of(file))
        todo += [found for module in modules if module.startswith("deepfeatures") and (found := backend_file(module))]
    assert seen
    assert not foreign, f"the core imports {foreign}"


def loaded_by(statement):
    code = f"{statement}; import sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CODE)
    return set(run.stdout.split())


def test_importing_the_package_alone_is_light():
    heavy = {"torch", "SimpleITK", "scipy", "numpy", "matplotlib", "h5py", "pooch", "rich", "typer"}
    assert not loaded_by("import deepfeatures") & heavy


def test_reading_volumes_waits_for_its_library_until_it_is_used():
    assert "SimpleITK" not in loaded_by("import deepfeatures.io.volume_files, deepfeatures.io.landmark_files")


def test_the_demo_needs_matplotlib_only_for_its_picture():
    assert "matplotlib" not in loaded_by("import deepfeatures.pipelines.demo")


@pytest.mark.parametrize(
    ("source", "package", "expected"),
    [
        ("import a.b", "", {"a.b"}),
        ("def f():\n    from a import b", "", {"a", "a.b"}),
        ("from . import c", "a.b", {"a.b", "a.b.c"}),
        ("from ..c import d", "a.b", {"a.c", "a.c.d"}),
    ],
)
def test_the_reader_of_imports_sees_them_all(source, package, expected):
    assert modules_imported(source, package) == expected


def test_imports_at_load_leaves_out_what_a_function_imports():
    source = (
        "import a\nif TYPE_CHECKING:\n    import b\ntry:\n    import c\nexcept E:\n    pass\ndef f():\n    import d"
    )
    assert imports_at_load(source) == {"a", "c"}
