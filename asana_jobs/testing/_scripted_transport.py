"""A server played from a list or a function, without a socket."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from inspect import isawaitable
from typing import Any, TypeAlias, cast

from asana_jobs._client.http.protocol import Request, Response, Safety
from asana_jobs.errors import RequestTimeoutError, rounded
from asana_jobs.testing._fake_clock import FakeClock


#: What a server may answer: a state of the job asked for, a status with a body, a `Response`, or an error to raise.
ScriptedAnswer: TypeAlias = str | int | dict[str, Any] | Response | BaseException
AnswerFunction: TypeAlias = Callable[[Request], ScriptedAnswer | Awaitable[ScriptedAnswer]]


class ScriptedTransport:
    """Plays a function or a list of answers as Asana: hand it to ``AsanaClient(transport=...)``.

    ::

        transport = ScriptedTransport("not_started", "in_progress", "succeeded")

    An answer is a job's state (text; the first POST about a gid starts the job of that gid, later ones others), a bare
    HTTP status (a number), the ``data`` of a 200 answer (a dict), a whole `Response`, or an exception to raise. The last
    one is repeated for ever. A function gets the `Request` and returns an answer.

    Args:
        answers: The answers in order, or one function.
        clock: With ``latency``, the clock on which each answer takes that many seconds.
        latency: Seconds; one that exceeds the request's timeout is a `RequestTimeoutError`.

    Attributes:
        requests: Every request sent, in order.
        closed: Whether it was closed.
        latency: The seconds each answer takes, from now on.
    """

    def __init__(
        self, *answers: ScriptedAnswer | AnswerFunction, clock: FakeClock | None = None, latency: float = 0.0
    ) -> None:
        self.requests: list[Request] = []
        self._gids = set[str]()
        self.closed: bool = False
        self.latency = latency
        self._clock = clock
        self._handler: AnswerFunction = self._recite
        self._script: list[ScriptedAnswer] = []
        self.play(*answers)

    def __repr__(self) -> str:
        return f"<ScriptedTransport {len(self.requests)} requests, {len(self._script)} answers left>"

    def play(self, *answers: ScriptedAnswer | AnswerFunction) -> None:
        """Replace what is left of the script: answers in order, or one function.

        Raises:
            ValueError: an answer is a list of answers, or none at all.
        """
        if len(answers) == 1 and callable(answers[0]) and not isinstance(answers[0], type):
            self._handler, self._script = answers[0], []
        else:
            for answer in cast("Iterable[object]", answers):
                if isinstance(answer, list | tuple | bytes):
                    raise ValueError(
                        f"answers stand one after the other, not in a list: write play(*answers), not {answer!r:.60}"
                    )
            self._handler, self._script = self._recite, list(cast("Iterable[ScriptedAnswer]", answers))

    async def send(self, request: Request) -> Response:
        """Answer *request* from the script."""
        self.requests.append(request)
        if self._clock is not None and self.latency:
            await self._clock.sleep(min(self.latency, request.timeout))
            if self.latency > request.timeout:
                raise RequestTimeoutError(
                    f"no answer within {rounded(request.timeout)} s",
                    method=request.method,
                    path=request.path,
                    gid=request.gid,
                )
        answer = self._handler(request)
        if isawaitable(answer):
            answer = await answer
        return _respond(request, answer, self._gid_of(request) if isinstance(answer, str) else "")

    async def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    def _gid_of(self, request: Request) -> str:
        """Return the gid of the job that a state is about: each POST starts another one, as Asana does."""
        gid = asked = request.gid or "1"
        if request.safety is Safety.ONCE:
            number = 1
            while gid in self._gids:
                number += 1
                gid = f"{asked}{number}"
        self._gids.add(gid)
        return gid

    def _recite(self, _: Request) -> ScriptedAnswer:
        if not self._script:
            raise AssertionError("the script has no answer for this request: play() some")
        return self._script.pop(0) if len(self._script) > 1 else self._script[0]


def _respond(request: Request, answer: ScriptedAnswer, gid: str) -> Response:
    if isinstance(answer, BaseException):
        raise answer
    if isinstance(answer, Response):
        return answer
    if isinstance(answer, int):
        body = {"errors": [{"message": f"scripted {answer}"}]}
        return Response(
            status=answer, headers={"content-type": "application/json"}, body=json.dumps(body).encode()
        )
    data = answer if isinstance(answer, dict) else {"gid": gid, "resource_type": "job", "status": answer}
    status = 201 if request.method == "POST" else 200
    headers = {"content-type": "application/json; charset=UTF-8"}
    return Response(status=status, headers=headers, body=json.dumps({"data": data}).encode())
