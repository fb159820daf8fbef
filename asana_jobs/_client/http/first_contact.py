"""First contact: how long trouble in making a connection may last until anything was ever answered.

A network that fails comes back, and is waited for. An address that is wrong, a proxy that is missing and a certificate
that is not trusted do not pass, and whoever waits is told at once. The first answer tells the two apart.
"""

from __future__ import annotations

from math import inf

import attrs

from asana_jobs.errors import ConnectError, TransportError


@attrs.define
class FirstContact:
    """Whether a server has ever answered. Clients that share connections share it.

    Attributes:
        made: Whether it has.
    """

    made: bool = False

    def patience(
        self, error: BaseException | None, first_contact: float, give_up_after: float = inf
    ) -> float:
        """Return the seconds for which trouble may last because nothing was ever answered; unbounded once that was.

        Args:
            error: What the trouble came to at last.
            first_contact: See `PollPolicy`.
            give_up_after: See `PollPolicy`.
        """
        if self.made or first_contact >= give_up_after or not isinstance(error, ConnectError):
            return inf
        # For want of a token nothing was sent either; that there was no connection is said by its cause then.
        if isinstance(error.__cause__, TransportError) and not isinstance(error.__cause__, ConnectError):
            return inf
        return 0.0 if error.permanent else first_contact
