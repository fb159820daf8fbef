"""Completion, in the shells that people type into."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from command_line import modules_after, run_here
from shells import Fish, Shell, open_shell, shell_environment

from asana_jobs.cli.catalog import COMMANDS
from asana_jobs.cli.manual import TOPICS
from asana_jobs.cli.parser import make_app


PORTFOLIO_WORDS = ["child_portfolios", "child_projects", "description", "members", "permissions", "rules"]
KINDS = [
    *("duplicate-portfolio", "duplicate-project", "duplicate-task"),
    *("export-graph", "export-organization", "export-resource", "instantiate-project", "instantiate-task"),
    *("rollup-project", "rollup-task", "save-project-as-template"),
]
FILES = ["copies.csv", "launches.ledger"]
SHELLS = [
    pytest.param(
        name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")
    )
    for name in ("bash", "zsh", "fish")
]
at_a_terminal = pytest.mark.parametrize("shell", SHELLS[:2], indirect=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files in it."""
    folder = tmp_path_factory.mktemp("folder")
    for name in FILES:
        (folder / name).touch()
    return folder


@pytest.fixture(scope="module", params=SHELLS)
def shell(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, folder: Path
) -> Iterator[Shell | Fish]:
    """A shell into which completion was installed."""
    home = tmp_path_factory.mktemp("home")
    install(request.param, home)
    with (
        nullcontext(Fish(home, folder))
        if request.param == "fish"
        else open_shell(request.param, home, folder) as opened
    ):
        yield opened
    assert not (home / "called").exists(), "TAB started the program"


def install(shell: str, home: Path) -> None:
    """Install completion for a person with this *home*, whose ``asana-jobs`` leaves a trace if it is called."""
    program = home / "bin" / "asana-jobs"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\ntouch {home / 'called'}\n")
    program.chmod(0o755)
    ended = run_here(
        "completion",
        shell,
        "--install",
        variables={"HOME": str(home), "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": "", "ZDOTDIR": ""},
    )
    assert (ended.status, ended.stdout) == (0, "")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("", sorted(command.name for command in COMMANDS)),
        ("start ", KINDS),
        ("start export", [kind for kind in KINDS if kind.startswith("export")]),
        ("export ", ["graph", "organization", "resource"]),
        ("export graph ", []),
        ("get ", []),
        ("doctor --output ", ["auto", "json", "jsonl", "table"]),
        ("doctor --output=a", ["--output=auto"]),
        ("completion ", ["bash", "fish", "zsh"]),
        ("help ", sorted(TOPICS)),
        ("help skill/w", ["skill/waiting", "skill/worker"]),
        ("duplicate-portfolio 12 --include ", [*PORTFOLIO_WORDS, "templates"]),
        ("duplicate-project 12 --include m", ["members"]),
        (
            "duplicate-project 12 --include members,task_a",
            ["members,task_assignee", "members,task_attachments"],
        ),
        ("duplicate-project 12 --include members,mem", []),
        ("duplicate-project 12 --include=members,al", ["--include=members,allocations"]),
        ("instantiate-project 12 --privacy-setting pri", ["private", "private_to_team"]),
        ("run cop", ["copies.csv"]),
        ("run copies.csv --ledger lau", ["launches.ledger"]),
        ("run copies.csv --ledger=lau", ["--ledger=launches.ledger"]),
        ("resume ", FILES),
        ("export graph 12 -o ", FILES),
        ("export graph 12 --output-file ", FILES),
    ],
)
def test_tab_offers_what_can_be_typed(shell: Shell | Fish, line: str, offered: list[str]) -> None:
    """Commands, kinds, choices, words of a list and files are offered where they belong, and nowhere else."""
    assert sorted(shell.offers(f"asana-jobs {line}")) == offered


def test_words_between_do_not_mislead(shell: Shell | Fish) -> None:
    """A name that is a command's, a switch, and colons in a value change nothing about what follows."""
    assert shell.offers("asana-jobs resume --timeout 5m --output js") == ["json", "jsonl"]
    assert shell.offers("asana-jobs duplicate-task 12 --name run --inc") == ["--include"]
    assert shell.offers("asana-jobs duplicate-task 12 --name=run --inc") == ["--include"]
    assert shell.offers("asana-jobs instantiate-project 12 --public --priv") == ["--privacy-setting"]
    assert shell.offers("asana-jobs worker --redis redis://localhost:6379/0 --q") == ["--queue"]
    assert shell.offers("asana-jobs run --retry-unknown cop") == ["copies.csv"]


def test_a_kind_is_followed_as_the_command_of_its_name(shell: Shell | Fish) -> None:
    """After ``start duplicate-task`` come the words and the options of that kind, and none of another."""
    words = shell.offers("asana-jobs start duplicate-task 12 --include ")
    assert {"assignee", "subtasks"} <= set(words)
    assert "members" not in words
    assert shell.offers("asana-jobs start duplicate-task 12 --te") == []
    assert shell.offers("asana-jobs start export-resource 12 --par") == ["--parameters"]


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_option_of_every_command_is_offered(shell: Shell | Fish, command: str) -> None:
    """What a help page lists, the shell offers."""
    listed = {
        name
        for argument in make_app()[command].assemble_argument_collection()
        if argument.show
        for name in argument.names
        if name.startswith("--")
    }

    offered = {name for name in shell.offers(f"asana-jobs {command} --") if name.startswith("--")}

    assert offered == {*listed, "--help"}


