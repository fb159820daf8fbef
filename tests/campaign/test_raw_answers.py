"""Whatever bytes answer the POST, a job is started at most once: by a call, by a run, and by the run that resumes it.

The server is a socket that says what it is told to the first POST, counts the POSTs, and starts a job for every one
that comes later: so a second one shows.
"""

import gzip
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import pytest
from raw_answers import Counting, counting

from asana_jobs import AsanaClient, DuplicateProject, ExportGraph, Ledger, Outcome, RateLimits
from asana_jobs.errors import (
    APIError,
    AsanaJobsError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    OutcomeUnknownError,
    PaymentRequiredError,
    PermissionDeniedError,
    UnprocessableError,
)


COPY: Final = DuplicateProject("1203", name="Q3 launch")
#: The job that the first answer names, where it names one; later POSTs start others.
JOB: Final = "71"


def says(status: int, body: bytes = b"", *headers: str) -> bytes:
    """A whole answer that ends with its connection."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def holds(status: int, answer: object, *headers: str) -> bytes:
    """An answer in JSON."""
    return says(status, json.dumps(answer).encode(), "Content-Type: application/json", *headers)


def errors(status: int, *headers: str) -> bytes:
    """A refusal as Asana writes one."""
    return holds(status, {"errors": [{"message": f"Asana says {status}", "help": "..."}]}, *headers)


def job(status: int = 201, /, **fields: object) -> bytes:
    """The job as Asana answers it."""
    return holds(status, {"data": {"gid": JOB, "resource_type": "job", "status": "in_progress", **fields}})


PAGE: Final = b"<html><body>404 page not found</body></html>"
WHOLE: Final = job()
HTML: Final = "Content-Type: text/html"

#: The answer is the job.
STARTED: Final[dict[str, bytes]] = {
    "201": job(),
    "200": job(200),
    "202": job(202),
    "203": job(203),
    "another status": job(status="queued"),
    "a status that is a number": job(status=5),
    "no status": holds(201, {"data": {"gid": JOB}}),
    "progress in decimals": job(dates_rollup_progress={"total_tasks": 1.0}),
    "a project whose gid is a number": job(new_project={"gid": 7}),
    "a project that is text": job(new_project="1204"),
    "a type that is a list": job(resource_type=[]),
    "a kind that is a number": job(resource_subtype=5),
    "a kind of tomorrow": job(resource_subtype="duplicate_project_v2"),
    "half an emoji": says(201, b'{"data": {"gid": "71", "new_project": {"gid": "8", "name": "\\ud83d"}}}'),
    "a warning beside it": holds(201, {"data": {"gid": JOB}, "warnings": [{"message": "deprecated"}]}),
    "packed": says(201, gzip.compress(b'{"data": {"gid": "71"}}'), "Content-Encoding: gzip"),
    "in chunks": b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n17\r\n" + b'{"data": {"gid": "71"}}\r\n0\r\n\r\n',
    "HTTP/1.0": b'HTTP/1.0 201 Created\r\n\r\n{"data": {"gid": "71"}}',
    "continue first": b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE,
    "early hints first": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + WHOLE,
    "wrong content type": says(201, b'{"data": {"gid": "71"}}', "Content-Type: text/html"),
}  # fmt: skip

#: Asana says in its own words that nothing was started.
REFUSED: Final[dict[str, tuple[bytes, type[APIError]]]] = {
    "400": (errors(400), BadRequestError),
    "401": (errors(401), AuthenticationError),
    "401 of a gateway": (says(401, PAGE, HTML), AuthenticationError),
    "401 empty": (says(401), AuthenticationError),
    "402": (errors(402), PaymentRequiredError),
    "403": (errors(403), PermissionDeniedError),
    "404": (errors(404), NotFoundError),
    "412": (errors(412), APIError),
    "422": (errors(422), UnprocessableError),
    "434": (errors(434), APIError),
    "a refusal without a content type": (
        says(403, b'{"errors": [{"message": "no"}]}'),
        PermissionDeniedError,
    ),
}

#: Nothing was started, and it may be asked for again.
LIMITED: Final[dict[str, bytes]] = {
    "429": errors(429, "Retry-After: 1"),
    "429 of a gateway": says(429, PAGE, HTML),
    "429 empty": says(429),
}

#: Nobody can tell.
UNKNOWN: Final[dict[str, bytes]] = {
    "nothing": b"",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "half a head": b"HTTP/1.1 201 Created\r\nContent-",
    "no whole body": b'HTTP/1.1 201 Created\r\nContent-Length: 90\r\n\r\n{"data": {"gid": "71"',
    "an end in a chunk": b'HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n17\r\n{"data": {"gid": ',
    "chunks without lengths": b'HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n{"data": {"gid": "71"}}',
    "two lengths": b'HTTP/1.1 201 Created\r\nContent-Length: 23\r\nContent-Length: 5\r\n\r\n{"data": {"gid": "71"}}',
    "no status": b"HTTP/1.1\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 Created\r\n\r\n",
    "not packed as it says": says(201, b'{"data": {"gid": "71"}}', "Content-Encoding: gzip"),
    "a head that breaks off in a name": b"HTTP/1.1 201 Created\r\nX Y Z\r\n\r\n",
    "201 empty": says(201),
    "204": says(204),
    "201 page": says(201, PAGE, HTML),
    "201 cut": says(201, b'{"data": {"gid": "71"'),
    "201 null": says(201, b"null"),
    "201 list": holds(201, [{"gid": JOB}]),
    "201 without data": holds(201, {"gid": JOB}),
    "201 data null": holds(201, {"data": None}),
    "201 data list": holds(201, {"data": [{"gid": JOB}]}),
    "201 without a gid": holds(201, {"data": {"status": "in_progress"}}),
    "201 gid number": holds(201, {"data": {"gid": 71}}),
    "201 gid null": holds(201, {"data": {"gid": None}}),
    "201 gid text": holds(201, {"data": {"gid": "job"}}),
    "201 gid empty": holds(201, {"data": {"gid": ""}}),
    "201 gid path": holds(201, {"data": {"gid": "../71"}}),
    "201 errors": errors(201),
    "201 not utf-8": says(201, '{"data": {"gid": "71"}}'.encode("utf-16")),
    "201 another kind": job(resource_subtype="duplicate_task"),
    "301": says(301, b"", "Location: https://example.com/"),
    "302": says(302, b"", "Location: /api/1.0/elsewhere"),
    "303": says(303, b"", f"Location: /api/1.0/jobs/{JOB}"),
    "304": says(304),
    "307": says(307, b"", "Location: /api/1.0/projects/1203/duplicate"),
    "308": says(308, PAGE, HTML, "Location: /"),
    "302 with errors": errors(302),
    "400 of a gateway": says(400, PAGE, HTML),
    "400 empty": says(400),
    "403 of a gateway": says(403, PAGE, HTML),
    "404 of a gateway": says(404, PAGE, HTML),
    "404 empty": says(404),
    "404 no errors": holds(404, {"errors": []}),
    "404 errors without words": holds(404, {"errors": [dict[str, object]()]}),
    "404 other JSON": holds(404, {"error": "not_found"}),
    "404 text": holds(404, "not found"),
    "405": says(405),
    "407": says(407, PAGE, HTML),
    "408": errors(408),
    "408 empty": says(408),
    "409": errors(409),
    "413 of a gateway": says(413, PAGE, HTML),
    "421": says(421),
    "425": errors(425),
    "431": says(431),
    "444": says(444),
    "460": errors(460),
    "499": errors(499),
    "499 page": says(499, PAGE, HTML),
    "500": errors(500),
    "500 page": says(500, PAGE, HTML),
    "501": errors(501),
    "502 page": says(502, PAGE, HTML),
    "503": errors(503, "Retry-After: 1"),
    "504 page": says(504, PAGE, HTML),
    "520 page": says(520, PAGE, HTML),
    "599": says(599),
    "600": says(600),
    "999": says(999),
}


@attrs.define
class Case:
    """One answer to the first POST, and what is to come of it."""

    answer: bytes
    error: type[AsanaJobsError] | None
    #: POSTs of the first run, and of it and the one that resumes it together.
    posts: int = 1
    in_all: int = 1


CASES: Final[dict[str, Case]] = {
    **{f"started: {name}": Case(answer, None) for name, answer in STARTED.items()},
    **{f"refused: {name}": Case(answer, error, in_all=2) for name, (answer, error) in REFUSED.items()},
    **{f"limited: {name}": Case(answer, None, posts=2, in_all=2) for name, answer in LIMITED.items()},
    **{f"unknown: {name}": Case(answer, OutcomeUnknownError) for name, answer in UNKNOWN.items()},
}


@asynccontextmanager
async def open_both(answer: bytes) -> AsyncGenerator[tuple[AsanaClient, Counting]]:
    """Open a server that says *answer* to the first POST, and a client for it."""
    async with (
        counting(answer) as server,
        AsanaClient("test-token", base_url=server.base_url, limits=RateLimits.paid()) as client,
    ):
        yield client, server


async def run(client: AsanaClient, path: Path) -> Outcome:
    """Run the one operation on a ledger."""
    async with Ledger.open(path) as ledger:
        [outcome] = [outcome async for outcome in client.run_all([COPY], ledger=ledger)]
    return outcome


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_call_starts_it_once(case: Case) -> None:
    """`start` gives the job, or says what is certain; it asks again after a 429 only."""
    async with open_both(case.answer) as (client, server):
        if case.error is None:
            started = await client.start(COPY)
            assert started.gid == (JOB if case.posts == 1 else server.made[-1])
        else:
            with pytest.raises(case.error) as caught:
                await client.start(COPY)
            assert type(caught.value) is case.error

    assert server.posts == case.posts


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_run_and_the_one_that_resumes_it_start_it_once(case: Case, tmp_path: Path) -> None:
    """What the ledger says is what the server counted: only what was refused for certain is started by the next run."""
    path = tmp_path / "copies.ledger"
    async with open_both(case.answer) as (client, server):
        first = await run(client, path)
        posts = server.posts
        second = await run(client, path)

    assert posts == case.posts
    assert server.posts == case.in_all
    if case.error is None:
        assert first.succeeded
        assert second.succeeded
    elif case.error is OutcomeUnknownError:
        assert isinstance(first.error, OutcomeUnknownError)
        assert isinstance(second.error, OutcomeUnknownError)
    else:
        assert type(first.error) is case.error
        assert second.succeeded


@pytest.mark.parametrize("answer", UNKNOWN.values(), ids=UNKNOWN)
async def test_a_graph_export_is_asked_for_again(answer: bytes) -> None:
    """The same job comes back while it runs, so that an answer which says nothing is no loss."""
    async with open_both(answer) as (client, server):
        job = await client.start(ExportGraph("1203"))

    assert job.gid == server.made[-1]
    assert server.posts == 2


def test_there_are_enough_of_them() -> None:
    """Eighty answers and more, no two alike."""
    assert len({case.answer for case in CASES.values()}) == len(CASES) >= 80
