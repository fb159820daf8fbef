"""What a client knows about its token's budget, in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from asana_jobs import AsanaClient


def budget_line(client: AsanaClient) -> str:
    """Return how much of the budget is used, and whether Asana has asked for a pause."""
    now = client.budget
    known = "" if now.quota_known else ", found out"
    line = f"budget: {now.used:.0%} used of {now.quota:.0f} requests a minute{known}"
    if now.paused_for > 0:
        line += f", paused for {now.paused_for:.0f} s"
    return line
