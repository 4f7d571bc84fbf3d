"""Small files and short functions: what is larger has a second job."""

from __future__ import annotations

import ast
from pathlib import Path

CODE = Path(__file__).parents[2] / "DeepFeatureLandmarks"
FILE_LINES, FUNCTION_LINES = 400, 60


def files() -> dict[str, str]:
    """The text of each file of the product, by its path."""
    found = (file for file in CODE.rglob("*.py") if not any(part.startswith(".") for part in file.parts))
    return {file.relative_to(CODE).as_posix(): file.read_text(encoding="utf-8") for file in found}


def functions(text: str) -> dict[str, int]:
    """Lines of each function, from `def` to its end."""
    nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name: node.end_lineno - node.lineno + 1 for node in nodes}


def test_files_are_small():
    assert not {name: lines for name, text in files().items() if (lines := len(text.splitlines())) > FILE_LINES}


def test_functions_are_short():
    found = {
        f"{name}:{function}": lines for name, text in files().items() for function, lines in functions(text).items()
    }
    assert not {name: lines for name, lines in found.items() if lines > FUNCTION_LINES}


def test_the_reader_of_functions_counts_their_lines():
    assert functions("def f():\n    return 1\n\nasync def g(\n    x,\n):\n    pass") == {"f": 2, "g": 4}