def test_every_file_on_a_help_page_is_completed(shell: Shell | Fish) -> None:
    """Where a help page says FILE, PATH or LEDGER, files are offered."""
    places = [
        f"asana-jobs {command.name} " + ("" if argument.index == 0 else f"{argument.name} ")
        for command in COMMANDS
        for argument in make_app()[command.name].assemble_argument_collection()
        if {argument.name, argument.parameter.metavar} & {"FILE", "PATH", "LEDGER"}
    ]

    assert {"asana-jobs run ", "asana-jobs run --ledger "} <= set(places)
    assert [place for place in places if sorted(shell.offers(place)) != FILES] == []


@at_a_terminal
def test_tab_finishes_the_word(shell: Shell, folder: Path) -> None:
    """One that fits is typed to its end; blanks in its name are escaped, and folders lead on."""
    (folder / "two words.jsonl").touch()
    (folder / "older" / "deep").mkdir(parents=True, exist_ok=True)
    try:
        assert shell.line_after("asana-jobs run cop\t") == "asana-jobs run copies.csv "
        assert shell.line_after("asana-jobs run two\t") == "asana-jobs run two\\ words.jsonl "
        assert shell.line_after("asana-jobs run ol\tde\t") == "asana-jobs run older/deep/"
        assert shell.line_after("asana-jobs dupl\tpro\t12") == "asana-jobs duplicate-project 12"
    finally:
        (folder / "two words.jsonl").unlink()
        shutil.rmtree(folder / "older")


@at_a_terminal
def test_a_list_goes_on_with_a_comma_or_ends_with_a_blank(shell: Shell) -> None:
    """After a word of a list one types a comma and the next, or a blank and what follows the list."""
    typed = "asana-jobs duplicate-project 12 --include mem\t"

    assert shell.line_after(f"{typed} --wait") == "asana-jobs duplicate-project 12 --include members --wait"
    assert shell.line_after(f"{typed},task_n\t --wait").endswith("--include members,task_notes --wait")


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_keeps_nothing_of_it(tmp_path: Path) -> None:
    """Completing leaves no variable behind in a person's shell, and minds nothing that is set there."""
    script = tmp_path / "script"
    script.write_text(run_here("completion", "bash").stdout)
    code = """
        source "$0"; set -u; IFS=:; declare before='' after=''
        COMP_WORDS=(asana-jobs duplicate-task 12 --include notes,s); COMP_CWORD=4; COMPREPLY=()
        before=$(compgen -v; shopt; set -o)
        _asana_jobs
        after=$(compgen -v; shopt; set -o)
        echo "${COMPREPLY[@]}"; diff <(echo "$before") <(echo "$after")
    """

    ended = subprocess.run(
        ["bash", "-c", code, script], capture_output=True, text=True, check=False, timeout=30
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "notes,subtasks\n", "")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_reads_the_script_without_a_word(shell: str, tmp_path: Path) -> None:
    """What is printed can be read by a shell that has no completion yet, as by one that has."""
    script = tmp_path / "script"
    script.write_text(run_here("completion", shell).stdout)

    ended = subprocess.run(
        [shell, "-c", f"source {script}; source {script}"],
        env=shell_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_installing_twice_adds_one_line(shell: str, tmp_path: Path) -> None:
    """A startup file keeps what it held, gets one line, and gets it once."""
    startup = tmp_path / f".{shell}rc"
    startup.write_bytes(b"alias ll='ls -l' # \xff\nno line end")

    install(shell, tmp_path)
    once = startup.read_bytes()
    install(shell, tmp_path)

    assert startup.read_bytes() == once
    assert once.startswith(b"alias ll='ls -l' # \xff\nno line end\n[ -f ")
    assert once.count(b"\n") == 3


def test_installing_minds_where_things_are_kept(tmp_path: Path) -> None:
    """The folders of XDG and of zsh are used where a person has moved them."""
    moved = {name: str(tmp_path / name) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR")}
    for name in ("HOME", "ZDOTDIR"):
        (tmp_path / name).mkdir()

    for shell in ("bash", "zsh", "fish"):
        assert run_here("completion", shell, "--install", variables=moved).status == 0

    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert written == [
        "HOME/.bashrc",
        "XDG_CONFIG_HOME/fish/completions/asana-jobs.fish",
        "XDG_DATA_HOME/asana-jobs/completion.zsh",
        "XDG_DATA_HOME/bash-completion/completions/asana-jobs",
        "ZDOTDIR/.zshrc",
    ]


@pytest.mark.parametrize("typed", ["tcsh", "powershell"])
def test_another_shell_is_wrong_usage(typed: str) -> None:
    """A shell without completion is refused with those that have it."""
    ended = run_here("completion", typed)

    assert (ended.status, ended.stdout) == (2, "")
    assert 'Choose from: "bash", "zsh", "fish"' in ended.stderr


@pytest.mark.parametrize(
    ("around", "said"), [("/bin/tcsh", "which shell?"), ("/usr/bin/pwsh", "no completion for PowerShell")]
)
def test_a_shell_that_cannot_be_told_is_asked_for(around: str, said: str) -> None:
    """Where the shell is not known, or is one without completion, it has to be named."""
    variables = {
        "SHELL": around,
        "PATH": "/nonexistent",
        "BASH_VERSION": "",
        "ZSH_VERSION": "",
        "FISH_VERSION": "",
    }

    ended = run_here("completion", variables=variables)

    assert (ended.status, ended.stdout) == (2, "")
    assert said in ended.stderr
    assert "bash, zsh or fish" in ended.stderr


def test_a_script_is_made_without_an_http_client() -> None:
    """Printing a script imports neither aiohttp nor asyncio."""
    assert modules_after("completion", "bash").isdisjoint({"aiohttp", "asyncio"})
