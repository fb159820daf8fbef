"""OAuth: trading a refresh token for access tokens, with every way Asana may answer."""

import asyncio
import json
import pickle
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import attrs
import pytest
from socket_server import listening

from asana_jobs import AsanaClient, OAuthRefresh, RateLimits
from asana_jobs._client.http.protocol import Request, Response, Safety
from asana_jobs.errors import (
    AsanaJobsError,
    ConnectError,
    RequestTimeoutError,
    TokenError,
    TransportError,
)
from asana_jobs.testing._fake_clock import FakeClock
from asana_jobs.testing._scripted_transport import ScriptedAnswer, ScriptedTransport


REFRESH = "1/refresh:hush"
CLIENT_SECRET = "secret-hush"
ACCESS = "2/access:hush"
HTML = b"<html>hush</html>"


def answered(status: int, body: object) -> Response:
    """Make an answer of the token endpoint."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status=status, headers={"content-type": "application/json"}, body=content)


def granted(**more: object) -> Response:
    """Make the documented answer to a refresh."""
    token = {
        "access_token": ACCESS,
        "expires_in": 3600,
        "token_type": "bearer",
        "data": {"id": 5, "name": "Ada"},
    }
    return answered(200, token | more)


def oauth(*answers: ScriptedAnswer, **options: Any) -> tuple[OAuthRefresh, ScriptedTransport]:
    """Make a provider and the endpoint it asks."""
    transport = ScriptedTransport(*answers)
    return OAuthRefresh("app", CLIENT_SECRET, REFRESH, transport=transport, **options), transport


async def test_a_refresh_is_the_documented_request() -> None:
    """POST /-/oauth_token, form-encoded, with the four fields of a refresh and no Authorization header."""
    refresh, transport = oauth(granted(), timeout=7)

    assert await refresh() == ACCESS

    (request,) = transport.requests
    assert (request.method, request.target, request.timeout) == ("POST", "/-/oauth_token", 7.0)
    assert (request.content_type, request.authorization) == ("application/x-www-form-urlencoded", None)
    assert (request.safety, request.gid) == (Safety.IDEMPOTENT, None)
    assert parse_qs((request.body or b"").decode(), strict_parsing=True) == {
        "grant_type": ["refresh_token"],
        "client_id": ["app"],
        "client_secret": [CLIENT_SECRET],
        "refresh_token": [REFRESH],
    }


async def test_the_refresh_token_is_kept_when_none_comes_back() -> None:
    """On a refresh Asana may leave it out: the old one stays valid."""
    refresh, transport = oauth(granted())

    await refresh()
    await refresh()

    assert refresh.refresh_token == REFRESH
    assert transport.requests[0].body == transport.requests[1].body


async def test_a_rotated_refresh_token_is_used_and_reported() -> None:
    """A new refresh token is handed to on_refresh and sent with the next refresh."""
    stored: list[str] = []
    refresh, transport = oauth(granted(refresh_token="1/new:hush"), granted(), on_refresh=stored.append)

    await refresh()
    await refresh()

    assert stored == ["1/new:hush"]
    assert refresh.refresh_token == "1/new:hush"
    assert b"1%2Fnew%3Ahush" in (transport.requests[1].body or b"")


@pytest.mark.parametrize("same", [REFRESH, "", None, 5])
async def test_on_refresh_is_called_for_a_new_token_only(same: object) -> None:
    """The old one again, or nothing usable, is not reported."""
    stored: list[str] = []
    refresh, _ = oauth(granted(refresh_token=same), on_refresh=stored.append)

    await refresh()

    assert (stored, refresh.refresh_token) == ([], REFRESH)


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_refused_refresh_token_says_log_in_again(status: int) -> None:
    """invalid_grant is a TokenError with the app, the reason and the next step, and without any token."""
    refusal = {
        "error": "invalid_grant",
        "error_uri": "https://developers.asana.com/docs/oauth",
        "error_description": "The refresh token is revoked.",
    }
    refresh, _ = oauth(answered(status, refusal))

    with pytest.raises(TokenError) as caught:
        await refresh()

    assert str(caught.value) == (
        "Asana does not renew the token of app app: invalid_grant (The refresh token is revoked.); log in again"
    )


@pytest.mark.parametrize("answer", [{}, {"access_token": None}, {"access_token": 5}, {"token": "hush"}])
async def test_an_answer_without_a_token_is_a_token_error(answer: dict[str, object]) -> None:
    """JSON that holds no access token is refused and not shown."""
    refresh, _ = oauth(answered(200, answer))

    with pytest.raises(TokenError) as caught:
        await refresh()

    assert str(caught.value) == "Asana does not renew the token of app app: status 200; log in again"


async def test_what_asana_says_of_a_refusal_is_cut_and_holds_no_secret() -> None:
    """It may quote what it was sent; so may a page that is no JSON by its type."""
    said = f"{CLIENT_SECRET} and {REFRESH} " + "x" * 600
    refresh, _ = oauth(answered(400, {"error": said}))
    with pytest.raises(TokenError) as caught:
        await refresh()
    shown = ("*** and *** " + "x" * 600)[:500]
    assert str(caught.value) == f"Asana does not renew the token of app app: {shown}; log in again"

    refresh, _ = oauth(Response(400, {"content-type": f"text/{CLIENT_SECRET};{REFRESH}"}, b""))
    with pytest.raises(TransportError, match=r"\(text/\*\*\*;\*\*\*, 0 bytes\)$"):
        await refresh()


async def test_a_provider_asks_its_origin_by_a_connection_of_its_own() -> None:
    """It says who it is, and leaves nothing open."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        body = json.dumps({"access_token": ACCESS}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await reader.read()

    async with listening(serve) as origin:
        assert await OAuthRefresh("app", CLIENT_SECRET, REFRESH, origin=origin)() == ACCESS

    (head,) = heads
    assert head.startswith(b"POST /-/oauth_token HTTP/1.1\r\n")
    assert b"\r\nUser-Agent: asana_jobs\r\n" in head
    assert b"\r\nContent-Type: application/x-www-form-urlencoded\r\n" in head
    assert b"authorization" not in head.lower()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, TransportError),
        (500, TransportError),
        (502, TransportError),
        (503, TransportError),
        (504, RequestTimeoutError),
    ],
)
@pytest.mark.parametrize("body", [{"errors": []}, HTML])
async def test_trouble_of_asanas_is_transient(status: int, kind: type[AsanaJobsError], body: object) -> None:
    """A rate limit or a server's failure is not the refresh token's fault: nobody needs to log in again."""
    refresh, _ = oauth(answered(status, body))

    with pytest.raises(
        TransportError,
        match=f"^the token could not be renewed: POST /-/oauth_token was answered {status}; try again later$",
    ) as caught:
        await refresh()

    assert type(caught.value) is kind
    assert (caught.value.method, caught.value.path) == ("POST", "/-/oauth_token")


