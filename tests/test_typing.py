"""Type checkers, strict, accept what is shown to people and `typing_contract.py` as it stands, and nothing that is wrong."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from snippets import ROOT, Snippet, written_in


CONTRACT = Path(__file__).with_name("typing_contract.py")

#: The official package has no types, so that a checker complains of whatever uses it, and Airflow is not installed.
TYPED = [
    snippet
    for snippet in written_in("python")
    if "\nimport asana\n" not in snippet.text and "\nfrom airflow." not in snippet.text
]

#: What no checker may let pass, or the rest of this file says nothing. Each wrong line says what it is.
MISTAKES = '''
"""Mistakes about what a job makes."""

from asana_jobs import AsanaClient, DuplicateProject, Job, JobWaiter
from asana_jobs.models import ProjectCompact, TaskCompact


async def main(asana: AsanaClient) -> None:
    job = await asana.run(DuplicateProject("1203", name="Q3 launch"))
    print(job.result.gid)  # wrong: it may be None
    print(job.expect_result().created_at)  # wrong: a project of a job has none
    waiter: JobWaiter[TaskCompact] = asana.wait_for_job(job)  # wrong: it makes a project
    numbers: list[Job[int]] = []  # wrong: no job makes a number
    async for outcome in asana.run_all([DuplicateProject("1203", name="Q3 launch")]):
        print(outcome.raise_for_error().expect_result().created_by)  # wrong: that is a task's
    print(waiter, numbers)


def known(job: Job) -> Job[ProjectCompact]:
    return job  # wrong: a plain job makes anything
'''

pytestmark = pytest.mark.timeout(600)  # each takes some 15 s of a processor


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each block of Python of every page as a file, named by its place, and the two others."""
    folder = tmp_path_factory.mktemp("typing")
    for snippet in TYPED:
        (folder / file_name(snippet)).write_text(snippet.text, "utf-8")
    (folder / CONTRACT.name).write_text(CONTRACT.read_text("utf-8"), "utf-8")
    (folder / "mistakes.py").write_text(MISTAKES.lstrip(), "utf-8")
    (folder / "pyrightconfig.json").write_text(
        json.dumps({"typeCheckingMode": "strict", "extraPaths": [str(ROOT)]}), "utf-8"
    )
    return folder


def file_name(snippet: Snippet) -> str:
    """Return the name of a file, which a module can have too."""
    return f"line_{snippet.line}_{re.sub(r'[^a-z]+', '_', snippet.page.lower())}.py"


def needs(checker: str) -> pytest.MarkDecorator:
    """Skip where a checker is not installed: it is one of the tools of developers."""
    missing = importlib.util.find_spec(checker) is None
    return pytest.mark.skipif(missing, reason=f"{checker} is not installed: it is in the extra dev")


def complaints(checker: str, options: list[str], folder: Path) -> str:
    """Run a checker over the files of *folder*, whatever the settings of this machine, and return what it says."""
    environment = {**os.environ, "MYPYPATH": str(ROOT), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", checker, *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, f"only mistakes are complained of, and they are\n{done.stdout}{done.stderr}"
    return done.stdout


def assert_only_mistakes(output: str, found: list[tuple[str, str]]) -> None:
    """Each line that is wrong was complained of, and no other line of any file."""
    lines = MISTAKES.lstrip().splitlines()
    wrong = {("mistakes.py", str(number)) for number, line in enumerate(lines, 1) if "# wrong: " in line}
    assert set(found) == wrong, output


def test_no_block_is_left_out(checked: Path) -> None:
    """Whatever is shown in Python is checked."""
    assert len(list(checked.glob("line_*.py"))) == len(TYPED) > 40


@needs("mypy")
def test_mypy_accepts_all_but_mistakes(checked: Path) -> None:
    """``mypy --strict`` finds nothing in what is shown and the contract, and each mistake."""
    files = sorted(path.name for path in checked.glob("*.py"))

    output = complaints("mypy", ["--strict", "--config-file=", "--cache-dir=.mypy_cache", *files], checked)

    assert_only_mistakes(output, re.findall(r"^(\S+\.py):(\d+): error:", output, re.MULTILINE))


@needs("pyright")
def test_pyright_accepts_all_but_mistakes(checked: Path) -> None:
    """Pyright in strict mode finds nothing in what is shown and the contract, and each mistake."""
    output = complaints("pyright", ["--pythonpath", sys.executable, "--project", "."], checked)

    found = re.findall(r"([\w.]+\.py):(\d+):\d+ - (?:error|warning)", output)
    assert_only_mistakes(output, found)
