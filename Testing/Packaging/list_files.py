"""Writes the list of files into CMakeLists.txt: `python Testing/Packaging/list_files.py`, with `--check` only looks.

Slicer's macro installs what is listed and nothing else. DeepFeatureLandmarksWeb is pip's only.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

MODULE = Path(__file__).parents[2] / "DeepFeatureLandmarks"
INSTALLED = ("DeepFeatureLandmarksLib", "deepfeatures", "Resources")
LEFT_OUT = ("__pycache__", ".egg-info")


def listed(kind: str) -> list[str]:
    """Paths of the module's scripts, or of its resources, as CMake has them."""
    inside = [file for folder in INSTALLED for file in MODULE.glob(f"{folder}/**/*")]
    names = sorted(
        file.relative_to(MODULE).as_posix()
        for file in (MODULE / "DeepFeatureLandmarks.py", *inside)
        if file.is_file()
        and (file.suffix == ".py") == (kind == "SCRIPTS")
        and not any(part.startswith(".") or part.endswith(LEFT_OUT) for part in file.relative_to(MODULE).parts)
    )
    return [name.replace("DeepFeatureLandmarks", "${MODULE_NAME}", 1) for name in names]


def with_lists(text: str) -> str:
    """CMakeLists.txt with its lists of files made anew."""
    for kind in ("SCRIPTS", "RESOURCES"):
        lines = "".join(f"  {name}\n" for name in listed(kind))
        text = re.sub(rf"(set\(MODULE_PYTHON_{kind}\n).*?(  \)\n)", rf"\1{lines}\2", text, flags=re.DOTALL)
    return text


def main() -> int:
    file = MODULE / "CMakeLists.txt"
    text = file.read_text(encoding="utf-8")
    made = with_lists(text)
    if "--check" in sys.argv[1:]:
        return int(made != text)
    file.write_text(made, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