@pytest.mark.parametrize("status", [200, 302, 400, 403])
@pytest.mark.parametrize("body", [HTML, b"", b'{"access_token": "hush', b"[]", b'"hush"', b"null"])
async def test_a_page_instead_of_json_is_transient(status: int, body: bytes) -> None:
    """A proxy's page or a truncated answer says nothing about the refresh token, and is not shown."""
    refresh, _ = oauth(answered(status, body))

    with pytest.raises(TransportError) as caught:
        await refresh()

    assert str(caught.value) == (
        f"the token could not be renewed: the answer was not JSON (application/json, {len(body)} bytes)"
    )
    assert (caught.value.method, caught.value.path) == ("POST", "/-/oauth_token")


@pytest.mark.parametrize("error", [ConnectError("refused", method="POST", path="/x"), RequestTimeoutError("slow", method="POST", path="/x")])  # fmt: skip
async def test_trouble_on_the_way_passes_through(error: AsanaJobsError) -> None:
    """A connection that fails is that error."""
    refresh, _ = oauth(error)

    with pytest.raises(type(error)):
        await refresh()


async def test_a_transport_that_was_handed_in_stays_open() -> None:
    """Only what the provider made itself is closed."""
    refresh, transport = oauth(granted())

    await refresh()

    assert not transport.closed


async def test_many_refused_calls_cost_one_refresh() -> None:
    """Fifty jobs watched with an expired token: one refresh, and every read succeeds."""
    tokens = iter(["one", "two", "three"])

    def grant(_: Request) -> ScriptedAnswer:
        return granted(access_token=next(tokens))

    def asana(request: Request) -> ScriptedAnswer:
        return "succeeded" if request.authorization == "Bearer two" else 401

    endpoint, transport = ScriptedTransport(grant), ScriptedTransport(asana)
    refresh = OAuthRefresh("app", CLIENT_SECRET, REFRESH, transport=endpoint)
    async with AsanaClient(
        refresh, transport=transport, clock=FakeClock(), limits=RateLimits.paid()
    ) as client:
        jobs = await asyncio.gather(*(client.get_job(str(gid)) for gid in range(1, 51)))

    assert all(job.succeeded for job in jobs)
    assert len(endpoint.requests) == 2


