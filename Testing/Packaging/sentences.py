"""Sentences of Markdown, docstrings and error messages, with the line on which each begins."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

# A sentence ends before a space and something that begins one; "e.g." and initials do not end it.
END = re.compile(r"(?<![ (][A-Z])(?<!e\.g)(?<!i\.e)(?<!vs)(?<!al)[.!?][)\"”*_]*\s+(?=[A-Z0-9\"“(`*_\[<…])")
FENCE = re.compile(r"^\s*(`{3,}|:{3,}|~{3,})")
OF_PROSE = re.compile(r"^\s*`{3,}\{(glossary|figure|note|important|tip|warning)\}")
NEW_PARAGRAPH = re.compile(r"^\s*([-*+] |\d+\. |> ?|: |\[\^)")
# Of an argument or an error in a docstring, or of a parameter as Slicer writes them.
ENTRY = re.compile(r"^\s+(\*{0,2}\w+(, \*{0,2}\w+)*): |^\s*\w+ - ")
SECTION = re.compile(r"^\s*(Args|Returns|Raises|Yields|Attributes|Example|Examples|Note):\s*$")


@dataclass(frozen=True)
class Sentence:
    line: int
    text: str

    @property
    def words(self) -> int:
        return sum(any(c.isalnum() for c in word) for word in self.text.split())


def of_markdown(text: str) -> list[Sentence]:
    """Of running text and lists: no headings, tables, code, directives, pictures, front matter, or links' targets."""
    return list(_sentences(_paragraphs(_running_lines(text))))


def _running_lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines; an empty one where something was left out, so that it parts what stands before and after."""
    fence, front, comment = "", False, False
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() == "---" and (number == 1 or front):
            front = number == 1
            line = ""
        elif "<!--" in line or comment:
            comment, line = "-->" not in line, ""
        elif found := FENCE.match(line):
            is_end = bool(fence) and line.strip() == fence
            opened = "prose" if OF_PROSE.match(line) else found[1]
            fence = "" if is_end or fence == "prose" else fence or opened
            line = ""
        elif re.match(r"^\s*(#|\||:[\w-]+:|\([\w-]+\)=|<)", line):
            line = ""
        yield number, "" if front or fence.startswith(("`", "~")) else _plain(line)


def _plain(line: str) -> str:
    line = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", line)
    line = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line)
    line = re.sub(r"\{[\w:+-]+\}`([^`<]*?)\s*(<[^`]*>)?`", r"\1", line)
    return re.sub(r"`+([^`]*)`+", lambda code: f"`{code[1]}`".replace(" ", "_").replace(".", "_"), line)


def _paragraphs(lines: Iterator[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    paragraph: list[tuple[int, str]] = []
    for number, line in lines:
        if paragraph and (not line.strip() or NEW_PARAGRAPH.match(line) or ENTRY.match(line)):
            yield paragraph
            paragraph = []
        if line.strip():
            paragraph.append((number, NEW_PARAGRAPH.sub("", line).strip()))
    if paragraph:
        yield paragraph


def _sentences(paragraphs: Iterator[list[tuple[int, str]]]) -> Iterator[Sentence]:
    for paragraph in paragraphs:
        text, starts = "", []
        for number, line in paragraph:
            starts.append((len(text), number))
            text += line + " "
        begin = 0
        for end in [*(found.end() for found in END.finditer(text)), len(text)]:
            if text[begin:end].strip():
                yield Sentence(max(line for at, line in starts if at <= begin), text[begin:end].strip())
            begin = end


def of_docstrings(source: str) -> list[Sentence]:
    """Of the docstrings of a module and of its public classes and functions."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if getattr(node, "name", "").startswith("_") or not ast.get_docstring(node):
            continue
        constant = node.body[0].value
        lines = constant.value.splitlines()
        prose = ((constant.lineno + n, _docstring_line(line)) for n, line in enumerate(lines))
        found += _sentences(_paragraphs(prose))
    return found


def _docstring_line(line: str) -> str:
    left_out = SECTION.match(line) or line.lstrip().startswith((">>>", "...", "|"))
    return "" if left_out else _plain(line)


def of_errors(source: str) -> list[Sentence]:
    """Of the texts of which errors are made; what is filled in counts as one word."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error"):
            for argument in node.args:
                found += _sentences(iter([[(node.lineno, _literal(argument))]]))
    return found


def _literal(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _literal(node.left) + _literal(node.right)
    return ""
