"""How values show themselves: in a notebook as a small table, with rich in colours."""

import io
import re

import pytest
from rich.console import Console

from asana_jobs import Check, DuplicateProject, Job, JobFailedError, Outcome
from asana_jobs.models import ProjectCompact


NASTY = "<script>alert('x')</script> & \"Q3\""
JOB: Job[ProjectCompact] = Job(
    "1205",
    status="failed",
    resource_subtype="duplicate_project",
    new_project=ProjectCompact(gid="9", name=NASTY),
    raw={"secret_link": "https://example.com/signed"},
)
OUTCOME = Outcome(DuplicateProject("1203", name=NASTY), JOB, JobFailedError(job=JOB), f"row {NASTY}")
CHECK = Check(job=JOB, done=False, retry_in=2.345, continuation_token='{"gid": "1205"}')


@pytest.mark.parametrize("shown", [JOB, OUTCOME, CHECK])
def test_a_notebook_shows_a_table_in_which_names_are_text(shown: Job | Outcome | Check) -> None:
    """What came from Asana is escaped, nothing runs, and tags are those of a table."""
    html = shown._repr_html_()  # pyright: ignore[reportPrivateUsage]

    assert set(re.findall(r"</?(\w+)", html)) == {"table", "tr", "th", "td"}
    assert "1205" in html
    assert "9 (&lt;script&gt;" in html
    assert "signed" not in html


def test_what_is_missing_is_left_out() -> None:
    """A job of which only the gid is known is one row; a check whose job has finished says that it was the last."""
    assert Job("1")._repr_html_().count("<tr>") == 1  # pyright: ignore[reportPrivateUsage]
    last = Check(job=Job("1", status="succeeded"), done=True, retry_in=None, continuation_token="{}")
    assert "never" in last._repr_html_()  # pyright: ignore[reportPrivateUsage]


def test_rich_shows_the_fields_that_a_job_has() -> None:
    """Rich lays a job out by its fields, without those that are empty."""
    written = io.StringIO()
    console = Console(file=written, width=60)
    console.print(Job("1205", status="in_progress", new_project=ProjectCompact(gid="9")))

    text = written.getvalue()
    assert "gid='1205'" in text
    assert "new_task" not in text
