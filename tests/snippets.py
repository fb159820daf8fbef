"""All code that the project shows to people: in the README, the docstrings of the package, and the skill for assistants."""

import ast
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import attrs


ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "asana_jobs"
SKILL = PACKAGE / ".agents" / "skills" / "asana-jobs"


@attrs.frozen
class Snippet:
    """One block of code.

    Attributes:
        page: Where it stands, such as ``README.md`` or ``asana_jobs.guides.waiting``.
        line: The first line of it there.
        language: What stands behind the three backticks.
        text: The code.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_test(self) -> bool:
        """Whether it is a test, for pytest to run."""
        return "def test_" in self.text

    @property
    def only_defines(self) -> bool:
        """Whether it imports and defines only, so that it says nothing when it is run."""
        kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign)
        return all(isinstance(statement, kinds) for statement in ast.parse(self.text).body)


def name_of(file: Path) -> str:
    """Return what a page is called."""
    if file.suffix != ".py":
        return str(file.relative_to(ROOT))
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


#: Every page by its name: the README, the skill, and the source of each module.
PAGES = {
    name_of(file): file.read_text("utf-8")
    for file in (ROOT / "README.md", *sorted(SKILL.rglob("*.md")), *sorted(PACKAGE.rglob("*.py")))
}
SNIPPETS = [
    Snippet(page, text[: block.start(3)].count("\n") + 1, block[2], textwrap.dedent(block[3]))
    for page, text in PAGES.items()
    for block in re.finditer(r"^( *)```(\w+)\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE)
]


def written_in(language: str, page: str = "") -> list[Snippet]:
    """Return the blocks in a language, of all pages or of one."""
    return [found for found in SNIPPETS if found.language == language and page in {"", found.page}]


@contextmanager
def simulator_elsewhere() -> Generator[dict[str, str], None, None]:
    """Run a simulator in a process of its own, and give the environment of somebody whose Asana it is."""
    command = [
        *(sys.executable, "-m", "asana_jobs.testing"),
        "--output",
        "table",
        "--port",
        "0",
        "--speed",
        "20",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulator:
        assert simulator.stdout is not None
        said = ""
        while "ASANA_ACCESS_TOKEN=" not in said or "ASANA_BASE_URL=" not in said:
            line = simulator.stdout.readline()
            assert line, f"the simulator ended: {said}"
            said += line
        plain = {name: value for name, value in os.environ.items() if not name.startswith("ASANA_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{plain.get('PATH', '')}"
        try:
            yield {**plain, **dict(re.findall(r"(ASANA_\w+)=(\S+)", said)), "PATH": path}
        finally:
            simulator.terminate()
