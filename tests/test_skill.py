"""The skill for assistants: in the form that they look for, short, and with every page that it names."""

import re
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # pyright knows its types
from snippets import SKILL


TEXT = (SKILL / "SKILL.md").read_text("utf-8")
_, FRONT, BODY = TEXT.split("---\n", 2)
FIELDS: dict[str, str] = yaml.safe_load(FRONT)
PAGES = sorted((SKILL / "references").glob("*.md"))


def test_its_front_matter_is_of_the_format() -> None:
    """The fields of agentskills.io's specification, within its bounds; the name is the folder's."""
    assert set(FIELDS) == {"name", "description", "license", "compatibility"}
    assert FIELDS["name"] == SKILL.name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", FIELDS["name"])
    assert len(FIELDS["name"]) <= 64
    assert 200 < len(FIELDS["description"]) <= 1024
    assert len(FIELDS["compatibility"]) <= 500


def test_it_says_what_it_is_for_and_when() -> None:
    """An assistant decides by the description alone whether to read on."""
    assert "Use when" in FIELDS["description"]
    for word in ("duplicate", "instantiate", "export", "wait", "job"):
        assert word in FIELDS["description"]


def test_it_names_each_page_that_there_is() -> None:
    """References are read on demand: they are found by their links, and each says where the whole page is."""
    named = re.findall(r"\]\((references/\w+\.md)\)", BODY)

    assert sorted(named) == sorted(f"references/{page.name}" for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_short_and_has_code_and_mistakes(page: Path) -> None:
    """It costs an assistant little, and says what assistants do wrong."""
    text = page.read_text("utf-8")

    assert text.startswith("# ")
    assert "```python\n" in text
    assert "\n## Mistakes\n" in text
    assert f"`asana-jobs help {page.stem}`" in text
    assert len(text.splitlines()) < 80
