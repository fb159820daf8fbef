"""``asana-jobs mcp`` as a person types it; tests/mcp drives it as an assistant's program does."""

from __future__ import annotations

import pytest
from command_line import run_here


pytest.importorskip("mcp", reason="needs the extra mcp")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--longest-call", "0"], "--longest-call is a time above 0"),
        (["--longest-call", "soon"], "soon"),
        (["--share", "7"], "share"),
    ],
)
def test_wrong_options_are_said_before_anything_is_served(options: list[str], said: str) -> None:
    """A person who configures it sees what is wrong, instead of an assistant later."""
    ended = run_here("mcp", *options)

    assert (ended.status, ended.stdout) == (2, "")
    assert said in ended.stderr
    assert "asana-jobs mcp --help" in ended.stderr


def test_the_page_says_who_shares_a_ledger() -> None:
    """Whoever shares a machine's account with another reads that their keys are one's own, and what to do."""
    page = " ".join(run_here("help", "mcp").stdout.split())

    assert "under one account of a machine uses the same ledger" in page
    assert '"args": ["mcp", "--ledger", ' in page
