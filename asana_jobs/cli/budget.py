"""What a client knows about its token's budget, in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from asana_jobs import AsanaClient


def budget_line(client: AsanaClient) -> str | None:
    """Return the use of the budget, or ``None`` if the client does not tell."""
    snapshot = getattr(getattr(client, "gate", None), "snapshot", None)
    if not callable(snapshot):
        return None
    now = snapshot()
    known = "" if now.quota_known else " (found out)"
    line = f"budget: {now.used:.0%} of {now.quota:.0f} requests a minute{known} used"
    if now.paused_for > 0:
        line += f", paused for {now.paused_for:.0f} s"
    return line
