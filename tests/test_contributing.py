"""What strangers meet who join: the page for contributors, the forms of issues, and the workflow that runs CI."""

import re
from pathlib import Path
from typing import Any, cast

import pytest
import yaml  # type: ignore[import-untyped]  # pyright knows its types


ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
PAGE = (GITHUB / "CONTRIBUTING.md").read_text("utf-8")
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
#: Where a file that is named in short stands.
ROOMS = ("", "asana_jobs", "asana_jobs/_client", "asana_jobs/_client/http", "asana_jobs/cli")


def parsed(path: Path) -> dict[str, Any]:
    """Read a file of YAML that holds one mapping."""
    found = yaml.safe_load(path.read_text("utf-8"))
    assert isinstance(found, dict)
    return cast("dict[str, Any]", found)


def test_every_file_that_the_page_names_is_there() -> None:
    """Where it says what to open, that can be opened."""
    named = set(re.findall(r"`((?:\.?\w+/)*\.?\w+(?:\.py|\.md|/))`", PAGE))

    assert len(named) > 25
    assert [name for name in sorted(named) if not any((ROOT / room / name).exists() for room in ROOMS)] == []


def test_every_folder_of_the_package_is_on_the_page() -> None:
    """A stranger finds the folder to look in: none is left out."""
    folders = [
        path.relative_to(ROOT / "asana_jobs")
        for room in (ROOT / "asana_jobs", ROOT / "asana_jobs" / "_client")
        for path in room.iterdir()
        if path.is_dir() and next(path.rglob("*.py"), None) and path.name[0] != "." and path.name[:2] != "__"
    ]

    assert len(folders) > 8
    assert [str(folder) for folder in folders if f"{folder}/`" not in PAGE] == []


def test_the_page_names_what_ci_runs() -> None:
    """Format, types, the reference and the long tests are commands to copy, and CI reads them from there."""
    commands = "".join(re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)).splitlines()

    assert "CONTRIBUTING.md" in (ROOT / ".ci" / "readme_commands").read_text("utf-8")
    assert all(line.startswith((".venv/", "python3 -m venv")) for line in commands)
    for tool in ("ruff format --check", "ruff check", "mypy", "pyright", ".ci/reference", "-m long"):
        assert any(tool in line for line in commands)


@pytest.mark.parametrize("page", sorted(GITHUB.glob("*.md")), ids=lambda path: path.name)
def test_links_to_files_of_the_project_name_some(page: Path) -> None:
    """What is linked under the project's address is there, and nothing is linked in another way."""
    links = re.findall(r"\]\(([^)\s]*)\)", page.read_text("utf-8"))
    files = [found[1] for link in links if (found := re.search(r"/blob/main/(.*)$", link))]

    assert links
    assert all(link.startswith("https://github.com/asana-jobs/asana-jobs/") for link in links)
    assert [file for file in files if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_a_form_of_issues_is_one_that_github_takes(path: Path) -> None:
    """It has a name, a description, and questions of known types, each with a label and an id of its own."""
    form = parsed(path)
    asked = [part for part in form["body"] if part["type"] != "markdown"]

    assert form["name"]
    assert form["description"]
    assert {part["type"] for part in asked} <= {"input", "textarea", "dropdown", "checkboxes"}
    assert all(part["attributes"]["label"] for part in asked)
    assert all(
        all(isinstance(option, str) for option in part["attributes"]["options"])
        for part in asked
        if part["type"] == "dropdown"
    ), "YAML makes a truth value of a bare Yes or No"
    assert len({part["id"] for part in asked}) == len(asked)
    assert any(part.get("validations", {}).get("required") for part in asked)


def test_other_ways_than_a_form_are_links() -> None:
    """There are forms, blank issues are off, and what is no issue is led elsewhere."""
    config = parsed(GITHUB / "ISSUE_TEMPLATE" / "config.yml")

    assert len(FORMS) == 2
    assert config["blank_issues_enabled"] is False
    assert all(link["url"].startswith("https://") and link["about"] for link in config["contact_links"])
    for link in config["contact_links"]:
        _, _, file = link["url"].partition("/blob/main/")
        assert not file or (ROOT / file).is_file()


def test_the_workflow_runs_what_ci_is_and_brings_what_that_needs() -> None:
    """CI is `.ci/run`, on each supported Python; what it takes from Debian as root is installed before it."""
    workflow = parsed(GITHUB / "workflows" / "ci.yml")
    steps = workflow["jobs"]["all"]["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    needed = re.findall(r"missing\+=\((\S+)\)", script)
    pythons = next(step["with"]["python-version"] for step in steps if "setup-python" in step.get("uses", ""))
    supported = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text("utf-8"))

    assert commands[-1] == ".ci/run"
    assert len(needed) == 4
    assert [package for package in needed if package not in commands[0].split()] == []
    assert sorted(pythons.split()) == sorted(supported)
    assert pythons.split()[-1] == "3.11", "the last one is what python3 is"
    assert workflow["permissions"] == {"contents": "read"}
