"""The OAuth endpoints at the host's root: tokens for refresh tokens, and revocation.

Source: developers.asana.com, "OAuth", and the error body recorded on 2026-10-08.
"""

from urllib.parse import parse_qsl

from aiohttp import web
from attrs import define

from asana_jobs.testing.simulator.bodies import ApiAnswer
from asana_jobs.testing.simulator.domain import Accounts
from asana_jobs.testing.simulator.faults import FaultPlan, Latency, takes_effect
from asana_jobs.testing.simulator.http_adapter import ResponseWriter, note, pause
from asana_jobs.testing.simulator.requests import RequestLog


TOKEN_PATH = "/-/oauth_token"  # noqa: S105 - a path
REVOKE_PATH = "/-/oauth_revoke"
_SECONDS = 3600
_SECRETS = frozenset({"client_secret", "refresh_token", "code", "code_verifier", "token"})


@define
class OAuth:
    """Answers token and revocation requests."""

    accounts: Accounts
    faults: FaultPlan
    log: RequestLog
    writer: ResponseWriter

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        raw = (await request.read()).decode(errors="replace")
        is_form = request.content_type == "application/x-www-form-urlencoded"
        form = dict(parse_qsl(raw, keep_blank_values=True)) if is_form else {}
        body = {name: "***" if name in _SECRETS else value for name, value in form.items()}
        record = note(self.log, self.writer.time, request, body=body)
        fault = record.fault = self.faults.choose(record, by_path=True)
        await pause(fault.seconds if isinstance(fault, Latency) else 0.0)
        answer = self._take_effect(request, form) if takes_effect(fault) else ApiAnswer(500, None)
        return await self.writer.write(request, record, answer, fault)

    def _take_effect(self, request: web.BaseRequest, form: dict[str, str]) -> ApiAnswer:
        if request.method != "POST":
            return ApiAnswer(404, {})
        if request.path == REVOKE_PATH:
            # An unknown token is a 200 as well.
            self.accounts.expire(form.get("token", ""))
            return ApiAnswer(200, {})
        return self._token(form)

    def _token(self, form: dict[str, str]) -> ApiAnswer:
        grant = form.get("grant_type")
        if grant not in {"refresh_token", "authorization_code"}:
            return _error("unsupported_grant_type", "The grant_type is missing or not supported.")
        for name in ("client_id", "client_secret"):
            if not form.get(name):
                return _error("invalid_request", f"The request is missing {name}.")
        credential = form.get("refresh_token" if grant == "refresh_token" else "code", "")
        access_token = self.accounts.issue(credential, _SECONDS) if credential else None
        if access_token is None:
            return _error("invalid_grant", "The code or refresh token provided was not valid.")
        profile = self.accounts.profile(self.accounts.owner(credential))
        document = {
            "access_token": access_token,
            "token_type": "bearer",
            "expires_in": _SECONDS,
            "data": {
                "id": profile["gid"],
                "gid": profile["gid"],
                "name": profile["name"],
                "email": profile["email"],
            },
        }
        if grant == "authorization_code":
            # On a refresh the old one stays good, and none is given.
            document["refresh_token"] = credential
        return ApiAnswer(200, document)


def _error(code: str, description: str) -> ApiAnswer:
    """Return an error in the shape of the OAuth endpoints, which is not the API's."""
    return ApiAnswer(
        400,
        {
            "error": code,
            "error_uri": "https://developers.asana.com/docs/oauth",
            "error_description": description,
        },
    )
