"""The English of the documentation: sentences that a clinician reads at once."""

from pathlib import Path

import pytest
import sentences

ROOT = Path(__file__).parents[2]
LONGEST, MEAN = 35, 18  # words of a sentence
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")])
CODE = ROOT / "DeepFeatureLandmarks"


def too_long(file, found):
    name = file.relative_to(ROOT)
    return [f"{name}:{s.line}: {s.words} words: {s.text[:90]}" for s in found if s.words > LONGEST]


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_sentences_of_a_document_are_short(file):
    found = sentences.of_markdown(file.read_text(encoding="utf-8"))
    assert not too_long(file, found)
    words = [sentence.words for sentence in found]
    assert not words or sum(words) / len(words) <= MEAN


def product_files():
    return sorted(file for file in CODE.rglob("*.py") if not any(part.startswith(".") for part in file.parts))


def test_sentences_of_public_docstrings_are_short():
    assert not [line for file in product_files() for line in too_long(file, sentences.of_docstrings(file.read_text()))]


def test_sentences_of_errors_are_short():
    assert not [line for file in product_files() for line in too_long(file, sentences.of_errors(file.read_text()))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two three.", [(1, 1), (1, 2)]),
        ("# A heading\n\nOne\ntwo.\n\n- three\n- four five", [(3, 2), (6, 1), (7, 2)]),
        ("```\nno words here\n```\nOne.", [(4, 1)]),
        ("| a | table |\n|---|---|\n| b | c |\nOne [two](http://three.four/five).", [(4, 2)]),
        ("```{note}\nOne.\n```\nTwo. `x` is three.", [(2, 1), (4, 1), (4, 3)]),
        (":::{note}\nOne two.\n:::", [(2, 2)]),
        ("---\ntitle: no\n---\nOne `a b c`.", [(4, 2)]),
        ("An error of 1.9 mm. See Avants, B. It ends.", [(1, 5), (1, 5)]),
    ],
)
def test_the_reader_of_markdown_sees_its_sentences(text, expected):
    assert [(sentence.line, sentence.words) for sentence in sentences.of_markdown(text)] == expected


def test_the_reader_of_code_sees_docstrings_and_errors():
    docstring = '    """Four.\n\n    Args:\n        x: Five six.\n    """'
    source = f'"""One two. Three."""\ndef f(x):\n{docstring}\n    raise InputError(f"a {{x}}")'
    assert [(s.line, s.words) for s in sentences.of_docstrings(source)] == [(1, 2), (1, 1), (3, 1), (6, 3)]
    assert [(s.line, s.words) for s in sentences.of_errors(source)] == [(8, 2)]
