"""From bytes to calls and back: the HTTP side of the API, and where faults strike."""

import asyncio
from collections.abc import Callable, Mapping

from aiohttp import web
from attrs import define, field

from asana_jobs.testing._accounts import Accounts
from asana_jobs.testing._answers import Answer, ApiError
from asana_jobs.testing._batch import cost
from asana_jobs.testing._bodies import parse
from asana_jobs.testing._fault_plan import FaultPlan
from asana_jobs.testing._faults import Fault, HiddenJob, HtmlPage, Latency, Reset, Status
from asana_jobs.testing._requests import RequestLog, RequestRecord, token_label
from asana_jobs.testing._routes import Api, Call
from asana_jobs.testing._sending import Sender
from asana_jobs.testing._time import SimulatorTime


@define
class Wire:
    """Answers the API's HTTP requests.

    Attributes:
        latency: gives the seconds one request takes; half pass before it takes effect, half after.
    """

    api: Api
    accounts: Accounts
    faults: FaultPlan
    log: RequestLog
    time: SimulatorTime
    sender: Sender
    latency: Callable[[], float] = field(default=lambda: 0.0)

    async def answer(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """Answer one request to `path`, which is below the API's root."""
        raw = await request.read()
        token = bearer_token(request.headers.get("Authorization", ""))
        record = RequestRecord(
            number=len(self.log),
            time=self.time.loop_time(),
            method=request.method,
            path=path,
            # An option may be given several times: the values belong together.
            query={name: ",".join(request.query.getall(name)) for name in request.query},
            headers=masked(request.headers),
            token=token_of(token),
        )
        self.log.append(record)
        try:
            # A body that is not JSON is still logged, as the text it is.
            record.body = raw.decode(errors="replace") or None
            record.body = parse(raw, request.content_type)
            user = self.accounts.user_of(token)
            reads, writes = cost(record.method, path, record.body)
            record.cost = reads + writes
            gate = self.api.gates.enter(token or "", reads=reads, writes=writes)
        except ApiError as error:
            return await self._send(request, record, self.api.error(error), None)
        try:
            call = Call(record.method, path, user, record.query, record.body)
            fault = record.fault = self.faults.choose(record)
            answer = await self._take_effect(call, fault)
            record.all_started = answer.started
            return await self._send(request, record, answer, fault)
        finally:
            self.api.gates.leave(gate, reads=reads, writes=writes)

    async def _take_effect(self, call: Call, fault: Fault | None) -> Answer:
        """Let a request do what it does, with the delays before and after."""
        half = self.latency() / 2
        before, after = (fault.seconds, fault.after) if isinstance(fault, Latency) else (0.0, 0.0)
        await pause(half + before)
        answer = Answer(500, None)
        if not isinstance(fault, Status | Reset | HtmlPage) or fault.effect:
            try:
                answer = self.api.answer(call)
            except ApiError as error:
                answer = self.api.error(error)
        if isinstance(fault, HiddenJob):
            for gid in answer.started:
                self.api.domain.jobs[gid].hidden_until = self.time.elapsed() + fault.seconds
        await pause(after + half)
        return answer

    async def _send(
        self, request: web.BaseRequest, record: RequestRecord, answer: Answer, fault: Fault | None
    ) -> web.StreamResponse:
        record.answered = self.time.loop_time()
        # What was sent is on record before the client can have it.
        record.status = self.sender.status(answer, fault)
        return await self.sender.send(request, answer, fault)


async def pause(seconds: float) -> None:
    """Wait, if there is something to wait for."""
    if seconds > 0:
        await asyncio.sleep(seconds)


def bearer_token(authorization: str) -> str | None:
    """The token in an ``Authorization`` header; None when there is none or of another scheme."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def token_of(token: str | None) -> str | None:
    """The label under which a token is on record."""
    return None if token is None else token_label(token)


def masked(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers by lower-case name, with the token's place taken by `***`."""
    visible = {name.lower(): value for name, value in headers.items()}
    if "authorization" in visible:
        visible["authorization"] = f"{visible['authorization'].partition(' ')[0]} ***"
    return visible
