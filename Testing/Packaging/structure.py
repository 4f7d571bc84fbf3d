"""How the house stands: rooms, floors and arrows, from the imports of its files.

`python Testing/Packaging/structure.py [DeepFeatureLandmarks/deepfeatures] [--depth 2]` prints each room with its floor,
lines and the rooms that it imports; then how many arrows there are, and how many run in a circle. A room is a folder,
down to the given depth, or a file that lies beside folders. Its floor is the longest way down to a room that imports
none. `--walk` runs `deepfeatures place` on two made heads, too, and counts how often one room calls another, and how
often it calls upwards.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import sys
import tempfile
from collections import Counter
from pathlib import Path

Rooms = dict[str, set[str]]  # each with those that it imports


def room_of(file: Path, root: Path, depth: int) -> str:
    """The room of a file: its folder, at most `depth` folders deep, or the file's own name at the top."""
    parts = file.relative_to(root).with_suffix("").parts
    folders = parts[:-1][:depth]
    if parts[-1] == "__init__":
        folders = parts[:-1][:depth] or (parts[-1],)
    return "/".join(folders) or parts[-1]


def import_root(folder: Path) -> Path:
    """The first folder above a package that is no package."""
    return import_root(folder.parent) if (folder / "__init__.py").exists() else folder


def imports_of(file: Path, root: Path) -> set[Path]:
    """Files of the tree that a file imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
        for name in names:
            path = import_root(root).joinpath(*name.split("."))
            places = (path.with_suffix(".py"), path / "__init__.py")
            found |= {place for place in places if place.is_file() and root in place.parents}
    return found - {file}


def rooms(root: Path, depth: int) -> tuple[Rooms, Counter]:
    """All rooms with the rooms that they import, and the lines of each."""
    arrows: Rooms = {}
    lines: Counter = Counter()
    for file in sorted(root.rglob("*.py")):
        room = room_of(file, root, depth)
        lines[room] += len(file.read_text(encoding="utf-8").splitlines())
        to = {room_of(found, root, depth) for found in imports_of(file, root) if found.name != "__init__.py"}
        arrows.setdefault(room, set()).update(to - {room})
    return arrows, lines


def circles(arrows: Rooms) -> set[frozenset[str]]:
    """Sets of rooms that import one another, directly or by a detour."""
    reach = {room: _reachable(room, arrows) for room in arrows}
    found = {frozenset(other for other in reach[room] if room in reach.get(other, set())) for room in arrows}
    return {circle for circle in found if len(circle) > 1}


def floors(arrows: Rooms) -> dict[str, int]:
    """The floor of each room, from 1; rooms of a circle share the highest."""
    known: dict[str, int] = {}

    def floor(room: str, above: frozenset[str]) -> int:
        if room not in known:
            below = [floor(other, above | {room}) for other in arrows.get(room, ()) if other not in above]
            known[room] = 1 + max(below, default=0)
        return known[room]

    for room in sorted(arrows):
        floor(room, frozenset())
    return known


def walk(root: Path, depth: int) -> Counter:
    """Calls from room to room, each pair of functions once, while `deepfeatures place` places made heads."""
    sys.path.insert(0, str(import_root(root)))
    from deepfeatures.phantom import make_pair

    seen = set()

    def watch(frame, event, _argument):
        caller = frame.f_back
        if event == "call" and caller is not None:
            seen.add(
                ((caller.f_code.co_filename, caller.f_code.co_name), (frame.f_code.co_filename, frame.f_code.co_name))
            )

    with tempfile.TemporaryDirectory() as folder:
        _write_pair(make_pair(32), Path(folder))
        main = _command_line()
        given = {"--template": "template.nii.gz", "--landmarks": "template.mrk.json"}
        arguments = [word for option, name in given.items() for word in (option, f"{folder}/{name}")]
        sys.setprofile(watch)
        with contextlib.redirect_stdout(sys.stderr):
            main(["place", *arguments, "--output-dir", f"{folder}/out", f"{folder}/target.nii.gz"])
        sys.setprofile(None)
    calls: Counter = Counter()
    for (caller, _), (callee, _) in seen:
        files = Path(caller), Path(callee)
        if all(root in file.parents for file in files):
            pair = tuple(room_of(file, root, depth) for file in files)
            calls[pair] += pair[0] != pair[1]
    return +calls


def _command_line():
    try:
        from deepfeatures.cli.main import main
    except ImportError:  # before there were rooms
        from deepfeatures.cli import main
    return main


def _write_pair(pair, folder: Path) -> None:
    import deepfeatures

    template, landmarks, target, _ = pair
    deepfeatures.write_volume(template, folder / "template.nii.gz")
    deepfeatures.write_volume(target, folder / "target.nii.gz")
    deepfeatures.write_landmarks(landmarks, folder / "template.mrk.json")


def _reachable(room: str, arrows: Rooms) -> set[str]:
    found, todo = set(), [room]
    while todo:
        for other in arrows.get(todo.pop(), ()):
            if other not in found:
                found.add(other)
                todo.append(other)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).resolve().parents[2] / "DeepFeatureLandmarks" / "deepfeatures"
    parser.add_argument("root", type=Path, nargs="?", default=here)
    parser.add_argument("--depth", type=int, default=1)
    parser.add_argument("--walk", action="store_true")
    arguments = parser.parse_args()
    root = arguments.root.resolve()
    arrows, lines = rooms(root, arguments.depth)
    floor = floors(arrows)
    for room in sorted(arrows, key=lambda name: (-floor[name], name)):
        print(f"floor {floor[room]:2}  {room:28} {lines[room]:5} lines  -> {', '.join(sorted(arrows[room])) or 'none'}")
    count = sum(map(len, arrows.values()))
    print(f"{len(arrows)} rooms, {max(floor.values())} floors, {count} arrows, {len(circles(arrows))} circles")
    for circle in circles(arrows):
        print(f"circle: {', '.join(sorted(circle))}")
    if arguments.walk:
        calls = walk(root, arguments.depth)
        up = sum(number for (caller, callee), number in calls.items() if floor[callee] > floor[caller])
        print(f"place: {sum(calls.values())} calls between rooms, {up} of them upwards")


if __name__ == "__main__":
    main()
