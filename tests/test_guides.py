"""The guides: pages that are docstrings, all of them in the table of contents, and messages that are still said."""

import ast
import re
from pathlib import Path

import pytest
from snippets import PACKAGE, PAGES

import asana_jobs.guides
import asana_jobs.guides.troubleshooting


GUIDES = sorted((PACKAGE / "guides").glob("*.py"))
TABLE = asana_jobs.guides.__doc__ or ""
TROUBLE = asana_jobs.guides.troubleshooting.__doc__ or ""
MESSAGES = re.findall(r"^\| `([^`]+)`", TROUBLE, re.MULTILINE)


def said(node: ast.expr) -> str:
    """Return a text of the code, with dots for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(said(part) for part in node.values)
    return "..."


TEXTS = [
    said(node)
    for page, source in PAGES.items()
    if page.startswith("asana_jobs") and not page.startswith("asana_jobs.guides") and not page.endswith(".md")
    for node in ast.walk(ast.parse(source))
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
]


@pytest.mark.parametrize("file", GUIDES, ids=lambda file: file.stem)
def test_a_page_is_a_docstring_and_nothing_else(file: Path) -> None:
    """There is no code, so that a page costs nothing and can be read without being imported."""
    [only] = ast.parse(file.read_text("utf-8")).body

    assert isinstance(only, ast.Expr)


def test_every_page_is_in_the_table_of_contents() -> None:
    """Who finds the package finds all pages, and each of them once."""
    listed = re.findall(r"^\| `asana_jobs\.guides\.(\w+)` \|", TABLE, re.MULTILINE)

    assert sorted(listed) == sorted({file.stem for file in GUIDES} - {"__init__"})


def test_messages_are_looked_up() -> None:
    """The page has most of what can be met, and nothing twice."""
    assert len(MESSAGES) > 50
    assert len(set(MESSAGES)) == len(MESSAGES)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_is_still_said(message: str) -> None:
    """Each message of the page is one of the code, but for what dots stand for."""
    pieces = [piece.strip() for piece in re.split(r"\.\.\.|(?<=answered )\d{3}", message) if piece.strip()]
    wanted = re.compile(".*".join(map(re.escape, pieces)), re.DOTALL)

    assert any(wanted.search(text) for text in TEXTS)
