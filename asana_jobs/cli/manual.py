"""The pages of the manual by topic: guides, docstrings of modules, and the skill for assistants, each of them one text.

They are read as files, since importing a module for its docstring may load an HTTP client.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib.resources import files
from typing import Final

from asana_jobs.cli.catalog import NAME


_SKILL: Final = ".agents/skills/asana-jobs"


#: The file of each topic in the package, by heading, in the order in which a newcomer asks.
_GROUPS: Final[Mapping[str, Mapping[str, str]]] = {
    "Guides": {
        name: f"guides/{name}.py"
        for name in (
            "waiting",
            "bulk",
            "exports",
            "limits",
            "proxies",
            "troubleshooting",
            "migration",
            "recipes",
        )
    },
    "Parts": {name: f"{name}/__init__.py" for name in ("testing", "worker", "mcp")}
    | {name: f"{name}.py" for name in ("operations", "sync", "progress", "events", "errors", "policies")},
    "For assistants": {"skill": f"{_SKILL}/SKILL.md"}
    | {
        f"skill/{name}": f"{_SKILL}/references/{name}.md"
        for name in ("waiting", "bulk", "exports", "worker", "testing")
    },
}
#: The file of each topic.
TOPICS: Final = {name: path for topics in _GROUPS.values() for name, path in topics.items()}


def contents() -> dict[str, list[tuple[str, str]]]:
    """Return each heading with its topics, and the first line of each, without the marks of a heading."""
    return {
        heading: [(name, read(name).partition("\n")[0].lstrip("# ")) for name in topics]
        for heading, topics in _GROUPS.items()
    }


def read(name: str) -> str:
    """Return the page of a topic, in Markdown. Other guides are named as the commands that print them."""
    path = TOPICS[name]
    text = files("asana_jobs").joinpath(path).read_text("utf-8")
    if path.endswith(".py"):
        text = ast.get_docstring(ast.parse(text)) or ""
    else:
        text = re.sub(r"\A---\n.*?\n---\n+", "", text, flags=re.DOTALL)
        text = re.sub(r"\[references/\w+\.md\]\(references/(\w+)\.md\)", rf"`{NAME} help skill/\1`", text)
    return re.sub(r"`asana_jobs\.guides\.(\w+)`", rf"`{NAME} help \1`", text)


def nearest(word: str, known: Sequence[str]) -> str | None:
    """Return what of *known* was probably meant."""
    within = [name for name in known if word and (name.startswith(word) or word.startswith(name))]
    return next(iter(get_close_matches(word, known, 1) or within), None)