async def test_a_wait_outlives_trouble_of_the_token_endpoint() -> None:
    """A token endpoint that is down for a while does not end a wait."""
    refresh, endpoint = oauth(answered(503, HTML), ConnectError("down", method="POST", path="/x"), granted())
    transport = ScriptedTransport("in_progress", "succeeded")
    async with AsanaClient(refresh, transport=transport, clock=FakeClock()) as client:
        assert (await client.wait_for_job("1", timeout=600)).succeeded

    assert len(endpoint.requests) == 3


async def test_a_wait_ends_when_the_user_must_log_in_again() -> None:
    """A revoked refresh token ends a wait with the TokenError, at once."""
    refresh, endpoint = oauth(answered(400, {"error": "invalid_grant"}))
    async with AsanaClient(refresh, transport=ScriptedTransport("succeeded"), clock=FakeClock()) as client:
        with pytest.raises(TokenError, match="log in again"):
            await client.wait_for_job("1", timeout=600)

    assert len(endpoint.requests) == 1


async def test_an_access_token_that_cannot_be_one_is_refused() -> None:
    """A token with a line end is not put into a header."""
    refresh, _ = oauth(granted(access_token="hush\r\nX-Evil: 1"))
    transport = ScriptedTransport("succeeded")
    async with AsanaClient(refresh, transport=transport, clock=FakeClock()) as client:
        with pytest.raises(TokenError, match="what the token provider returned") as caught:
            await client.get_job("1")

    assert transport.requests == []
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("argument", ["client_secret", "refresh_token"])
@pytest.mark.parametrize("value", [None, "", 5, b"hush"])
def test_secrets_are_text(argument: str, value: Any) -> None:
    """A secret that an environment did not hold is refused at once, not sent as the word None."""
    arguments: dict[str, Any] = {"client_secret": CLIENT_SECRET, "refresh_token": REFRESH, argument: value}

    with pytest.raises(
        ValueError, match=f"^{argument} must be a non-empty string, not {type(value).__name__}$"
    ) as caught:
        OAuthRefresh("app", **arguments)

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("argument", ["client_secret", "refresh_token"])
@pytest.mark.parametrize("value", ["hush\n", "'hush'", "\ufeffhush"])
def test_what_was_copied_along_with_a_secret_is_said(argument: str, value: str) -> None:
    """Asana would refuse it as if the app or the user were wrong."""
    arguments: dict[str, Any] = {"client_secret": CLIENT_SECRET, "refresh_token": REFRESH, argument: value}

    with pytest.raises(ValueError, match=f"^{argument} has .* around it: ") as caught:
        OAuthRefresh("app", **arguments)

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("origin", "complaint"),
    [
        ("https://app.asana.com/api/1.0", "must be a host alone, such as https://app.asana.com"),
        ("app.asana.com", "must start with https://"),
        ("http://asana.example", "must be https"),
    ],
)
def test_an_origin_that_cannot_be_one_is_refused_at_once(origin: str, complaint: str) -> None:
    """Not only when the first token is asked for, and by its own name."""
    with pytest.raises(ValueError, match=f"^origin {complaint}"):
        OAuthRefresh("app", CLIENT_SECRET, REFRESH, origin=origin)


@pytest.mark.parametrize(("timeout", "held"), [(5, 5.0), (timedelta(seconds=5), 5.0)])
def test_the_timeout_is_a_duration(timeout: float | timedelta, held: float) -> None:
    """Seconds or a timedelta, as everywhere."""
    assert OAuthRefresh("app", CLIENT_SECRET, REFRESH, timeout=timeout).timeout == held


def test_a_provider_can_be_printed() -> None:
    """The app is shown; its secrets are not."""
    refresh = OAuthRefresh("app", CLIENT_SECRET, REFRESH)

    assert "app" in repr(refresh)
    assert "hush" not in f"{refresh!r} {refresh} {attrs.asdict(refresh)}"


def test_a_provider_is_not_pickled() -> None:
    """Secrets do not get into a queue by accident."""
    with pytest.raises(TypeError, match="a token is not pickled"):
        pickle.dumps(OAuthRefresh("app", CLIENT_SECRET, REFRESH))


async def test_a_token_request_can_be_printed() -> None:
    """Not even the request that carries the secrets shows them, nor does the token that comes back."""
    refresh, transport = oauth(granted())

    token = await refresh()

    assert "hush" not in f"{transport.requests!r} {transport.requests[0]}"
    assert "hush" not in repr(token)
