"""A notebook, run by a kernel against the simulator: what its cells show of jobs, checks, outcomes, monitors and downloads."""

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest


nbformat: Any = pytest.importorskip(
    "nbformat", reason="notebooks are run with nbclient: it is in the extra dev"
)
nbclient: Any = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

TOKEN = "token-of-the-notebook"
NASTY = "<script>alert('x')</script> [red]Q3[/red]"
CELLS = {
    "begin": f"""
        from asana_jobs import AsanaClient, DuplicateProject, ExportGraph
        from asana_jobs.progress import track, track_download
        from asana_jobs.testing import AsanaSimulator

        simulator = await AsanaSimulator(durations=1.5, seed=7).__aenter__()
        asana = AsanaClient({TOKEN!r}, base_url=simulator.base_url)
        """,
    "job": f"""
        job = await asana.duplicate_project("1203", name={NASTY!r})
        job
        """,
    "check": "await asana.check_job(job)",
    "outcome": f"""
        async for outcome in asana.run_all([DuplicateProject("1203", name={NASTY!r})]):
            pass
        outcome
        """,
    "monitor": f"""
        jobs = [await asana.start(DuplicateProject("1203", name=str(number))) for number in range(4)]
        async with asana.monitor_jobs(jobs) as monitor:
            async for job in track(monitor, description={NASTY!r}):
                print(job.status)
        """,
    "run": """
        operations = [DuplicateProject("1203", name=str(number)) for number in range(6)]
        async for outcome in track(asana.run_all(operations), total=6):
            pass
        """,
    "download": """
        export = await asana.run(ExportGraph("1203"))
        with track_download("export.json.gz") as progress:
            path = await asana.download_export(export, "export.json.gz", progress=progress)
        """,
    "end": """
        await asana.close()
        await simulator.__aexit__(None, None, None)
        """,
}


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """The outputs of each cell, as a notebook keeps them."""
    folder = tmp_path_factory.mktemp("notebook")
    cells = [nbformat.v4.new_code_cell(dedent(source).strip(), id=name) for name, source in CELLS.items()]
    ran = nbformat.v4.new_notebook(cells=cells)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(folder / name.lower()))
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        client = nbclient.NotebookClient(
            ran, timeout=100, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        )
        client.execute()
    nbformat.validate(ran)
    (folder / "ran.ipynb").write_text(nbformat.writes(ran), "utf-8")  # to look at
    return {cell.id: cell.outputs for cell in ran.cells}


def html_of(outputs: list[Any]) -> str:
    """The HTML of the only output that has some."""
    [html] = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    return str(html)


def text_of(html: str) -> list[str]:
    """The lines that a browser shows."""
    return [line.rstrip() for line in re.sub(r"<[^>]*>", "", html).splitlines() if line.strip()]


@pytest.mark.parametrize("cell", ["job", "check", "outcome"])
def test_a_value_is_a_table(notebook: dict[str, list[Any]], cell: str) -> None:
    """A job, a check and an outcome say in a few rows what they are."""
    html = html_of(notebook[cell])

    assert set(re.findall(r"</?(\w+)", html)) == {"table", "tr", "th", "td"}
    assert "12050000" in html
    assert "&lt;script&gt;" in html
    assert "succeeded" in html or "in_progress" in html


def test_a_monitor_is_one_block_below_what_the_loop_prints(notebook: dict[str, list[Any]]) -> None:
    """It is written anew in its place; what the loop prints is an output of its own."""
    shown, *said = sorted(notebook["monitor"], key=lambda output: str(output.output_type))
    name, headline, states = text_of(html_of([shown]))

    assert name == NASTY.replace("<", "&lt;").replace(">", "&gt;")
    assert re.fullmatch(r"4 of 4 jobs finished  ━+  \d\.\d s.*", headline)
    assert states == "succeeded 4"
    assert "".join(output.text for output in said).splitlines() == ["in_progress"] * 4 + ["succeeded"] * 4


def test_a_run_and_a_download_are_a_block_each(notebook: dict[str, list[Any]]) -> None:
    """As in a terminal."""
    assert text_of(html_of(notebook["run"]))[0].startswith("6 of 6 jobs finished  ━")
    assert text_of(html_of(notebook["download"]))[0].startswith("export.json.gz   ━")


def test_no_output_runs_or_betrays_anything(notebook: dict[str, list[Any]]) -> None:
    """Names are text, nothing is a script, and no token is kept in a file that people send around."""
    outputs = [output for cell in notebook.values() for output in cell]
    html = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]

    assert len(html) == 6
    assert "<script" not in "".join(html)
    assert TOKEN not in str(outputs)
    assert {output.output_type for output in outputs} == {"execute_result", "display_data", "stream"}
    assert {output.name for output in outputs if output.output_type == "stream"} == {"stdout"}
